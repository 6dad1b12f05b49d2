"""The small JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phoenix_forge.core.fsio import JSON_LIMIT, read_limited
from phoenix_forge.errors import UsageError

AGAIN = "fetch the base again with forge download --force"


def read_json(path: Path, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """A JSON object from a model folder. Raises UsageError where the file is absent, above `limit` bytes, or anything
    else."""
    try:
        value = json.loads(read_limited(path, limit))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} has no {path.name}", fix=AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}", fix=AGAIN) from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds {type(value).__name__}, expected an object", fix=AGAIN)
    return value
