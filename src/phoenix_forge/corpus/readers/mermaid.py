"""Mermaid diagrams: one block a subgraph or section, its items the labels and arrows in it.

Syntax: https://mermaid.js.org/intro/syntax-reference.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from phoenix_forge.corpus.document import Block, Structure, tiled
from phoenix_forge.corpus.readers.data import scalar
from phoenix_forge.corpus.readers.lines import starts
from phoenix_forge.corpus.readers.markdown import FRONT_MATTER

LONG = 2000  # characters; longer lines are no statements
DEPTH = 20  # subgraphs around a line that are its headings
TITLE = re.compile(r"(?:accTitle|title)\s*:?\s+(?P<title>\S.*)$")
COMMENT_TITLE = re.compile(r"%%\s*(?:Name|Title)\s*:\s*(\S.*)$", re.IGNORECASE)
SECTION = re.compile(r"(?:subgraph|section|box)\s+(\S.*)$")
SUBGRAPH = re.compile(r"(?P<id>[^\s\[\"]+)?\s*(?:\[\s*\"?(?P<label>[^\"\]]*)\"?\s*\])?$")
SKIPPED = re.compile(
    r"(?:%%|classDef|class\s+[\w,]+\s+\w+;?$|style|linkStyle|click|direction|end\b|autonumber|"
    r"activate|deactivate|hide|dateFormat|axisFormat|excludes|todayMarker|\}|acc(?:Title|Descr)|title\b)"
)
NODE = re.compile(
    r"\s*(?P<id>\w+(?:[-.:/]\w+)*)(?:(?P<shape>[\[({>]+[/\\]?)\s*(?:\"(?P<quoted>[^\"]*)\"|"
    r"(?P<raw>[^\])}\"]*))\s*[/\\]?[\])}]+)?(?::::?\w+)?"
)
LINK = re.compile(
    r"\s*(?:<|[xo](?=[-=]))?(?:--\s*(?P<a>[^\s>|x\-][^|>]*?)\s*--+[>xo]?"
    r"|==\s*(?P<b>[^\s>|=][^|>]*?)\s*==+>?"
    r"|-\.\s*(?P<c>[^\s>|.\-][^|>]*?)\s*\.+->?|--+[>xo]?|==+>?|-\.+->?|~~~+)"
    r"\s*(?:\|\s*\"?(?P<d>[^|\"]*)\"?\s*\|)?"
)
MESSAGE = re.compile(
    r"(?P<a>[^\s-][^-:]*?)\s*(?:<<)?--?(?:>>|>|x|\))[+-]?\s*(?P<b>[^\s:][^:]*?)\s*:\s*(?P<text>\S.*)$"
)
PARTICIPANT = re.compile(
    r"(?:create\s+)?(?:participant|actor)\s+(?P<id>\S+)(?:\s+as\s+(?P<label>\S.*))?$"
)
NOTE = re.compile(r"[Nn]ote\s+(?:over|(?:right|left)\s+of)\s+[^:]+:\s*(\S.*)$")
RELATION = re.compile(
    r"(?P<a>[\w.~\[\]*-]+?)\s*(?:\"[^\"]*\"\s*)?(?P<arrow>[<|*o}.]*(?:--|\.\.)[|>*o{.]*)\s*"
    r"(?:\"[^\"]*\"\s*)?(?P<b>[\w.~\[\]*]+)\s*(?::\s*(?P<text>\S.*))?$"
)
TAG = re.compile(r"\s*<br\s*/?>\s*|</?[a-zA-Z]{1,10}>")


def read(text: str) -> Structure:
    matter = FRONT_MATTER.match(text)
    body = matter.end() if matter else 0
    title = scalar(matter[1] or "", "title") if matter else None
    blocks = [Block("front_matter", 0, body)] if matter else []
    bounds = starts(text, body)
    lines = [text[a:b].strip() for a, b in zip(bounds, [*bounds[1:], len(text)], strict=True)]
    header = next((i for i, line in enumerate(lines) if line and not line.startswith("%%")), None)
    if header is None:
        return Structure(title, tiled([*blocks, Block("code", body, body)], len(text)))
    kind = (re.match(r"[\w-]+", lines[header]) or [""])[0]
    facts = KINDS.get(kind, _words)
    labels: dict[str, str] = {}
    opened: list[str] = []
    headings: tuple[str, ...] = ()
    cuts: list[tuple[int, tuple[str, ...], list[str]]] = [(body, (), [])]
    for at, line in zip(bounds[header + 1 :], lines[header + 1 :], strict=True):
        section = SECTION.match(line) if len(line) < LONG else None
        if section:
            name = _section(section[1], labels)
            if not line.startswith(("subgraph", "box")):
                opened.clear()
            opened.append(name)
        elif re.match(r"end\b", line) and opened and kind in ("flowchart", "graph"):
            opened.pop()
            continue
        above = tuple(opened[:DEPTH])
        if above != headings and line:
            headings = above
            cuts.append((at, headings, []))
        if not section and line and len(line) < LONG and not SKIPPED.match(line):
            cuts[-1][2].extend(facts(line, labels))
    blocks += [
        Block("code", at, at, above, items=tuple(dict.fromkeys(items))) for at, above, items in cuts
    ]
    return Structure(title or _title(lines), tiled(blocks, len(text)))


def _title(lines: Sequence[str]) -> str | None:
    for pattern in (TITLE, COMMENT_TITLE):
        for line in lines:
            if len(line) < LONG and (match := pattern.match(line)):
                return match[1].strip()
    return None


def _section(text: str, labels: dict[str, str]) -> str:
    """A subgraph's label; its id stands for it in arrows."""
    match = SUBGRAPH.match(text)
    if match and match["id"] and match["label"]:
        labels[match["id"]] = _plain(match["label"])
        return labels[match["id"]]
    return _plain(text)


def _plain(text: str) -> str:
    return " ".join(TAG.sub(" ", text).strip().strip('"`').split())


def _arrow(a: str, b: str, text: str | None, labels: dict[str, str]) -> str:
    said = f": {_plain(text)}" if text and text.strip() else ""
    return f"{labels.get(a, a)} → {labels.get(b, b)}{said}"


def _flow(line: str, labels: dict[str, str]) -> list[str]:
    """`a[Label] --> b & c`: labels that are new, then the arrows."""
    found: list[str] = []
    at, before, link = 0, [], None
    line = line.rstrip(";")
    while node := NODE.match(line, at):
        group = []
        while node:
            label = _plain(node["quoted"] or node["raw"] or "") if node["shape"] else ""
            if label and labels.get(node["id"]) != label:
                labels[node["id"]] = label
                found.append(label)
            group.append(node["id"])
            at = node.end()
            joined = re.compile(r"\s*&").match(line, at)
            node = NODE.match(line, joined.end()) if joined else None
        if link:
            text = next((part for part in link.groups() if part), None)
            found += [_arrow(a, b, text, labels) for a in before for b in group]
        link = LINK.match(line, at)
        if not link:
            break
        at, before = link.end(), group
    return found


def _sequence(line: str, labels: dict[str, str]) -> list[str]:
    if named := PARTICIPANT.match(line):
        labels[named["id"]] = _plain(named["label"] or named["id"])
        return [labels[named["id"]]]
    if note := NOTE.match(line):
        return [_plain(note[1])]
    message = MESSAGE.match(line)
    return [_arrow(message["a"], message["b"], message["text"], labels)] if message else []


def _relations(line: str, labels: dict[str, str]) -> list[str]:
    """Class and entity diagrams keep their arrow, which says what the relation is."""
    match = RELATION.match(line)
    if not match:
        return [_plain(line.rstrip("{"))] if line.startswith("class ") else []
    said = f": {_plain(match['text'])}" if match["text"] else ""
    return [f"{match['a']} {match['arrow']} {match['b']}{said}"]


def _states(line: str, labels: dict[str, str]) -> list[str]:
    if named := re.match(r"state\s+\"([^\"]+)\"\s+as\s+(\w+)", line):
        labels[named[2]] = named[1]
        return [named[1]]
    match = re.match(r"(\[\*\]|\w+)\s*-->\s*(\[\*\]|\w+)\s*(?::\s*(\S.*))?$", line)
    if not match:
        return []
    a = "start" if match[1] == "[*]" else match[1]
    return [_arrow(a, "end" if match[2] == "[*]" else match[2], match[3], labels)]


def _words(line: str, labels: dict[str, str]) -> list[str]:
    """Mind maps, timelines, charts: a line is an entry."""
    inner = re.match(r"\w*[\[({]+\"?([^\])}\"]+)\"?[\])}]+$", line)
    entry = _plain(inner[1] if inner else line)
    return [entry] if entry else []


KINDS: dict[str, Callable[[str, dict[str, str]], list[str]]] = {
    "flowchart": _flow,
    "graph": _flow,
    "sequenceDiagram": _sequence,
    "classDiagram": _relations,
    "erDiagram": _relations,
    "stateDiagram": _states,
    "stateDiagram-v2": _states,
}
