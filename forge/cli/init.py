"""forge init: a forge.yaml that fits the folder and the machine it was written on."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from forge.core.config import CorpusConfig
from forge.core.fsio import human, write_text
from forge.errors import UsageError

TEMPLATE = """\
# Forge: {documents} documents ({kinds}; {size}) become a model that knows them.
# Every setting: forge config schema. What would run: forge plan. Do it: forge run.
{profile}model:    {{base: {base}, name: "{name}"}}
corpus:   {{roots: [.], include: [], exclude: []}}
dataset:  {{amplification: {amplification}}}
deploy:
  target: auto          # Ollama where it answers, else the built-in runtime
  system: null          # the model's role, e.g. "You are Ada, the assistant of the Example project."
publish:  {{repo: null, private: true}}
"""
# GPU memory in GB at least → base. The first row that fits wins; the last one is the CPU's.
BASES = ((7.5, "qwen2.5-7b"), (3.5, "qwen2.5-coder-1.5b"), (0.0, "qwen2.5-coder-0.5b"))
# With a GPU: bytes of documents at most → amplification. Three times the training teaches a small folder far better
# (knowledge gained 0.74 and 0.88 on 120 documents of 80,000 tokens, bench/recipes.md); a large one has many facts of
# each sort, and learns to answer from fewer wordings of each.
AMPLIFICATIONS = ((500_000, 30), (math.inf, 10))
CPU_AMPLIFICATION = 6


def gpu() -> tuple[str, float]:
    """Name and GiB of the first NVIDIA GPU, ("", 0) without one; asked of the driver, so no torch is loaded."""
    if not shutil.which("nvidia-smi"):
        return "", 0.0
    said = subprocess.run(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
                          capture_output=True, text=True, check=False).stdout.splitlines()
    name, _, memory = said[0].rpartition(",") if said else ("", "", "")
    return (name, float(memory) / 1024) if memory.strip().isdigit() else ("", 0.0)


def write_config(folder: Path, force: bool) -> tuple[Path, str]:
    """Writes forge.yaml into `folder`; returns its path and text."""
    from forge.corpus.walk import walk
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", fix="forge init FOLDER")
    path = folder / "forge.yaml"
    if path.exists() and not force:
        raise UsageError(f"{path} exists", fix="edit it, or forge init --force")
    chosen = walk(CorpusConfig(), folder.resolve()).files
    kinds = Counter(file.path.suffix or file.path.name for file in chosen)
    _, memory = gpu()
    base = next(name for least, name in BASES if memory >= least)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:96] or "my-model"
    size = sum(file.path.stat().st_size for file in chosen)
    text = TEMPLATE.format(
        documents=len(chosen), kinds=", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)),
        size=human(size), base=base, name=name,
        profile="" if memory else "profile:  quick    # no GPU found: small rows, few steps\n",
        amplification=next(n for most, n in AMPLIFICATIONS if size <= most) if memory else CPU_AMPLIFICATION)
    write_text(path, text)
    return path, text
