"""What does a model know of its documents, asked by people? The default recipe, from a folder to the ladder's rungs.

The questions are not Forge's: SQuAD's JSON (v1.1: data, paragraphs, qas), or JSON Lines as `forge evaluate --questions`
reads them. A row is a set of questions, a base, a recipe and a seed; it takes the place of an earlier one of the same.
Forge is only spoken to through its commands, so that --forge can name another checkout of it.

Usage: python bench/knowledge.py DOCUMENTS QUESTIONS --base FOLDER [--set-name xquad-en] [--recipe NAME]
           [--set section.key=value …] [--seeds 42,43,44] [--count N] [--forge DIR] [--answers DIR] [--work DIR]
           [--keep DIR] [--result FILE]
       python bench/knowledge.py --table     (prints the tables of bench/knowledge.md)
       python bench/knowledge.py --plot      (draws results/knowledge.png)
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "knowledge.json"
PLOT = HERE / "results" / "knowledge.png"
SEED = 42  # Forge's own default; it also fixes which questions are asked, and in which order
DISTRACTORS = 3
DOCUMENTS = "documents"  # in the workspace, as a user's are: examples and prompts have the same paths wherever it lies
TAIL = 4000  # characters of stderr that a failure shows
BASE, BASE_INDEX, BASE_PASSAGE, TUNED, TUNED_INDEX = (
    "base",
    "base + index",
    "base + passage",
    "tuned",
    "tuned + index",
)
CONDITIONS = (BASE, BASE_INDEX, BASE_PASSAGE, TUNED, TUNED_INDEX)
# What a row tells of each condition → what Forge's report calls it. Forge has intervals for two of them.
MEASURES = {
    "contained": "contained",
    "contained_low": "contained_low",
    "contained_high": "contained_high",
    "exact_match": "exact_match",
    "f1": "f1",
    "choice_accuracy": "choice_accuracy",
    "choice_accuracy_low": "choice_low",
    "choice_accuracy_high": "choice_high",
    "likeliest": "likeliest",
    "nats_per_token": "nats_per_token",
    "evidence": "evidence",
}
GAINED = {"choices": "choice_accuracy", "likeliest": "likeliest", "contained": "contained"}
SAME = ("set", "base", "recipe", "seed")


class Failed(Exception):
    """A command or an input that no row can be made of; the message is for the user."""


# -- questions ---------------------------------------------------------------------------------------------------------


def read_questions(path: Path, documents: Path, seed: int = SEED) -> list[dict[str, Any]]:
    """The questions as Forge reads them, whichever of the two forms the file has."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"the questions {path} cannot be read: {error}") from None
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("data"), list):
        found = squad(whole, documents, seed)
    else:
        found = _lines(text, path)
    if not found:
        raise Failed(f"{path} holds no question with an answer")
    return found


def _lines(text: str, path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise Failed(f"{path}, line {number}: {error}") from None
    return found


def squad(whole: dict[str, Any], documents: Path, seed: int = SEED) -> list[dict[str, Any]]:
    """SQuAD's questions that have an answer, each wording once.

    The first answer is the gold one and the others are aliases; the path is that of the file named after the article,
    the span its paragraph's where the file has that word for word; distractors are other answers about the article.
    """
    files = {
        _folded_title(path.stem): path for path in sorted(documents.rglob("*")) if path.is_file()
    }
    found: list[dict[str, Any]] = []
    asked: set[str] = set()
    for article in whole["data"]:
        file = files.get(_folded_title(article.get("title", "")))
        own = [
            one
            for one in _asked(article, file, documents)
            if not _is_repeated(one["question"], asked)
        ]
        answers = [one["answer"] for one in own]
        for one in own:
            one["distractors"] = distractors(
                one["answer"], one["aliases"], answers, f"{seed} {one['id']}"
            )
        found += own
    return found


def _asked(article: dict[str, Any], file: Path | None, documents: Path) -> Iterator[dict[str, Any]]:
    """The article's questions that have an answer, as yet without distractors."""
    data = file.read_bytes() if file else b""
    for paragraph in article["paragraphs"]:
        place = _place(paragraph.get("context", ""), data)
        for qa in paragraph["qas"]:
            texts = list(
                dict.fromkeys(
                    text for one in qa.get("answers", ()) if (text := one["text"].strip())
                )
            )
            if not texts or qa.get("is_impossible"):
                continue
            own = {
                "id": str(qa["id"]),
                "question": qa["question"].strip(),
                "answer": texts[0],
                "aliases": [text for text in texts[1:] if _folded(text) != _folded(texts[0])],
            }
            yield own | ({"path": str(file.relative_to(documents))} if file else {}) | place


def _place(context: str, data: bytes) -> dict[str, Any]:
    """The paragraph's span in the file's bytes; nothing where the file does not have it word for word."""
    wanted = context.strip().encode()
    start = data.find(wanted) if wanted else -1
    return {"span": [start, start + len(wanted)]} if start >= 0 else {}


def _is_repeated(question: str, asked: set[str]) -> bool:
    """Whether the wording was asked before; it has been from now on."""
    before = len(asked)
    asked.add(_folded(question))
    return len(asked) == before


def distractors(answer: str, aliases: Sequence[str], others: Sequence[str], salt: str) -> list[str]:
    """The three of the other answers that look most like this one; of equals, those that the salt prefers.

    One that is a part of a right answer, or has one as a part, could be right as well and is left out.
    """
    right = [_folded(text) for text in (answer, *aliases)]
    there: dict[str, str] = {}
    for other in others:
        folded = _folded(other)
        if folded and not any(folded in own or own in folded for own in right):
            there.setdefault(folded, other)
    ordered = sorted(
        there.values(), key=lambda other: (_distance(answer, other), _digest(f"{salt} {other}"))
    )
    return ordered[:DISTRACTORS]


def _distance(one: str, other: str) -> float:
    """How unlike two answers look: digits, capitals, words and length."""
    kinds = sum(a != b for a, b in zip(_shape(one), _shape(other), strict=True))
    words = abs(len(one.split()) - len(other.split())) / max(
        len(one.split()), len(other.split()), 1
    )
    return round(2 * kinds + words + abs(len(one) - len(other)) / max(len(one), len(other), 1), 1)


def _shape(text: str) -> tuple[bool, bool, bool]:
    """Whether it has digits, is nothing but digits and marks, and begins with a capital."""
    return any(map(str.isdigit, text)), not any(map(str.isalpha, text)), text[:1].isupper()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _folded_title(title: str) -> str:
    """Titles as file names: Fresno,_California is Fresno__California.md somewhere."""
    return re.sub(r"[\W_]+", " ", title).strip().casefold()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# -- one run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """What all seeds of a run have in common. `base` is a folder or another name that forge.yaml takes; `questions` a
    file of JSON Lines with `count` of them to be asked; `forge` the checkout whose commands are run."""

    documents: Path
    questions: Path
    count: int
    base: str
    set_name: str
    recipe: str
    changes: dict[str, Any]
    forge: Path
    work: Path
    answers: Path | None = None
    keep: Path | None = None

    def folder(self, seed: int) -> Path:
        return self.work / file_name(f"{self.set_name}-{base_name(self.base)}-{self.recipe}-{seed}")


def file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text)


@dataclass(frozen=True)
class Ran:
    """What a command wrote on stdout, and the seconds it took."""

    found: dict[str, Any]
    seconds: float


def forge(bench: Bench, folder: Path, *arguments: str) -> Ran:
    """Runs one command of Forge in the workspace."""
    command = [sys.executable, "-m", "phoenix_forge", *arguments, "--json"]
    path = os.pathsep.join(filter(None, (str(bench.forge / "src"), os.environ.get("PYTHONPATH"))))
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = round(time.perf_counter() - started, 1)
    if done.returncode:
        raise Failed(
            f"{folder.name}: {' '.join(command)} exited with {done.returncode}\n{done.stderr[-TAIL:]}"
        )
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise Failed(
            f"{folder.name}: {' '.join(command)} wrote no JSON but {done.stdout[-TAIL:]!r}\n"
            f"{done.stderr[-TAIL:]}"
        ) from None
    # What an earlier run did already is not free.
    return Ran(
        found, max(seconds, *(found.get(key) or 0.0 for key in ("seconds", "train_seconds")))
    )


def settings(bench: Bench, seed: int) -> dict[str, Any]:
    """forge.yaml: the defaults of a user who types three commands, but for what is measured and what was asked for."""
    tree: dict[str, Any] = {
        "model": {"base": bench.base, "name": "knowledge"},
        "corpus": {"roots": [DOCUMENTS]},
        "dataset": {"seed": seed},
        "train": {"seed": seed},
        "evaluate": {"models": ["base", "adapter"], "count": bench.count},
    }
    for key, value in bench.changes.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return tree


def measured(bench: Bench, seed: int) -> dict[str, Any]:
    """One row: dataset, training and evaluation of one seed."""
    folder = bench.folder(seed)
    shutil.rmtree(folder / DOCUMENTS, ignore_errors=True)
    shutil.copytree(bench.documents, folder / DOCUMENTS)
    (folder / "forge.yaml").write_text(
        yaml.safe_dump(settings(bench, seed), allow_unicode=True), encoding="utf-8"
    )
    if not Path(bench.base).is_dir():
        forge(bench, folder, "download")
    made, tuned = forge(bench, folder, "dataset"), forge(bench, folder, "train")
    kept = folder / ".forge" / "evaluation"
    copied(bench.answers, kept)
    # The seed of the dataset fixes which questions are asked, and in which order: the same for every row.
    asked = forge(
        bench,
        folder,
        "evaluate",
        "--questions",
        str(bench.questions),
        "--set",
        f"dataset.seed={SEED}",
    )
    copied(kept, bench.answers)
    report = folder / "outputs" / "report"
    result = json.loads((report / "evaluation.json").read_text(encoding="utf-8"))
    card = json.loads(
        (folder / "dataset_package" / "dataset_card.json").read_text(encoding="utf-8")
    )
    if bench.keep:
        shutil.copytree(report, bench.keep / folder.name, dirs_exist_ok=True)
        shutil.copy(folder / "dataset_package" / "dataset_card.json", bench.keep / folder.name)
    return row(bench, seed, made, tuned, asked, result, card)


def copied(source: Path | None, into: Path | None) -> None:
    """What models said, from one folder into another that may be written by several runs at once."""
    if source is None or into is None or not source.is_dir():
        return
    into.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        if not (into / path.name).exists():
            partial = into / f"{path.name}.{os.getpid()}.partial"
            shutil.copyfile(path, partial)
            partial.replace(into / path.name)


def row(
    bench: Bench,
    seed: int,
    made: Ran,
    tuned: Ran,
    asked: Ran,
    result: dict[str, Any],
    card: dict[str, Any],
) -> dict[str, Any]:
    kinds = result["breakdowns"]["kind"]
    gained = (result["knowledge_gained"] or {}).get("by") or {}
    return {
        "set": bench.set_name,
        "base": base_name(bench.base),
        "recipe": bench.recipe,
        "seed": seed,
        "changes": bench.changes,
        "questions": result["questions"],
        "skipped": result["skipped"],
        "documents": made.found["documents"],
        "examples": made.found["examples"],
        "conditions": {
            one["name"]: {name: one.get(theirs) for name, theirs in MEASURES.items()}
            for one in result["conditions"]
            if one["name"] in CONDITIONS
        },
        "knowledge_gained": {name: gained.get(theirs) for name, theirs in GAINED.items()},
        "forgetting": result["forgetting"],
        "bits_per_byte": result["bits_per_byte"],
        "refusals": result["refusals"],
        "cost": cost(made, tuned, asked, result, card),
        **({"by_kind": kinds} if len(kinds) > 1 else {}),
        "machine": result["costs"]["device"],
        "versions": versions(bench.forge, result),
    }


def cost(
    made: Ran, tuned: Ran, asked: Ran, result: dict[str, Any], card: dict[str, Any]
) -> dict[str, Any]:
    """What the row took. Trained tokens are those with a loss, of every example once; computed ones are all that
    training read, as often as it did. Evaluation is cheaper where the base's answers were there already. GPU seconds
    are those of the commands that use a GPU: the dataset's only where a teacher wrote."""
    taught = card.get("teacher", "none") != "none"
    on_gpu = not result["costs"]["device"].startswith("CPU")
    asking = max(asked.seconds, result["costs"].get("seconds") or 0.0)
    seconds = tuned.seconds + asking + (made.seconds if taught else 0.0)
    return {
        "teacher_tokens": made.found.get("teacher_tokens", card.get("teacher_tokens")),
        "source_tokens": made.found["source_tokens"],
        "trained_tokens": made.found["trained_tokens"],
        "computed_tokens": tuned.found["tokens"],
        "steps": tuned.found["steps"],
        "dataset_seconds": made.seconds,
        "train_seconds": tuned.seconds,
        "evaluate_seconds": asking,
        "gpu_seconds": round(seconds, 1) if on_gpu else None,
    }


def versions(checkout: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Of what the figures depend on, with the commit that was run; a plus sign where it had been changed."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short", "HEAD")
    plus = "+" if commit and git("status", "--porcelain", "--", "src") else ""
    return {
        **result["versions"],
        "python": platform.python_version(),
        "commit": f"{commit}{plus}" if commit else None,
    }


def base_name(base: str) -> str:
    """0.5B for a folder with half a billion parameters; the name itself where it is no folder."""
    files = sorted(Path(base).glob("*.safetensors")) if Path(base).is_dir() else []
    count = sum(prod(tensor["shape"]) for path in files for tensor in _tensors(path))
    if not count:
        return Path(base).name
    return f"{count / 1e9:.1f}B" if count >= 5e7 else f"{count / 1e6:.1f}M"


def _tensors(path: Path) -> Iterator[dict[str, Any]]:
    """What the header of a safetensors file says of each tensor."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    yield from (tensor for name, tensor in header.items() if name != "__metadata__")


# -- rows --------------------------------------------------------------------------------------------------------------


def keep_row(own: dict[str, Any], result: Path) -> None:
    """Takes the place of an earlier row of the same set, base, recipe and seed; several runs may do so at once."""
    result.parent.mkdir(parents=True, exist_ok=True)
    with locked(result.parent):
        before = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {"rows": []}
        rows = [one for one in before["rows"] if any(one[key] != own[key] for key in SAME)]
        rows = sorted([*rows, own], key=lambda one: tuple(map(str, (one["set"], one["base"]))))
        partial = result.with_suffix(".partial")
        partial.write_text(
            json.dumps(before | {"rows": rows}, indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
        partial.replace(result)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else who asks for it has the folder meanwhile."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def show(own: dict[str, Any]) -> None:
    said = "  ".join(f"{name} {_pair(one)}" for name, one in own["conditions"].items())
    print(
        f"{own['set']} {own['base']} {own['recipe']} {own['seed']}: choices · contained: {said}  "
        f"forgot {own['forgetting']}  {own['cost']}",
        flush=True,
    )


def _pair(condition: dict[str, Any]) -> str:
    return f"{share(condition['choice_accuracy'])} · {share(condition['contained'])}"


def share(value: float | None) -> str:
    """.05, as the tables have it; 1.10 and −.03 where it is more or less than a share."""
    if value is None:
        return "–"
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"−{text}" if value < 0 and text != ".00" else text


Values = list[float]
Pick = Callable[[dict[str, Any]], float | None]
HEADS = (
    "set",
    "base",
    "recipe",
    "seeds",
    "base",
    "base + index",
    "base + passage",
    "tuned",
    "tuned + index",
    "contained, tuned (95 %)",
    "contained, tuned + index (95 %)",
    "exact match · F1, tuned",
    "of the passage's worth",
    "against base + index",
    "knowledge gained (choices, contained)",
    "forgetting, points",
    "tokens a source token",
    "teacher tokens",
    "GPU s",
)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows by set, base and recipe: means over seeds, with their range where there are several. Conditions are told
    as choices · contained; an interval is Forge's, over documents, its ends averaged over the seeds."""
    lines = [HEADS, ("---",) * len(HEADS), *(_line(own) for own in grouped(rows))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def grouped(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for own in rows:
        groups.setdefault((own["set"], own["base"], own["recipe"]), []).append(own)
    return list(groups.values())


def _line(own: list[dict[str, Any]]) -> tuple[str, ...]:
    """One line of the table: the seeds of a recipe."""
    first = own[0]
    gained = ", ".join(_mean(own, gained_by(measure)) for measure in ("choices", "contained"))
    teacher, gpu = (_values(own, costing(what)) for what in ("teacher_tokens", "gpu_seconds"))
    ratio = _values(own, tokens_each)
    forgot = _values(own, lambda one: one["forgetting"])
    return (
        first["set"],
        first["base"],
        first["recipe"],
        ", ".join(str(one["seed"]) for one in own),
        *(
            f"{_mean(own, of(c, 'choice_accuracy'))} · {_mean(own, of(c, 'contained'))}"
            for c in CONDITIONS
        ),
        _with_interval(own, TUNED),
        _with_interval(own, TUNED_INDEX),
        f"{_mean(own, of(TUNED, 'exact_match'))} · {_mean(own, of(TUNED, 'f1'))}",
        _mean(own, lambda one: worth(one, TUNED, BASE_PASSAGE)),
        _mean(own, lambda one: worth(one, TUNED_INDEX, BASE_INDEX)),
        gained,
        f"{100 * statistics.fmean(forgot):.1f}" if forgot else "–",
        f"{statistics.fmean(ratio):.1f}" if ratio else "–",
        f"{statistics.fmean(teacher):,.0f}" if teacher else "–",
        f"{statistics.fmean(gpu):.0f}" if gpu else "–",
    )


def of(condition: str, measure: str) -> Pick:
    """Picks a figure out of a row."""
    return lambda one: one["conditions"].get(condition, {}).get(measure)


def gained_by(measure: str) -> Pick:
    return lambda one: (one["knowledge_gained"][measure] or {}).get("value")


def costing(what: str) -> Pick:
    return lambda one: one["cost"].get(what)


def tokens_each(one: dict[str, Any]) -> float | None:
    """Trained tokens a token of the documents; None for rows that were measured before this was recorded."""
    trained, source = one["cost"].get("trained_tokens"), one["cost"].get("source_tokens")
    return trained / source if trained and source else None


def worth(one: dict[str, Any], own: str, other: str) -> float | None:
    """What one condition contains as a share of what another does."""
    mine, theirs = of(own, "contained")(one), of(other, "contained")(one)
    return None if mine is None or not theirs else mine / theirs


def _values(own: Sequence[dict[str, Any]], pick: Pick) -> Values:
    return [value for one in own if (value := pick(one)) is not None]


def _mean(own: Sequence[dict[str, Any]], pick: Pick) -> str:
    """The mean over the seeds, with the least and the greatest where they differ as written."""
    values = _values(own, pick)
    if not values:
        return "–"
    low, high = share(min(values)), share(max(values))
    return share(statistics.fmean(values)) + (f" [{low} to {high}]" if low != high else "")


def _with_interval(own: Sequence[dict[str, Any]], condition: str) -> str:
    low, high = (_values(own, of(condition, f"contained_{end}")) for end in ("low", "high"))
    known = (
        f" ({share(statistics.fmean(low))} to {share(statistics.fmean(high))})"
        if low and high
        else ""
    )
    return _mean(own, of(condition, "contained")) + known


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SHAPES = ("o", "D", "s", "^")


def draw(rows: Sequence[dict[str, Any]], into: Path) -> None:
    """Answers contained, closed book, over trained tokens a source token: a colour a set, a shape a base; the dashed
    lines are half of what the base contains with the passage before it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    sets = list(dict.fromkeys((own["set"], own["base"]) for own in rows))
    bases = list(dict.fromkeys(own["base"] for own in rows))
    for i, (name, base) in enumerate(sets):
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[bases.index(base) % len(SHAPES)]
        mine = [
            group for group in grouped(rows) if (group[0]["set"], group[0]["base"]) == (name, base)
        ]
        points = sorted(_point(group) for group in mine if _values(group, tokens_each))
        axes.errorbar(
            [x for x, *_ in points],
            [y for _, y, *_ in points],
            yerr=[[y - low for _, y, low, _ in points], [high - y for _, y, _, high in points]],
            color=colour,
            marker=shape,
            markersize=5,
            linewidth=1,
            capsize=2,
            label=f"{name}, {base}",
        )
        passage = _values([one for group in mine for one in group], of(BASE_PASSAGE, "contained"))
        if passage:
            axes.axhline(
                statistics.fmean(passage) / 2,
                color=colour,
                linestyle="--",
                linewidth=0.7,
                alpha=0.6,
            )
    axes.set(
        xlabel="trained tokens a source token",
        xscale="log",
        ylim=(0, None),
        ylabel="answers contained, closed book (95 % interval); dashed: half of the passage's worth",
    )
    axes.yaxis.label.set_fontsize(8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(into, dpi=110)


def _point(own: list[dict[str, Any]]) -> tuple[float, float, float, float]:
    """Tokens, contained and its interval of the seeds of a recipe."""
    x = statistics.fmean(_values(own, tokens_each))
    y, low, high = (
        statistics.fmean(values) if (values := _values(own, of(TUNED, f"contained{end}"))) else None
        for end in ("", "_low", "_high")
    )
    y = 0.0 if y is None else y
    return x, y, y if low is None else min(low, y), y if high is None else max(high, y)


# -- the command -------------------------------------------------------------------------------------------------------


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("documents", type=Path, nargs="?")
    parser.add_argument("questions", type=Path, nargs="?", help="SQuAD's JSON, or JSON Lines")
    parser.add_argument("--base", help="folder of the base (or another name that model.base takes)")
    parser.add_argument("--set-name", help="of documents and questions; default: the folder's name")
    parser.add_argument("--recipe", default="default", help="the row's name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="section.key=value", dest="changes"
    )
    parser.add_argument(
        "--seeds", default=str(SEED), help="of dataset and training, separated by commas"
    )
    parser.add_argument("--count", type=int, help="questions asked, chosen by Forge; default: all")
    parser.add_argument(
        "--forge", type=Path, default=HERE.parent, help="checkout whose commands are run"
    )
    parser.add_argument(
        "--answers",
        type=Path,
        help="folder of what models said, shared by runs: a base is asked once",
    )
    parser.add_argument(
        "--work", type=Path, help="folder of the workspaces, which stay and are gone on with"
    )
    parser.add_argument("--keep", type=Path, help="folder for the evaluations' reports")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plot", action="store_true")
    found = parser.parse_args(given)
    if not (found.table or found.plot) and not (found.documents and found.questions and found.base):
        parser.error("DOCUMENTS, QUESTIONS and --base are needed, or --table, or --plot")
    return found


def changed(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by their dotted names."""
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or "." not in key:
            raise Failed(f"--set takes section.key=value, not {text!r}")
        found[key] = yaml.safe_load(value)
    return found


def bench_of(given: argparse.Namespace, work: Path) -> Bench:
    """Checks what was given, and writes the questions as Forge reads them."""
    documents = given.documents.resolve()
    if not documents.is_dir():
        raise Failed(f"there is no folder {documents}")
    if not (given.forge / "src/phoenix_forge/__main__.py").is_file():
        raise Failed(f"{given.forge} is no checkout of Forge")
    found = read_questions(given.questions, documents)
    name = given.set_name or (
        documents.parent.name if documents.name == "documents" else documents.name
    )
    questions = work / f"{file_name(name)}-questions.jsonl"
    questions.write_text(
        "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found), encoding="utf-8"
    )
    base = str(Path(given.base).resolve()) if Path(given.base).is_dir() else given.base
    for folder in filter(None, (given.answers, given.keep)):
        folder.mkdir(parents=True, exist_ok=True)
    return Bench(
        documents,
        questions,
        given.count or len(found),
        base,
        name,
        given.recipe,
        changed(given.changes),
        given.forge.resolve(),
        work,
        given.answers and given.answers.resolve(),
        given.keep and given.keep.resolve(),
    )


def measure(given: argparse.Namespace) -> None:
    """A row for each seed, written as soon as it is there."""
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        bench = bench_of(given, (given.work or Path(place)).resolve())
        for seed in map(int, given.seeds.split(",")):
            own = measured(bench, seed)
            keep_row(own, given.result)
            show(own)


def main(texts: Sequence[str] | None = None) -> None:
    given = arguments(texts)
    try:
        if not (given.table or given.plot):
            measure(given)
            return
        if not given.result.is_file():
            raise Failed(f"there are no rows at {given.result}")
        rows = json.loads(given.result.read_text(encoding="utf-8"))["rows"]
        if given.table:
            print(table(rows))
        if given.plot:
            draw(rows, PLOT if given.result == RESULT else given.result.with_suffix(".png"))
    except Failed as error:
        sys.exit(f"bench/knowledge.py: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"bench/knowledge.py: {error}; pip install {error.name}")


if __name__ == "__main__":
    main()
