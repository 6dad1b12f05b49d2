"""HTML → Markdown through selectolax (lexbor). Navigation, scripts and forms are left out, never the main text."""

from __future__ import annotations

import re
from typing import Any

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.readers import markdown, writing

DROPPED = {
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "canvas",
    "iframe",
    "object",
    "nav",
    "button",
    "select",
    "input",
    "textarea",
    "rt",
    "rp",
    "head",
    "title",
    "meta",
    "link",
    "audio",
    "video",
    "img",
    "picture",
    "map",
    "dialog",
}
BOILERPLATE = {
    "header",
    "footer",
    "aside",
}  # dropped outside of the main text, unless a heading 1 is in them
# Roles and names of what frames a page, of the makers of sites and of their tools.
FRAMES = {
    "navigation",
    "search",
    "banner",
    "contentinfo",
    "menu",
    "menubar",
    "toolbar",
    "dialog",
    "alertdialog",
}
FRAMING = {
    "breadcrumb",
    "breadcrumbs",
    "toc",
    "table-of-contents",
    "tableofcontents",
    "sidebar",
    "navbar",
    "navheader",
    "navfooter",
    "pagination",
    "pager",
    "skip-link",
    "skiplink",
    "skip-to-content",
    "edit-this-page",
    "edit-page-link",
    "editlink",
    "cookie-banner",
    "cookie-consent",
    "cookie-notice",
    "cookiebanner",
    "share-buttons",
    "social-share",
    "sphinxsidebar",
    "mw-editsection",
    "mw-jump-link",
    "pg-boilerplate",
    "pgheader",
    "pgfooter",
    "pg-header",
    "pg-footer",
    "navigation-footer",
    "prev-next",
    "theme-doc-breadcrumbs",
    "md-source-file",
    "headerlink",
}
LEAST_OF = 3  # what frames a page is less than one part in so many of it
HEADINGS = {f"h{n}": n for n in range(1, 7)}
BLOCKS = {
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "li",
    "table",
    "tr",
    "pre",
    "blockquote",
    "figure",
    "figcaption",
    "details",
    "summary",
    "form",
    "fieldset",
    "address",
    "hr",
    "body",
    "center",
    "hgroup",
    "legend",
    "caption",
    "nav",
    "menu",
    "dir",
    "iframe",
    *HEADINGS,
}
MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*"}
CODE = {"code", "kbd", "samp", "tt"}
# What a heading's link to itself is made of, and a note's link back to its place.
ANCHORS = {"¶", "#", "§", "🔗", "", "↑", "↩", "↩\ufe0e", "⤴"}
TEX = "annotation[encoding='application/x-tex'], annotation[encoding='application/x-latex']"
DEPTH = 100  # elements within elements; below, only the text is kept
CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight|highlight-source|brush:)-?\s?([\w+#]+)")
SPACE = re.compile(r"[ \t\r\n\f]+")
read = markdown.read


def extract(data: bytes) -> str:
    return to_markdown(_decoded(data))


def to_markdown(html: str) -> str:
    """The page's main text; a page without a heading 1 gets its title as one.

    Where a page marks several parts as its main text, it marks none: then all of it is read but what frames a page.
    """
    from selectolax.lexbor import LexborHTMLParser

    page: Any = LexborHTMLParser(html.replace("\0", "\ufffd"))
    root = page.body or page.root
    if root is None:
        return ""
    mains = [
        each
        for each in page.css("main, [role=main]")
        if not _hidden(each) and not _within_main(each)
    ]
    size = len(root.text())
    parts = _Writer(True, size).blocks(mains[0], 0) if len(mains) == 1 else []
    if not parts:
        parts = _Writer(False, size).blocks(root, 0) or _Writer(True, size).blocks(root, 0)
    title = page.css_first("head > title")
    name = " ".join(title.text().split()) if title is not None else ""
    if name and parts and not any(part.startswith("# ") for part in parts):
        parts.insert(0, writing.heading(1, name))
    return "\n\n".join(parts) + "\n" if parts else ""


def _decoded(data: bytes) -> str:
    """As any text; where it is not UTF-8, by the page's own word where it has one."""
    named = CHARSET.search(data[:4096])
    return encodings.decode(data, named[1].decode("ascii", "replace") if named else None).text


class _Writer:
    """`everything` keeps headers, footers and asides too; `size` is the characters of the page."""

    def __init__(self, everything: bool, size: int) -> None:
        self.everything = everything
        self.size = size

    def blocks(self, node: Any, depth: int) -> list[str]:
        """The Markdown blocks of an element's children; loose text between elements makes paragraphs."""
        made: list[str] = []
        loose: list[str] = []
        for child in node.iter(include_text=True):
            tag = child.tag
            if tag in BLOCKS or self._wraps_blocks(child, depth):
                made += _prose("".join(loose))
                loose = []
                made += self._block(child, tag, depth + 1)
            elif tag not in DROPPED or _is_tex(child):
                loose.append(self.inline(child, depth + 1))
        return made + _prose("".join(loose))

    def _wraps_blocks(self, node: Any, depth: int) -> bool:
        """An inline or unknown element around blocks, such as a link around a card or a custom element."""
        if node.tag in DROPPED or node.tag.startswith("-") or depth > DEPTH or node.tag in CODE:
            return False
        return any(child.tag in BLOCKS for child in node.iter())

    def _block(self, node: Any, tag: str, depth: int) -> list[str]:
        if depth > DEPTH:
            return _prose(SPACE.sub(" ", node.text()))
        if tag in DROPPED or _hidden(node) or _frames(node, self.size):
            return []
        if (
            tag in BOILERPLATE
            and not self.everything
            and not _in_article(node)
            and node.css_first("h1") is None
        ):
            return []
        if tag in HEADINGS:
            text = self.inline_of(node, depth).strip()
            return [writing.heading(HEADINGS[tag], text)] if text else []
        if tag == "pre":
            return _listings(node)
        if tag in ("ul", "ol", "menu", "dir"):
            return self._list(node, tag == "ol", depth)
        if tag == "dl":
            return self._definitions(node, depth)
        if tag == "table":
            return self._table(node, depth)
        if tag == "blockquote":
            quoted = "\n\n".join(self.blocks(node, depth))
            return (
                ["\n".join(f"> {part}".rstrip() for part in quoted.split("\n"))] if quoted else []
            )
        return ["***"] if tag == "hr" else self.blocks(node, depth)

    def _list(self, node: Any, numbered: bool, depth: int) -> list[str]:
        items: list[str] = []
        for child in node.iter():
            body = _joined(self.blocks(child, depth)) if child.tag not in DROPPED else ""
            if (
                body and child.tag in ("ul", "ol") and items
            ):  # a list within a list without an item of its own
                items[-1] += "\n" + writing.item(" ", body)
            elif body:
                items.append(writing.item(f"{len(items) + 1}." if numbered else "-", body))
        return ["\n".join(items)] if items else []

    def _definitions(self, node: Any, depth: int) -> list[str]:
        items: list[str] = []
        term = ""
        for child in [
            c for part in node.iter() for c in (part.iter() if part.tag == "div" else (part,))
        ]:
            if child.tag == "dt":
                text = self.inline_of(child, depth).strip()
                term = f"{term}, {text}" if term else text
            elif child.tag == "dd":
                body = _joined(self.blocks(child, depth))
                items.append(writing.item("-", f"**{term}**: {body}" if term else body))
                term = ""
        if term:
            items.append(f"- **{term}**")
        return ["\n".join(items)] if items else []

    def _table(self, node: Any, depth: int) -> list[str]:
        """A table of data as one; one that only lays out the page as its cells' blocks."""
        parts = [
            part.iter() if part.tag in ("thead", "tbody", "tfoot") else (part,)
            for part in node.iter()
        ]
        trs = [tr for part in parts for tr in part if tr.tag == "tr"]
        cells = [[cell for cell in tr.iter() if cell.tag in ("td", "th")] for tr in trs]
        cells = [row for row in cells if row]
        width = max((len(row) for row in cells), default=0)
        if (
            len(cells) < 2
            or width < 2
            or node.css_first("td table, td ul, td ol, td pre, td h1, td h2, td h3")
        ):
            return [block for row in cells for cell in row for block in self.blocks(cell, depth)]
        caption = node.css_first("caption")
        made = _prose(self.inline_of(caption, depth)) if caption is not None else []
        return [*made, writing.table(self._grid(cells, depth))]

    def _grid(self, cells: list[list[Any]], depth: int) -> list[list[str]]:
        """A cell that spans rows or columns is repeated in each."""
        grid: list[list[str]] = []
        below: dict[
            int, tuple[int, str]
        ] = {}  # column → rows that a cell from above still covers, and its text
        for row in cells:
            line: list[str] = []
            waiting = list(row)
            while waiting or len(line) in below:
                if len(line) in below:
                    left, text = below.pop(len(line))
                    if left > 1:
                        below[len(line)] = (left - 1, text)
                    line.append(text)
                    continue
                cell = waiting.pop(0)
                text = " ".join(" ".join(self.blocks(cell, depth)).split())
                for _ in range(_span(cell, "colspan")):
                    if _span(cell, "rowspan") > 1:
                        below[len(line)] = (_span(cell, "rowspan") - 1, text)
                    line.append(text)
            grid.append(line)
        return grid

    def inline_of(self, node: Any, depth: int) -> str:
        return "".join(
            self.inline(child, depth + 1)
            for child in node.iter(include_text=True)
            if child.tag not in DROPPED or _is_tex(child)
        )

    def inline(self, node: Any, depth: int) -> str:
        """Text with its emphasis, code and links; a line break stays one."""
        tag = node.tag
        if tag == "-text":
            return SPACE.sub(" ", node.text(deep=False))
        if tag == "math" or _is_tex(node):
            return _equation(node)
        if tag.startswith("-") or tag in DROPPED or tag == "_comment" or _drawn_equation(node):
            return ""
        if tag == "br":
            return "\n"
        if depth > DEPTH:
            return SPACE.sub(" ", node.text())
        if tag in CODE:
            text = " ".join(node.text().split())
            return writing.code(text) if text else ""
        text = self.inline_of(node, depth)
        bare = text.strip()
        if tag == "span" and _frames(node, self.size):
            return ""
        if tag == "a":
            return _link(text, bare, node.attributes.get("href") or "")
        mark = MARKS.get(tag)
        if not mark or not bare or "\n" in bare or bare.startswith("*"):
            return text
        return f"{' ' * text.startswith(' ')}{mark}{bare}{mark}{' ' * text.endswith(' ')}"


def _hidden(node: Any) -> bool:
    """What a search in the page finds is shown then, so it is text."""
    return "hidden" in node.attributes and node.attributes["hidden"] != "until-found"


def _frames(node: Any, size: int) -> bool:
    """Whether an element says of itself that it frames a page of that many characters, and is no large part of it."""
    at = node.attributes
    names = set(f"{at.get('class') or ''} {at.get('id') or ''}".lower().split())
    if (at.get("role") or "").lower() not in FRAMES and names.isdisjoint(FRAMING):
        return False
    return node.css_first("h1") is None and len(node.text()) * LEAST_OF < size


def _listings(node: Any) -> list[str]:
    """The code of a `pre`: one listing for each way in which the page writes it, without the buttons in it."""
    codes = [child for child in node.iter() if child.tag == "code"]
    others = any(child.tag not in ("code", *DROPPED) for child in node.iter())
    if len(codes) > 1 and not others and all("\n" in code.text().strip() for code in codes):
        return [writing.fence(_code(code), _language(code)) for code in codes]
    text = _code(node)
    return [writing.fence(text, _language(node))] if text.strip() else []


def _code(node: Any) -> str:
    """The text of an element, without what nobody reads or copies of it."""
    if (
        node.css_first(
            "button, script, style, rt, rp, .copy, .copybtn, .sr-only, .lineno, .linenos"
        )
        is None
    ):
        return str(node.text())
    return "".join(_code_of(child) for child in node.iter(include_text=True))


def _code_of(child: Any) -> str:
    if child.tag == "-text":
        return str(child.text(deep=False))
    names = set((child.attributes.get("class") or "").split())
    return (
        ""
        if child.tag in DROPPED or names & {"copy", "copybtn", "sr-only", "lineno", "linenos"}
        else _code(child)
    )


def _within_main(node: Any) -> bool:
    at = node.parent
    while at is not None and at.tag not in ("main", "html"):
        if at.attributes.get("role") == "main":
            return True
        at = at.parent
    return at is not None and at.tag == "main"


def _is_tex(node: Any) -> bool:
    """An equation that MathJax would draw: https://docs.mathjax.org/en/v2.7-latest/start.html"""
    return node.tag == "script" and (node.attributes.get("type") or "").startswith("math/tex")


def _drawn_equation(node: Any) -> bool:
    """What KaTeX draws beside the MathML of the same equation."""
    return node.attributes.get("aria-hidden") == "true" and "katex-html" in (
        node.attributes.get("class") or ""
    )


def _equation(node: Any) -> str:
    """As LaTeX where the page has it; else its letters in their order."""
    written = node.css_first(TEX)
    said = written.text() if written is not None else node.attributes.get("alttext") or node.text()
    tex = " ".join(said.split())
    if not tex:
        return ""
    return (
        f"${tex}$"
        if written is not None or node.attributes.get("alttext") or node.tag == "script"
        else tex
    )


def _link(text: str, bare: str, href: str) -> str:
    if bare in ANCHORS:
        return ""
    href = href.strip()
    if not href or href.startswith(("#", "javascript:", "data:")) or "\n" in href:
        return text
    target = f"<{href}>" if re.search(r"[\s()]", href) else href
    return f"{' ' * text.startswith(' ')}[{' '.join(bare.split())}]({target}){' ' * text.endswith(' ')}"


def _prose(text: str) -> list[str]:
    lines = [" ".join(part.split(" ")).strip() for part in text.split("\n")]
    kept = [writing.line(part) for part in lines if part]
    return ["\n".join(kept)] if kept else []


def _joined(blocks: list[str]) -> str:
    """Blocks of a list item: tight where a list follows its text."""
    text = blocks[0] if blocks else ""
    for block in blocks[1:]:
        text += ("\n" if re.match(r"(?:-|\d+\.) ", block) else "\n\n") + block
    return text


def _language(node: Any) -> str:
    """Of a code block, from its class, its code element's, or that of the element around it."""
    for at in (
        node,
        node.css_first("code"),
        node.parent,
        node.parent.parent if node.parent else None,
    ):
        match = (
            LANGUAGE.search(at.attributes.get("class") or "")
            if at is not None and at.attributes
            else None
        )
        if match and match[1] not in ("default", "none", "text"):
            return match[1]
    return ""


def _in_article(node: Any) -> bool:
    at = node.parent
    while at is not None and at.tag not in ("body", "html"):
        if at.tag in ("article", "main", "section", "blockquote"):
            return True
        at = at.parent
    return False


def _span(cell: Any, name: str) -> int:
    value = cell.attributes.get(name) or "1"
    return (
        min(max(int(value), 1), 100)
        if value.isascii() and value.isdigit() and len(value) < 5
        else 1
    )
