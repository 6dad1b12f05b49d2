"""What sites add to Markdown: admonitions, tabs, containers, callouts, shortcodes, icons; and links by a label.

What stands in a box, a tab or a fold keeps its title, as a line in bold, and loses the signs around it. Titles that a
site would write in its own language are those of the source.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from html.entities import html5

from phoenix_forge.corpus.document import Cut

NOTES = {
    "note",
    "tip",
    "info",
    "warning",
    "danger",
    "caution",
    "important",
    "success",
    "question",
    "failure",
    "bug",
    "example",
    "quote",
    "abstract",
    "summary",
    "seealso",
    "hint",
    "attention",
    "error",
    "todo",
    "check",
    "help",
}
# Boxes whose text is set in: https://squidfunk.github.io/mkdocs-material/reference/admonitions/, …/content-tabs/
BOX = re.compile(
    r"^(?P<margin>[ \t]*)(?:(?:!!!|\?\?\?\+?)[ \t]+(?P<kind>[\w-]+)(?:[ \t]+[\w-]+)*"
    r"(?:[ \t]+\"(?P<title>[^\"\n]*)\")?|===[!+]{0,2}[ \t]+\"(?P<tab>[^\"\n]+)\")[ \t]*\r?$",
    re.MULTILINE,
)
STEP = 4  # columns that the text of a box is set in by
# Boxes between colons: Docusaurus, Starlight, VitePress, Pandoc's divisions, MyST.
FENCE = re.compile(
    r"^(?P<margin>[ \t>]*)(?P<box>:{3,}[ \t]*(?:\{?(?P<kind>[A-Za-z][\w-]*)\}?)?(?:\[(?P<title>[^\]"
    r"\n]*)\])?"
    r"(?:[ \t]*\{[^{}\n]*\})?(?:[ \t]+(?P<words>[^\n{]*?))?(?:[ \t]*\{[^{}\n]*\})?[ \t]*:*)[ \t]*\r?$",
    re.MULTILINE,
)
FOLDED = {
    "details",
    "collapse",
    "dropdown",
    "spoiler",
    "tab",
    "tab-item",
    "card",
    "admonition",
}  # kinds with words
# Callouts of Obsidian and GitHub: https://help.obsidian.md/callouts
CALLOUT = re.compile(
    r"^(?P<quote>[ \t]*(?:>[ \t]?)+)(?P<sign>\[!(?P<kind>[\w-]+)(?:\|[^\]\n]*)?\][+-]?[ \t]*"
    r"(?P<title>[^\n]*?))[ \t]*\r?$",
    re.MULTILINE,
)
# Hugo's and Jekyll's: https://gohugo.io/content-management/shortcodes/ and https://jekyllrb.com/docs/liquid/
SHORTCODE = re.compile(
    r"\{\{(?P<sign>[<%])(?P<hugo>(?:(?![%>]\}\}|\{\{|\n[ \t]*\n).){1,1000})[%>]\}\}|"
    r"\{%-?(?P<liquid>(?:(?!%\}|\{%|\n[ \t]*\n).){1,1000})-?%\}",
    re.DOTALL,
)
NAME = re.compile(r"\s*(?P<close>/|end)?\s*(?P<name>[\w./-]+)(?P<rest>.*)", re.DOTALL)
TITLE = re.compile(
    r"\b(?:title|caption|summary|header|label|name)\s*=\s*[\"'“](?P<said>[^\"'”\n]+)[\"'”]"
)
PATH = re.compile(r"[\"'](?P<path>[^\"'\n]+)[\"']|(?P<bare>\S+)")
LISTING = {"highlight", "code", "code-toggle", "code-block", "codeblock"}
REFERENCE = {"ref", "relref", "link", "post_url", "url", "absurl", "relurl"}
ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
SIGNS = re.compile(r"[<>*_`#|\[\]\\]")
UNSEEN = (
    re.compile(
        r"^[ \t]*(?:-{1,3}8<-{1,3}[^\n]*|<<<[ \t]*[@./~][^\n]*|\{\*[^\n*]{1,300}\*\}|\{![^\n!]{1,300}!\}|"
        r"\[\[_?toc_?\]\]|\[TOC\]|\{toc(?::[^{}\n]*)?\})[ \t]*\r?$",
        re.MULTILINE | re.IGNORECASE,
    ),
    re.compile(r":(?:material|octicons|fontawesome|simple)-[\w-]+:(?:\{[^{}\n]{0,200}\})?[ \t]?"),
)
# Links by a label: https://spec.commonmark.org/0.31.2/#link-reference-definitions
DEFINITION = re.compile(
    r"^ {0,3}\[(?P<label>[^\[\]\n^][^\[\]\n]{0,300})\]:[ \t]*\n?[ \t]*(?:<(?P<angled>[^<>\n]{1"
    r",1000})>|"
    r"(?P<bare>[^\s<]*[./#:][^\s]*))(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|"
    r"\([^()\n]*\)))?[ \t]*\r?(?:\n|\Z)",
    re.MULTILINE,
)
LABELLED = re.compile(
    r"\[(?P<said>(?:[^\[\]\\\n]|\\.|\n(?!\s*\n)|\[[^\[\]\n]{0,200}\](?:\[[^\[\]\n]{0,200}\]|"
    r"\([^()\n]{0,500}\))?){1,300}?)\](?:\[(?P<label>[^\[\]\n]{0,300})\])?(?![\[(])"
)


def cuts(text: str, code: Callable[[int], bool]) -> Iterator[Cut]:
    """Of signs that do not start in code."""
    made: Iterable[Cut] = (
        each
        for find in (_fences, _callouts, _shortcodes, _unseen, _references, _entities)
        for each in find(text)
    )
    yield from (each for each in made if not code(each.start))
    yield from _boxes(text, code)


def _title(kind: str | None, said: str | None) -> str:
    if said is not None:
        return " ".join(UNSEEN[1].sub("", said).split())
    return (kind or "").replace("-", " ").capitalize()


def boxes(text: str, code: Callable[[int], bool]) -> list[tuple[re.Match[str], list[int]]]:
    """Each box's first line, and where the filled lines of its text start."""
    if "!!!" not in text and "???" not in text and "===" not in text:
        return []
    made = []
    for found in BOX.finditer(text):
        if code(found.start()):
            continue
        lines = []
        margin = len(found["margin"].expandtabs(STEP)) + STEP
        at = text.find("\n", found.end()) + 1
        while 0 < at < len(text):
            end = text.find("\n", at)
            line = text[at : end if end >= 0 else len(text)]
            if (
                line.strip()
                and len(line) - len(line.lstrip(" ")) < margin
                and not line.startswith("\t")
            ):
                break
            if line.strip():
                lines.append(at)
            at = end + 1
        made.append((found, lines))
    return made


def _boxes(text: str, code: Callable[[int], bool]) -> Iterator[Cut]:
    """A title in place of the first line, and the text without its margin, fences in it too."""
    for found, lines in boxes(text, code):
        start = found.start() + len(found["margin"])
        said = _title(found["kind"], found["tab"] if found["tab"] is not None else found["title"])
        yield Cut(start, found.end(), f"**{said}**\n" if said else "")
        for at in lines:
            into = at + len(found["margin"])
            yield Cut(into, into + (1 if text[into] == "\t" else STEP))


def _fences(text: str) -> Iterator[Cut]:
    """What opens a box between colons shows its title, what closes it nothing."""
    if ":::" not in text:
        return
    for found in FENCE.finditer(text):
        kind = (found["kind"] or "").lower()
        words = (found["words"] or "").strip()
        said = found["title"] or (words if kind in NOTES | FOLDED else "")
        said = said or (kind.capitalize() if kind in NOTES else "")
        yield Cut(*found.span("box"), f"**{said}**\n" if said else "")


def _callouts(text: str) -> Iterator[Cut]:
    if "[!" not in text:
        return
    for found in CALLOUT.finditer(text):
        said = found["title"].strip() or found["kind"].replace("-", " ").capitalize()
        yield Cut(*found.span("sign"), f"**{said}**\n{found['quote'].rstrip()}")


def _shortcodes(text: str) -> Iterator[Cut]:
    """Nothing, or the title that one is given; a listing's are fences, and a reference is the path it names."""
    if "{{<" not in text and "{{%" not in text and "{%" not in text:
        return
    for found in SHORTCODE.finditer(text):
        parts = NAME.match((found["hugo"] or found["liquid"] or "").strip(" \t-").removesuffix("/"))
        if not parts:
            continue
        name = parts["name"].lower()
        line = text.rfind("\n", 0, found.start()) + 1
        alone = not text[line : found.start()].strip()
        if name in REFERENCE:
            path = PATH.search(parts["rest"])
            shown = (path["path"] or path["bare"]) if path else ""
        elif name in LISTING and alone:
            word = parts["rest"].split()[:1] if name == "highlight" else []
            shown = "```" if parts["close"] else "```" + (word[0].strip("\"'") if word else "")
        else:
            title = TITLE.search(parts["rest"]) if not parts["close"] else None
            shown = f"**{title['said']}**" + ("\n" if alone else "") if title else ""
        yield Cut(*found.span(), shown)


def _unseen(text: str) -> Iterator[Cut]:
    """Lines that stand for another file or a list of contents, and icons by name."""
    return (Cut(*found.span()) for pattern in UNSEEN for found in pattern.finditer(text))


def _entities(text: str) -> Iterator[Cut]:
    """Each as the character that it is; with a backslash, where that would be a mark."""
    if "&" not in text:
        return
    for found in ENTITY.finditer(text):
        said = entity(found[0])
        if said != found[0]:
            yield Cut(*found.span(), said)


def entity(written: str) -> str:
    """The character that an entity stands for; what is none stays as it is."""
    if written[1] != "#" and written[1:] not in html5:
        return written
    said = html.unescape(written)
    return written if said == written else " " if said == "\xa0" else SIGNS.sub(r"\\\g<0>", said)


def _references(text: str) -> Iterator[Cut]:
    """Links by a label show their address beside their words, as others do; the lists of addresses go."""
    if "]:" not in text:
        return
    known: dict[str, str] = {}
    for found in DEFINITION.finditer(text):
        to = found["angled"] or found["bare"]
        if not to.startswith("data:"):
            known.setdefault(_label(found["label"]), to)
        yield Cut(*found.span())
    if known:
        yield from _labelled(text, 0, len(text), known)


def _labelled(text: str, start: int, end: int, known: dict[str, str]) -> Iterator[Cut]:
    for found in LABELLED.finditer(text, start, end):
        to = known.get(_label(found["label"] or found["said"]))
        if "[" in found["said"]:
            yield from _labelled(text, *found.span("said"), known)
        if to:
            target = f"<{to}>" if re.search(r"[\s()]", to) else to
            yield Cut(found.end("said") + 1, found.end(), f"({target})")


def _label(text: str) -> str:
    return " ".join(text.split()).casefold()
