"""LaTeX: what stands on the page, as Markdown. Commands, comments and the preamble are hidden, mathematics is kept.

Commands and terms that the document defines are put in (`tex_definitions`). Another command that is not in the tables
below goes, and the text in its braces stays. Names and their arguments are those of the kernel, amsmath, graphicx,
hyperref, listings, minted and biblatex (https://ctan.org).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import numpy as np

from phoenix_forge.corpus.document import Cut, cut
from phoenix_forge.corpus.readers import markdown, tex_definitions, writing
from phoenix_forge.corpus.readers.tex_definitions import Definitions

VERBATIM = r"(?:verbatim|Verbatim|lstlisting|minted|alltt)\*?"
MATH = r"(?:equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat)\*?"
UNSEEN = r"(?:comment|tikzpicture|filecontents\*?|pgfpicture|CCSXML)"
GRIDS = r"(?:tabular\*?|tabularx|longtable|tabulary|array)"
TOKEN = re.compile(
    rf"(?P<code>\\begin\{{(?P<listing>{VERBATIM})\}}(?P<lines>.{{0,50000}}?)\\end\{{(?P=listing)\}})"
    rf"|(?P<math>\\begin\{{(?P<display>{MATH})\}}.{{0,5000}}?\\end\{{(?P=display)\}}"
    r"|\\\[.{0,5000}?\\\]|\\\(.{0,5000}?\\\)|\$\$.{0,5000}?\$\$|\$(?:[^$\\]|\\.){1,2000}\$)"
    rf"|(?P<unseen>\\begin\{{(?P<drawn>{UNSEEN})\}}.{{0,100000}}?\\end\{{(?P=drawn)\}}|\\iffalse\b.{{0,100000}}?\\fi\b)"
    rf"|(?P<grid>\\begin\{{(?P<rows>{GRIDS})\}}.{{0,20000}}?\\end\{{(?P=rows)\}})"
    r"|(?P<verb>\\(?:verb|lstinline)\*?(?P<bar>[^\sa-zA-Z*{])(?P<inline>[^\n]*?)(?P=bar))"
    r"|(?P<comment>%[^\n]*)"
    r"|\\(?P<edge>begin|end)\{(?P<environment>[\w*]+)\}"
    r"|\\(?P<accent>[`'^\"~=.]|[uvHcdbkr](?![a-zA-Z]))[ \t]*(?:\{\\?(?P<braced>[a-zA-Z])\}|\\?(?P<letter>[a-zA-Z]))"
    r"|\\(?P<name>[a-zA-Z@]+)\*?[ \t]*|\\(?P<sign>[^a-zA-Z])"
    r"|(?P<brace>[{}])|(?P<typed>~|``|''|---?)",
    re.DOTALL,
)
BRACE = re.compile(
    rf"\\begin\{{({VERBATIM})\}}.*?\\end\{{\1\}}|\\.|%[^\n]*|(?P<brace>[{{}}])", re.DOTALL
)
OPTION = re.compile(r"\s*\[[^\[\]]{0,500}(?:\[[^\[\]]{0,200}\][^\[\]]{0,500})*\]")
ENVIRONMENT_OPTION = re.compile(r"[ \t]*\[([^\[\]\n]{0,200})\]")
LABEL = re.compile(r"[ \t]*\\(?:label|tag)\{[^{}]*\}|\\nonumber\b|\\notag\b|(?<!\\)%[^\n]*")
RULE = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot|cline\{[^{}]*\}|"
    r"cmidrule(?:\([^()]*\))?\{[^{}]*\}|addlinespace(?:\[[^\]]*\])?)"
)
COLUMN = re.compile(r"(?<!\\)&")
LEVELS = {
    "part": 0,
    "chapter": 0,
    "section": 1,
    "subsection": 2,
    "subsubsection": 3,
    "paragraph": 4,
    "subparagraph": 4,
}
# What stands before and after a command's text.
AROUND = {
    "emph": "**",
    "textit": "**",
    "textsl": "**",
    "footnote": " ()",
    "footnotetext": "()",
    "caption": "\n\n\n",
    "title": "\n\n\n",
    "enquote": "“”",
    "texttt": "``",
    "mbox": "",
    "thanks": " ()",
    "frametitle": "\n\n\n",
}
BOLD = ("textbf", "bfseries")
# Commands whose arguments are no text, and how many of these there are.
SILENT = {
    name: count
    for count, names in (
        (
            0,
            "maketitle tableofcontents listoffigures listoftables newpage clearpage cleardoublepage noindent centering "
            "raggedright raggedleft bigskip medskip smallskip appendix frontmatter mainmatter backmatter printbibliography "
            "printindex hfill vfill indent sloppy small large Large LARGE huge Huge normalsize footnotesize scriptsize "
            "tiny",
        ),
        (
            1,
            "label nocite footcite index vspace hspace includegraphics input include subfile bibliography "
            "bibliographystyle usepackage RequirePackage documentclass pagestyle thispagestyle graphicspath addbibresource "
            "pagenumbering color date author affiliation institute email hypersetup lstset geometry bibitem usetikzlibrary "
            "captionsetup theoremstyle hyphenation footnotemark phantomsection hypertarget vskip hskip linespread fontfamily "
            "fontseries fontshape stepcounter refstepcounter",
        ),
        (
            2,
            "setlength addtolength setcounter addtocounter newcommand renewcommand providecommand addcontentsline "
            "DeclareMathOperator newtheorem fontsize rule newglossaryentry",
        ),
        (3, "newenvironment renewenvironment definecolor newacronym"),
    )
    for name in names.split()
}
# What stands on the page for a reference is known to nobody but TeX: a mark, since without one its sentence has a gap.
REFERRING = {
    name: mark
    for mark, names in (
        ("[…]", "cite citep citet citealp citealt citeauthor citeyear parencite textcite autocite"),
        ("…", "ref pageref autoref cref Cref nameref vref"),
        ("(…)", "eqref"),
    )
    for name in names.split()
}
# A command of the document's own with a label: `\figref{fig:one}`.
OWN_REF = re.compile(r"\w*ref\{[\w.+/-]*[:_][\w.+:/-]*\}")
LONGEST_LABEL = 200  # characters of one, with its braces
SHOWN_LAST = {
    "href": 1,
    "textcolor": 1,
    "colorbox": 1,
    "parbox": 1,
    "resizebox": 2,
    "scalebox": 1,
    "multicolumn": 2,
    "multirow": 2,
    "raisebox": 1,
    "hyperref": 0,
    "makebox": 0,
    "framebox": 0,
}  # arguments before the text
SIGNS = {
    "ldots": "…",
    "dots": "…",
    "textellipsis": "…",
    "LaTeX": "LaTeX",
    "TeX": "TeX",
    "ss": "ß",
    "ae": "æ",
    "AE": "Æ",
    "oe": "œ",
    "OE": "Œ",
    "o": "ø",
    "O": "Ø",
    "aa": "å",
    "AA": "Å",
    "l": "ł",
    "L": "Ł",
    "i": "ı",
    "S": "§",
    "P": "¶",
    "copyright": "©",
    "textdegree": "°",
    "euro": "€",
    "pounds": "£",
    "par": "\n\n",
    "newline": "\n",
    "linebreak": "\n",
    "quad": " ",
    "qquad": " ",
    "textbackslash": "\\",
    "and": ", ",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textbar": "|",
    "textless": "<",
    "textgreater": ">",
    "textendash": "–",
    "textemdash": "—",
    "textquoteright": "’",
    "textregistered": "®",
    "texttrademark": "™",
}
ACCENTS = {
    "`": "\u0300",
    "'": "\u0301",
    "^": "\u0302",
    '"': "\u0308",
    "~": "\u0303",
    "=": "\u0304",
    ".": "\u0307",
    "u": "\u0306",
    "v": "\u030c",
    "H": "\u030b",
    "c": "\u0327",
    "d": "\u0323",
    "b": "\u0331",
    "k": "\u0328",
    "r": "\u030a",
}
TYPED = {"~": " ", "``": "“", "''": "”", "--": "–", "---": "—"}
ESCAPED = {
    "\\": "\n",
    " ": " ",
    ",": " ",
    ";": " ",
    ":": " ",
    "!": "",
    "-": "",
    "/": "",
    "\n": " ",
    "@": "",
}
NAMED = {
    "abstract": "Abstract",
    "theorem": "Theorem",
    "lemma": "Lemma",
    "proposition": "Proposition",
    "corollary": "Corollary",
    "definition": "Definition",
    "proof": "Proof",
    "remark": "Remark",
    "example": "Example",
    "conjecture": "Conjecture",
    "exercise": "Exercise",
}
LISTS = {"itemize": "-", "description": "-", "enumerate": "1.", "thebibliography": "-"}
SPACE = re.compile(r"\s*")
WIDTH = re.compile(r"\s*(?:to|spread)\s*-?[\d.]+\s?(?:pt|em|ex|cm|mm|in)\b\s*")  # of a box
THIN = re.compile(r"(?:\s|~|\\[,;: ])+")  # spaces of all widths
DEEP = 20  # texts within texts: cells of tables, titles
read, defined = markdown.read, tex_definitions.defined


def hidden(text: str, given: str = "") -> list[Cut]:
    """What is no text on the page, and the Markdown for what a page shows by other means than letters. `given` are
    definitions from other files; the file's own come after them."""
    body, end = text.find("\\begin{document}"), text.find("\\end{document}")
    start = 0 if body < 0 else body + len("\\begin{document}")
    known = tex_definitions.definitions(text)
    others = tex_definitions.definitions(given)
    known.commands = others.commands | known.commands
    known.terms = others.terms | known.terms
    made = _Page(text, start, end if end >= start else len(text), known)
    made.run()
    title = re.search(r"\\title\s*(?:\[[^\[\]]*\]\s*)?\{", text)
    if start and title and title.end() < start:
        said = _text(text[title.end() : made.closes.get(title.end() - 1, title.end())], known, 1)
        made.cuts.append(Cut(0, start, f"{writing.heading(1, said)}\n"))
    elif start:
        made.cuts.append(Cut(0, start))
    if 0 <= end < len(text) and end >= start:
        made.cuts.append(Cut(end, len(text)))
    return made.cuts


def _text(source: str, known: Definitions, depth: int) -> str:
    """A piece of LaTeX as it reads, in one line."""
    if depth > DEEP:
        return source
    page = _Page(source, 0, len(source), known, depth)
    page.run()
    shown, _ = cut(source, np.zeros(len(source) + 1, dtype=np.int64), page.cuts)
    return " ".join(shown.split())


def _closing(text: str) -> dict[int, int]:
    """Where each brace that opens is closed."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for match in BRACE.finditer(text):
        if match["brace"] == "{":
            opened.append(match.start())
        elif match["brace"] and opened:
            found[opened.pop()] = match.start()
    return found


class _Page:
    """Goes over the text once; each token that is not text makes a cut."""

    def __init__(self, text: str, start: int, end: int, known: Definitions, depth: int = 0) -> None:
        self.text, self.at, self.end, self.known, self.depth = text, start, end, known, depth
        self.cuts: list[Cut] = []
        self.closes = _closing(text)
        self.after: dict[int, str] = {}  # brace that closes → what is shown for it
        self.lists: list[str] = []
        self.lowered = bool(re.search(r"\\(?:chapter|part)\b", text))

    def run(self) -> None:
        while self.at < self.end and (found := TOKEN.search(self.text, self.at, self.end)):
            self.at = found.end()
            kind = (
                found.lastgroup
                if found.lastgroup in HANDLERS
                else next(k for k in HANDLERS if found[k] is not None)
            )
            HANDLERS[kind](self, found)

    def show(self, found: re.Match[str], shown: str, until: int = -1) -> None:
        """`shown` stands for the token, or for all up to `until`; a line that nothing is left of goes."""
        self.at = max(self.at, until)
        start, line = found.start(), self.text.rfind("\n", 0, found.start()) + 1
        if (
            not shown.strip()
            and not self.text[line:start].strip()
            and self.text[self.at : self.at + 1] in ("\n", "")
        ):
            start, self.at = line, min(self.at + 1, self.end)
        self.cuts.append(Cut(start, self.at, shown))

    def _read(self, source: str) -> str:
        return _text(source, self.known, self.depth + 1)

    def past(self, at: int, count: int) -> int:
        """After so many arguments in braces, and the options in brackets around them."""
        for left in range(count, -1, -1):
            while option := OPTION.match(self.text, at, self.end):
                at = option.end()
            brace = SPACE.match(self.text, at, self.end).end()  # type: ignore[union-attr]
            if not left or brace not in self.closes:
                return at
            at = self.closes[brace] + 1
        return at

    def code(self, found: re.Match[str]) -> None:
        lines = (
            OPTION.sub("", found["lines"], count=1)
            if found["lines"].startswith("[")
            else found["lines"]
        )
        language = re.match(r"\{(\w+)\}", lines) if found["listing"].startswith("minted") else None
        lines = lines[language.end() :] if language else lines
        self.show(
            found,
            f"\n{writing.fence(lines.strip(chr(10) + chr(13)), language[1] if language else '')}\n",
        )

    def math(self, found: re.Match[str]) -> None:
        """As it is written, between dollar signs, without its names and comments."""
        name = (found["display"] or "").rstrip("*")
        body = self.known.expanded(LABEL.sub("", found[0]))
        if name:
            body = body[
                len(f"\\begin{{{found['display']}}}") : -len(f"\\end{{{found['display']}}}")
            ].strip()
            lined = "&" in body or "\\\\" in body
            body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}" if lined else body
        elif body.startswith("\\"):
            body = body[2:-2].strip()
        if name == "math" or found[0].startswith("\\("):
            self.show(found, f"${body}$")
        elif name or found[0].startswith("\\["):
            self.show(found, f"\n$$\n{body}\n$$\n")
        elif body != found[0]:
            self.show(found, body)

    def unseen(self, found: re.Match[str]) -> None:
        self.show(found, "")

    def grid(self, found: re.Match[str]) -> None:
        """A table, its first row the header."""
        inner = self.past(
            found.start() + len(f"\\begin{{{found['rows']}}}"),
            2 if found["rows"] in ("tabular*", "tabularx", "tabulary") else 1,
        )
        lines = RULE.sub("", self.text[inner : found.end() - len(f"\\end{{{found['rows']}}}")])
        rows = [
            [self._read(cell) for cell in COLUMN.split(line)]
            for line in re.split(r"\\\\(?:\[[^\]]*\])?|\\tabularnewline", lines)
            if line.strip()
        ]
        self.show(found, f"\n\n{writing.table(rows)}\n\n" if rows else "")

    def verb(self, found: re.Match[str]) -> None:
        self.show(found, writing.code(found["inline"]) if found["inline"] else "")

    def comment(self, found: re.Match[str]) -> None:
        """With its line where it has nothing else."""
        start = self.text.rfind("\n", 0, found.start()) + 1
        alone = not self.text[start : found.start()].strip()
        self.at = min(found.end() + 1, self.end) if alone else found.end()
        self.cuts.append(Cut(start if alone else found.start(), self.at))

    def edge(self, found: re.Match[str]) -> None:
        name = found["environment"].rstrip("*")
        if name in LISTS:
            self.lists = [*self.lists, LISTS[name]] if found["edge"] == "begin" else self.lists[:-1]
        if found["edge"] == "end":
            return self.show(found, "\n" if name in LISTS or name in NAMED else "")
        option = ENVIRONMENT_OPTION.match(self.text, self.at)
        said = f" ({self._read(option[1])})" if option and name in NAMED else ""
        if name == "frame":
            return self._frame(found)
        return self.show(
            found,
            f"**{NAMED[name]}{said}.** " if name in NAMED else "\n" if name in LISTS else "",
            self.past(self.at, 1 if name in ("thebibliography", "minipage", "multicols") else 0),
        )

    def _frame(self, found: re.Match[str]) -> None:
        """A slide, with its title where it has one."""
        brace = self.past(self.at, 0)
        if brace not in self.closes:
            return self.show(found, "\n", brace)
        self.after[self.closes[brace]] = "\n"
        return self.show(found, "\n## ", brace + 1)

    def accent(self, found: re.Match[str]) -> None:
        letter = found["braced"] or found["letter"]
        self.show(found, unicodedata.normalize("NFC", letter + ACCENTS[found["accent"]]))

    def name(self, found: re.Match[str]) -> None:
        name = found["name"]
        if not self.depth and found.start() in self.known.ends:
            return self.show(found, "", self.known.ends[found.start()])
        if name in LEVELS:
            level = LEVELS[name] + self.lowered + 1
            return self._opened(found, f"\n{'#' * max(min(level, 6), 2)} ", "\n")
        if name == "item":
            option = OPTION.match(self.text, self.at)
            label = f"**{self._read(option[0].strip()[1:-1])}** " if option else ""
            self.at = option.end() if option else self.at
            margin = "   " * (len(self.lists) - 1)
            return self._begins(found, f"{margin}{self.lists[-1] if self.lists else '-'} {label}")
        if name == "bibitem":
            self.at = self.past(self.at, 1)
            return self._begins(found, "- ")
        if name in BOLD:
            return self._opened(found, "**", "**")
        if name in AROUND:
            marks = AROUND[name]
            return self._opened(
                found, marks[: (len(marks) + 1) // 2], marks[(len(marks) + 1) // 2 :]
            )
        if name in SIGNS:
            return self.show(found, SIGNS[name] + " " * found[0].endswith((" ", "\t")))
        if name == "url":
            end = self.past(self.at, 1)
            return self.show(found, f"<{self.text[self.at : end].strip('{} ')}>", end)
        if name in ("hbox", "vbox") and (width := WIDTH.match(self.text, self.at)):
            return self.show(found, "", width.end())
        if name == "ensuremath" and (brace := self.past(self.at, 0)) in self.closes:
            body = self.known.expanded(self.text[brace + 1 : self.closes[brace]])
            return self.show(found, f"${body}$", self.closes[brace] + 1)
        if name in ("def", "let"):
            brace = self.text.find("{", self.at)
            return self.show(found, "", self.closes.get(brace, brace) + 1)
        if name in self.known.commands and name not in SILENT and name not in SHOWN_LAST:
            return self._expanded(found, name)
        if (term := self._term(name)) is not None:
            return self.show(found, self._read(term), self.past(self.at, 1))
        own = name not in SHOWN_LAST and OWN_REF.match(
            name + self.text[self.at : self.at + LONGEST_LABEL]
        )
        if name in REFERRING or own:
            bracketed = self.text[found.start() - 1 : found.start()] in ("(", "[")
            return self.show(
                found, "…" if bracketed else REFERRING.get(name, "…"), self.past(self.at, 1)
            )
        if name in SHOWN_LAST:
            return self.show(found, "", self.past(self.at, SHOWN_LAST[name]))
        return self.show(found, "", self.past(self.at, SILENT.get(name, 0)))

    def _expanded(self, found: re.Match[str], name: str) -> None:
        """What the document has a command stand for; nothing for one within its own text."""
        command, given = self.known.commands[name], list[str]()
        if command.first is not None:
            option = OPTION.match(self.text, self.at, self.end)
            given.append(option[0].strip()[1:-1] if option else command.first)
            self.at = option.end() if option else self.at
        while len(given) < command.count:
            brace = SPACE.match(self.text, self.at, self.end).end()  # type: ignore[union-attr]
            if brace not in self.closes:
                break
            given.append(self.text[brace + 1 : self.closes[brace]])
            self.at = self.closes[brace] + 1
        said = ""
        if name not in self.known.open:
            self.known.open.add(name)
            said = self._read(self.known.filled(name, given))
            self.known.open.remove(name)
        typed = not given and found[0].endswith((" ", "\t"))
        self.show(found, said + " " * typed)

    def _term(self, name: str) -> str | None:
        brace = self.past(self.at, 0)
        if brace not in self.closes:
            return None
        return self.known.shown(name, self.text[brace + 1 : self.closes[brace]])

    def _begins(self, found: re.Match[str], shown: str) -> None:
        """What begins a line, whatever stands before the token."""
        line = self.text.rfind("\n", 0, found.start()) + 1
        alone = not self.text[line : found.start()].strip() and line >= (
            self.cuts[-1].end if self.cuts else 0
        )
        self.at = re.compile(r"[ \t]*").match(self.text, self.at).end()  # type: ignore[union-attr]
        self.cuts.append(
            Cut(line if alone else found.start(), self.at, shown if alone else f"\n{shown}")
        )

    def _opened(self, found: re.Match[str], before: str, after: str) -> None:
        """A command whose text stays: `before` for its beginning, `after` for the brace that closes it."""
        brace = self.past(self.at, 0)
        if self.text[brace : brace + 1] != "{" or brace not in self.closes:
            return self.show(found, "")
        self.after[self.closes[brace]] = after
        lead = THIN.match(self.text, brace + 1, self.closes[brace]) if before == "**" else None
        if lead:  # bold letters do not begin with a space
            return self.show(found, f" {before}", lead.end())
        return self.show(found, before, brace + 1)

    def sign(self, found: re.Match[str]) -> None:
        spaced = re.compile(r"\*?(?:\[[^\[\]\n]{0,40}\])?").match(
            self.text, self.at
        )  # after a line break: its height
        self.at = spaced.end() if spaced and found["sign"] == "\\" else self.at
        self.show(found, ESCAPED.get(found["sign"], found["sign"]))

    def brace(self, found: re.Match[str]) -> None:
        self.show(found, self.after.get(found.start(), ""))

    def typed(self, found: re.Match[str]) -> None:
        self.show(found, TYPED[found["typed"]])


HANDLERS: dict[str, Callable[[_Page, re.Match[str]], None]] = {
    "code": _Page.code,
    "math": _Page.math,
    "unseen": _Page.unseen,
    "grid": _Page.grid,
    "verb": _Page.verb,
    "comment": _Page.comment,
    "edge": _Page.edge,
    "accent": _Page.accent,
    "name": _Page.name,
    "sign": _Page.sign,
    "brace": _Page.brace,
    "typed": _Page.typed,
}
