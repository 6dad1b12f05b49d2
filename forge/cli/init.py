"""forge init: a forge.yaml that fits the folder and the machine it was written on."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

from forge.core.config import CorpusConfig
from forge.core.fsio import human, write_text
from forge.core.machine import gpu
from forge.errors import UsageError

TEMPLATE = """\
# Forge: {documents} documents ({kinds}; {size}) become a model that knows them.
# Every setting: forge config schema. What would run: forge plan. Do it: forge run.
{profile}model:    {{base: {base}, name: "{name}"}}
corpus:   {{roots: [.], include: [], exclude: []}}
dataset:  {dataset}
{train}deploy:
  target: auto          # Ollama where it answers, else the built-in runtime
  system: null          # the model's role, e.g. "You are Ada, the assistant of the Example project."
publish:  {{repo: null, private: true}}
"""
# GPU memory in GB at least → base. The first row that fits wins; the last one is the CPU's.
BASES = ((7.5, "qwen2.5-7b"), (3.5, "qwen2.5-coder-1.5b"), (0.0, "qwen2.5-coder-0.5b"))
# With a GPU: bytes of documents at most → what is asked of each sentence, and how often that is trained. A small folder
# is taught as bench/knowledge.md measured it; a large one in the time that one has.
RECIPES = ((500_000, "{amplification: 15, per_sentence: 10, wordings: 3}", 6),
           (math.inf, "{amplification: 10, per_sentence: 3, wordings: 1}", 3))
CPU_RECIPE = "{amplification: 6}"


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
    dataset, epochs = next(recipe for most, *recipe in RECIPES if size <= most)
    text = TEMPLATE.format(
        documents=len(chosen), kinds=", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)),
        size=human(size), base=base, name=name,
        profile="" if memory else "profile:  quick    # no GPU found: small rows, few steps\n",
        dataset=dataset if memory else CPU_RECIPE,
        train=f"train:    {{epochs: {epochs}}}\n" if memory else "")
    write_text(path, text)
    return path, text
