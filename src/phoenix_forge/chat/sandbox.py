"""Jinja for templates that nobody here wrote: no way out, and an end in bounded time and memory.

Jinja's own sandbox keeps a template away from Python's insides and from files. It does not bound what a template does
with what it has: `{% set x = x ~ x %}` in a loop asks for 2^100 characters, two loops in each other for a day. So a
meter goes along with each rendering. Whatever makes a value (a call, a filter, an operator, a literal) is checked by
the value's size, before it is made where that can multiply; each turn of a loop or macro, each such step and the sizes
it looks at are added up. All is counted and nothing timed, so a template is refused on every machine or on none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from types import BuiltinMethodType
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

METER = " meter"  # the variable that holds it: no template can write a name with a space
_SIZE = (
    1 << 23
)  # of a value, and of all that is written: a character counts 1, an element 32, a list or dict 512
_PRODUCT = 1 << 28  # of the sizes that one step may multiply
_WORK = (
    1 << 27
)  # of a rendering: a step counts 256, and the sizes it looks at an eighth; a second or two
_NUMBER = 100_000  # the largest whole number that a filter or method is given, such as a width
_MULTIPLYING = {
    "batch",
    "center",
    "expandtabs",
    "format",
    "indent",
    "join",
    "ljust",
    "replace",
    "rjust",
    "slice",
    "tojson",
    "truncate",
    "zfill",
}
# A field of % or str.format() with a width of four digits, or one that comes from elsewhere.
_WIDE = re.compile(r"%[^%a-zA-Z]*(\d{4}|\*)|\{[^{}]*(\d{4}|\{)")
_ABSENT = (
    "pprint",
    "striptags",
    "urlize",
    "wordwrap",
    "xmlattr",
)  # for web pages; their time is not their sizes'


def _size(value: Any) -> int:
    """What a value and all in it come to; SecurityError as soon as that is too much, however often it holds itself."""
    if type(value) is str and len(value) <= _SIZE:  # nearly always
        return len(value)
    total, left = 0, [value]
    while left:
        item = left.pop()
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, list | tuple | set | frozenset | range | dict):
            total += 512 + 32 * len(item)
        else:
            total += 1
        if total > _SIZE:
            raise SecurityError(f"it makes a value of more than {_SIZE:,} characters")
        if isinstance(item, dict):
            left += item.keys()
            left += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            left += item
        elif isinstance(item, Namespace):
            left.append(item._Namespace__attrs)
    return total


class Meter:
    """What one rendering has done so far. Methods raise SecurityError where it is more than any conversation needs."""

    def __init__(self) -> None:
        self.work = self.written = 0

    def step(self, *values: Any) -> None:
        """One step that looks at these values."""
        self.work += 256
        for value in values:
            self.work += _size(value) // 8
        if self.work > _WORK:
            raise SecurityError(f"it does not come to an end within {_WORK // 256:,} steps")

    def multiply(self, *values: Any) -> None:
        """Before a step whose result may be as large as the product of these."""
        product = 1
        for value in values:
            whole = isinstance(value, int) and not isinstance(value, bool)
            product *= max(1, abs(value) if whole else _size(value))
        if product > _PRODUCT:
            raise SecurityError(f"it makes a value of up to more than {_PRODUCT:,} characters")

    def write(self, count: int) -> None:
        self.written += count
        if self.written > _SIZE:
            raise SecurityError(f"it writes more than {_SIZE:,} characters")

    def before(self, name: str, *values: Any) -> None:
        """Before a filter or method of that name."""
        self.step(*values)
        if any(isinstance(value, int) and abs(value) > _NUMBER for value in values[1:]):
            raise SecurityError(f"it gives {name} a number above {_NUMBER:,}")
        if name in _MULTIPLYING:
            numbers = (
                [] if isinstance(values[0], int) else values[:1]
            )  # a number is as long as its digits
            self.multiply(*numbers, *values[1:])
        if name == "format" and isinstance(values[0], str) and _WIDE.search(values[0]):
            raise SecurityError(f"it formats with a width: {values[0]!r:.80}")

    def made(self, value: Any) -> Any:
        """The value, if it may be that large; what would be computed later is computed now."""
        if isinstance(value, Iterator):
            value = list(islice(value, _SIZE // 32 + 1))
        self.step(value)
        return value


# What Jinja gives a filter first, by how it is marked.
_PASSED: dict[str | None, Callable[[Context], tuple[Any, ...]]] = {
    None: lambda context: (),
    "context": lambda context: (context,),
    "eval_context": lambda context: (context.eval_ctx,),
    "environment": lambda context: (context.environment,),
}


def _metered(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter behind the meter. It takes the context, which also keeps Jinja from running it while it compiles."""
    lead = _PASSED[getattr(getattr(function, "jinja_pass_arg", None), "name", None)]

    @pass_context
    def call(context: Context, *values: Any, **named: Any) -> Any:
        meter = context[METER]
        meter.before(name, *values, *named.values())
        return meter.made(function(*lead(context), *values, **named))

    return call


@pass_context
def _tick(context: Context, written: int) -> None:
    context[METER].step()
    context[METER].write(written)


@pass_context
def _looked_at(context: Context, value: Any) -> Any:
    context[METER].step(value)
    return value


@pass_context
def _written(context: Context, value: Any) -> Any:
    context[METER].write(_size(value))
    return value


class _Marked(NodeTransformer):
    """Puts the meter where Jinja has no hook: into bodies, and around literals, `~`, comparisons and slices."""

    def visit_For(self, node: Any) -> nodes.Node:
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.body.insert(
            0,
            nodes.ExprStmt(
                _filter(nodes.Const(text, lineno=node.lineno), " tick"), lineno=node.lineno
            ),
        )
        return node

    visit_Macro = visit_CallBlock = visit_Block = visit_For

    def visit_Concat(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_List(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        constant = all(isinstance(item, nodes.Const) for item in node.items)
        return (
            node
            if constant or getattr(node, "ctx", "load") != "load"
            else _filter(node, " looked at")
        )

    visit_Tuple = visit_Dict = visit_List

    def visit_Compare(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.expr, nodes.Const):
            node.expr = _filter(node.expr, " looked at")
        return node

    visit_Operand = visit_Compare

    def visit_Getitem(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, " looked at") if isinstance(node.arg, nodes.Slice) else node


def _filter(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """Rendering takes a fresh Meter as the variable METER."""

    intercepted_binops = frozenset(("+", "*", "%", "**"))

    def __init__(self, **settings: Any) -> None:
        super().__init__(finalize=_written, **settings)
        del self.globals["lipsum"]
        self.filters = {
            name: _metered(name, function)
            for name, function in self.filters.items()
            if name not in _ABSENT
        } | {" tick": _tick, " looked at": _looked_at}

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        self.filters[name] = _metered(name, function)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Marked().visit(super()._parse(source, name, filename))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = context[METER]
        if operator == "**":
            raise SecurityError("it raises to a power")
        if operator == "%" and isinstance(left, str):
            meter.before("format", left, right)
        elif operator == "*":
            meter.multiply(left, right)
        return meter.made(super().call_binop(context, operator, left, right))

    def call(self, context: Context, function: Any, *values: Any, **named: Any) -> Any:
        meter = context[METER]
        if isinstance(function, BuiltinMethodType):
            meter.before(function.__name__, function.__self__, *values, *named.values())
        return meter.made(super().call(context, function, *values, **named))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """str.format, as the sandbox has it, without widths."""
        inner = super().wrap_str_format(value)
        if inner is None:
            return None

        @pass_context
        def call(context: Context, *values: Any, **named: Any) -> str:
            context[METER].before("format", value.__self__, *values, *named.values())
            return inner(*values, **named)

        return call
