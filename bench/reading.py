"""Is what is taught what a person reads? Draws sections of foreign documents, each beside its place in the file.

A corpus is a folder. Its files are walked, loaded and split as a dataset does it; what is left out is listed with its
reason. Of the sections some are drawn by a seed and written to NAME.md for somebody to judge: what of the file is not
taught stands in ⟦−…⟧, what is shown in its place in ⟦+…⟧. Of a format that is extracted (HTML, PDF, notebooks) the
taught text stands alone, and the file has to be opened beside it.

Tokens are counted by the byte (4 a token), so that no base is needed.

Usage: python bench/reading.py OUT FOLDER… [--seed 1] [--sections 20] [--show 1200] [--plain] [--forge DIR]
       python bench/reading.py --table     (prints the table of bench/reading.md from bench/results/reading.json)
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "reading.json"
BYTES = 4  # of a token


def main() -> None:
    args = _arguments()
    if args.table:
        print(table(json.loads(RESULT.read_text("utf-8"))["rows"]))
        return
    sys.path.insert(0, str(args.forge / "src"))
    args.out.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        said = measured(folder, args)
        print(json.dumps(said, ensure_ascii=False))


def measured(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Counts of one corpus; writes its drawn sections."""
    from phoenix_forge.core.config import Config
    from phoenix_forge.corpus.load import load
    from phoenix_forge.corpus.split import split
    from phoenix_forge.corpus.walk import walk

    config = Config()
    walked = walk(config.corpus, folder)
    left_out = Counter(_kind(each.reason) for each in walked.skipped)
    sections = []
    read = 0
    for file in walked.files:
        loaded = load(file, "redact")
        if loaded.document is None:
            left_out[_kind(loaded.skipped or "")] += 1
            continue
        read += 1
        made = split(loaded.document, config.section_tokens, _counts)
        sections += [(file, section) for section in made if section.body.strip()]
    drawn = random.Random(f"{args.seed} {folder.name}").sample(
        sections, min(args.sections, len(sections))
    )
    pages = [_page(i, file, section, args) for i, (file, section) in enumerate(drawn, 1)]
    (args.out / f"{folder.name}.md").write_text("\n".join(pages), "utf-8")
    return {
        "corpus": folder.name,
        "files": len(walked.files) + len(walked.skipped),
        "read": read,
        "left_out": dict(left_out),
        "sections": len(sections),
        "drawn": len(drawn),
    }


def _kind(reason: str) -> str:
    return reason.split(";")[0].split(":")[0]


def _counts(texts: Sequence[str]) -> list[int]:
    return [-(-len(text.encode("utf-8", "surrogatepass")) // BYTES) for text in texts]


def _page(number: int, file: Any, section: Any, args: argparse.Namespace) -> str:
    """A drawn section with its heading: where it lies, and what of that place is taught."""
    from phoenix_forge.corpus.load import decode
    from phoenix_forge.corpus.readers import extracts

    start, end = section.document.span(section.start, section.end)
    show = args.show
    taught = section.text[:show]
    if not args.plain and not extracts(file.name):
        data = file.path.read_bytes()
        text = decode(data)[0]
        if data.decode("utf-8", "ignore") != text:  # spans count in the UTF-8 form
            data = text.encode()
        source = data[start:end].decode("utf-8", "replace")
        taught = "".join(_marked(source[: show * 2], section.text, show))
    more = " …" if len(section.text) > show else ""
    return (
        f"######## {number}. {file.name} [{start}:{end}] title={section.document.title!r} "
        f"headings={section.headings}\n{taught.strip()}{more}\n"
    )


def _marked(source: str, taught: str, show: int) -> Iterator[str]:
    """The source with what is hidden of it and shown in its place, line by line, then character by character."""
    before, after = source.splitlines(keepends=True), taught.splitlines(keepends=True)
    size = 0
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = "".join(before[a:b]), "".join(after[c:d])
        pieces = [old] if tag == "equal" else list(_changed(old, new))
        for piece in pieces:
            size += len(piece)
            yield piece
        if size > show:
            return


def _changed(old: str, new: str) -> Iterator[str]:
    if max(len(old), len(new)) > 2000:
        yield f"⟦−{old[:600]}⟧⟦+{new[:600]}⟧"
        return
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone = "" if tag in ("equal", "insert") else f"⟦−{old[a:b]}⟧"
        come = f"⟦+{new[c:d]}⟧" if tag in ("replace", "insert") else ""
        yield old[a:b] if tag == "equal" else gone + come


def table(rows: Sequence[dict[str, Any]]) -> str:
    head = (
        "| corpus | source, licence | language | kind | read of files | left out | right before | right after, "
        "new sections |",
        "|---|---|---|---|---|---|---|---|",
    )
    made = [
        f"| {row['corpus']} | {row['source']}, {row['licence']} | {row['language']} | {row['kind']} "
        f"| {row['read']} of {row['files']} | {_reasons(row['left_out'])} | {_share(row.get('before'))} "
        f"| {_share(row.get('new'))} |"
        for row in rows
    ]
    return "\n".join([*head, *made])


def _reasons(left_out: dict[str, int]) -> str:
    return "; ".join(f"{n} {reason}" for reason, n in left_out.items()) or "none"


def _share(judged: dict[str, int] | None) -> str:
    return f"{judged['right']} of {judged['drawn']}" if judged else "–"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sections", type=int, default=20)
    parser.add_argument(
        "--show", type=int, default=1200, help="characters of a section that are written"
    )
    parser.add_argument("--plain", action="store_true", help="the taught text alone")
    parser.add_argument(
        "--forge", type=Path, default=HERE.parent, help="another checkout, to compare with"
    )
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if not args.table and not args.folders:
        parser.error("name a folder to write to and the corpora")
    return args


if __name__ == "__main__":
    main()
