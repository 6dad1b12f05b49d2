"""Of questions that the documents answer, and of those that they do not, how many are refused (generation.abstain)?

Questions of one set asked of the documents of another have no answer there by construction; so have the questions
about one half of a set's articles, asked of the other half. Beside people's questions stand the same in other words
(bench/questions/reworded.jsonl).

Usage: python bench/abstaining.py --base FOLDER [--knowledge DIR] [--corpus DIR] [--result FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from retrieval import HERE, PEOPLES, SANCTUARY, SHARED, lay_out, reworded

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.corpus.index import Index, ensure
from phoenix_forge.corpus.support import Words, covered

RESULT = HERE / "results" / "abstaining.json"
SHARES = (0.2, 0.3)  # of generation.abstain
PASSAGES = 3
Questions = list[dict[str, Any]]


def shares(index: Index, questions: Questions) -> list[float]:
    """What passages have of each question; 1 where it cannot be told, and the question is asked."""
    words, found = Words(), []
    for one in questions:
        passages = index.search(one["question"], PASSAGES)
        share = covered(one["question"], passages, words, index.weight)
        found.append(1.0 if share is None else share)
    return found


def row(documents: str, asked: str, answered: bool, found: list[float]) -> dict[str, Any]:
    refused = {str(least): round(sum(s < least for s in found) / len(found), 4) for least in SHARES}
    return {
        "documents": documents,
        "asked": asked,
        "answered_there": answered,
        "questions": len(found),
        "refused": refused,
    }


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    count = Encoder.load(given.base, stop="<|im_end|>", pad="<|endoftext|>").fast_counts
    config = Config.model_validate({"corpus": {"roots": ["docs"]}})

    def index(root: Path) -> Index:
        return ensure(config, root, count, root / "index.sqlite", sha256_file, Silent())

    with tempfile.TemporaryDirectory() as work, ExitStack() as opened:
        sets = (*PEOPLES, SANCTUARY)
        roots = {name: Path(work) / name for name in sets}
        asked = {name: lay_out(name, given, root / "docs") for name, root in roots.items()}
        indexes = {name: opened.enter_context(index(root)) for name, root in roots.items()}
        for name, own in indexes.items():
            yield row(name, name, True, shares(own, asked[name]))
            yield row(name, f"{name}, reworded", True, shares(own, reworded(asked[name])))
            for other in sets:
                if other != name:
                    yield row(name, other, False, shares(own, asked[other]))
        for name in PEOPLES:
            yield halves(name, roots[name], asked[name], index)


def halves(name: str, root: Path, asked: Questions, index: Any) -> dict[str, Any]:
    """Questions about every second article, asked of the others."""
    paths = sorted(path.name for path in (root / "docs").iterdir())
    found: list[float] = []
    for kept in (paths[::2], paths[1::2]):
        for path in (root / "docs").iterdir():
            if path.name not in kept:
                path.rename(root / path.name)
        with index(root) as half:
            found += shares(half, [one for one in asked if one["path"] not in kept])
        for path in paths:
            if (root / path).exists():
                (root / path).rename(root / "docs" / path)
    return row(f"half of {name}", f"the other half of {name}", False, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--knowledge", type=Path, default=SHARED / "knowledge")
    parser.add_argument("--corpus", type=Path, default=SHARED / "corpus" / "sanctuary")
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    found = []
    for one in rows(given):
        found.append(one)
        print(one["documents"], "|", one["asked"], "|", one["questions"], "|", one["refused"])
    given.result.write_text(json.dumps({"rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
