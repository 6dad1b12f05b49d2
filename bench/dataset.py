"""Documents to examples: seconds, MB/s and memory, beside a plain script and synthetic-data-kit, and how it all grows.

Usage: python bench/dataset.py [--corpus DIR] [--base DIR] [--sdk DIR] [--times 1,4,16] [--amplification 10]
       python bench/dataset.py --kinds md,pdf,... [--corpus DIR] [--base DIR] [--size 2000000]
`--base` is a model folder (its tokenizer counts); `--sdk` a folder with an unpacked synthetic-data-kit wheel, whose
ingest and chunking are run. Every row is a process of its own; a corpus "×4" is four copies that differ in every longer
word, so that none is a duplicate. `--kinds` (or `all`) measures reading and splitting by kind of file instead: one file
of each with the same text, the corpus' own Markdown over and over, so MB/s counts that text; `growth` is how many times
as long four times the text takes. The results are in results/kinds.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
LIBRARIES = (
    "tokenizers",
    "tiktoken",
    "markdown-it-py",
    "semantic-text-splitter",
    "rensa",
    "orjson",
    "numpy",
)
WORD = re.compile(r"[A-Za-z]{5,}")
SUFFIXES = "bcdfghjklmnpqrstvwxz"  # consonants: no word becomes its plural


# -- what is measured, each in its own process -------------------------------------------------------------------------


def forge(corpus: Path, base: Path, work: Path, amplification: float, workers: int | None) -> dict:
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.config import Config
    from phoenix_forge.core.report import Silent
    from phoenix_forge.dataset.build import build

    config = Config.model_validate(
        {
            "corpus": {"roots": [str(corpus)]},
            "dataset": {"amplification": amplification, "workers": workers},
        }
    )
    out = {role: work / f"{role}.jsonl" for role in ("dataset", "validation", "probes", "card")}
    encoder = Encoder.load(base, stop="<|im_end|>", pad="<|endoftext|>")
    return build(config, work, encoder, out, Silent(), cache=work / "cache.sqlite")


def forge_reading(corpus: Path, base: Path) -> dict:
    """Forge's own ingest and chunk: decode, scan for secrets, read the structure, split by the base's tokens."""
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.config import CorpusConfig
    from phoenix_forge.corpus.load import load
    from phoenix_forge.corpus.split import split
    from phoenix_forge.corpus.walk import walk

    encoder = Encoder.load(base, stop="<|im_end|>", pad="<|endoftext|>")
    files = walk(CorpusConfig(roots=[str(corpus)], max_bytes=10**9), corpus).files
    loaded = [load(file, "redact").document for file in files]
    sections = [
        section
        for document in loaded
        if document
        for section in split(document, 384, encoder.fast_counts)
    ]
    return {
        "documents": len(loaded),
        "examples": len(sections),
        "characters": sum(len(document.text) for document in loaded if document),
    }


def plain_script(corpus: Path, base: Path, work: Path) -> dict:
    """What one writes first: read, cut every 1,500 characters, one question each, count with the tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    documents = examples = tokens = 0
    with open(work / "plain.jsonl", "w") as out:
        for path in sorted(p for p in corpus.rglob("*") if p.is_file()):
            text = path.read_text(encoding="utf-8", errors="replace")
            documents += 1
            for at in range(0, len(text), 1500):
                piece = text[at : at + 1500]
                tokens += len(tokenizer.encode(piece).ids)
                examples += 1
                out.write(
                    json.dumps(
                        {
                            "instruction": f"What does {path.name} say? ({examples})",
                            "input": "",
                            "output": piece,
                        }
                    )
                    + "\n"
                )
    return {"documents": documents, "examples": examples, "trained_tokens": tokens}


def sdk(corpus: Path, work: Path) -> dict:
    """synthetic-data-kit's ingest and chunking. It knows no Markdown or Mermaid: every file is given to it as .txt."""
    from synthetic_data_kit.core.ingest import process_file
    from synthetic_data_kit.utils.text import split_into_chunks

    documents = examples = 0
    for path in sorted(p for p in corpus.rglob("*") if p.is_file()):
        copy = work / "in" / f"{documents}.txt"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, copy)
        read = process_file(str(copy), str(work / "parsed"), None, {})
        examples += len(split_into_chunks(Path(read).read_text(encoding="utf-8")))
        documents += 1
    return {"documents": documents, "examples": examples}


def measured(given: argparse.Namespace) -> dict:
    work, rows = (
        Path(given.work),
        {
            "forge": lambda: forge(
                given.corpus, given.base, Path(given.work), given.amplification, given.workers
            ),
            "forge reading": lambda: forge_reading(given.corpus, given.base),
            "plain script": lambda: plain_script(given.corpus, given.base, Path(given.work)),
            "synthetic-data-kit": lambda: sdk(given.corpus, Path(given.work)),
        },
    )
    work.mkdir(exist_ok=True)
    began = time.monotonic()
    figures = rows[given.row]()
    seconds = time.monotonic() - began
    own, below = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime, 2),
        "peak_rss_mb": own.ru_maxrss // 1024,
        "worker_rss_mb": below.ru_maxrss // 1024,
        "documents": figures["documents"],
        "examples": figures["examples"],
        "characters": figures.get("characters"),
        "source_tokens": figures.get("source_tokens"),
        "trained_tokens": figures.get("trained_tokens"),
        "coverage": figures.get("coverage"),
    }


# -- the table ---------------------------------------------------------------------------------------------------------


def multiplied(corpus: Path, times: int, target: Path) -> Path:
    """`times` copies below `target`; in copy k > 0 every longer word ends in letters that say k."""
    for k in range(times):
        tail = SUFFIXES[k % 20] + SUFFIXES[k // 20 % 20] if k else ""
        for path in sorted(p for p in corpus.rglob("*") if p.is_file()):
            copy = target / f"copy{k:03}" / path.relative_to(corpus)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8", errors="replace")
            copy.write_text(
                WORD.sub(lambda m, tail=tail: m[0] + tail, text) if tail else text, encoding="utf-8"
            )
    return target


def by_kind(given: argparse.Namespace) -> list[dict]:
    sys.path.insert(0, str(HERE))
    import kinds

    names = list(kinds.KINDS) if given.kinds == ["all"] else given.kinds
    print(
        f"{'kind':<8}{'file MB':>8}{'text MB':>8}{'seconds':>9}{'CPU s':>8}{'MB/s':>8}{'RSS MB':>8}{'growth':>8}"
    )
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        return [_kind(name, given, Path(folder), kinds) for name in names]


def _kind(name: str, given: argparse.Namespace, root: Path, kinds: ModuleType) -> dict:
    """CPU seconds without those that a file of next to nothing takes: starting, and loading the tokenizer."""
    figures, seconds = {}, []
    for part in (0, given.size // 4, given.size):
        made = kinds.KINDS[name](kinds.sections(given.corpus, max(part, 500)))
        data = made.encode() if isinstance(made, str) else made
        corpus = root / f"{name}{part}"
        corpus.mkdir()
        (corpus / f"text.{name}").write_bytes(data)
        figures = measured_apart("forge reading", corpus, given, root / "work")
        seconds.append(figures["cpu_seconds"])
    base, quarter, whole = seconds
    own = round(whole - base, 2)
    text = figures["characters"] / 1e6
    made = {
        "kind": name,
        "file_mb": round(len(data) / 1e6, 2),
        "text_mb": round(text, 2),
        "seconds": figures["seconds"],
        "cpu_seconds": own,
        "mb_per_second": round(text / max(own, 0.01), 2),
        "peak_rss_mb": figures["peak_rss_mb"],
        "sections": figures["examples"],
        "growth": round(own / max(quarter - base, 0.01), 1),
    }
    print(
        f"{name:<8}{made['file_mb']:>8.2f}{made['text_mb']:>8.2f}{made['seconds']:>9.2f}{own:>8.2f}"
        f"{made['mb_per_second']:>8.2f}{made['peak_rss_mb']:>8}{made['growth']:>8.1f}",
        flush=True,
    )
    return made


def size(corpus: Path) -> int:
    return sum(p.stat().st_size for p in corpus.rglob("*") if p.is_file())


def measured_apart(
    name: str, corpus: Path, given: argparse.Namespace, work: Path, **options: object
) -> dict:
    """A row's figures, from a process of its own."""
    command = [
        sys.executable,
        str(HERE / "dataset.py"),
        "--row",
        name,
        "--corpus",
        str(corpus),
        "--base",
        str(given.base),
        "--work",
        str(work),
        "--amplification",
        str(given.amplification),
    ]
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    paths = [str(HERE.parent / "src"), *([str(given.sdk)] if given.sdk else [])]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false"},
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    figures: dict = json.loads(done.stdout.splitlines()[-1])
    return figures


def row(
    label: str, name: str, corpus: Path, given: argparse.Namespace, work: Path, **options: object
) -> dict:
    figures = measured_apart(name, corpus, given, work, **options)
    figures = {"row": label, "megabytes": round(size(corpus) / 1e6, 1), **figures}
    figures["mb_per_second"] = round(figures["megabytes"] / figures["seconds"], 2)
    print(
        f"{label:<34}{figures['documents']:>8}{figures['megabytes']:>8.1f}{figures['examples']:>10}"
        f"{figures['seconds']:>9.2f}{figures['cpu_seconds']:>9.1f}{figures['mb_per_second']:>8.2f}"
        f"{figures['peak_rss_mb']:>8}{figures['worker_rss_mb']:>9}",
        flush=True,
    )
    return figures


def table(given: argparse.Namespace) -> list[dict]:
    print(
        f"{'row':<34}{'docs':>8}{'MB':>8}{'examples':>10}{'seconds':>9}{'CPU s':>9}{'MB/s':>8}{'RSS MB':>8}"
        f"{'worker':>9}"
    )
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        root = Path(folder)
        corpus = multiplied(given.corpus, 1, root / "x1")
        rows = [row("plain script, one process", "plain script", corpus, given, root / "plain")]
        if given.sdk:
            rows.append(
                row(
                    "synthetic-data-kit ingest + chunk",
                    "synthetic-data-kit",
                    corpus,
                    given,
                    root / "sdk",
                )
            )
        rows.append(
            row(
                "forge: reading and splitting only",
                "forge reading",
                corpus,
                given,
                root / "reading",
            )
        )
        rows.append(row("forge, one process", "forge", corpus, given, root / "one", workers=1))
        rows.append(row("forge", "forge", corpus, given, root / "all"))
        rows.append(row("forge, nothing changed", "forge", corpus, given, root / "all"))
        changed = sorted(p for p in corpus.rglob("*.md"))[500 % len(sorted(corpus.rglob("*.md")))]
        changed.write_text(
            changed.read_text(encoding="utf-8") + "\nThe new limit is 17 retries.\n",
            encoding="utf-8",
        )
        rows.append(row("forge, one document changed", "forge", corpus, given, root / "all"))
        for times in given.times:
            shutil.rmtree(root / "all", ignore_errors=True)
            many = multiplied(given.corpus, times, root / f"x{times}")
            rows.append(row(f"forge ×{times}", "forge", many, given, root / "all"))
            shutil.rmtree(many)
    return rows


def demo_base() -> Path:
    found = next((HERE.parent / "demo/models/base").rglob("tokenizer.json"), None)
    return found.parent if found else sys.exit("no base: make demo, or --base DIR")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--corpus", type=Path, default=HERE.parent / "src", help="default: Forge's own sources"
    )
    parser.add_argument("--base", type=Path, help="default: the demo's")
    parser.add_argument("--sdk", type=Path)
    parser.add_argument(
        "--times", type=lambda text: [int(n) for n in text.split(",") if n], default=[4, 16]
    )
    parser.add_argument("--amplification", type=float, default=10)
    parser.add_argument(
        "--scratch", type=Path, help="where copies and outputs go (default: the system's)"
    )
    parser.add_argument(
        "--kinds", type=lambda text: text.split(","), help="reading by kind of file: all, or md,pdf"
    )
    parser.add_argument(
        "--size", type=int, default=2_000_000, help="bytes of text in each kind of file"
    )
    parser.add_argument("--name", help="of the result file")
    for hidden in ("--row", "--work"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.corpus, given.base = given.corpus.resolve(), (given.base or demo_base()).resolve()
    if given.row:
        print(json.dumps(measured(given)))
        return
    rows = by_kind(given) if given.kinds else table(given)
    own = {"size": given.size} if given.kinds else {"amplification": given.amplification}
    result = {
        **own,
        "rows": rows,
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in LIBRARIES},
    }
    target = HERE / "results" / f"{given.name or ('kinds' if given.kinds else 'dataset')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
