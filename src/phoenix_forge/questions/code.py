"""Code, configuration and diagrams: symbols, keys and their values, fenced code, commands, nodes and arrows."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from phoenix_forge.corpus.document import Block, Document, Symbol
from phoenix_forge.corpus.readers import mermaid
from phoenix_forge.examples import english as en
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import language as lang
from phoenix_forge.questions import phrasings
from phoenix_forge.questions.entries import explained
from phoenix_forge.questions.model import LONG, Material, Topic, fill

FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)\n?[ \t]*(?P=fence)?\s*$",
    re.DOTALL,
)
SHELL = ("bash", "sh", "shell", "console", "zsh", "powershell", "cmd", "terminal")
PROMPT = re.compile(r"^\s*(?:[$>%] )?")
KEYED = (
    ".yaml",
    ".yml",
    ".toml",
    ".json",
    ".jsonc",
    ".ini",
    ".cfg",
    ".conf",
    ".env",
    ".properties",
)
KEY_LINE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<dash>- )?(?:\"(?P<quoted>[^\"\n]{1,60})\"|(?P<bare>[A-Za-z_][\w.-]{0,60}))[ \t]*"
    r"(?P<sign>[:=])(?:[ \t]+|(?<==)|$)(?P<value>[^\n]*)$",
    re.MULTILINE,
)
TABLE_LINE = re.compile(r"^\[+([\w.\" -]+)\]+\s*$", re.MULTILINE)
ARROW = re.compile(r"(.{1,80}?) → (.{1,80}?)(?:: (.+))?$")  # as the Mermaid reader writes them


# -- symbols -----------------------------------------------------------------------------------------------------------


def symbols(material: Material) -> Iterator[Fact]:
    for topic in material.topics:
        for passage in topic.passages:
            if passage.block.symbols and passage.start == passage.block.start:
                for symbol in passage.block.symbols:
                    yield from _symbol(topic, symbol)


def _symbol(topic: Topic, symbol: Symbol) -> Iterator[Fact]:
    name, file = f"`{symbol.name}`", topic.document.name
    span = (symbol.start, symbol.end)
    where = fill(phrasings.WHERE, [file], t=name)
    yield Fact("symbol_file", where, f"{name} is defined in {file}.", *span, file, "symbol_file")
    declared = fill(phrasings.SIGNATURE, [file], t=name)
    pool = f"signature {symbol.kind}"
    yield Fact("signature", declared, f"`{symbol.signature}`", *span, symbol.signature, pool)
    if symbol.doc:
        doc = " ".join(symbol.doc.strip().split("\n\n")[0].split())
        told = explained(f"{name} in {file}", doc)
        yield Fact("docstring", fill(phrasings.SYMBOL, [file], t=name), told, *span)
        named = fill(phrasings.NAMED, [file], t=doc, a=symbol.kind)
        answer = f"That is {name} in {file}."
        yield Fact("docstring_symbol", named, answer, *span, symbol.name, f"symbol {symbol.kind}")


def members(material: Material) -> Iterator[Fact]:
    """All that a file of code defines."""
    if material.section.index:
        return
    listed = [
        f"- `{symbol.name}` ({symbol.kind})"
        for block in material.document.blocks
        for symbol in block.symbols
    ][:60]
    if len(listed) >= 2:
        name = material.document.name
        answer = f"{name} defines:\n\n" + "\n".join(listed)
        yield Fact("members", fill(phrasings.MEMBERS, [name]), answer, 0, material.section.end)


# -- code --------------------------------------------------------------------------------------------------------------


def codes(material: Material) -> Iterator[Fact]:
    """Code by what introduces it, by its heading, or by its own first line."""
    for topic in material.topics:
        under = 0
        for before, passage in zip((None, *topic.passages), topic.passages, strict=False):
            raw = passage.raw
            whole = passage.start == passage.block.start and passage.end == passage.block.end
            if passage.block.kind != "code" or not whole or not 10 <= len(raw) <= LONG:
                continue
            fence = FENCE.match(raw)
            told = before.sentences[-1] if before and before.prose and before.sentences else ""
            what = ""
            if 20 <= len(told) <= 200 and not en.LEFTOVER.search(told):
                what = f"that goes with: “{told}”"
            elif topic.title and not under and (fence or topic.code):
                under = 1
                what = f"of {topic.mark}" if topic.code else f"under {topic.mark}"
            else:
                first = _first_line(fence["code"] if fence else raw)
                if first and topic.document.text.count(first) == 1:
                    what = f"that begins with `{first}`"
            if what:
                wordings = fill(phrasings.CODE, topic.names, t=what)
                yield Fact("code", wordings, raw, passage.start, passage.end)


def _first_line(code: str) -> str:
    line = next((line.strip() for line in code.splitlines() if en.WORD.search(line)), "")
    return line if 8 <= len(line) <= 100 and "`" not in line else ""


def commands(material: Material) -> Iterator[Fact]:
    """A single command line and the sentence that introduces it, or its own comment."""
    for topic in material.topics:
        for before, passage in zip((None, *topic.passages), topic.passages, strict=False):
            fence = FENCE.match(passage.raw) if passage.block.kind == "code" else None
            if (
                not fence
                or fence["language"].lower() not in SHELL
                or passage.start != passage.block.start
            ):
                continue
            told = (
                before.sentences[-1]
                if before and before.block.kind == "paragraph" and before.sentences
                else ""
            )
            for why, command in _commented(fence["code"], told):
                yield Fact(
                    "command",
                    fill(phrasings.COMMAND, topic.names, t=why),
                    f"{en.capitalised(topic.subject)} gives this command: `{command}`",
                    passage.start,
                    passage.end,
                    command,
                    "command",
                )


def _commented(code: str, told: str) -> Iterator[tuple[str, str]]:
    """(what for, command) of lines that a comment, or else the sentence before the code, explains one by one."""
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    pairs = [
        (a.lstrip("# "), PROMPT.sub("", b))
        for a, b, c in zip(lines, lines[1:], [*lines[2:], "#"], strict=False)
        if a.startswith("#")
        and not a.startswith("#!")
        and not b.startswith("#")
        and c.startswith("#")
    ]
    if len(lines) == 1 and told:
        pairs = [(told.rstrip(":"), PROMPT.sub("", lines[0]))]
    for why, command in pairs:
        if (
            8 <= len(why) <= 160
            and 3 <= len(command) <= 200
            and "`" not in command
            and not command.endswith("\\")
        ):
            yield en.ended(en.capitalised(why)), command


# -- keys --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    key: str
    value: str
    start: int
    end: int


def keys(material: Material) -> Iterator[Fact]:
    """Scalar settings of YAML, TOML, JSON and INI files by their full key, and back."""
    if PurePosixPath(material.document.name).suffix.lower() not in KEYED:
        return
    found: list[Setting] = material.once("keys", settings)
    values: Counter[str] = material.once(
        "values", lambda _: Counter(setting.value for setting in found)
    )
    taken = 0
    for setting in found:
        if not material.section.start <= setting.start < material.section.end or taken >= 40:
            continue
        taken += 1
        key, value = f"`{setting.key}`", f"`{setting.value}`"
        subject = material.names[0]
        answer = f"In {subject}, {key} is {value}."
        span = setting.start, setting.end
        pool = f"key {setting.key.rsplit('.', 1)[-1]}"
        yield Fact(
            "key", fill(phrasings.KEY, material.names, t=key), answer, *span, setting.value, pool
        )
        if values[setting.value] == 1 and len(setting.value) > 3:
            back = fill(phrasings.KEY_OF, material.names, t=value)
            yield Fact("key_of", back, answer, *span, setting.key, f"key {material.document.path}")


def settings(document: Document) -> list[Setting]:
    """Keys with their path, by indentation (YAML, JSON) or by the table above (TOML, INI); keys that repeat are out."""
    tables = [(match.start(), match[1].strip('" ')) for match in TABLE_LINE.finditer(document.text)]
    stack: list[tuple[int, str]] = []
    found: list[Setting] = []
    for match in KEY_LINE.finditer(document.text):
        depth = len(match["indent"].expandtabs(2)) + (2 if match["dash"] else 0)
        while stack and stack[-1][0] >= depth:
            stack.pop()
        name = match["quoted"] or match["bare"]
        value = match["value"].strip().rstrip(",").strip()
        if match["sign"] == ":" and value in ("", "{", "[", "|", ">", "|-", ">-"):
            stack.append((depth, name))
            continue
        value = re.sub(r"\s+#.*$", "", value).strip("\"'")
        above = [key for _, key in stack] or [
            table for start, table in tables if start < match.start()
        ][-1:]
        if value and value[0] not in "[{&*!|>" and len(value) <= 120 and "`" not in value:
            found.append(Setting(".".join([*above, name]), value, match.start(), match.end()))
    times = Counter(setting.key for setting in found)
    return [setting for setting in found if times[setting.key] == 1]


# -- diagrams ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrow:
    start: str
    end: str
    said: str


@dataclass(frozen=True)
class Drawing:
    """A diagram, or a part of one: what it is called, its nodes and its arrows. Spans are characters."""

    names: tuple[str, ...]
    nodes: list[str]
    arrows: list[Arrow]
    sequence: bool
    start: int
    end: int


def diagrams(material: Material) -> Iterator[Fact]:
    for drawing in _drawings(material):
        pool = material.document.path
        if drawing.sequence:
            yield from _message_facts(drawing, f"message {pool}")
        else:
            yield from _arrow_facts(drawing, f"edge {pool}")
        named = list(dict.fromkeys(drawing.nodes))[:20]
        if len(named) >= 2:
            listed = ", ".join(f'"{node}"' for node in named[:-1])
            answer = f'{en.capitalised(drawing.names[0])} shows {listed} and "{named[-1]}".'
            yield Fact(
                "node", fill(phrasings.NODES, drawing.names), answer, drawing.start, drawing.end
            )


def _message_facts(drawing: Drawing, pool: str) -> Iterator[Fact]:
    sent: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for arrow in drawing.arrows:
        if arrow.said:
            sent[arrow.start, arrow.end].append(arrow.said)
    for (a, b), said in sent.items():
        told = " and then ".join(f'"{each}"' for each in said[:4])
        answer = f'In {drawing.names[0]}, "{a}" sends to "{b}": {told}.'
        wordings = fill(phrasings.MESSAGE, drawing.names, a=f'"{a}"', t=f'"{b}"')
        yield Fact(
            "edge",
            wordings,
            answer,
            drawing.start,
            drawing.end,
            said[0] if len(said) == 1 else "",
            pool,
        )


def _arrow_facts(drawing: Drawing, pool: str) -> Iterator[Fact]:
    ends: defaultdict[str, list[str]] = defaultdict(list)
    starts: defaultdict[str, list[str]] = defaultdict(list)
    for arrow in drawing.arrows:
        label = f" ({arrow.said})" if arrow.said else ""
        ends[arrow.start].append(f'"{arrow.end}"{label}')
        starts[arrow.end].append(f'"{arrow.start}"{label}')
    ways = (ends, "leads to", phrasings.EDGE), (starts, "is reached from", phrasings.EDGE_INTO)
    for table, verb, templates in ways:
        for node, others in table.items():
            several = list(dict.fromkeys(others))
            answer_key = several[0].split('"')[1] if len(several) == 1 else ""
            answer = f'In {drawing.names[0]}, "{node}" {verb} {lang.listed(several)}.'
            wordings = fill(templates, drawing.names, t=f'"{node}"')
            yield Fact("edge", wordings, answer, drawing.start, drawing.end, answer_key, pool)


def _drawings(material: Material) -> Iterator[Drawing]:
    """The diagrams of a section: its own blocks, or those in fenced code."""
    if PurePosixPath(material.document.name).suffix.lower() in (".mmd", ".mermaid"):
        sequence = "sequenceDiagram" in material.document.text
        blocks = [block for block in material.section.blocks if block.items]
        yield from _parts(
            blocks, material.names, sequence, material.section.start, material.section.end
        )
        return
    for topic in material.topics:
        drawn = [p for p in topic.passages if p.block.kind == "code" and "mermaid" in p.raw[:14]]
        for passage in drawn[
            :1
        ]:  # a second one under the same heading could not be told from the first
            fence = FENCE.match(passage.raw)
            if fence and fence["language"] == "mermaid":
                names = topic.names
                if not topic.is_document:
                    names = tuple(
                        f"the diagram under {topic.mark} of {name}" for name in topic.names
                    )
                blocks = [block for block in mermaid.read(fence["code"]).blocks if block.items]
                yield from _parts(
                    blocks, names, "sequenceDiagram" in fence["code"], passage.start, passage.end
                )


def _parts(
    blocks: list[Block], names: tuple[str, ...], sequence: bool, start: int, end: int
) -> Iterator[Drawing]:
    """All arrows as one drawing, since they cross its parts; the nodes of each part as one of its own."""
    found = [match for block in blocks for item in block.items if (match := ARROW.match(item))]
    arrows = [Arrow(_label(m[1]), _label(m[2]), _label(m[3] or "")) for m in found]
    by_part: dict[str, list[str]] = {}
    for block in blocks:
        part = block.headings[-1] if block.headings else ""
        shown = (
            item for item in block.items if "→" not in item and "@{" not in item and len(item) <= 80
        )
        by_part.setdefault(part, []).extend(map(_label, shown))
    yield Drawing(names, by_part.pop("", []), arrows, sequence, start, end)
    for part, nodes in by_part.items():
        yield Drawing(
            tuple(f'the part "{part}" of {name}' for name in names), nodes, [], False, start, end
        )


def _label(text: str) -> str:
    """A node's or arrow's text on one line, without markup and double quotes, which it will stand in."""
    return en.plain(text.replace("\\n", " ")).replace('"', "'")
