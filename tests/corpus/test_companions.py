"""What a LaTeX document defines is said where it is used, in the same file and in others of the document."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from phoenix_forge.core.config import CorpusConfig
from phoenix_forge.corpus.document import cut
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.readers import hidden
from phoenix_forge.corpus.walk import walk

OWN = r"""
\newcommand{\method}{FooNet\xspace}
\newcommand\todo[1]{}
\newcommand{\pair}[2][x]{(#1, \textbf{#2})}
\newcommand{\vv}[1]{\mathbf{#1}}
\newcommand\loss{\ensuremath{\mathcal{L}}}
\newcommand{\byline}[1]{\parindent0pt\vspace*{-25pt}\textbf{#1}}
\newcommand{\dot}{\mathbin{\raisebox{1ex}{$\cdot$}}}
\newcommand{\line}{\rule{1cm}{2pt}}
\def\without{a\without\without}
\newacronym{bpe}{BPE}{byte-pair encoding}
\newglossaryentry{dl}{name={deep learning}, plural={deep learnings}, description={a {nested} way}, symbol=DL}
\newcommand{\firstgls}[1]{\textbf{\,\gls{#1}} (\glsdesc{#1})}
"""


def read(text: str) -> str:
    return cut(text, np.zeros(len(text) + 1, np.int64), hidden("a.tex", text))[0].strip()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (r"We propose \method, a net. \method{} is\todo{how?} small.", "We propose FooNet, a net. FooNet is small."),
        (r"\pair{b} and \pair[c]{d}", "(x, **b**) and (c, **d**)"),
        (r"\loss is $\vv{a} + \hat{\vv{b}}$", r"$\mathcal{L}$ is $\mathbf{a} + \hat{\mathbf{b}}$"),
        (r"\gls{bpe}, \gls{bpe}; \acrlong{bpe}", "byte-pair encoding (BPE), BPE; byte-pair encoding"),
        (r"\Gls{dl} is \firstgls{dl}, \glssymbol{dl}", "Deep learning is **deep learning** (a nested way), DL"),
        (r"\glspl{dl} of \gls{what else}", "deep learnings of what else"),
        (r"One \without end", "One a end"),
        (r"\byline{Ada}, \line", "Ada,"),
        (r"\hbox to 20pt {\hfil$0$\hfil} and $\dot$", r"$0$ and $\dot$"),
    ],
)  # fmt: skip
def test_what_a_file_defines_for_itself(written: str, shown: str) -> None:
    assert read(f"{OWN}\\begin{{document}}\n{written}\n\\end{{document}}") == shown


def test_commands_that_call_each_other_come_to_an_end() -> None:
    chain = "".join(
        f"\\def\\x{a}{{w\\x{b}\\x{b}\\x{b}\\x{b}}}\n" for a, b in pairwise("abcdefghijklmnopqr")
    )
    assert len(read(f"{chain}\\begin{{document}}\n\\xa end.\n\\end{{document}}")) < 100_000


def book(root: Path) -> None:
    files = {
        "book/main.tex": "\\documentclass{book}\n\\include{terms}\n\\begin{document}\nAll of it.\n\\end{document}\n",
        "book/terms.tex": "\\newglossaryentry{pooling}{name=池化, description={pooling}}\n",
        "book/one/first.tex": "\\chapter{One}\nWe use \\gls{pooling} here.\n",
        "other/paper.tex": "\\section{Other}\nHere \\gls{pooling} is another.\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def said(root: Path) -> dict[str, str]:
    found = {file.name: load(file, "redact").document for file in walk(CorpusConfig(), root).files}
    return {name: document.text for name, document in found.items() if document}


def test_terms_of_another_file_of_the_document(tmp_path: Path) -> None:
    book(tmp_path)
    texts = said(tmp_path)
    assert "We use 池化 here." in texts["book/one/first.tex"]
    assert "Here pooling is another." in texts["other/paper.tex"]


def test_a_part_that_can_be_set_by_itself_has_the_terms_of_the_whole(tmp_path: Path) -> None:
    book(tmp_path)
    part = tmp_path / "book/one/first.tex"
    part.write_text(f"\\documentclass[../main]{{subfiles}}\n{part.read_text()}", encoding="utf-8")
    assert "We use 池化 here." in said(tmp_path)["book/one/first.tex"]


def test_papers_in_one_folder_do_not_speak_for_each_other(tmp_path: Path) -> None:
    paper = "\\documentclass{article}\n%s\\begin{document}\nWe take \\ours{} and \\both{}.\n"
    (tmp_path / "a.tex").write_text(paper % "\\newcommand{\\ours}{Alpha}\n")
    (tmp_path / "b.tex").write_text(paper % "")
    (tmp_path / "terms.tex").write_text("\\newcommand{\\both}{Gamma}\n")
    files = {file.path.name: file for file in walk(CorpusConfig(), tmp_path).files}
    texts = {name: load(files[name], "redact").document.text for name in ("a.tex", "b.tex")}
    assert "We take Alpha and Gamma." in texts["a.tex"]
    assert "Alpha" not in texts["b.tex"]
    assert "Gamma" in texts["b.tex"]
