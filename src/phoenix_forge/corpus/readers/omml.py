"""Word's equations as LaTeX, which is how a language model reads and writes them.

Elements: ECMA-376, part 1, 22.1, "Math".
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

SPACES = (
    "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "http://purl.oclc.org/ooxml/officeDocument/math",
)
# A big operator's own character; without one it is an integral.
OPERATORS = {
    "∑": "\\sum",
    "∏": "\\prod",
    "∐": "\\coprod",
    "∫": "\\int",
    "∬": "\\iint",
    "∭": "\\iiint",
    "∮": "\\oint",
    "⋂": "\\bigcap",
    "⋃": "\\bigcup",
    "⋀": "\\bigwedge",
    "⋁": "\\bigvee",
}
ACCENTS = {
    "\u0302": "\\hat",
    "\u0303": "\\tilde",
    "\u0304": "\\bar",
    "\u0305": "\\bar",
    "\u0307": "\\dot",
    "\u0308": "\\ddot",
    "\u20d7": "\\vec",
    "\u030c": "\\check",
    "\u0306": "\\breve",
}
FUNCTIONS = {
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "sinh",
    "cosh",
    "tanh",
    "log",
    "ln",
    "lim",
    "max",
    "min",
    "exp",
    "det",
    "sup",
    "inf",
    "arcsin",
    "arccos",
    "arctan",
}
DEEP = 60  # elements within elements; what lies deeper is kept as bare text


def latex(math: Element, depth: int = 0) -> str:
    """An `m:oMath` element, or any part of one, without dollar signs."""
    if depth > DEEP:
        return "".join(math.itertext())
    made = (_one(child, depth + 1) for child in math)
    return "".join(made).strip()


def name(element: Element) -> str:
    """The element's name without its namespace; an empty one for a comment or a processing instruction."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _one(element: Element, depth: int) -> str:
    kind = name(element)
    if kind == "t":
        return element.text or ""
    if kind.endswith("Pr"):
        return ""
    write = WRITERS.get(kind)
    return write(_Parts(element, depth)) if write else latex(element, depth)


class _Parts:
    """An element's children by name, as LaTeX, and its properties."""

    def __init__(self, element: Element, depth: int) -> None:
        self.element, self.depth = element, depth

    def all(self, kind: str) -> list[str]:
        return [latex(child, self.depth) for child in self.element if name(child) == kind]

    def one(self, kind: str) -> str:
        return next(iter(self.all(kind)), "")

    def property(self, kind: str, otherwise: str = "") -> str:
        """The value of a property; `otherwise` where it is not given."""
        found = (
            each
            for child in self.element
            if name(child).endswith("Pr")
            for each in child
            if name(each) == kind
        )
        given = next(found, None)
        if given is None:
            return otherwise
        return next(
            (value for key, value in given.attrib.items() if key.rpartition("}")[2] == "val"), "1"
        )


def _braced(text: str) -> str:
    return text if len(text) == 1 else f"{{{text}}}"


def _fraction(parts: _Parts) -> str:
    over, under = parts.one("num"), parts.one("den")
    return f"{over}/{under}" if parts.property("type") == "lin" else f"\\frac{{{over}}}{{{under}}}"


def _root(parts: _Parts) -> str:
    degree = "" if parts.property("degHide", "0") in ("1", "on", "true") else parts.one("deg")
    return f"\\sqrt{f'[{degree}]' if degree else ''}{{{parts.one('e')}}}"


def _scripts(parts: _Parts, base: str) -> str:
    below, above = parts.one("sub"), parts.one("sup")
    return base + (f"_{_braced(below)}" if below else "") + (f"^{_braced(above)}" if above else "")


def _scripted(parts: _Parts) -> str:
    body = parts.one("e")
    return _scripts(parts, body if len(body) < 2 or body.isalnum() else f"{{{body}}}")


def _operator(parts: _Parts) -> str:
    sign = parts.property("chr", "∫")
    return f"{_scripts(parts, OPERATORS.get(sign, sign))} {parts.one('e')}"


def _delimited(parts: _Parts) -> str:
    opens, closes = parts.property("begChr", "("), parts.property("endChr", ")")
    marks = {"{": "\\{", "}": "\\}"}
    between = parts.property("sepChr", "|").join(parts.all("e"))
    return f"{marks.get(opens, opens)}{between}{marks.get(closes, closes)}"


def _matrix(parts: _Parts) -> str:
    rows = [
        " & ".join(_Parts(row, parts.depth).all("e")) for row in parts.element if name(row) == "mr"
    ]
    return "\\begin{matrix}" + " \\\\ ".join(rows) + "\\end{matrix}"


def _function(parts: _Parts) -> str:
    called = parts.one("fName")
    return ("\\" if called in FUNCTIONS else "") + f"{called} {parts.one('e')}"


def _accented(parts: _Parts) -> str:
    sign = ACCENTS.get(parts.property("chr", "\u0302"), "\\hat")
    return f"{sign}{{{parts.one('e')}}}"


def _barred(parts: _Parts) -> str:
    side = "over" if parts.property("pos") == "top" else "under"
    return f"\\{side}line{{{parts.one('e')}}}"


WRITERS: dict[str, Callable[[_Parts], str]] = {
    "f": _fraction,
    "rad": _root,
    "sSub": _scripted,
    "sSup": _scripted,
    "sSubSup": _scripted,
    "nary": _operator,
    "sPre": lambda parts: f"{_scripts(parts, '{}')}{parts.one('e')}",
    "d": _delimited,
    "m": _matrix,
    "eqArr": lambda parts: " \\\\ ".join(parts.all("e")),
    "func": _function,
    "acc": _accented,
    "limLow": lambda parts: f"{parts.one('e')}_{_braced(parts.one('lim'))}",
    "limUpp": lambda parts: f"{parts.one('e')}^{_braced(parts.one('lim'))}",
    "bar": _barred,
}
