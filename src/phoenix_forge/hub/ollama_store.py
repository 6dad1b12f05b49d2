"""Ollama's model store on disk: manifests/HOST/OWNER/NAME/TAG lists the layers, blobs/sha256-… holds them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from phoenix_forge.errors import UsageError

MODEL_LAYER = "application/vnd.ollama.image.model"
DEFAULTS = ("registry.ollama.ai", "library")  # host and owner of a bare name
PART = re.compile(r"[A-Za-z0-9_][\w.-]*")
DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


def stores() -> list[Path]:
    """Where models may lie: OLLAMA_MODELS alone if set, else the user's store and the Linux service's."""
    if configured := os.environ.get("OLLAMA_MODELS"):
        return [Path(configured).expanduser()]
    return [Path.home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]


def manifest_path(name: str) -> Path:
    """qwen2:7b → registry.ollama.ai/library/qwen2/7b; hf.co/ORG/REPO:Q4_K_M → hf.co/ORG/REPO/Q4_K_M."""
    path, _, tag = name.partition(":") if name.rfind(":") > name.rfind("/") else (name, "", "")
    parts = path.split("/")
    if len(parts) > 3 or not all(PART.fullmatch(part) for part in [*parts, tag or "latest"]):
        raise UsageError(
            f"{name!r} is not an Ollama model name", fix="NAME, NAME:TAG or HOST/OWNER/NAME:TAG"
        )
    return Path(*DEFAULTS[: 3 - len(parts)], *parts, tag or "latest")


def stored_gguf(name: str) -> Path | None:
    """The GGUF blob of a model that Ollama holds, or None where it holds no such model on this disk."""
    for store in stores():
        try:
            manifest = json.loads(
                (store / "manifests" / manifest_path(name)).read_text(encoding="utf-8")
            )
            layers = [
                layer["digest"] for layer in manifest["layers"] if layer["mediaType"] == MODEL_LAYER
            ]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # absent, unreadable for this user, or not a manifest: the model is not to be had from here
        match = DIGEST.fullmatch(layers[0]) if len(layers) == 1 else None
        blob = store / "blobs" / f"sha256-{match[1]}" if match else None
        if blob and blob.is_file():
            return blob
    return None
