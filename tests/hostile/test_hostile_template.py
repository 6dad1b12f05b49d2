"""Chat templates that never end, grow without bound, or reach for what is not theirs. What ends them is counted, not
timed: the same template is refused on every machine. (tests/chat/test_template.py has the ways out of the sandbox.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from phoenix_forge.chat.template import ChatTemplate

HELLO = [{"role": "user", "content": "hello"}]
SPACE = "{% set n = namespace(x='ab', l=[1], d={}) %}{% for i in range(200) %}"
STEPS, SIZE = "does not come to an end within", "makes a value of more"
PRODUCT, WRITES = "makes a value of up to", "writes more"

HOSTILE: dict[str, tuple[str, str]] = {
    "a loop of 10^12": ("{% for i in range(10 ** 12) %}{% endfor %}", "raises to a power"),
    "a loop of 999999999999": ("{% for i in range(999999999999) %}{% endfor %}", "Range too big"),
    "loops in loops": (
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        STEPS,
    ),
    "loops that skip everything": (
        "{% for a in range(90000) %}{% for b in range(90000) if false %}{% endfor %}{% endfor %}",
        STEPS,
    ),
    "a macro that calls itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    "a macro that calls itself twice, 100 deep": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(100) }}",
        STEPS,
    ),
    "a loop that recurs": (
        "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
        "recursion",
    ),
    "a block that shows itself": ("{% block b %}{{ self.b() }}{% endblock %}", "recursion"),
    "text doubled with ~": (SPACE + "{% set n.x = n.x ~ n.x %}{% endfor %}", SIZE),
    "text doubled with +": (SPACE + "{% set n.x = n.x + n.x %}{% endfor %}", SIZE),
    "text doubled with *": (SPACE + "{% set n.x = n.x * 2 %}{% endfor %}", SIZE),
    "text grown by a filter": (
        SPACE + "{% set n.x = n.x | replace('a', 'aaaa') %}{% endfor %}",
        SIZE,
    ),
    "text grown by a method": (
        SPACE + "{% set n.x = n.x.replace('a', 'aaaa') %}{% endfor %}",
        PRODUCT,
    ),
    "text grown in a set block": (
        SPACE + "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        WRITES,
    ),
    "a list doubled with +": (SPACE + "{% set n.l = n.l + n.l %}{% endfor %}", SIZE),
    "a tree of itself": (SPACE + "{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}", SIZE),
    "a tree of dicts": (
        SPACE + "{% set n.d = {'a': n.d, 'b': n.d} %}{% endfor %}{{ n.d == n.d }}",
        SIZE,
    ),
    "a tree of namespaces": (
        SPACE + "{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
        SIZE,
    ),
    "a product of text": ("{{ 'a' * 9999999999 }}", PRODUCT),
    "a product of lists": ("{{ [0] * 9999999999 }}", PRODUCT),
    "a product from the right": ("{{ 9999999999 * 'a' }}", PRODUCT),
    "a power": ("{{ 9 ** 9 ** 9 }}", "raises to a power"),
    "a number squared": (
        "{% set n = namespace(x=7) %}" + "{% set n.x = n.x * n.x %}" * 40,
        PRODUCT,
    ),
    "a join of what is long": (
        "{% set s = 'a' * 100000 %}{{ range(9000) | map('string') | join(s) }}",
        PRODUCT,
    ),
    "copies by map": ("{{ range(90000) | map('replace', '', 'a' * 100) | list }}", SIZE),
    "a width": ("{{ 'a' | center(999999999) }}", "gives center a number above"),
    "a width by method": ("{{ 'a'.ljust(9999999999) }}", "gives ljust a number above"),
    "a width in %": ("{{ '%9999999999d' % 1 }}", "formats with a width"),
    "a width for %": ("{{ '%*d' % (999999999, 1) }}", "formats with a width"),
    "a width in format()": ("{{ '{:>9999999999}'.format(1) }}", "formats with a width"),
    "a width for format()": ("{{ '{:{}}'.format(1, 99999) }}", "formats with a width"),
    "a width in a filter": ("{{ '%9999999999d' | format(1) }}", "formats with a width"),
    "an indent": ("{{ [[1]] | tojson(indent=999999999) }}", "gives tojson a number above"),
    "many lines indented": ("{{ ('a\n' * 90000) | indent(90000) }}", PRODUCT),
    "much that is written": (
        "{% for i in range(90000) %}{{ messages[0].content * 999 }}{% endfor %}",
        WRITES,
    ),
    "much text of its own": ("{% for i in range(90000) %}" + "A" * 9999 + "{% endfor %}", WRITES),
    "words made up": ("{{ lipsum(n=99999) }}", "'lipsum' is undefined"),
    "the meter itself": ("{{ self[' meter'].work }}", "' meter'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_template_takes_for_ever(name: str, refused: Callable) -> None:
    source, words = HOSTILE[name]
    with refused(f"(?s)the chat template refused a conversation: .*{words}"):
        ChatTemplate(source).render(HELLO)


UNREADABLE = {
    "parentheses": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "ifs": "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "fors": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "sums": "{{ 1" + "+1" * 5_000 + " }}",
    "digits": "{{ " + "9" * 5_000 + " }}",
    "nots": "{{ " + "not " * 5_000 + "1 }}",
    "a filter for pages": "{{ 'a' | urlize }}",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_templates_that_cannot_be_read(name: str, refused: Callable) -> None:
    with refused("the chat template is not valid Jinja"):
        ChatTemplate(UNREADABLE[name])


def test_a_template_of_two_million_characters(refused: Callable) -> None:
    with refused("has 2,000,000 characters, at most 1,000,000 are read"):
        ChatTemplate("a" * 2_000_000)


def test_every_rendering_has_a_meter_of_its_own() -> None:
    template = ChatTemplate("{% for i in range(30000) %}{{ i % 10 }}{% endfor %}")
    assert {len(template.render(HELLO)) for _ in range(8)} == {30_000}


def test_long_conversations_are_no_attack() -> None:
    """200 turns of 2,000 characters, with a template that looks back from each turn to all before it."""
    turns = [
        {"role": role, "content": "x y\n" * 500}
        for _ in range(100)
        for role in ("user", "assistant")
    ]
    source = (
        "{% for m in messages %}{% if loop.index0 and (messages[:loop.index0] | selectattr('role', 'equalto', "
        "'user') | list | length) %}.{% endif %}{{ m.role + ': ' + (m.content | trim).split('\n')[-1] ~ '\n' }}"
        "{% endfor %}"
    )
    assert ChatTemplate(source).render(turns).count("\n") == 200


def test_what_templates_do_is_left_to_them() -> None:
    source = (
        "{%- macro tag(name, text='') -%}<{{ name }}>{{ text }}{%- endmacro -%}"
        "{%- set ns = namespace(n=0, seen=[]) -%}"
        "{%- for m in messages | rejectattr('role', 'equalto', 'tool') -%}"
        "{%- set ns.n = ns.n + 1 -%}{%- set ns.seen = ns.seen + [m['role']] -%}"
        "{{ tag(m.role, m.content.split('</think>')[-1].lstrip()) }}"
        "{%- if not loop.last %}|{% endif -%}{%- endfor -%}"
        "{{ '%s:%d' % (ns.seen | join('+'), ns.n) }}{{ '{} {:>3}'.format('a', 7) }}{{ ' ' * 2 ~ 3 }}"
        "{{ {'b': 1, 'a': [1, 2]} | tojson }}{{ {'b': 1, 'a': 2} | dictsort | map('first') | list }}"
        "{{ messages | map(attribute='role') | unique | join(',') }}{{ messages[-1:][0].role in ['user'] }}"
    )
    text = ChatTemplate(source).render(
        [
            {"role": "user", "content": "<think>no</think> yes"},
            {"role": "assistant", "content": " b "},
        ]
    )
    assert text == (
        "<user>yes|<assistant>b user+assistant:2a   7  3{\"b\": 1, \"a\": [1, 2]}['a', 'b']"
        "user,assistantFalse"
    )
