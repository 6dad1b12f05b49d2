"""Where the fuzzing of documents starts, one small file or more a suffix, and how one becomes another.

Each seed has what its format can nest, repeat or leave open, so that a change of a few bytes makes something odd of it.
"""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from functools import cache

from kinds import KINDS, zipped

LONGEST = 65_536  # bytes of an input
TEXT = "The *pump* `P1` runs at 50 Hz, see [the manual](m.md#a). It was built in 1998 by Ann Bérg."
PROSE = [[TEXT, "日本語の文章です。ポンプは動く。", "Der Hafen liegt an der Elbe."], [TEXT]]
MADE = ("ipynb", "pdf", "docx", "pptx", "xlsx", "odt", "epub", "eml", "mbox", "rtf", "srt")

_MARKDOWN = """---
title: Pump
tags: [a, "b"]
---
# Pump {#p}

> [!NOTE]
> A *pump* **runs** `x` [a](b "c") ![d](e.png) <b>f</b> $x^2$ [^1]
>> deeper

1. one
   - two
     ```python
     print("x")
     ```
* [ ] three

| a | b |
|---|:-:|
| 1 | 2 \\| 3 |

Term
: Definition

<details><summary>More</summary>

Hidden.

</details>
<!-- comment -->
[^1]: Note
[r]: http://example.org "R"
Setext
======
&amp; &#x41; https://example.org ~~gone~~ ![x](data:image/png;base64,iVBORw0KGgo=)
"""
_MDX = """import A from './a'
export const b = {c: [1, 2]}

# Title

<Tabs items={['x', "y"]}>
  <Tab>Text {b.c} `code` {/* comment */}</Tab>
</Tabs>

""" + _MARKDOWN.partition("# Pump")[2]
_PYTHON = '''"""Module."""
from __future__ import annotations
import os, sys as s
X: dict[str, list[int]] = {"a": [1, -2 ** 3], f"{os.name!r:>{9}}": [*range(3)]}

@dataclass(frozen=True)
class A(B, metaclass=C):
    """A pump.

    Args:
        x: what runs. Defaults to 1.

    >>> A(1)
    """

    x: int = 1

    async def run(self, a, /, b=2, *c, d: str = "e", **f) -> None:
        """Runs it.

        :param a: how fast
        :raises ValueError: never
        """
        match a:
            case {"k": [1, *rest]} if (n := len(rest)) > 1:
                return lambda: lambda y: y
        try:
            yield [i for i in a if i not in b]
        except* (ValueError, KeyError) as e:
            raise e from None
'''
_ASCIIDOC = """= Title
Ann Berg <ann@example.org>
:toc:
:name: value

[NOTE]
====
A {name} note with `code` and link:a.html[text].
====

== Section [[id]]

.A list
* one
** two
+
continued
. three

[cols="1,2",options="header"]
|===
|a |b
|1 2+|c
|===

[source,ruby]
----
puts "x" # <1>
----
<1> callout

term:: definition
ifdef::name[]
image::a.png[alt]
endif::[]
include::b.adoc[]
////
comment
////
"""
_ORG = """#+TITLE: Pump
* TODO Heading :tag:
:PROPERTIES:
:ID: 1
:END:
Text *bold* /it/ =code= [[http://example.org][link]] <2024-01-01 Mon>
** Sub
- item :: text
  + [X] deeper
| a | b |
|---+---|
| 1 | 2 |
#+TBLFM: $2=$1
#+BEGIN_SRC python :results output
print(1)
#+END_SRC
#+BEGIN_QUOTE
Said.
#+END_QUOTE
# comment
[fn:1] Note
"""
_REST = """=====
Title
=====

.. note:: A *note* with ``code`` and :ref:`role <x>`.

   - deeper

     .. code-block:: python
        :linenos:

        print(1)

.. _target:

Section
-------
Text `link <http://example.org>`_ and |sub| [1]_.

:field: value
-o FILE  an option

+---+---+
| a | b |
+===+===+
| 1 | 2 |
+---+---+

===  ===
a    b
===  ===
1    2
===  ===

.. list-table::
   :header-rows: 1

   * - a
     - b

.. |sub| replace:: text
.. [1] Note
.. toctree::

   a
.. comment
"""
_TEX = r"""\documentclass{article}
\newcommand{\x}[2][d]{#1 \textbf{#2}}
\begin{document}
\title{Pump}\maketitle
\section{One \emph{two}}\label{s}
Text \x[a]{b} $x_{1}^{2}$ \[ \frac{a}{b} \] \cite{k} \verb|x{|  % comment
\begin{itemize}\item a \begin{enumerate}\item[b] c\end{enumerate}\end{itemize}
\begin{tabular}{l|r} a & b \\ \hline 1 & \multicolumn{2}{c}{2} \end{tabular}
\begin{verbatim}
x
\end{verbatim}
\input{other}\footnote{n}\href{u}{t}
\end{document}
"""
_HTML = """<!doctype html><html lang=en><head><title>Pump</title><style>a{}</style></head><body>
<nav><a href=/x>nav</a></nav><main><h1 id=a>Pump</h1><p>Text <b>b <i>i</i></b> <code>c</code> &amp; &#65;<br>
<a href="b.html" title='t'>l</a><img src=x alt=y></p><ul><li>one<ol start=3><li>two</ol></ul>
<table><thead><tr><th colspan=2>a<tbody><tr><td rowspan=2>1<td>2<tr><td>3</table>
<pre><code class="language-py">x = 1
</code></pre><blockquote>q<blockquote>r</blockquote></blockquote><dl><dt>t<dd>d</dl>
<details><summary>s</summary>h</details><svg><text>v</text></svg><math><mfrac><mi>x</mi><mn>2</mn></mfrac></math>
<script>x()</script><!-- c --><template>t</template><p hidden>no</p></main></body></html>
"""
_CODE = {
    "js": """/** Doc @param {string} a */
export async function run({a, b = [1, ...c]}, ...d) { return `x ${a ? `y ${b}` : /r[e]/g}` }
class A extends B { #x = 1; static get y() { return () => ({}) } } // end
const {e: {f}} = await import("g"); if (a) { for (const i of d) switch (i) { case 1: break } }
""",
    "ts": """/** Doc */
export interface A<T extends B = C> { readonly x?: Map<string, T[]>; run(a: number): Promise<void> }
type U = { [K in keyof A]: A[K] extends infer R ? R : never } | "x";
enum E { A = 1, B } abstract class D implements A<E> { constructor(private a!: U) { super() } }
""",
    "tsx": """export const A: React.FC<{a: string}> = ({a}) => <div className="x">{a && <B c={() => <D/>}>t</B>}</div>;
""",
    "go": """// Package a does.
package a
import ("fmt"; b "c")
// T is.
type T[K comparable] struct { A map[string][]K `json:"a"`; b func(int) (string, error) }
func (t *T[K]) Run(a ...interface{}) (err error) { go func() { select { case <-c: default: } }(); return }
const ( X = iota; Y )
""",
    "rs": """//! Crate.
/// Doc.
#[derive(Debug)]
pub struct A<'a, T: B + 'a> where T: Clone { pub x: Vec<Option<&'a T>>, }
impl<'a, T> A<'a, T> { /** doc */ pub async unsafe fn run(&self, f: impl Fn(u8) -> u8) -> Result<(), E> {
 match x { Some(1..=2) | None => r#"raw"#, _ => { |y| y } } } }
macro_rules! m { ($($x:expr),*) => { $($x)* }; }
""",
    "java": """package a.b;
/** Doc. @param <T> t */
@Deprecated public class A<T extends B & C> extends D implements E {
 private final Map<String, List<? super T>> x = new HashMap<>() {{ put("a", null); }};
 /** Runs. */ public <R> R run(int... a) throws F { return switch (a) { case 1 -> (x) -> x; default -> { yield y; } }; }
 enum G { H { void i() {} } } record J(int k) {} sealed interface L permits M {} String t = \"\"\"
 text\"\"\"; }
""",
    "c": """/* Doc. */
#include <stdio.h>
#define F(x, ...) do { x; } while (0) \\
 more
typedef struct a { int (*f)(char **, int[3]); union { int b : 3; }; } a_t;
/** Runs. */
static inline int run(const char *a, ...) { if (a) goto e; for (;;) switch (1) { case 2: ; } e: return 'x'; }
""",
    "h": """#ifndef A_H
#define A_H
#ifdef __cplusplus
extern "C" {
#endif
/// Doc
int run(int a);
enum e { A, B = 1 << 2 };
#endif
""",
    "cpp": """// Doc
namespace a::b { template <typename T, int N = 3, class... R> requires C<T>
class D : public virtual E<T> { public: explicit D(int x) noexcept : y{x} {} ~D(); template <> auto run() -> decltype(auto)
 { return [=, &z](auto &&... q) mutable { return (q + ...); }; } operator bool() const; }; }
R"x(raw)x"; #define A(x) #x
""",
    "sh": """#!/bin/bash
# Usage: run [-a FILE]
set -euo pipefail
run() { local a="${1:-$(cat <<'E'
text
E
)}"; while getopts "a:b" o; do case $o in a) x=$((1 + 2)) ;; *) echo 'q' | sed "s/$a/\\`date\\`/" >&2 ;; esac; done; }
[[ -f $x ]] && { run "$@" & } || exit 1
for i in {1..3}; do echo "${i^^} ${arr[@]:1:2}"; done
""",
    "css": "/* A */ @media (min-width: 1px) { a > b:not(.c)::after { content: '\\201C'; --x: url(a) } }\n",
}
_DATA = {
    "yaml": """# Settings
%YAML 1.2
---
a: &x {b: [1, 0x2, .inf, ~], "c": 'd'}
# The port
port: 8080  # of the pump
<<: *x
text: |+
  lines

  more
fold: >-
  folded
? complex
: - - deep
    - !!set {q}
  - 2001-12-14t21:59:43.10-05:00
...
---
b: !x y
""",
    "toml": """# Settings
title = "x"
[a.b.'c d']
# The port
port = 8_080
f = [1, 2.5e3, inf, nan, 0xff, [ {x = 1, y.z = "w"} ]]
when = 1979-05-27T07:32:00.5-07:00
t = \"\"\"
lines \\
 more\"\"\"
[[list]]
a = 'b'
[[list.deep]]
""",
    "ini": """; Settings
[a]
port = 8080
# more
text: one
  two
%x = %(port)s
[a.b "c"]
key=
! last\\
 line
""",
    "json": """{"openapi": "3.1.0", "$schema": "x", "a": {"b": [1, -2.5e3, null, true, "\\u00e9\\ud800"]},
 "properties": {"port": {"type": "integer", "description": "The port.", "enum": [1, 2]}},
 "paths": {"/x": {"get": {"summary": "Reads.", "parameters": [{"name": "a", "in": "query"}]}}}}""",
    "jsonl": """{"id": 1, "name": "Ann", "at": {"x": [1]}}
{"id": 2, "name": null, "text": "The pump runs."}

[1, 2]
""",
    "csv": """id;name,"text"
1;Ann,"The ""pump"" runs.
On two lines."
2;Bo,,
a\tb|c
=1+1,'x
""",
    "mmd": """%%{init: {"theme": "x"}}%%
flowchart TD
  A["Start <br/> here"] -->|yes| B{Choice} & C((Round))
  subgraph s[Part]
    B -.-> D[(Store)]; D == text ==> E
  end
  click A "x"
  classDef y fill:#fff
""",
}
_MORE = {
    "mmd": [
        "sequenceDiagram\n  participant A as Ann\n  A->>+B: Hi\n  loop x\n  alt y\n  B-->>-A: Yes\n  else z\n"
        "  Note over A,B: n\n  end\n  end\n",
        "classDiagram\n  class A~T~ {\n +int x\n run() void\n }\n  A <|-- B : is\n",
        "stateDiagram-v2\n  [*] --> A\n  state A {\n B --> C : x\n }\n  A --> [*]\n",
        "erDiagram\n  A ||--o{ B : has\n  A {\n string id PK \"x\"\n }\n",
        "gantt\n  title x\n  section y\n  a :done, b, 2024-01-01, 3d\n",
        "pie title x\n \"a\" : 3\n", "mindmap\n  a\n    b\n      c\n", "gitGraph\n commit id: \"a\"\n branch b\n",
    ],
    "json": [
        json.dumps({"mapping": {"a": {"id": "a", "parent": None, "children": [], "message": {
            "author": {"role": "user"}, "content": {"parts": ["Hi"]}, "create_time": 1.5}}}, "title": "x"}),
        json.dumps([{"type": "message", "user": "U1", "text": "Hi", "ts": "1714556460.5"}] * 3),
        json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"a": 1}}]}),
    ],
    "srt": [
        "WEBVTT - x\n\nSTYLE\n::cue{}\n\nNOTE n\n\n1\n00:01.000 --> 00:02.000 line:0\n<v Ann>Hi <i>there</i> <00:01.5>x\n"
    ],
}  # fmt: skip
_MHTML = (
    "From: <saved>\nSubject: Pump\nMIME-Version: 1.0\nContent-Type: multipart/related; type=\"text/html\"; boundary=x\n\n"
    "--x\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\nContent-Location: a\n\n"
    f"{_HTML.replace('=', '=3D')}\n--x--\n"
)  # fmt: skip
_MAIL = (
    "From: =?utf-8?q?Ann_B=C3=A9rg?= <a@example.org>\nTo: b@example.org, \"C, D\" <c@example.org>\nSubject: Re: Fwd: x\n"
    "Date: Mon, 27 Apr 2026 09:30:00 +0200\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n"
    "Content-Type: multipart/alternative; boundary=n\n\n--n\nContent-Type: text/plain; charset=utf-8; format=flowed\n\nIt "
    "runs.\n\nOn Mon, Bo <b@example.org> wrote:\n> Does it?\n>> x\n-- \nAnn\n--n\nContent-Type: text/html\n\n<p>It "
    "<b>runs</b>.</p>\n--n--\n--m\nContent-Type: message/rfc822\n\nFrom: c@example.org\nSubject: y\n\nInner\n--m\n"
    "Content-Type: text/csv; name*=utf-8''a%2e.csv\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; "
    "filename=a.csv\n\nYSxiCjEsMgo=\n--m--\n"
)  # fmt: skip
_RTF = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fcharset128 Arial;}}{\stylesheet{\s1 heading 1;}}{\info{\title x}}"
    r"\pard\s1\b Pump\b0\par \'e9\u233?\uc2\u26085??\line{\field{\*\fldinst HYPERLINK \"u\"}{\fldrslt t}}"
    r"\trowd\cellx1\cellx2\intbl a\cell b\cell\row{\pict\pngblip 8950}{\footnote n}\bin3 abc{\*\x hidden}\par}"
)
_WRITTEN = {
    "md": _MARKDOWN, "mdx": _MDX, "py": _PYTHON, "txt": _MARKDOWN, "adoc": _ASCIIDOC, "org": _ORG, "rst": _REST,
    "tex": _TEX, "html": _HTML, "mhtml": _MHTML, "eml": _MAIL, "mbox": f"From a@example.org Mon Jan  1 10:00:00 2024\n{_MAIL}",
    "rtf": _RTF, **_CODE, **_DATA,
}  # fmt: skip
SUFFIXES = tuple(dict.fromkeys((*MADE, *_WRITTEN)))


@cache
def seeds(suffix: str) -> tuple[bytes, ...]:
    made = [KINDS[suffix](PROSE)] if suffix in MADE else []
    texts = [*made, *([_WRITTEN[suffix]] if suffix in _WRITTEN else []), *_MORE.get(suffix, [])]
    return tuple(text if isinstance(text, bytes) else text.encode() for text in texts)


_SIGNS = ("\u2028\u202e\u0301\ud7ff", "\U0001d54f")
ODD = [
    b"\0",
    b"\r",
    b"\f",
    b"\t",
    b"\x80",
    b"\x1a",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    *(sign.encode() for sign in _SIGNS),
]
TIMES = (1, 2, 5, 50, 400, 3000)


def _pieces(data: bytes) -> list[bytes]:
    """Words, signs and white space."""
    return re.findall(rb"\w+|\s+|[^\w\s]+", data) or [b""]


def mutate_text(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: a piece or a line taken out, put elsewhere, repeated up to 3,000 times, or made odd."""
    for _ in range(chance.randint(1, 4)):
        keep = b"\n" if chance.random() < 0.4 else b""
        parts = data.split(b"\n") if keep else _pieces(data)
        at = chance.randrange(len(parts))
        end = min(len(parts), at + chance.choice((1, 1, 2, 3, 8)))
        kind = chance.randrange(6)
        if kind == 0:
            del parts[at:end]
        elif kind == 1:
            parts[at:at] = parts[at:end] * chance.choice(TIMES)
        elif kind == 2:
            to = chance.randrange(len(parts))
            parts[to:to] = parts[at:end]
        elif kind == 3:
            parts[at] = chance.choice(ODD) * chance.choice(TIMES[:4])
        elif kind == 4:
            parts[at] = b"%d" % chance.choice((0, -1, 7, 10**6, 2**31, 2**63, 10**400))
        else:
            parts[at:end] = [part[::-1] for part in reversed(parts[at:end])]
        data = keep.join(parts)[:LONGEST]
    return data


def mutate_packed(data: bytes, chance: random.Random) -> bytes:
    """Another member of a zip archive, packed again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # noqa: BLE001 - of a file that was damaged anything may come
        return data
    if not files:
        return data
    name, other = chance.choice(list(files)), chance.choice(list(files))
    if chance.random() < 0.1:
        files[chance.choice(["../x", name.upper(), other])] = files.pop(name)
    else:
        files[name] = mutate_text(files[name], chance)
    return zipped(files)


PACKED = {"docx", "xlsx", "epub", "odt", "pptx"}
