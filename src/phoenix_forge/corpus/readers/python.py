"""Python through `ast`: one block a top-level statement group, with the classes and functions it defines."""

from __future__ import annotations

import ast
import re
import warnings

from phoenix_forge.corpus.document import Block, Structure, Symbol, tiled
from phoenix_forge.corpus.readers import lines as fallback

LINE_END = re.compile(r"\r\n?|\n")  # what Python counts as one
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def read(text: str) -> Structure:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # a document's invalid escapes are not the user's concern here
            tree = ast.parse(text)
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # the last: nested deeper than CPython's parser
        return fallback.read(text)  # another Python's syntax, or a fragment: still text
    lines = [0, *(match.end() for match in LINE_END.finditer(text)), len(text)]
    blocks: list[Block] = []
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        start = lines[first]
        symbols = tuple(_symbols(node, "", text, lines)) if isinstance(node, Definition) else ()
        if (
            symbols or not blocks or blocks[-1].symbols
        ):  # plain statements between definitions stay together
            blocks.append(
                Block("code", start, start, (symbols[0].name,) if symbols else (), symbols=symbols)
            )
    return Structure(None, tiled(_distinct(blocks), len(text)))


def _distinct(blocks: list[Block]) -> list[Block]:
    """Statements joined by `;` share a line: the first keeps it."""
    seen: set[int] = set()
    return [b for b in blocks if not (b.start in seen or seen.add(b.start))]  # type: ignore[func-returns-value]


def _symbols(node: Definition, owner: str, text: str, lines: list[int]) -> list[Symbol]:
    """The definition itself, then the methods and classes inside a class."""
    name = f"{owner}{node.name}"
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if owner else "function"
    start, end = lines[node.lineno - 1], lines[(node.end_lineno or node.lineno)]
    symbols = [Symbol(name, kind, _signature(node), ast.get_docstring(node) or "", start, end)]
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, Definition):
                symbols += _symbols(child, f"{name}.", text, lines)
    return symbols


def _signature(node: Definition) -> str:
    """Normalised by ast.unparse: one line, whatever the source's layout."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in [*node.bases, *node.keywords])
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{prefix} {node.name}({ast.unparse(node.args)}){returns}"
