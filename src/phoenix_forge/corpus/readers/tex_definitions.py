"""What a LaTeX document defines for itself: commands that stand for text, and the terms of its glossary.

Commands are those of the kernel (newcommand and its kin, def), terms those of the packages glossaries and acronym
(https://ctan.org). A definition that computes (conditions, names put together) is left out: its text is TeX's alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

LONGEST = 2000  # characters of a definition
MANY = 5000  # definitions of each kind
# Characters put in for commands: so many, and so many times a text's own, since some call each other without end.
FREE, TIMES = 50_000, 2
GAP = r"\s{0,20}"
COMMAND = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?"
    rf"{GAP}(?:\{{{GAP}\\(?P<braced>[a-zA-Z]{{1,50}}){GAP}\}}|\\(?P<bare>[a-zA-Z]{{1,50}})){GAP}"
    rf"(?:\[(?P<count>\d)\]{GAP})?(?:\[(?P<first>[^\[\]{{}}]{{0,200}})\]{GAP})?\{{"
    rf"|\\def{GAP}\\(?P<def>[a-zA-Z]{{1,50}})(?P<taken>(?:#\d)*){GAP}\{{"
)
USED = re.compile(r"\\(?P<name>[a-zA-Z]{1,50})(?P<groups>(?:\{[^{}]{0,500}\}){0,9})")
GROUP = re.compile(r"\{([^{}]*)\}")
SHELL = re.compile(r"\\(?:ensuremath|xspace)(?![a-zA-Z])")  # what says nothing within mathematics
NESTED = 5  # commands of a document within others
ARGUMENT = re.compile(r"#(\d)")
# What only TeX knows the text of: conditions, names put together, lengths without braces.
COMPUTED = re.compile(
    r"\\(?:if|csname|expandafter|@|futurelet|string)|@"
    r"|\\[a-zA-Z]{1,50}\s{0,9}=?\s{0,9}-?[\d.]{1,9}\s?(?:pt|em|ex|cm|mm|in|sp|bp)\b"
)
TERM = re.compile(
    rf"\\(?:new|provide|longnew)glossaryentry{GAP}\{{(?P<key>[^{{}}]{{1,200}})\}}{GAP}\{{"
)
PART = re.compile(
    r"(?P<name>\w+)\s*=\s*(?:\{(?P<braced>(?:[^{}]|\{[^{}]*\})*)\}|(?P<bare>[^,{}]*))"
)
SHORT = re.compile(
    rf"\\(?:newacronym|acrodef|acro){GAP}(?:\[[^\[\]]{{0,200}}\]{GAP})?\{{(?P<key>[^{{}}]{{1,200}})\}}{GAP}"
    rf"(?:\{{(?P<short>[^{{}}]{{1,200}})\}}|\[(?P<said>[^\[\]]{{1,200}})\]){GAP}\{{(?P<long>[^{{}}]{{1,500}})\}}"
)
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What a command shows of a term: parts, of which the first that it has is taken.
SHOWN: dict[str, tuple[str, ...]] = {
    name: parts
    for parts, names in (
        (("first", "text", "name"), "gls ac"),
        (("text", "name"), "glstext glsentrytext glsname glsentryname acs acrshort glsentryshort"),
        (("plural", "text", "name"), "glspl glsplural glsentryplural acp acrshortpl"),
        (("first", "text", "name"), "glsfirst acf acrfull glsentryfull"),
        (("long", "description"), "acl acrlong glsentrylong glsdesc glsentrydesc"),
        (("symbol",), "glssymbol glsentrysymbol"),
    )
    for name in names.split()
}  # fmt: skip
ONCE = ("gls", "ac")  # show a term in full the first time only


@dataclass(frozen=True)
class Command:
    """`body` has #1, #2 … for its `count` arguments; `first` is what #1 is where it is left out (None: it cannot be)."""

    body: str
    count: int
    first: str | None


@dataclass
class Definitions:
    """`ends`: where a definition that begins at a place ends. `left` characters may be put in for commands."""

    commands: dict[str, Command] = field(default_factory=dict)
    terms: dict[str, dict[str, str]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)  # commands whose text is being read
    left: int = FREE

    def shown(self, name: str, key: str) -> str | None:
        """What a command of a glossary shows for a term, as LaTeX; None where the term is not known."""
        own = self.terms.get(key.strip())
        plain = name[0].lower() + name[1:]
        if own is None or plain not in SHOWN:
            return None
        parts = SHOWN[plain]
        if plain in ONCE and key in self.said:
            parts = parts[1:]
        self.said.add(key)
        text = next((own[part] for part in parts if part in own), "")
        if parts[0] == "plural" and "plural" not in own and text[-1:].isascii():
            text += "s"
        return text[:1].upper() + text[1:] if name[0].isupper() else text

    def filled(self, name: str, given: list[str]) -> str:
        """A command's text with its arguments; "" where the document has put in as much as it may."""
        numbered = dict(enumerate(given, 1))
        text = ARGUMENT.sub(lambda at: numbered.get(int(at[1]), ""), self.commands[name].body)
        self.left -= len(text) + 1
        return text if self.left > 0 else ""

    def expanded(self, mathematics: str) -> str:
        """Mathematics with the document's own commands put in, those in the text of others among them."""
        for _ in range(NESTED):
            before, mathematics = mathematics, USED.sub(self._put_in, mathematics)
            if mathematics == before:
                break
        return SHELL.sub("", mathematics)

    def _put_in(self, found: re.Match[str]) -> str:
        command, given = self.commands.get(found["name"]), GROUP.findall(found["groups"])
        if (
            command is None
            or command.first is not None
            or command.count > len(given)
            or "$" in command.body  # mathematics within text within mathematics
        ):
            return f"\\{found['name']}{USED.sub(self._put_in, found['groups'])}"
        text = self.filled(found["name"], given)
        rest = "".join(f"{{{group}}}" for group in given[command.count :])
        return text + rest if self.left > 0 else found[0]


def definitions(text: str) -> Definitions:
    """Those in a text; of two with one name the later."""
    made = Definitions(left=FREE + TIMES * len(text))
    for found in islice(COMMAND.finditer(text), MANY):
        end = _end(text, found.end())
        body = text[found.end() : end - 1]
        if end:
            made.ends[found.start()] = end
        if end and not COMPUTED.search(body):
            count = len(found["taken"]) // 2 if found["def"] else int(found["count"] or 0)
            name = found["def"] or found["braced"] or found["bare"]
            made.commands[name] = Command(body, count, found["first"])
    for found in islice(TERM.finditer(text), MANY):
        if end := _end(text, found.end()):
            made.ends[found.start()] = end
            made.terms[found["key"].strip()] = {
                part["name"]: (part["braced"] or part["bare"] or "").strip()
                for part in PART.finditer(text, found.end(), end - 1)
            }
    for found in islice(SHORT.finditer(text), MANY):
        short, long = found["short"] or found["said"], found["long"]
        made.ends[found.start()] = found.end()
        first = f"{long} ({short})"
        made.terms[found["key"].strip()] = {"text": short, "long": long, "first": first}
    return made


def _end(text: str, at: int) -> int:
    """Behind the brace that closes the one before a place; 0 where that is too far."""
    depth = 1
    for found in BRACE.finditer(text, at, at + LONGEST):
        depth += (found[0] == "{") - (found[0] == "}")
        if not depth:
            return found.end()
    return 0


def defined(text: str) -> str:
    """The definitions in a text alone, as LaTeX: what other files of the document get of it."""
    ends = definitions(text).ends
    return "\n".join(text[start:end] for start, end in sorted(ends.items()))
