"""Source code through tree-sitter: one block a top-level declaration, with what it declares. A language is a row."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from phoenix_forge.corpus.document import Block, Structure, Symbol, tiled
from phoenix_forge.corpus.readers import lines as fallback

DEPTH = 12  # declarations within declarations that are looked at
SHORT = 300  # characters of a declaration without a body that its signature shows; of longer ones the first line
MARKS = re.compile(r"^\s*(?:/\*+!?|\*+/|\*(?!/)|//[/!]*)\s?|\s*\*+/\s*$")
DIRECTIVES = re.compile(r"//go:|//\s*eslint|//\s*@ts-|//\s*nolint|//\s*NOLINT")
COMMENTS = {"comment", "line_comment", "block_comment"}
BETWEEN = {
    "attribute_item",
    "decorator",
    "annotation",
}  # may stand between a declaration and its comment
BODIES = {
    "{",
    "=>",
    "field_declaration_list",
    "field_initializer_list",
    "enum_body",
    "class_body",
    "declaration_list",
}


@dataclass(frozen=True, slots=True)
class Language:
    """A wheel's module and the function that gives its grammar; `joins` an owner and its member."""

    module: str
    grammar: str
    joins: str = "."


LANGUAGES: dict[
    str, tuple[Language, ...]
] = {  # the first that parses without an error is taken, else the last
    "javascript": (Language("tree_sitter_javascript", "language"),),
    "typescript": (Language("tree_sitter_typescript", "language_typescript"),),
    "tsx": (Language("tree_sitter_typescript", "language_tsx"),),
    "go": (Language("tree_sitter_go", "language"),),
    "rust": (Language("tree_sitter_rust", "language", "::"),),
    "java": (Language("tree_sitter_java", "language"),),
    "c": (Language("tree_sitter_c", "language"),),
    "cpp": (Language("tree_sitter_cpp", "language", "::"),),
    "header": (
        Language("tree_sitter_c", "language"),
        Language("tree_sitter_cpp", "language", "::"),
    ),
}
# Node type → kind of symbol. Names are those of the grammars' node-types.json; they do not clash between languages.
KINDS = {
    "function_declaration": "function",
    "generator_function_declaration": "function",
    "function_signature": "function",
    "function_definition": "function",
    "function_item": "function",
    "function_signature_item": "function",
    "class_declaration": "class",
    "abstract_class_declaration": "class",
    "class_specifier": "class",
    "method_definition": "method",
    "method_declaration": "method",
    "method_signature": "method",
    "method_elem": "method",
    "abstract_method_signature": "method",
    "constructor_declaration": "constructor",
    "interface_declaration": "interface",
    "annotation_type_declaration": "annotation",
    "record_declaration": "record",
    "enum_declaration": "enum",
    "enum_item": "enum",
    "enum_specifier": "enum",
    "struct_item": "struct",
    "struct_specifier": "struct",
    "union_item": "union",
    "union_specifier": "union",
    "trait_item": "trait",
    "type_alias_declaration": "type",
    "type_item": "type",
    "type_spec": "type",
    "type_alias": "type",
    "alias_declaration": "type",
    "type_definition": "type",
    "macro_definition": "macro",
    "preproc_function_def": "macro",
    "variable_declarator": "function",
    "declaration": "function",
    "field_declaration": "function",
}
# Their children count as in their place. The first are part of what they hold, the others may hold many.
STATEMENTS = {
    "export_statement",
    "ambient_declaration",
    "type_declaration",
    "lexical_declaration",
    "variable_declaration",
    "template_declaration",
    "expression_statement",
}
WRAPPERS = STATEMENTS | {
    "linkage_specification",
    "preproc_ifdef",
    "preproc_if",
    "preproc_else",
    "preproc_elif",
    "declaration_list",
}
SPACES = {
    "namespace_definition",
    "mod_item",
    "internal_module",
    "module",
    "impl_item",
}  # name their children's owner
MEMBERS = {
    "class_body",
    "declaration_list",
    "interface_body",
    "enum_body",
    "enum_body_declarations",
    "object_type",
    "field_declaration_list",
    "statement_block",
    "interface_type",
    "annotation_type_body",
}
FUNCTIONS = {"arrow_function", "function_expression", "function", "generator_function", "class"}


# Steps that a parser may take, counted by the hundred: 1,000, and one for eight bytes, where sound code, and most that is
# broken, takes one for fifty. Without a bound 24 kB of `*/.` in C take half a minute: the ways to mend a text multiply.
STEPS, BYTES_A_STEP, SLICE = 1000, 8, 65_536


@cache
def _parser(language: Language) -> Callable[[bytes], Any] | None:
    """What gives a syntax tree, or None where it takes too many steps; None where the grammar is not installed."""
    try:
        from tree_sitter import Language as Grammar
        from tree_sitter import Parser

        grammar = Grammar(getattr(importlib.import_module(language.module), language.grammar)())
    except ImportError:
        return None
    parser = Parser(grammar)

    def parse(data: bytes) -> Any:
        left = iter(range(STEPS + len(data) // BYTES_A_STEP))
        try:
            return parser.parse(
                lambda place, _: data[place : place + SLICE],
                progress_callback=lambda *_: next(left, None) is None,
            )
        except ValueError:
            parser.reset()
            return None

    return parse


def read(text: str, language: str) -> Structure:
    data = text.encode("utf-8", "surrogatepass")
    root, joins = None, ""
    for choice in LANGUAGES[language]:
        parse = _parser(choice)
        if parse is None:
            return fallback.read(text)
        tree = parse(data)
        if tree is None:
            continue
        root, joins = tree.root_node, choice.joins
        if not root.has_error:
            break
    blocks = _Reading(text, data, joins).blocks(root) if root else []
    if not any(block.symbols for block in blocks):
        return fallback.read(text)  # nothing declared, or too broken to tell: still text
    return Structure(None, tiled(blocks, len(text)))


class _Reading:
    def __init__(self, text: str, data: bytes, joins: str) -> None:
        self.text, self.data, self.joins = text, data, joins
        self.characters: np.ndarray | None = None  # byte → character that starts there
        if not text.isascii():
            begins = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
            self.characters = np.concatenate([[0], np.cumsum(begins)])

    def at(self, byte: int) -> int:
        return byte if self.characters is None else int(self.characters[min(byte, len(self.data))])

    def source(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", "replace")

    def blocks(self, root: Any) -> list[Block]:
        """What stands between declarations stays together; a declaration takes the comment above it along."""
        made: list[Block] = []
        for node, owner in self._unwrapped(root, "", 0):
            symbols = () if node.type in COMMENTS else tuple(self.symbols(node, owner, 0))
            start = self._line_start(
                _with_comments(node)[0].start_byte if symbols else node.start_byte
            )
            while symbols and made and made[-1].start >= start and not made[-1].symbols:
                made.pop()  # the comment
            if made and start <= made[-1].start:
                made[-1] = replace(made[-1], symbols=made[-1].symbols + symbols)
            elif symbols or not made or made[-1].symbols:
                made.append(
                    Block(
                        "code", start, start, (symbols[0].name,) if symbols else (), symbols=symbols
                    )
                )
        return made

    def _unwrapped(self, holder: Any, owner: str, depth: int) -> Iterator[tuple[Any, str]]:
        """The top level with each node's owner, as if header guards, `extern "C"` and namespaces were not there."""
        for node in holder.named_children:
            space = (
                node.type in SPACES
                and node.type != "impl_item"
                and node.child_by_field_name("body") is not None
            )
            if depth < DEPTH and space:
                named = node.child_by_field_name("name")
                inner = f"{owner}{self._plain(named)}{self.joins}" if named is not None else owner
                yield from self._unwrapped(node.child_by_field_name("body"), inner, depth + 1)
            elif depth < DEPTH and node.type in WRAPPERS - STATEMENTS:
                yield from self._unwrapped(node, owner, depth + 1)
            elif node.type not in (
                "identifier",
                "preproc_defined",
                "string_literal",
            ):  # a guard's or a language's name
                yield node, owner

    def _line_start(self, byte: int) -> int:
        line = self.data.rfind(b"\n", max(0, byte - 200), byte) + 1
        return self.at(line if (line or byte < 200) and not self.data[line:byte].strip() else byte)

    def symbols(self, node: Any, owner: str, depth: int) -> Iterator[Symbol]:
        """The declaration itself, then its members."""
        if depth > DEPTH or node.type in COMMENTS:
            return
        if node.type in WRAPPERS or (node.type in SPACES):
            prefix = owner
            if node.type in SPACES:
                named = node.child_by_field_name("type" if node.type == "impl_item" else "name")
                prefix = f"{owner}{self._plain(named)}{self.joins}" if named is not None else owner
            body = node.child_by_field_name("body")
            for child in (
                body if body is not None and node.type in SPACES else node
            ).named_children:
                yield from self.symbols(child, prefix, depth + 1)
            return
        kind = KINDS.get(node.type)
        name = self._name(node) if kind and not node.has_error else ""
        if not kind or not name:
            return
        receiver = node.child_by_field_name("receiver")
        if receiver is not None and node.type == "method_declaration":  # Go
            held = re.search(
                r"(\w+)\s*(?:\[[^\]]*\])?\s*\)$",
                self.source(receiver.start_byte, receiver.end_byte),
            )
            owner = f"{held[1]}{self.joins}" if held else owner
        kind = self._kind(node, kind, owner)
        whole, comments = _outer(node), _comments_above(node)
        span = self.at(whole.start_byte), self.at(whole.end_byte)
        yield Symbol(
            f"{owner}{name}", kind, self._signature(node, whole), self._doc(comments), *span
        )
        for body in _bodies(node):
            for child in body.named_children:
                yield from self.symbols(child, f"{owner}{name}{self.joins}", depth + 1)

    def _plain(self, node: Any) -> str:
        """A name without type parameters."""
        return re.sub(
            r"\s+|<.*",
            "",
            self.source(node.start_byte, min(node.end_byte, node.start_byte + SHORT)),
        )

    def _kind(self, node: Any, kind: str, owner: str) -> str:
        if node.type == "type_spec":
            shape = node.child_by_field_name("type")
            return {"struct_type": "struct", "interface_type": "interface"}.get(
                shape.type if shape else "", kind
            )
        if node.type == "variable_declarator":
            return "class" if node.child_by_field_name("value").type == "class" else kind
        if kind == "function" and self.joins in self._name(node):  # defined outside of its class
            return "method"
        return (
            "method"
            if kind == "function"
            and owner
            and node.parent.type in MEMBERS - {"statement_block"}
            and (_owned(node))
            else kind
        )

    def _name(self, node: Any) -> str:
        """Empty for what declares nothing that can be asked for: variables, forward declarations."""
        if node.type == "variable_declarator":
            value = node.child_by_field_name("value")
            if value is None or value.type not in FUNCTIONS:
                return ""
        if node.type.endswith("_specifier") and node.child_by_field_name("body") is None:
            return ""
        named = node.child_by_field_name("name")
        if (
            named is None or node.type == "field_declaration"
        ):  # Go's and Rust's fields have names, and are no functions
            named = self._declared(node)
        return self._plain(named) if named is not None else ""

    def _declared(self, node: Any) -> Any:
        """C and C++: the name within the declarator, of a function or a type."""
        at = node.child_by_field_name("declarator")
        function = node.type == "type_definition"
        for _ in range(DEPTH):
            if at is None or at.type in (
                "identifier",
                "type_identifier",
                "field_identifier",
                "qualified_identifier",
                "destructor_name",
                "operator_name",
                "operator_cast",
            ):
                break
            function = function or at.type == "function_declarator"
            inner = at.child_by_field_name("declarator")
            at = (
                inner
                if inner is not None
                else next(
                    (
                        c
                        for c in at.named_children
                        if "declarator" in c.type or c.type.endswith("identifier")
                    ),
                    None,
                )
            )
        return at if function else None

    def _signature(self, node: Any, whole: Any) -> str:
        """The source up to the body, in one line."""
        end = whole.end_byte
        value = node.child_by_field_name("value") if node.type == "variable_declarator" else None
        shape = node.child_by_field_name("type") if node.type == "type_spec" else None
        for holder in (value, shape, node):
            if holder is None:
                continue
            body = holder.child_by_field_name("body")
            cut = body.start_byte if body is not None else end
            opening = next(
                (
                    c
                    for c in holder.children
                    if c.type in BODIES
                    and c.start_byte < cut
                    and not (c.type == "=>" and holder is node)
                ),
                None,
            )
            cut = opening.start_byte if opening is not None else cut
            if cut < end:
                end = cut
                break
        text = self.source(whole.start_byte, end)
        if len(text) > SHORT and end == whole.end_byte:
            text = text.split("\n")[0]
        return " ".join(text.split()).rstrip("{;:= ").rstrip()

    def _doc(self, comments: list[Any]) -> str:
        lines = [
            line
            for node in comments
            for line in self.source(node.start_byte, node.end_byte).splitlines()
            if not DIRECTIVES.match(line.strip())
        ]
        return "\n".join(MARKS.sub("", line).rstrip() for line in lines).strip()


def _bodies(node: Any) -> Iterator[Any]:
    """Where members stand: in the body, or in that of the type that a declaration names."""
    for holder in (
        node,
        node.child_by_field_name("type") if node.type == "type_spec" else None,
        node.child_by_field_name("value") if node.type == "variable_declarator" else None,
    ):
        if holder is None or holder.type in ("arrow_function", "function_expression"):
            continue
        for child in holder.named_children:
            if child.type in MEMBERS - {"statement_block"}:
                yield child
                yield from (c for c in child.named_children if c.type == "enum_body_declarations")


def _owned(node: Any) -> bool:
    """Whether a member belongs to a type, not to a namespace or module."""
    holder = node.parent.parent
    return holder is not None and holder.type not in (
        "namespace_definition",
        "mod_item",
        "internal_module",
        "module",
        "linkage_specification",
    )


def _outer(node: Any) -> Any:
    """The statement that exports, declares or parametrises only this declaration."""
    while (
        node.parent is not None
        and node.parent.type in STATEMENTS
        and (
            node.parent.type in ("export_statement", "template_declaration")
            or sum(child.type not in COMMENTS for child in node.parent.named_children) == 1
        )
    ):
        node = node.parent
    return node


def _with_comments(node: Any) -> list[Any]:
    """The comments and attributes directly above a node, and the node."""
    found = [node]
    before = node.prev_sibling
    above = COMMENTS | BETWEEN
    while (
        before is not None
        and before.type in above
        and _last_row(before) + 1 >= found[0].start_point[0]
    ):
        earlier = before.prev_sibling
        if (
            earlier is not None
            and _last_row(earlier) == before.start_point[0]
            and earlier.type not in above
        ):
            break  # it stands behind what is before it
        found.insert(0, before)
        before = earlier
    return found


def _comments_above(node: Any) -> list[Any]:
    return [at for at in _with_comments(_outer(node))[:-1] if at.type in COMMENTS]


def _last_row(node: Any) -> int:
    """Rust's line comments end at the start of the next line."""
    row, column = node.end_point
    return row - 1 if column == 0 and row > node.start_point[0] else row
