"""Which recipe teaches a model its documents? One workspace a recipe, through the commands a user types.

Each recipe is a set of settings; the corpus, the base and the questions are the same for all (questions are frozen
before any example). What is recorded: knowledge gained by choices and by answers, forgetting, tokens and GPU seconds.
The recipes with a teacher ask bench/teacher_server.py, to be started before with the 0.5B and the 1.5B.

Usage: python bench/recipes.py --corpus DIR --base FOLDER [--documents 120] [--only NAME;…] [--together 3] [--work DIR]
       python bench/recipes.py --table      (prints the table of bench/recipes.md, draws results/recipes.png)
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

from forge.core.fsio import write_json

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "recipes.json"
GROUND: dict[str, dict[str, Any]] = {
    "dataset": {"probes": 400, "amplification": 10, "replay": 0.05},
    "train": {"epochs": 3, "rank": 64, "learning_rate": 2e-4, "max_length": 2048, "tokens_per_update": 16384,
              "method": "lora", "optimizer": "adamw", "save_steps": 100000},
    "evaluate": {"models": ["base", "adapter"], "count": 400}}
# Name → what it changes, dotted. `seed` is the original workflow's recipe.
RECIPES: dict[str, dict[str, Any]] = {
    "seed": {"dataset.style": "seed", "train.max_length": 256, "train.rank": 16, "train.tokens_per_update": 2048},
    "ground": {},
    "amplification 1": {"dataset.amplification": 1},
    "amplification 3": {"dataset.amplification": 3},
    "amplification 30": {"dataset.amplification": 30},
    "1 epoch": {"train.epochs": 1},
    "6 epochs": {"train.epochs": 6},
    "12 epochs": {"train.epochs": 12},
    "rank 16": {"train.rank": 16},
    "rank 256": {"train.rank": 256},
    "rate 5e-5": {"train.learning_rate": 5e-5},
    "rate 5e-4": {"train.learning_rate": 5e-4},
    "rate 1e-3": {"train.learning_rate": 1e-3},
    "rate 5e-4, 1 epoch": {"train.learning_rate": 5e-4, "train.epochs": 1},
    "replay 0": {"dataset.replay": 0.0},
    "replay 0.2": {"dataset.replay": 0.2},
    "open book 0": {"dataset.open_book": 0.0},
    "open book 0.2": {"dataset.open_book": 0.2},
    "updates of 4096": {"train.tokens_per_update": 4096},
    "updates of 4096, 6 epochs": {"train.tokens_per_update": 4096, "train.epochs": 6},
    "teacher self": {"dataset.teacher": "http://127.0.0.1:8100/v1#self", "dataset.teacher_workers": 192},
    "teacher 1.5B": {"dataset.teacher": "http://127.0.0.1:8101/v1#1.5b", "dataset.teacher_workers": 192},
    "rank 256, updates of 4096": {"train.rank": 256, "train.tokens_per_update": 4096},
    "rank 256, updates of 4096, 6 epochs": {"train.rank": 256, "train.tokens_per_update": 4096, "train.epochs": 6},
}


def settings(changes: dict[str, Any], base: Path, documents: Path) -> dict[str, Any]:
    tree = {section: dict(values) for section, values in GROUND.items()}
    tree |= {"model": {"base": str(base), "name": "recipe"}, "corpus": {"roots": [str(documents)]}}
    for key, value in changes.items():
        section, name = key.split(".")
        tree[section][name] = value
    return tree


def forge(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "forge", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{folder.name}: {' '.join(command)} exited with {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def measured(name: str, work: Path, base: Path, documents: Path, first: Path | None) -> dict[str, Any]:
    """One recipe's row. `first` is the first recipe's workspace: it has asked the base already, and its questions are
    those of a recipe that makes none."""
    folder = place_of(name, work)
    folder.mkdir()
    tree = settings(RECIPES[name], base, documents)
    if first:
        shutil.copytree(first / ".forge" / "evaluation", folder / ".forge" / "evaluation")
        if tree["dataset"].get("style") == "seed":
            tree["evaluate"]["questions"] = str(first / "dataset_package" / "probes.jsonl")
    (folder / "forge.yaml").write_text(yaml.safe_dump(tree))
    started = time.perf_counter()
    made = forge(folder, "dataset")
    trained = forge(folder, "train")
    found = forge(folder, "evaluate")
    result = json.loads((folder / "outputs/report/evaluation.json").read_text())
    return {"recipe": name, "changes": RECIPES[name], "documents": made["documents"],
            "source_tokens": made["source_tokens"], "examples": made["examples"], "steps": trained["steps"],
            "train_seconds": trained["seconds"], "tokens_per_second": trained["tokens_per_second"],
            "tokens": trained["tokens"], "loss": trained["loss"], "seconds": round(time.perf_counter() - started, 1),
            **{key: found[key] for key in ("questions", "conditions", "knowledge_gained", "forgetting", "refusals",
                                           "bits_per_byte")},
            "position": result["breakdowns"]["position"], "kind": result["breakdowns"]["kind"]}


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
    """Takes the place of an earlier row of the same recipe on as many documents."""
    before = json.loads(result.read_text()) if result.exists() else {"rows": []}
    rows = [r for r in before["rows"] if (r["recipe"], r["documents"]) != (row["recipe"], row["documents"])]
    write_json(result, before | {"rows": [*rows, row]})


def show(row: dict[str, Any]) -> None:
    by = {c["name"]: c for c in row["conditions"]}
    gained = row["knowledge_gained"] or {}
    print(f"{row['recipe']:36} {row['steps']:5} steps {row['train_seconds']:6.0f} s  "
          + "  ".join(f"{name} {c['choice_accuracy']:.2f}/{c['contained']:.2f}/{c['nats_per_token']:.2f}"
                      for name, c in by.items())
          + f"  gained {gained.get('value')} ({gained.get('low')}–{gained.get('high')})  forgot {row['forgetting']}",
          flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--documents", type=int, default=120, help="0: all")
    parser.add_argument("--only", default=";".join(RECIPES), help="names, separated by ;")
    parser.add_argument("--together", type=int, default=3, help="recipes on the GPU at a time")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        write_table(json.loads(given.result.read_text())["rows"])
        return
    names = [name.strip() for name in given.only.split(";") if name.strip()]
    with tempfile.TemporaryDirectory(dir=given.work) as place:
        work = Path(place)
        documents = chosen(given.corpus.resolve(), given.documents, work / "documents")
        base = given.base.resolve()

        first = measured(names[0], work, base, documents, None)
        with ThreadPoolExecutor(given.together) as together:
            others = [together.submit(measured, name, work, base, documents, place_of(names[0], work))
                      for name in names[1:]]
            for row in itertools.chain([first], (done.result() for done in as_completed(others))):
                show(row)
                keep(row, given.result)


def write_table(rows: list[dict[str, Any]]) -> None:
    """Prints the table of bench/recipes.md, and draws the plot beside the results: knowledge gained over tokens."""
    from matplotlib.figure import Figure
    lines = ["| recipe | documents | examples | steps | train s | choices | answers contain | nats/token | "
             "knowledge gained | forgetting, points | early / middle / late |", "|---" * 11 + "|"]
    for row in rows:
        tuned = next(c for c in row["conditions"] if c["name"] == "tuned")
        gained = row["knowledge_gained"] or {}
        value = gained.get("value")
        told = "–" if value is None else f"{value:.2f} ({gained['low']:.2f} to {gained['high']:.2f})"
        thirds = " / ".join(f"{group['tuned']:.2f}" for group in row["position"])
        lines.append(f"| {row['recipe']} | {row['documents']} | {row['examples']:,} | {row['steps']:,} | "
                     f"{row['train_seconds']:.0f} | {tuned['choice_accuracy']:.2f} | {tuned['contained']:.2f} | "
                     f"{tuned['nats_per_token']:.2f} | {told} | {100 * row['forgetting']:.1f} | {thirds} |")
    print("\n".join(lines))
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        value = (row["knowledge_gained"] or {}).get("value")
        if value is not None:
            tokens = row["tokens"]
            axes.scatter(tokens / 1e6, value, s=20, color="#0072b2")
            axes.annotate(row["recipe"], (tokens / 1e6, value), fontsize=7, xytext=(3, 3), textcoords="offset points")
    axes.set(xlabel="tokens computed, millions", ylabel="knowledge gained", xscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(HERE / "results" / "recipes.png", dpi=120)


if __name__ == "__main__":
    main()
