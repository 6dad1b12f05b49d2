"""One HTML page about a dataset: what it is made of, what it covers, what was left out, and samples of each kind.

The page is self-contained: inline CSS and SVG, no script, nothing fetched; light or dark as the reader has it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import human
from phoenix_forge.errors import UsageError
from phoenix_forge.examples import formats
from phoenix_forge.examples.preview import Sampler, kind_of
from phoenix_forge.examples.report_style import CSS
from phoenix_forge.examples.tokens import BATCH, Tally
from phoenix_forge.examples.validate import histogram, percentiles

SAMPLES = 4  # of each kind
COUNTED = (
    10_000  # examples whose questions are counted too, evenly spread: the histogram is of these
)
ROWS = 200  # of a table
CELLS = 5_000  # files drawn one by one; further ones are summed up, a cell a folder
WORST = 3  # files that are named of those with pages, equations or pictures without text
GROUPS = 48  # folders of the coverage map, before deeper ones are put together
CLIPPED = 1_400  # characters of a sample's question or answer
MAP = 44_000  # width in px that the coverage map's cells have together
TIMES = (0.4, 0.8, 1.2, 2.0)  # times the amplification aimed at: borders of the map's colours
_CONTROLS = {i: 0x2400 + i for i in range(32) if i not in (9, 10)} | {0x7F: 0x2421}


def report(
    dataset: Path, card: Path, out: Path, encoder: Encoder | None, *, probes: Path | None = None
) -> None:
    """Writes the page to `out`, a staged path, from a dataset and its card; `probes` lie beside the dataset by default.

    The dataset is streamed. Without an encoder trained tokens are shares of the card's total by bytes, and the page
    says so. The same inputs give the same bytes. Raises UsageError where a file is missing or no card.
    """
    known = _card(card)
    measured = _measure(dataset, encoder, known)
    asked = _probes(probes or dataset.with_name("probes.jsonl"))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(_page(dataset.name, known, measured, asked), encoding="utf-8")


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"no dataset card at {path}", fix="forge dataset") from None
    except ValueError as error:
        raise UsageError(
            f"{path} is not valid JSON: {error}", fix="forge dataset --force"
        ) from None
    if not isinstance(card, dict) or "coverage_by_file" not in card:
        raise UsageError(
            f"{path} is no dataset card: it has no coverage_by_file", fix="forge dataset --force"
        )
    return card


def _probes(path: Path) -> Counter[str]:
    """Probes by kind; none where there is no such file."""
    if not path.is_file():
        return Counter()
    with open(path, "rb") as handle:
        return Counter(str(json.loads(line).get("kind", "")) for line in handle if line.strip())


# -- measuring ---------------------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """What the examples themselves tell. `lengths` are whole conversations in tokens, of every `step`-th example."""

    exact: bool
    step: int
    examples: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    trained: Counter[str] = field(default_factory=Counter)  # tokens by kind
    taught: Counter[str] = field(default_factory=Counter)  # tokens by source path
    lengths: list[int] = field(default_factory=list)
    samples: dict[str, list[formats.Line]] = field(default_factory=dict)


def _measure(dataset: Path, encoder: Encoder | None, card: dict[str, Any]) -> Measured:
    found = Measured(encoder is not None, max(1, int(card.get("examples", 0)) // COUNTED))
    tally = Tally(encoder) if encoder else None
    sampler: Sampler[formats.Line] = Sampler(SAMPLES, 0)
    rest = formats.checked(dataset)
    while batch := list(islice(rest, BATCH)):
        conversations = [line.messages or [] for line in batch]
        weights = (
            tally.trained(conversations)
            if tally
            else [_answer_bytes(messages) for messages in conversations]
        )
        for line, weight in zip(batch, weights, strict=True):
            record = line.record or {}
            kind = kind_of(record)
            found.kinds[kind] += 1
            found.trained[kind] += weight
            found.taught[str((formats.provenance(record) or {}).get("path", ""))] += weight
            sampler.offer(kind, str(record.get("id") or line.messages), line)
        if tally:
            counted = conversations[-found.examples % found.step :: found.step]
            found.lengths += [count.tokens for count in tally.counts(counted, render=False)]
        found.examples += len(batch)
    found.samples = sampler.kinds()
    return found if encoder else _scaled(found, int(card.get("trained_tokens", 0)))


def _answer_bytes(messages: Sequence[Message]) -> int:
    return sum(
        len(message["content"].encode()) for message in messages if message["role"] == "assistant"
    )


def _scaled(found: Measured, total: int) -> Measured:
    """Bytes as tokens, such that their sum is the card's."""
    bytes_ = sum(found.trained.values())
    for counts in (found.trained, found.taught):
        for key in counts:
            counts[key] = round(counts[key] * total / bytes_) if bytes_ else 0
    return found


# -- the page ----------------------------------------------------------------------------------------------------------


def _page(file: str, card: dict[str, Any], found: Measured, probes: Counter[str]) -> str:
    name = _text(card.get("name") or Path(file).stem)
    sections = (
        ("kinds", "What is asked", _kinds(card, found)),
        ("coverage", "What is covered", _coverage(card, found)),
        ("lengths", "How long the examples are", _lengths(found)),
        ("duplicates", "What was said twice", _duplicates(card)),
        ("redactions", "Secrets kept out", _redactions(card)),
        ("skipped", "Files left out", _skipped(card)),
        ("probes", "Questions held back", _held_back(card, probes)),
        ("samples", "Samples", _samples(found)),
    )
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{html}</section>' for key, title, html in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name}: dataset report</title><style>{CSS}</style></head><body>"
        f"<header><p class=over>Forge dataset report</p><h1>{name}</h1><p class=lead>{_lead(file, card)}</p></header>"
        f"<main>{_figures(card)}<nav>{links}</nav>{body}</main></body></html>\n"
    )


def _lead(file: str, card: dict[str, Any]) -> str:
    written = card.get("files", {}).get("dataset", {})
    size = f", {human(written['bytes'])}" if "bytes" in written else ""
    digest = (
        f", <span class=hash>sha256 {_text(written['sha256'][:16])}…</span>"
        if "sha256" in written
        else ""
    )
    return f"<code>{_text(file)}</code>{size}{digest}"


def _figures(card: dict[str, Any]) -> str:
    source, trained = int(card.get("source_tokens", 0)), int(card.get("trained_tokens", 0))
    splits = card.get("splits", {})
    times = f"{trained / source:.1f} for each source token" if source else ""
    kept = f"and {splits['validation']:,} to validate" if "validation" in splits else ""
    figures = (
        ("Documents", card.get("documents"), ""),
        ("Sections", card.get("sections"), ""),
        ("Examples", card.get("examples"), kept),
        ("Source tokens", source, ""),
        ("Trained tokens", trained, times),
        (
            "Coverage",
            f"{_floor(float(card.get('coverage', 0)))} %",
            "of the tokens that were read are taught",
        ),
        ("Duplicates", card.get("duplicates"), "sections, taught once"),
        ("Redactions", card.get("redactions"), "secrets and addresses"),
    )
    tiles = "".join(
        f"<div><dt>{label}</dt><dd>{_number(value)}</dd>{f'<p>{note}</p>' if note else ''}</div>"
        for label, value, note in figures
        if value is not None
    )
    return f"<dl class=figures>{tiles}</dl>"


def _floor(share: float) -> str:
    """Per cent, never rounded up to 100."""
    return "100" if share >= 1 else f"{int(share * 1000) / 10:.1f}"


def _kinds(card: dict[str, Any], found: Measured) -> str:
    order = [kind for kind in card.get("kinds", {}) if kind in found.kinds]
    order += sorted(set(found.kinds) - set(order))
    most, heaviest = max(found.kinds.values(), default=1), max([1, *found.trained.values()])
    rows = "".join(
        f'<tr><th scope=row><a href="#kind-{i}">{_text(kind)}</a></th>'
        f"<td class=bar>{_bar(found.kinds[kind] / most, 'b1')}</td><td class=n>{found.kinds[kind]:,}</td>"
        f"<td class=bar>{_bar(found.trained[kind] / heaviest, 'b2')}</td><td class=n>{found.trained[kind]:,}</td></tr>"
        for kind in order
        for i in [sorted(found.kinds).index(kind)]
    )
    estimated = "" if found.exact else "<p class=note>Trained tokens are estimated from bytes.</p>"
    return (
        "<div class=scroll><table class=bars><thead><tr><th>Kind</th><th colspan=2>Examples</th>"
        f"<th colspan=2>Trained tokens</th></tr></thead><tbody>{rows}</tbody></table></div>{estimated}"
    )


def _bar(share: float, style: str) -> str:
    return (
        f'<svg class={style} viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{max(share * 100, 0.4):.2f}" height="10" rx="0"/></svg>'
    )


# -- coverage ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One file of the coverage map, or several small ones: its tokens, those that are taught, and trained tokens.

    `aim` is the dataset's amplification.
    """

    label: str
    tokens: int
    taught: int
    trained: int
    aim: float

    @property
    def times(self) -> float:
        return self.trained / self.tokens if self.tokens else 0.0

    @property
    def level(self) -> str:
        if not self.tokens:
            return "same"
        return (
            "lost"
            if self.taught < self.tokens
            else f"t{sum(self.times >= border * self.aim for border in TIMES)}"
        )


def _coverage(card: dict[str, Any], found: Measured) -> str:
    aim = float(card.get("amplification", 10))
    files = {
        path: Cell(path, int(of["tokens"]), int(of["taught"]), found.taught[path], aim)
        for path, of in card["coverage_by_file"].items()
    }
    total = sum(cell.tokens for cell in files.values())
    lost = [cell for cell in files.values() if cell.level == "lost"]
    scale = max(total / MAP, 1.0)
    folders = _folders(list(files))
    least = sorted((cell.tokens for cell in files.values()), reverse=True)[:CELLS][-1:] or [0]
    drawn = "".join(
        _folder(name, [files[path] for path in paths], scale, least[0]) for name, paths in folders
    )
    said = (
        f"{len(lost):,} files are not taught in full."
        if lost
        else f"Every token of all {len(files):,} files is taught at least once."
    )
    return (
        f"<p>{said} Each block is a file, as long as it has tokens; the stronger its colour, the more often they are "
        f"taught. Hold the pointer over one for its name.</p>{_beyond(card)}"
        f"{_legend(list(files.values()), aim)}<div class=map>{drawn}</div>"
    )


def _beyond(card: dict[str, Any]) -> str:
    """What coverage does not count: it begins with the text that was read."""
    whole = len(card.get("skipped", []))
    parts = len({entry["path"] for entry in card.get("notes", []) if _is_partial(entry)})
    counted = [
        f"{count:,} {name if count == 1 else many}"
        for count, name, many in (
            (whole, "file or folder was left out whole", "files or folders were left out whole"),
            (parts, "file was read in part", "files were read in part"),
        )
        if count
    ]
    held = _held(card)
    told = f'<a href="#skipped">{", ".join(counted)}</a>' if counted else "no file was left out"
    return (
        f"<p class=note>This counts the text that was read. Beside it, {told}. {held} Unknown is what pictures and "
        "drawings within a document show, beyond the words that were recognised in them or stand beside them.</p>"
    )


def _held(card: dict[str, Any]) -> str:
    """What the files hold beside running text, counted in them before anything was extracted."""
    kinds: dict[str, list[tuple[str, int, int]]] = {}
    for each in card.get("held", []):
        kinds.setdefault(each["kind"], []).append((each["path"], each["total"], each["read"]))
    return " ".join(
        f"{_text(kind.capitalize())}: {_counted(counts)}." for kind, counts in kinds.items()
    )


def _counted(counts: list[tuple[str, int, int]]) -> str:
    """How many there are in how many files, how many of them gave no text, and the files with most of these."""
    files = f"{len(counts):,} file" + "s" * (len(counts) > 1)
    total, missing = (
        sum(total for _, total, _ in counts),
        sum(total - read for _, total, read in counts),
    )
    worst = [
        path
        for lacking, path in sorted((read - total, path) for path, total, read in counts)
        if lacking
    ]
    named = (
        f" ({', '.join(map(_text, worst[:WORST]))}{', …' if len(worst) > WORST else ''})"
        if worst
        else ""
    )
    return (
        f"{total:,} in {files}, {missing:,} of them without text{named}"
        if missing
        else f"{total:,} in {files}"
    )


def _is_partial(entry: dict[str, Any]) -> bool:
    """Whether a note tells of something that is in the file and not in the dataset."""
    return any(said in entry["note"] for said in ("not read", "not taught"))


def _folders(paths: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Paths by folder; folders are told apart only as deep as keeps them GROUPS at most."""
    depth = max((path.count("/") for path in paths), default=0)

    def folder(path: str, depth: int) -> str:
        return "/".join(path.split("/")[:-1][:depth])

    while depth > 1 and len({folder(path, depth) for path in paths}) > GROUPS:
        depth -= 1
    ordered = sorted(paths, key=lambda path: (folder(path, depth), path))
    return [
        (name, list(members))
        for name, members in groupby(ordered, key=lambda path: folder(path, depth))
    ]


def _together(label: str, cells: Sequence[Cell]) -> Cell:
    return Cell(
        label,
        sum(c.tokens for c in cells),
        sum(c.taught for c in cells),
        sum(c.trained for c in cells),
        cells[0].aim,
    )


def _folder(name: str, cells: list[Cell], scale: float, least: int) -> str:
    """Files with fewer than `least` tokens are drawn as one."""
    whole = _together(name, cells)
    small = [cell for cell in cells if cell.tokens < least]
    drawn = [cell for cell in cells if cell.tokens >= least]
    if small:
        drawn.append(_together(f"{name}: {len(small):,} small files", small))
    blocks = "".join(
        f'<i class={cell.level} style="width:{max(cell.tokens / scale, 3):.0f}px" title="{_text(told)}"></i>'
        for cell in drawn
        for told in [_told(cell).replace("\n", " ")]
    )
    files = "1 file" if len(cells) == 1 else f"{len(cells):,} files"
    return (
        f"<div class=folder><h3>{_text(name or 'top folder')}/</h3><p>{files}, {whole.tokens:,} tokens, taught "
        f"{whole.times:.1f}×</p><div class=cells>{blocks}</div></div>"
    )


def _told(cell: Cell) -> str:
    if cell.level == "same":
        return f"{cell.label}: repeats other files"
    taught = f"{cell.taught:,} of {cell.tokens:,}" if cell.level == "lost" else f"{cell.tokens:,}"
    return f"{cell.label}: {taught} tokens, taught {cell.times:.1f}×"


def _legend(cells: Sequence[Cell], aim: float) -> str:
    times = [border * aim for border in TIMES]
    names = {f"t{i}": f"{low:g}–{high:g}×" for i, (low, high) in enumerate(pairwise([0.0, *times]))}
    names |= {
        "t0": f"under {times[0]:g}×",
        f"t{len(TIMES)}": f"{times[-1]:g}× and more",
        "lost": "not taught in full",
        "same": "repeats another",
    }
    counts = Counter(cell.level for cell in cells)
    ordered = [
        key for key in (*(f"t{i}" for i in range(len(TIMES) + 1)), "lost", "same") if counts[key]
    ]
    items = "".join(
        f"<li><i class={key}></i>{names[key]} <span>{counts[key]:,}</span></li>" for key in ordered
    )
    return f"<ul class=legend>{items}</ul>"


# -- lengths -----------------------------------------------------------------------------------------------------------

WIDE, HIGH, FOOT, HEAD = 640, 230, 40, 22  # of the histogram, in its own units


def _lengths(found: Measured) -> str:
    bins = histogram(found.lengths)
    if not bins:
        return "<p>Not counted: the base's tokenizer was not at hand.</p>"
    most = max(one["examples"] for one in bins)
    step = WIDE / len(bins)
    drawn = []
    for i, one in enumerate(bins):
        high = one["examples"] / most * (HIGH - FOOT - HEAD)
        middle, top = i * step + step / 2, HIGH - FOOT - high
        count = one["examples"] * found.step
        drawn.append(
            f'<rect x="{i * step + 2:.1f}" y="{top:.1f}" width="{step - 4:.1f}" height="{high:.1f}">'
            f"<title>{one['from']} to {one['below'] - 1} tokens: {_about(count, found.step)} examples</title></rect>"
            f'<text x="{middle:.1f}" y="{top - 6:.1f}">{_short(count)}</text>'
            f'<text class=axis x="{middle:.1f}" y="{HIGH - FOOT + 16}">{_edge(one, len(bins))}</text>'
        )
    at = percentiles(sorted(found.lengths)) or {}
    told = f"Half of them have at most {at['p50']:,} tokens, 95 % at most {at['p95']:,}, the longest {at['p100']:,}."
    note = f" Counted on every {_ordinal(found.step)} example." if found.step > 1 else ""
    return (
        f'<p>{told}{note}</p><svg class=histogram viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="Examples by tokens">{"".join(drawn)}<line x1="0" x2="{WIDE}" y1="{HIGH - FOOT}" '
        f'y2="{HIGH - FOOT}"/><text class=axis x="{WIDE / 2}" y="{HIGH - 5}">tokens an example, with template</text>'
        "</svg>"
    )


def _edge(one: dict[str, int], bins: int) -> str:
    return f"{one['from']}–{one['below'] - 1}" if bins <= 10 else f"{one['from']}+"


def _about(count: int, step: int) -> str:
    return f"{count:,}" if step == 1 else f"about {count:,}"


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"


def _ordinal(number: int) -> str:
    ending = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{ending}"


# -- tables ------------------------------------------------------------------------------------------------------------


def _duplicates(card: dict[str, Any]) -> str:
    rows = [
        (_place(entry), "repeats" if entry.get("exact") else "nearly repeats", _place(entry["of"]))
        for entry in card.get("duplicated", [])
    ]
    return _table(("Section", "", "Of"), rows, "No section repeats another.")


def _redactions(card: dict[str, Any]) -> str:
    found = card.get("redacted", [])
    rows = [
        (f"{_path(entry['path'])}:{int(entry['line'])}", _text(entry["kind"])) for entry in found
    ]
    return _table(("Where", "What"), rows, "No keys, tokens or addresses were found.")


def _skipped(card: dict[str, Any]) -> str:
    rows = [(_path(entry["path"]), _text(entry["reason"])) for entry in card.get("skipped", [])]
    html = _table(("File", "Why"), rows, "Every file that was chosen could be read.")
    for title, partial in (("Read in part", True), ("Read with a reservation", False)):
        notes = [
            (_path(entry["path"]), _text(entry["note"]))
            for entry in card.get("notes", [])
            if _is_partial(entry) == partial
        ]
        html += f"<h3>{title}</h3>{_table(('File', 'Note'), notes, '')}" if notes else ""
    return html


def _held_back(card: dict[str, Any], probes: Counter[str]) -> str:
    count = int(card.get("splits", {}).get("probes", 0)) or sum(probes.values())
    told = f"<p>{count:,} closed-book questions were frozen before any example was made; none is trained on.</p>"
    ordered = sorted(probes.items(), key=lambda entry: (-entry[1], entry[0]))
    most = max(probes.values(), default=1)
    rows = "".join(
        f"<tr><th scope=row>{_text(kind)}</th><td class=bar>{_bar(n / most, 'b1')}</td><td class=n>{n:,}</td></tr>"
        for kind, n in ordered
    )
    return told + (f"<table class='bars narrow'><tbody>{rows}</tbody></table>" if rows else "")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], none: str) -> str:
    """Cells are HTML already."""
    if not rows:
        return f"<p>{none}</p>"
    head = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[:ROWS]
    )
    left = (
        f"<p class=note>And {len(rows) - ROWS:,} more, in the dataset card.</p>"
        if len(rows) > ROWS
        else ""
    )
    return f"<table class=list><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{left}"


def _place(entry: dict[str, Any]) -> str:
    start, end = entry["span"]
    return f"{_path(entry['path'])} <span class=span>bytes {start:,}–{end:,}</span>"


def _path(path: object) -> str:
    """A path that may break after each of its parts."""
    return f"<code>{_text(path).replace('/', '/<wbr>')}</code>"


# -- samples -----------------------------------------------------------------------------------------------------------


def _samples(found: Measured) -> str:
    html = []
    for i, kind in enumerate(sorted(found.samples)):
        shown = "".join(_sample(line) for line in found.samples[kind])
        html.append(
            f"<details id=kind-{i} open><summary>{_text(kind)} <span>{found.kinds[kind]:,}</span></summary>"
            f"<div class=samples>{shown}</div></details>"
        )
    return "".join(html)


def _sample(line: formats.Line) -> str:
    source = formats.provenance(line.record or {}) or {}
    span = formats.span_of(source)
    where = _path(source.get("path", "")) if source.get("path") else ""
    where += f" <span class=span>bytes {span[0]:,}–{span[1]:,}</span>" if span else ""
    turns = "".join(
        f"<div class={message['role']}><b>{message['role']}</b><pre>{_text(_clipped(message['content']))}</pre></div>"
        for message in line.messages or []
    )
    return f"<article>{turns}<footer>line {line.number:,}{f', {where}' if where else ''}</footer></article>"


def _clipped(text: str) -> str:
    return (
        text
        if len(text) <= CLIPPED
        else f"{text[:CLIPPED]} … ({len(text) - CLIPPED:,} characters more)"
    )


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else _text(value)


def _text(value: object) -> str:
    return escape(str(value).translate(_CONTROLS), quote=True)
