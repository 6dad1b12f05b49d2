"""Does the index find the passage that answers, in each language, and what does it cost?

A set is a folder with documents and a file of questions as `forge evaluate --questions` reads them, each with the path
and the span of the text that answers. Documents are cut and searched as the product does it. A question is answered by
a passage that overlaps the span and holds the answer; where a section ends within the answer, the overlap is enough.

Rows take the place of earlier ones of the same label and set. --forge names another checkout, to compare with; its
search runs in a process of its own. --without leaves out what this checkout can do without.

Usage: python bench/retrieval.py --base FOLDER [--knowledge DIR] [--corpus DIR] [--sets xquad-de,together …]
           [--label NAME] [--forge DIR] [--without stems,stops,compounds] [--result FILE]
       python bench/retrieval.py --table     (prints the tables of bench/retrieval.md)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "retrieval.json"
SHARED = HERE.parent.parent / "shared"
HAND_MADE = HERE.parent / "tests" / "corpus" / "languages"
PEOPLES = ("xquad-en", "xquad-de", "xquad-zh")
TOGETHER = "together"  # the three in one corpus
SANCTUARY = "sanctuary"
REWORDED = "reworded-"  # before a set's name: its questions in words that the documents do not have
DEPTH = 20  # passages that are looked at
STEPS = ("stems", "stops", "compounds")


# -- sets --------------------------------------------------------------------------------------------------------------


def lay_out(name: str, given: argparse.Namespace, docs: Path) -> list[dict[str, Any]]:
    """Copies a set's documents below `docs` and gives its questions; each has its set and its path below `docs`."""
    if name.startswith(REWORDED):
        return reworded(lay_out(name.removeprefix(REWORDED), given, docs))
    if name == TOGETHER:
        return [
            question
            for one in PEOPLES
            for question in _copied(one, given.knowledge / one, docs / one, f"{one}/")
        ]
    if name == SANCTUARY:
        shutil.copytree(given.corpus, docs)
        return _questions(name, HERE / "questions" / "sanctuary.jsonl", "")
    if name in PEOPLES:
        return _copied(name, given.knowledge / name, docs, "")
    return _hand_made(name, docs)


def reworded(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the questions that somebody put in other words, in these."""
    lines = (HERE / "questions" / "reworded.jsonl").read_text(encoding="utf-8").splitlines()
    known = {(one["set"], one["of"]): one["question"] for one in map(json.loads, lines)}
    named = [(one, (one["set"], one["id"])) for one in questions]
    return [
        {**one, "question": known[key], "set": f"{REWORDED}{one['set']}"}
        for one, key in named
        if key in known
    ]


def _copied(name: str, folder: Path, docs: Path, prefix: str) -> list[dict[str, Any]]:
    shutil.copytree(folder / "documents", docs)
    return _questions(name, folder / "questions.jsonl", prefix)


def _questions(name: str, file: Path, prefix: str) -> list[dict[str, Any]]:
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [{**line, "set": name, "path": f"{prefix}{line['path']}"} for line in lines]


def _hand_made(name: str, docs: Path) -> list[dict[str, Any]]:
    """Where a document has one passage, and any of it answers."""
    whole = json.loads(
        (HAND_MADE / f"{name.removeprefix('village-')}.json").read_text(encoding="utf-8")
    )
    docs.mkdir(parents=True)
    for path, text in whole["documents"].items():
        (docs / path).write_text(text, encoding="utf-8")
    return [
        {**one, "set": name, "answer": "", "aliases": [], "span": [0, 10**9]}
        for one in whole["questions"]
    ]


# -- one set, in a process of its own ----------------------------------------------------------------------------------


def measured(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each set of questions that `name` holds."""
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.config import Config
    from phoenix_forge.core.fsio import sha256_file
    from phoenix_forge.core.report import Silent
    from phoenix_forge.corpus.index import ensure

    _leave_out(given.without)
    count = Encoder.load(given.base, stop="<|im_end|>", pad="<|endoftext|>").fast_counts
    config = Config.model_validate({"corpus": {"roots": ["docs"]}})
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        questions = lay_out(name, given, root / "docs")
        target = root / "index.sqlite"
        began, cpu = time.monotonic(), time.process_time()
        with ensure(config, root, count, target, sha256_file, Silent()) as index:
            cost = {
                "build_seconds": round(time.monotonic() - began, 2),
                "build_cpu_seconds": round(time.process_time() - cpu, 2),
                "index_bytes": target.stat().st_size,
            }
            asked = [(question["set"], *_asked(index, question)) for question in questions]
    return [
        {
            "label": given.label,
            "corpus": name,
            "set": one,
            **_figures([(rank, ms) for own, rank, ms in asked if own == one]),
            **cost,
        }
        for one in dict.fromkeys(question["set"] for question in questions)
    ]


def _leave_out(steps: Sequence[str]) -> None:
    if not steps:  # another checkout may not have them
        return
    from phoenix_forge.corpus import index, terms

    if "stems" in steps:
        terms.STEMMERS.clear()
    if "stops" in steps:
        terms.STOPS.clear()
    if "compounds" in steps:
        terms.COMPOUNDING = index.COMPOUNDING = frozenset()


def _asked(index: Any, question: dict[str, Any]) -> tuple[int, float]:
    """The rank of the first passage that answers (0: none of the first), and the search's milliseconds."""
    path, (start, end) = f"docs/{question['path']}", question["span"]
    answers = [question["answer"], *question["aliases"]]
    right = [passage.span for passage in index.at(path, (start, end))]
    whole = [
        passage.span
        for passage in index.at(path, (start, end))
        if any(text in passage.text for text in answers)
    ]
    began = time.perf_counter()
    found = index.search(question["question"], DEPTH)
    ms = (time.perf_counter() - began) * 1000
    ranks = (
        rank
        for rank, passage in enumerate(found, 1)
        if passage.path == path and passage.span in (whole or right)
    )
    return next(ranks, 0), ms


def _figures(asked: list[tuple[int, float]]) -> dict[str, Any]:
    ranks = [rank for rank, _ in asked]
    shares = {
        f"at_{k}": round(sum(0 < rank <= k for rank in ranks) / len(ranks), 4) for k in (1, 3, 5)
    }
    return {
        "questions": len(ranks),
        **shares,
        "mrr": round(sum(1 / rank for rank in ranks if rank) / len(ranks), 4),
        "search_ms": round(statistics.median(ms for _, ms in asked), 2),
    }


# -- rows --------------------------------------------------------------------------------------------------------------


def run(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    command = [
        sys.executable,
        str(HERE / "retrieval.py"),
        "--row",
        name,
        "--base",
        str(given.base),
        "--label",
        given.label,
        "--knowledge",
        str(given.knowledge),
        "--corpus",
        str(given.corpus),
        "--without",
        ",".join(given.without),
    ]
    environment = {**os.environ, "PYTHONPATH": str(given.forge / "src")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: exit {done.returncode}")
    return json.loads(done.stdout)


def keep(rows: list[dict[str, Any]], result: Path) -> None:
    known = json.loads(result.read_text(encoding="utf-8"))["rows"] if result.exists() else []
    same = {(row["label"], row["corpus"], row["set"]) for row in rows}
    kept = [row for row in known if (row["label"], row["corpus"], row["set"]) not in same] + rows
    machine = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    result.write_text(json.dumps({**machine, "rows": kept}, indent=1) + "\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each row: what of, how many, the shares, and what it cost."""
    lines = [
        "| corpus | questions | label | @1 | @3 | @5 | MRR | ms a search | CPU s to build | kB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    order = list(dict.fromkeys((row["corpus"], row["set"]) for row in rows))
    for row in sorted(rows, key=lambda row: order.index((row["corpus"], row["set"]))):
        lines.append(
            f"| {row['corpus']} | {row['set']}, {row['questions']} | {row['label']} | {row['at_1']:.3f} | "
            f"{row['at_3']:.3f} | {row['at_5']:.3f} | {row['mrr']:.3f} | {row['search_ms']:.1f} | "
            f"{row['build_cpu_seconds']:.1f} | {row['index_bytes'] / 1000:,.0f} |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--base", type=Path, help="a model folder, whose tokenizer measures sections"
    )
    parser.add_argument("--knowledge", type=Path, default=SHARED / "knowledge")
    parser.add_argument("--corpus", type=Path, default=SHARED / "corpus" / "sanctuary")
    parser.add_argument("--sets", default="", help="some of them; default: all")
    parser.add_argument("--label", default="now")
    parser.add_argument("--forge", type=Path, default=HERE.parent)
    parser.add_argument("--without", default="", help=f"some of {', '.join(STEPS)}")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.without = [step for step in given.without.split(",") if step]
    if not given.table and not given.base:
        parser.error("--base is needed")
    if unknown := set(given.without) - set(STEPS):
        parser.error(f"--without: {', '.join(sorted(unknown))} is none of {', '.join(STEPS)}")
    return given


def main() -> None:
    given = arguments()
    if given.row:
        print(json.dumps(measured(given.row, given)))
        return
    if not given.table:
        villages = [f"village-{path.stem}" for path in sorted(HAND_MADE.glob("*.json"))]
        others = [f"{REWORDED}{name}" for name in (*PEOPLES, SANCTUARY)]
        every = [*PEOPLES, TOGETHER, SANCTUARY, *others, *villages]
        sets = given.sets.split(",") if given.sets else every
        for name in sets:
            keep(run(name, given), given.result)
    print(table(json.loads(given.result.read_text(encoding="utf-8"))["rows"]))


if __name__ == "__main__":
    main()
