"""forge init: a forge.yaml that fits the folder and the machine it was written on, and what was found there."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoenix_forge.catalog.choose import proposed
from phoenix_forge.core import names
from phoenix_forge.core.config import CorpusConfig
from phoenix_forge.core.fsio import human, write_text
from phoenix_forge.core.machine import gpu
from phoenix_forge.corpus import exclusions
from phoenix_forge.corpus.readers import READERS
from phoenix_forge.corpus.walk import File, Skipped, ignored, survey, way_out
from phoenix_forge.errors import EnvironmentProblem, UsageError

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
RECIPES = ((500_000, "{amplification: 15, per_sentence: 12, wordings: 6}", 6),
           (math.inf, "{amplification: 10, per_sentence: 3, wordings: 1}", 3))
CPU_RECIPE = "{amplification: 6}"
SAMPLE, LARGEST = 24, 1_000_000  # documents, and bytes of one, that are opened to tell languages and lengths
TOLD = 100  # characters that a language can be told by
PLACES = 3  # that are named of what is left out for one reason
LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese"}
WRITTEN = {"markdown", "mdx", "plain", "rst", "latex", "html", "notebook", "docx", "pdf", "mail", "mailbox", "epub",
           "opendocument", "subtitles", "rtf", "slides", "older", "saved_page"}  # modules of readers of prose


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
    found.text_bytes = int(sum(file.size * rates.get(file.path.suffix.lower(), 0.2 if _extracted(file) else 1.0)
                               for file in found.files))


def _extracted(file: File) -> bool:
    reader = READERS.get(file.path.suffix.lower())
    return reader is not None and reader.extracted


def write_config(folder: Path, force: bool, found: Survey | None = None) -> tuple[Path, str]:
    """Writes forge.yaml into `folder`; returns its path and text."""
    path = _place(folder, force)
    found = found or look(folder.resolve())
    _, memory = gpu()
    base = proposed(memory, [language for language, count in found.languages.items()
                             if count >= SPOKEN * found.languages.total()]).name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:names.LONGEST] or "my-model"
    dataset, epochs = next(recipe for most, *recipe in RECIPES if found.text_bytes <= most)
    text = TEMPLATE.format(
        documents=len(found.files), kinds=_counted(found.kinds, 4) or "none yet", size=human(found.size), base=base,
        name=name, profile="" if memory else "profile:  quick    # no GPU found: small rows, few steps\n",
        dataset=dataset if memory else CPU_RECIPE,
        train=f"train:    {{epochs: {epochs}}}\n" if memory else "")
    write_text(path, text)
    return path, text


def _place(folder: Path, force: bool) -> Path:
    """Where the config goes. Raises UsageError and EnvironmentProblem where it cannot."""
    path = folder / "forge.yaml"
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}", fix=f"forge init FOLDER, or: mkdir -p {folder}" if not folder.exists() else
                         f"forge init {folder.parent}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise EnvironmentProblem(f"{folder} cannot be read: no permission", fix=f"chmod u+rx {folder}")
    if not os.access(folder, os.W_OK):
        raise EnvironmentProblem(
            f"{folder} cannot be written to, and forge.yaml and the model would go there",
            fix=f"forge init in a folder of your own, and in its forge.yaml: corpus: {{roots: [{folder.resolve()}]}}")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", fix="edit it, or forge init --force")
    return path


def init(folder: Path, force: bool) -> tuple[dict[str, Any], str]:
    """Writes the config; returns what was found as data and as text."""
    _place(folder, force)
    found = look(folder.resolve())
    path, text = write_config(folder, force, found)
    result: dict[str, Any] = {
        "path": str(path), "documents": len(found.files), "bytes": found.size, "kinds": dict(found.kinds.most_common()),
        "languages": dict(found.languages.most_common()),
        "held": {kind: {"total": total, "read": read} for kind, (total, read) in found.held.items()},
        "missing": {extra: len(files) for extra, files in found.missing.items()},
        "left_out": [{"path": each.path, "reason": each.reason} for each in found.left_out]}
    if found.files:
        result["seconds"] = _seconds(path.parent, found)
        end = [f"wrote {path}; next: forge plan, then forge run"]
    else:
        result["fix"] = _fix(found)
        end = [f"wrote {path}, but nothing here can be read yet", f"fix: {result['fix']}; then forge plan"]
    return result, "\n".join([text, *_told(found, result.get("seconds")), *end])


def _fix(found: Survey) -> str:
    if found.missing:
        return " and ".join(f"pip install 'phoenix-forge[{extra}]'" for extra in found.missing)
    return way_out(found.left_out)


def _seconds(folder: Path, found: Survey) -> int | None:
    """What training takes here, about; None where nobody knows."""
    from phoenix_forge.catalog import costs
    from phoenix_forge.cli.setup import Setup
    from phoenix_forge.stages.train import prediction
    ctx = Setup(workspace=folder).context()
    tokens = costs.train_tokens(found.text_bytes / costs.BYTES_A_TOKEN, ctx.config.dataset.amplification,
                                ctx.config.train.epochs)
    return prediction(ctx, *gpu(), tokens).get("seconds")


def _told(found: Survey, seconds: int | None) -> Iterator[str]:
    """Lines about what was found."""
    from phoenix_forge.cli.planning import duration
    yield f"documents: {len(found.files):,} ({_counted(found.kinds, 12) or 'none'}), {human(found.size)}"
    if found.languages:
        named = Counter({LANGUAGES.get(code, code): n for code, n in found.languages.items()})
        yield f"languages: {_counted(named, 6)}" + (
            f" (of {found.languages.total()} that were opened)" if found.languages.total() < len(found.files) else "")
    if found.held:
        yield f"in the {found.opened:,} that were opened: {'; '.join(_held(*each) for each in found.held.items())}"
    for extra, files in found.missing.items():
        kinds = _counted(Counter(file.path.suffix.lower() for file in files), 6)
        yield f"not read yet: {kinds}; fix: pip install 'phoenix-forge[{extra}]'"
    groups: dict[str, list[Skipped]] = {}
    for each in found.left_out:
        groups.setdefault(each.reason.partition(":")[0], []).append(each)
    for group in sorted(groups.values(), key=len, reverse=True):
        yield f"left out: {_group(group)}"
    if seconds is not None:
        yield f"time: training takes about {duration(seconds)} here, by the documents' size; forge plan says more"


def _held(kind: str, counts: tuple[int, int]) -> str:
    """How many pages, equations, pictures and the like there are, and how many of them gave no text."""
    total, read = counts
    number = f"{total:,} {kind}" if total > 1 else f"1 {kind[:-1]}"
    if kind == "pictures":
        return f"{number}, of which only the words beside them are known"
    return number + (f", {total - read:,} without text" if total > read else "")


def _group(group: list[Skipped]) -> str:
    """Files that are left out for one reason, some of them by name."""
    before, _, detail = group[0].reason.partition(": ")
    counted = bool(re.fullmatch(r"[\d,]+ files?", detail))  # whole folders, with what they hold
    same = all(each.reason == group[0].reason for each in group)
    shown = [f"{each.path} ({each.reason.rpartition(': ')[2]})" if counted or (detail and not same) else each.path
             for each in group[:PLACES]]
    places = ", ".join(shown) + (", …" if len(group) > PLACES else "")
    reason = group[0].reason if same and not counted else before
    lifted = sorted({exclusions.lift(each.path) for each in group if exclusions.is_liftable(each.reason)} - {""})
    read = f"; exclude: [{', '.join(map(repr, lifted[:PLACES]))}] in forge.yaml reads them" if lifted else ""
    return f"{len(group):,} × {reason}: {places}{read}"


def _counted(counts: Counter[str], most: int) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common(most)) + (
        ", …" if len(counts) > most else "")
