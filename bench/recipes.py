"""Which recipe teaches a model its documents? One workspace a recipe, through the commands a user types.

Each recipe is a set of settings; the corpus, the base and the questions are the same for all (questions are frozen
before any example). What is recorded: knowledge gained by choices and by answers, forgetting, tokens and GPU seconds.
The recipes with a teacher ask bench/teacher_server.py, to be started before with the 0.5B and the 1.5B.

Usage: python bench/recipes.py --corpus DIR --base FOLDER [--documents 120] [--only NAME;…] [--gpus 0,1] [--together 2]
                               [--work DIR]
       python bench/recipes.py --table      (prints the table of bench/recipes.md, draws results/recipes.png)
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from phoenix_forge.core.fsio import write_json
from phoenix_forge.weights.base import open_base

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "recipes.json"
# What is not here is the default of a user who types two commands.
GROUND: dict[str, dict[str, Any]] = {
    "dataset": {"probes": 400},
    "train": {"method": "lora", "optimizer": "adamw", "save_steps": 100000},
    "evaluate": {"models": ["base", "adapter"], "count": 400},
}
SELF, LARGER = "http://127.0.0.1:8100/v1#self", "http://127.0.0.1:8101/v1#1.5b"
# Kinds of example that are the documents' own text; every other asks something.
TEXTS = {"text"}
# Raised when the same settings begin to make other examples. 2: prose is asked for before anything has its second turn;
# 3: prose is asked for by gaps.
EDITION = 3
KEEPING = threading.Lock()
LADDER = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q4_0"]


@dataclass(frozen=True)
class Recipe:
    """`changes`: settings, dotted. `phases`: trained one after the other, each on examples that stand so many times in
    it: (those that are the documents' texts, all others); the model of one is the base of the next. None: as the
    dataset is. `types`: GGUFs that are asked as well."""

    changes: dict[str, Any] = field(default_factory=dict)
    phases: tuple[tuple[int, int], ...] = ()
    types: tuple[str, ...] = ()


def teacher(address: str, **changes: Any) -> Recipe:
    return Recipe({"dataset.teacher": address, "dataset.teacher_workers": 768, **changes})


# `seed` is the original workflow's recipe.
RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "seed": Recipe(
        {
            "dataset.style": "seed",
            "train.max_length": 256,
            "train.rank": 16,
            "train.tokens_per_update": 2048,
            "train.learning_rate": 2e-4,
        }
    ),
    "other order": Recipe({"train.seed": 7}),
    "amplification 1": Recipe({"dataset.amplification": 1}),
    "amplification 3": Recipe({"dataset.amplification": 3}),
    "amplification 30": Recipe({"dataset.amplification": 30}),
    "amplification 30, 1 epoch": Recipe({"dataset.amplification": 30, "train.epochs": 1}),
    "1 epoch": Recipe({"train.epochs": 1}),
    "6 epochs": Recipe({"train.epochs": 6}),
    "rank 16": Recipe({"train.rank": 16}),
    "rank 256": Recipe({"train.rank": 256}),
    "rate 5e-5": Recipe({"train.learning_rate": 5e-5}),
    "rate 1e-4": Recipe({"train.learning_rate": 1e-4}),
    "rate 2e-4": Recipe({"train.learning_rate": 2e-4}),
    "rate 5e-4": Recipe({"train.learning_rate": 5e-4}),
    "rate 1e-3": Recipe({"train.learning_rate": 1e-3}),
    "rate 2e-3": Recipe({"train.learning_rate": 2e-3}),
    "rate 1e-3, 1 epoch": Recipe({"train.learning_rate": 1e-3, "train.epochs": 1}),
    "rate 1e-3, rank 256": Recipe({"train.learning_rate": 1e-3, "train.rank": 256}),
    "updates of 4096": Recipe({"train.tokens_per_update": 4096}),
    "updates of 65536": Recipe({"train.tokens_per_update": 65536}),
    "updates of 4096, rank 256": Recipe({"train.tokens_per_update": 4096, "train.rank": 256}),
    "LoRA+ 16": Recipe({"train.lora_plus": 16.0}),
    "replay 0": Recipe({"dataset.replay": 0.0}),
    "replay 0.2": Recipe({"dataset.replay": 0.2}),
    "open book 0": Recipe({"dataset.open_book": 0.0}),
    "open book 0.2": Recipe({"dataset.open_book": 0.2}),
    "texts only": Recipe(phases=((1, 0),)),
    "questions only": Recipe(phases=((0, 1),)),
    "texts, then questions": Recipe(phases=((1, 0), (0, 1))),
    "questions, then texts": Recipe(phases=((0, 1), (1, 0))),
    "texts twice": Recipe(phases=((2, 1),)),
    "texts four times": Recipe(phases=((4, 1),)),
    "4-bit base": Recipe({"train.method": "qlora"}),
    "8-bit products": Recipe({"train.method": "fp8"}),
    "teacher self": teacher(SELF),
    "teacher 1.5B": teacher(LARGER),
    "teacher 1.5B, 1 epoch": teacher(LARGER, **{"train.epochs": 1}),
    "teacher 1.5B, amplification 30": teacher(LARGER, **{"dataset.amplification": 30}),
    "every type": Recipe(types=tuple(LADDER)),
    "ladder": Recipe(types=tuple(LADDER)),
    "ladder, amplification 30, 1 epoch": Recipe(
        {"dataset.amplification": 30, "train.epochs": 1}, types=tuple(LADDER)
    ),
    "ladder, 1 epoch": Recipe({"train.epochs": 1}, types=tuple(LADDER)),
}


@dataclass(frozen=True)
class Bench:
    """What all recipes of a run have in common. `gpus`: those that are free, each as often as recipes may share it;
    `first`: the workspace whose answers of the base are everyone's, once they are there (`asked`); `written`: what
    teachers wrote, which recipes of other runs on this machine may share."""

    work: Path
    written: Path
    base: Path
    documents: Path
    keep: Path | None
    gpus: queue.Queue[str]
    first: Path
    asked: threading.Event


def settings(changes: dict[str, Any], base: Path, documents: Path) -> dict[str, Any]:
    tree = {section: dict(values) for section, values in GROUND.items()}
    tree |= {"model": {"base": str(base), "name": "recipe"}, "corpus": {"roots": [str(documents)]}}
    for key, value in changes.items():
        section, name = key.split(".")
        tree[section][name] = value
    return tree


def forge(folder: Path, gpu: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "phoenix_forge", *arguments, "--json"]
    found = os.environ | ({"CUDA_VISIBLE_DEVICES": gpu.replace("+", ",")} if gpu else {})
    done = subprocess.run(
        command, cwd=folder, env=found, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{folder.name}: {' '.join(command)} exited with {done.returncode}\n{done.stderr[-2000:]}"
        )
    return json.loads(done.stdout)


def measured(name: str, bench: Bench) -> dict[str, Any] | None:
    """One recipe's row; None where a command failed, which is told."""
    gpu = bench.gpus.get()
    try:
        return _measured(name, bench, gpu)
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return None
    finally:
        bench.gpus.put(gpu)
        if place_of(name, bench.work) == bench.first:
            bench.asked.set()


def _measured(name: str, bench: Bench, gpu: str) -> dict[str, Any]:
    recipe, folder = RECIPES[name], place_of(name, bench.work)
    (folder / ".forge").mkdir(parents=True)
    (folder / ".forge" / "teacher.sqlite").symlink_to(bench.written)
    tree = settings(recipe.changes, bench.base, bench.documents)
    if recipe.types:
        tree |= {"quantize": {"types": list(recipe.types)}}
        tree["evaluate"]["models"] = ["base", "adapter", "gguf"]
    if tree["dataset"].get("style") == "seed":  # which makes no questions
        tree["evaluate"]["questions"] = str(bench.first / "dataset_package" / "probes.jsonl")
    write_config(folder, tree)
    started = time.perf_counter()
    made = forge(folder, gpu, "dataset")
    runs = list(trained(folder, gpu, tree, recipe.phases))
    if recipe.types:
        forge(folder, gpu, "quantize")
    if folder != bench.first:
        bench.asked.wait()
        if (said := bench.first / ".forge" / "evaluation").exists():
            shutil.copytree(said, folder / ".forge" / "evaluation")
    found = forge(folder, gpu, "evaluate")
    report = folder / "outputs" / "report"
    result = json.loads((report / "evaluation.json").read_text())
    if bench.keep:
        shutil.copytree(report, bench.keep / folder.name)
    last = runs[-1]
    return {
        "recipe": name,
        "edition": EDITION,
        "base": f"{open_base(bench.base).parameters / 1e9:.1f}B",
        "changes": recipe.changes,
        "documents": made["documents"],
        "source_tokens": made["source_tokens"],
        "examples": made["examples"],
        "steps": sum(r["steps"] for r in runs),
        "train_seconds": sum(r["seconds"] for r in runs),
        "tokens_per_second": last["tokens_per_second"],
        "tokens": sum(r["tokens"] for r in runs),
        "loss": last["loss"],
        "seconds": round(time.perf_counter() - started, 1),
        **{
            key: found[key]
            for key in (
                "questions",
                "conditions",
                "knowledge_gained",
                "forgetting",
                "refusals",
                "bits_per_byte",
                "quantisation_loss",
            )
        },
        "device": result["costs"]["device"],
        "general": result["general"],
        "position": result["breakdowns"]["position"],
        "kind": result["breakdowns"]["kind"],
    }


def trained(
    folder: Path, gpu: str, tree: dict[str, Any], phases: tuple[tuple[int, int], ...]
) -> Iterator[dict[str, Any]]:
    """The runs of training that a recipe is made of; the last one's model is what the workspace then holds."""
    if not phases:
        yield forge(folder, gpu, "train")
        return
    whole = (folder / "dataset_package" / "recipe.jsonl").read_text().splitlines(keepends=True)
    for i, (texts, others) in enumerate(phases):
        part = folder / "dataset_package" / f"phase{i}.jsonl"
        part.write_text(
            "".join(
                line * (texts if json.loads(line)["kind"] in TEXTS else others) for line in whole
            )
        )
        write_config(folder, tree | {"paths": {"dataset": str(part.relative_to(folder))}})
        yield forge(folder, gpu, "train")
        if i + 1 < len(phases):
            forge(folder, gpu, "merge")
            tree["model"]["base"] = str(
                (folder / "models" / "merged" / "recipe-merged").rename(folder / f"model{i}")
            )
    if len(phases) > 1:
        tree["evaluate"]["models"] = ["adapter"]  # its base is no longer the one of the others
        write_config(folder, tree)


def write_config(folder: Path, tree: dict[str, Any]) -> None:
    (folder / "forge.yaml").write_text(yaml.safe_dump(tree))


def place_of(name: str, work: Path) -> Path:
    return work / name.replace(" ", "-").replace(",", "")


def chosen(corpus: Path, count: int, into: Path) -> Path:
    """`count` of the corpus's Markdown files, at random but always the same; 0: all of the corpus."""
    if not count:
        return corpus
    files = sorted(path for path in corpus.rglob("*.md") if path.is_file())
    for path in random.Random(0).sample(files, count):
        copy = into / path.relative_to(corpus)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return into


def keep(row: dict[str, Any], result: Path) -> None:
    """Takes the place of an earlier row of the same recipe and edition on as many documents of the same base."""
    before = json.loads(result.read_text()) if result.exists() else {"rows": []}
    same = ("recipe", "edition", "documents", "base")
    rows = [r for r in before["rows"] if any(r[key] != row[key] for key in same)]
    write_json(result, before | {"rows": [*rows, row]})


def kept(name: str, bench: Bench, result: Path) -> bool:
    row = measured(name, bench)
    if row:
        with KEEPING:
            keep(row, result)
            show(row)
    return row is not None


def show(row: dict[str, Any]) -> None:
    by = {c["name"]: c for c in row["conditions"]}
    gained = row["knowledge_gained"] or {}
    print(
        f"{row['recipe']:28} {row['documents']:4} {row['steps']:5} steps {row['train_seconds']:5.0f} s  "
        + "  ".join(
            f"{name} {c['choice_accuracy']:.2f}/{c['likeliest']:.2f}/{c['contained']:.2f}"
            for name, c in by.items()
        )
        + f"  gained {gained.get('value')} forgot {row['forgetting']} unknown {row['refusals'].get('tuned')} thirds "
        + "/".join(f"{group['tuned']:.2f}" for group in row["position"]),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--documents", type=int, default=120, help="0: all")
    parser.add_argument("--only", default=";".join(RECIPES), help="names, separated by ;")
    parser.add_argument(
        "--gpus",
        default="",
        help="their numbers, separated by commas (0+1: both for one recipe); "
        "default: as CUDA finds them",
    )
    parser.add_argument("--together", type=int, default=2, help="recipes on a GPU at a time")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the evaluations' reports")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        write_table(json.loads(given.result.read_text())["rows"])
        return
    names = [name.strip() for name in given.only.split(";") if name.strip()]
    slots: queue.Queue[str] = queue.Queue()
    for gpu in given.gpus.split(",") * given.together:
        slots.put(gpu)
    with tempfile.TemporaryDirectory(dir=given.work) as place:
        work = Path(place)
        documents = chosen(given.corpus.resolve(), given.documents, work / "documents")
        written = (given.work or work).resolve() / "teacher.sqlite"
        bench = Bench(
            work,
            written,
            given.base.resolve(),
            documents,
            given.keep,
            slots,
            place_of(names[0], work),
            threading.Event(),
        )
        with ThreadPoolExecutor(slots.qsize()) as together:
            rows = [
                done.result()
                for done in as_completed(
                    [together.submit(kept, name, bench, given.result) for name in names]
                )
            ]
    if not all(rows):
        sys.exit(f"{rows.count(False)} of {len(rows)} recipes failed")


HEADS = (
    "recipe",
    "base",
    "documents",
    "examples",
    "steps",
    "tokens, millions",
    "train s",
    "choices",
    "likeliest",
    "answers contain",
    "with the index",
    "knowledge gained",
    "forgetting, points",
    "unknown",
    "early / middle / late",
)


def write_table(rows: list[dict[str, Any]]) -> None:
    """Prints the tables of bench/recipes.md, one an edition and base, and draws the plot beside the results."""
    for edition, base in dict.fromkeys((row["edition"], row["base"]) for row in rows):
        own = [row for row in rows if (row["edition"], row["base"]) == (edition, base)]
        print(
            f"edition {edition}",
            f"| {' | '.join(HEADS)} |",
            "|---" * len(HEADS) + "|",
            *(line(row, own[0]) for row in own),
            "",
            sep="\n",
        )
    draw(rows)


def line(row: dict[str, Any], first: dict[str, Any]) -> str:
    by = {c["name"]: c for c in row["conditions"]}
    tuned, index = by["tuned"], by["tuned + index"]
    value, low, high = gained(row, first)
    forgot = "–" if row["forgetting"] is None else f"{100 * row['forgetting']:.1f}"
    cells = (
        row["recipe"],
        row["base"],
        row["documents"],
        f"{row['examples']:,}",
        f"{row['steps']:,}",
        f"{row['tokens'] / 1e6:.1f}",
        f"{row['train_seconds']:.0f}",
        f"{tuned['choice_accuracy']:.2f}",
        f"{tuned['likeliest']:.2f}",
        f"{tuned['contained']:.2f}",
        f"{index['choice_accuracy']:.2f} / {index['likeliest']:.2f} / {index['contained']:.2f}",
        f"{value:.2f}" + (f" ({low:.2f} to {high:.2f})" if low is not None else ""),
        forgot,
        f"{row['refusals']['tuned']:.2f}",
        " / ".join(f"{group['tuned']:.2f}" for group in row["position"]),
    )
    return f"| {' | '.join(map(str, cells))} |"


def gained(row: dict[str, Any], first: dict[str, Any]) -> tuple[float, float | None, float | None]:
    """Value and interval; by the first recipe's base, and without an interval, where a recipe's base was another."""
    found = row["knowledge_gained"]
    if found:
        return found["value"], found["low"], found["high"]
    by = {c["name"]: c["choice_accuracy"] for c in first["conditions"]}
    tuned = next(c["choice_accuracy"] for c in row["conditions"] if c["name"] == "tuned")
    return (tuned - by["base"]) / (by["base + passage"] - by["base"]), None, None


COLOURS = {"0.5B": ("#0072b2", "o"), "1.5B": ("#d55e00", "D")}


def draw(rows: list[dict[str, Any]]) -> None:
    """Knowledge gained by recipe with its interval, and over the tokens that training computed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.24 * len(rows) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    firsts = {row["base"]: row for row in reversed(rows)}
    told = sorted(
        ((*gained(row, firsts[row["base"]]), row) for row in rows), key=lambda one: one[0]
    )
    for y, (value, low, high, row) in enumerate(told):
        colour, shape = COLOURS[row["base"]]
        if low is not None:
            left.plot((low, high), (y, y), color=colour, alpha=0.5)
        left.plot(value, y, marker=shape, markersize=5, color=colour)
        right.plot(row["tokens"] / 1e6, value, marker=shape, markersize=5, color=colour)
    names = [
        f"{row['recipe']}, {row['base']}, {row['documents']} documents, edition {row['edition']}"
        for *_, row in told
    ]
    left.set_yticks(range(len(told)), names, fontsize=8)
    left.set(xlabel="knowledge gained by choices, with a 95 % interval", xlim=(0, 1.05))
    right.set(xlabel="tokens computed, millions", xscale="log", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(HERE / "results" / "recipes.png", dpi=110)


if __name__ == "__main__":
    main()
