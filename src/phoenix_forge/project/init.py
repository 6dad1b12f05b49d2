"""What a folder holds, and a forge.yaml that fits it and the machine it was written on."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from phoenix_forge.catalog import costs
from phoenix_forge.catalog.choose import proposed
from phoenix_forge.core import names
from phoenix_forge.core.config import CorpusConfig
from phoenix_forge.core.fsio import human, write_text
from phoenix_forge.core.machine import gpu
from phoenix_forge.corpus.readers import READERS
from phoenix_forge.corpus.walk import File, Skipped, ignored, survey, way_out
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.stages import Context

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
SPOKEN = 0.1  # of the documents, from which on a base has to know their language
# With a GPU: bytes of documents at most → what is asked of each sentence, and how often that is trained. A small folder
# is taught as bench/knowledge.md measured it; a large one in the time that one has.
RECIPES = (
    (500_000, "{amplification: 15, per_sentence: 12, wordings: 6}", 6),
    (math.inf, "{amplification: 10, per_sentence: 3, wordings: 1}", 3),
)
CPU_RECIPE = "{amplification: 6}"
SAMPLE, LARGEST = (
    24,
    1_000_000,
)  # documents, and bytes of one, that are opened to tell languages and lengths
TOLD = 100  # characters that a language can be told by
WRITTEN = {
    "markdown",
    "mdx",
    "plain",
    "rst",
    "latex",
    "html",
    "notebook",
    "docx",
    "pdf",
    "mail",
    "mailbox",
    "epub",
    "opendocument",
    "subtitles",
    "rtf",
    "slides",
    "older",
    "saved_page",
}  # modules of readers of prose


@dataclass
class Survey:
    """What a folder holds. `missing` has the files that a library is missing for, by what installs it; `languages`
    counts documents of a sample, `held` their pages, equations, pictures and the like and how many of these gave text;
    `text_bytes` is what all documents hold as text, about."""

    files: list[File]
    left_out: list[Skipped]
    missing: dict[str, list[File]]
    languages: Counter[str] = field(default_factory=Counter)
    held: dict[str, tuple[int, int]] = field(default_factory=dict)
    opened: int = 0
    text_bytes: int = 0

    @property
    def kinds(self) -> Counter[str]:
        return Counter(file.path.suffix.lower() or file.path.name for file in self.files)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def look(folder: Path) -> Survey:
    """Walks a folder and opens a few of its documents."""
    walked = survey(CorpusConfig(), folder)
    missing: dict[str, list[File]] = {}
    for file in walked.files:
        if extra := _lacking(file):
            missing.setdefault(extra, []).append(file)
    unread = {file.relative for files in missing.values() for file in files}
    files = [file for file in walked.files if file.relative not in unread]
    found = Survey(files, [*walked.skipped, *ignored(CorpusConfig(), folder)], missing)
    _sample(found)
    return found


def _lacking(file: File) -> str:
    """The extra that a file cannot be read without, if it is not installed."""
    reader = READERS.get(file.path.suffix.lower())
    installed = not reader or not reader.needs or importlib.util.find_spec(reader.needs) is not None
    return "" if installed or not reader else reader.extra


def _sample(found: Survey) -> None:
    """Opens documents, evenly spread, for their languages, and for how much text is in files of a kind."""
    from phoenix_forge.corpus.load import load_all
    from phoenix_forge.corpus.terms import spoken

    small = [file for file in found.files if file.size <= LARGEST]
    step = max(1, len(small) // SAMPLE)
    opened = small[::step][:SAMPLE]
    found.opened = len(opened)
    texts: dict[str, list[int]] = {}  # suffix → bytes of files, bytes of their text
    for file, loaded in zip(opened, load_all(opened, "redact"), strict=True):
        text = loaded.document.text if loaded.document else ""
        sums = texts.setdefault(file.path.suffix.lower(), [0, 0])
        sums[0] += file.size
        sums[1] += len(text.encode(errors="replace"))
        for kind, total, read in loaded.held:
            before = found.held.get(kind, (0, 0))
            found.held[kind] = (before[0] + total, before[1] + read)
        reader = READERS.get(file.path.suffix.lower(), READERS[""])
        if loaded.document and len(text) >= TOLD and reader.module in WRITTEN:
            found.languages[spoken(loaded.document)] += 1
    rates = {suffix: min(1.0, text / max(1, size)) for suffix, (size, text) in texts.items()}
    found.text_bytes = int(
        sum(
            file.size * rates.get(file.path.suffix.lower(), 0.2 if _extracted(file) else 1.0)
            for file in found.files
        )
    )


def _extracted(file: File) -> bool:
    reader = READERS.get(file.path.suffix.lower())
    return reader is not None and reader.extracted


def write_config(folder: Path, force: bool, found: Survey | None = None) -> tuple[Path, str]:
    """Writes forge.yaml into `folder`; returns its path and text."""
    path = place(folder, force)
    found = found or look(folder.resolve())
    _, memory = gpu()
    base = proposed(
        memory,
        [
            language
            for language, count in found.languages.items()
            if count >= SPOKEN * found.languages.total()
        ],
    ).name
    name = (
        re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[: names.LONGEST]
        or "my-model"
    )
    dataset, epochs = next(recipe for most, *recipe in RECIPES if found.text_bytes <= most)
    text = TEMPLATE.format(
        documents=len(found.files),
        kinds=counted(found.kinds, 4) or "none yet",
        size=human(found.size),
        base=base,
        name=name,
        profile="" if memory else "profile:  quick    # no GPU found: small rows, few steps\n",
        dataset=dataset if memory else CPU_RECIPE,
        train=f"train:    {{epochs: {epochs}}}\n" if memory else "",
    )
    write_text(path, text)
    return path, text


def place(folder: Path, force: bool) -> Path:
    """Where the config goes. Raises UsageError and EnvironmentProblem where it cannot."""
    path = folder / "forge.yaml"
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(
            f"{folder} {what}",
            fix=f"forge init FOLDER, or: mkdir -p {folder}"
            if not folder.exists()
            else f"forge init {folder.parent}",
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise EnvironmentProblem(
            f"{folder} cannot be read: no permission", fix=f"chmod u+rx {folder}"
        )
    if not os.access(folder, os.W_OK):
        raise EnvironmentProblem(
            f"{folder} cannot be written to, and forge.yaml and the model would go there",
            fix=f"forge init in a folder of your own, and in its forge.yaml: corpus: {{roots: [{folder.resolve()}]}}",
        )
    if path.exists() and not force:
        raise UsageError(f"{path} exists", fix="edit it, or forge init --force")
    return path


def way_to_read(found: Survey) -> str:
    """What makes documents of a folder readable of which none is yet."""
    if found.missing:
        return " and ".join(f"pip install 'phoenix-forge[{extra}]'" for extra in found.missing)
    return way_out(found.left_out)


def training_seconds(ctx: Context, found: Survey) -> int | None:
    """What training takes here, about; None where nobody knows."""
    from phoenix_forge.stages.train import prediction

    tokens = costs.train_tokens(
        found.text_bytes / costs.BYTES_A_TOKEN,
        ctx.config.dataset.amplification,
        ctx.config.train.epochs,
    )
    return prediction(ctx, *gpu(), tokens).get("seconds")


def counted(counts: Counter[str], most: int) -> str:
    """The most frequent of what was counted, as text."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common(most)) + (
        ", …" if len(counts) > most else ""
    )
