"""Tool calls in what a model wrote: read by the syntax of its own template, all else left as text."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from chat_templates import LLAMA31_TOOLS, MISTRAL_TOOLS, QWEN3, QWEN3_TOOLS, TEXT_ARGUMENTS
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.chat.calls import SYNTAXES, Call, Hearing, spoken
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.errors import UsageError
from phoenix_forge.weights.tiny import CHAT_TEMPLATE

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def writing(call: str) -> str:
    """A template with tools whose calls are written so."""
    return (
        "{{ tools }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{% set f = c.function %}" + call + "{% endfor %}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )


ELEMENTS = (
    "<{0}tool_call>\n<function={{{{ f.name }}}}>\n{{% for k, v in f.arguments.items() %}}"
    "<parameter={{{{ k }}}}>\n{{{{ v if v is string else v | tojson }}}}\n</parameter>\n{{% endfor %}}"
    "</function>\n</{0}tool_call>"
)
GLM = (
    "\n<tool_call>{{ f.name }}\n{% for k, v in f.arguments.items() %}<arg_key>{{ k }}</arg_key>\n"
    "<arg_value>{{ v if v is string else v | tojson }}</arg_value>\n{% endfor %}</tool_call>"
)
MINIMAX = (
    '{% if loop.first %}<minimax:tool_call>\n{% endif %}<invoke name="{{ f.name }}">\n{% for k, v in f.arguments.items() %}'
    '<parameter name="{{ k }}">{{ v if v is string else v | tojson }}</parameter>\n{% endfor %}</invoke>\n'
    "{% if loop.last %}</minimax:tool_call>{% endif %}"
)
KIMI = (
    "{% if loop.first %}<|tool_calls_section_begin|>{% endif %}<|tool_call_begin|>{{ c.id }}<|tool_call_argument_begin|>"
    "{{ f.arguments | tojson }}<|tool_call_end|>{% if loop.last %}<|tool_calls_section_end|>{% endif %}"
)
DEEPSEEK = (
    "{% if loop.first %}<｜tool▁calls▁begin｜>{% endif %}<｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>"
    "{{ f.arguments | tojson }}<｜tool▁call▁end｜>{% if loop.last %}<｜tool▁calls▁end｜>{% endif %}"
)
VALUE = (
    "{% macro w(v) %}{% if v is string %}QvQ{% elif v is mapping %}{{ '{' }}{% for k, i in v.items() %}{{ k }}:"
    "{{ w(i) }}{{ ',' if not loop.last }}{% endfor %}{{ '}' }}{% elif v is iterable %}[{% for i in v %}{{ w(i) }}"
    "{{ ',' if not loop.last }}{% endfor %}]{% else %}{{ v | tojson }}{% endif %}{% endmacro %}"
)


def notation(quote: str, before: str, behind: str) -> str:
    value = VALUE.replace("QvQ", quote + "{{ v }}" + quote)
    return value + before + "call:{{ f.name }}{{ w(f.arguments) }}" + behind


TEMPLATES = {
    "Hermes, Qwen 2.5 and 3, Granite 4": QWEN3_TOOLS,
    "Llama 3": LLAMA31_TOOLS,
    "Mistral to Nemo": MISTRAL_TOOLS,
    "Mistral Small 3.2, Ministral 3": writing(
        "[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}"
    ),
    "Qwen 3 Coder, Qwen 3.5, Nemotron 3": writing(ELEMENTS.format("")),
    "Seed-OSS": writing(ELEMENTS.format("seed:")),
    "GLM 4.5 to 4.7": writing(GLM),
    "MiniMax M2": writing(MINIMAX),
    "Kimi K2": writing(KIMI),
    "DeepSeek 3.1": writing(DEEPSEEK),
    "Gemma 4": writing(notation('<|"|>', "<|tool_call>", "<tool_call|>")),
    "FunctionGemma": writing(notation("<escape>", "<start_function_call>", "<end_function_call>")),
}
TOOLS = {
    "tide": {
        "name": "tide",
        "parameters": {
            "type": "object",
            "properties": {
                "port": {"type": "string"},
                "days": {"type": "integer"},
                "at": {"type": "array"},
            },
        },
    },
    "clock": {"name": "clock"},
}
ARGUMENTS: list[dict[str, Any]] = [
    {"port": 'Büsum "&" <b>\n{x}', "days": 12345678901234567890123, "at": [1.5, None, {"a": True}]},
    {"port": '</tool_call> {"name": "clock", "arguments": {}}'},
    {},
]


def written(template: ChatTemplate, *calls: Call) -> str:
    """How the template writes an answer with these calls."""
    identity = spoken(template).syntax.identity or "123456789"
    tools = [{"type": "function", "function": tool} for tool in TOOLS.values()]
    asked = {"role": "user", "content": "Q", "tools": tools}
    answer = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": identity.format(name=call.name, number=number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(calls)
        ],
    }
    prompt, told = template.render([asked], prompt=True), template.render([asked, answer])
    assert told.startswith(prompt)
    return re.sub(r"(<\|im_end\|>|<\|eot_id\|>|</s>)\n?$", "", told.removeprefix(prompt))


def test_every_syntax_has_its_template() -> None:
    assert list(TEMPLATES) == [syntax.models for syntax in SYNTAXES]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_known_by_what_it_writes_and_its_calls_are_read_again(name: str) -> None:
    template = ChatTemplate(TEMPLATES[name], SPECIAL)
    syntax = spoken(template).syntax
    assert syntax.models == name
    for arguments in ARGUMENTS:
        calls = [Call("tide", arguments)]
        assert syntax.calls(written(template, *calls), TOOLS) == ("", calls)
        if not syntax.first:  # Llama's template writes one call
            both = [*calls, Call("clock", {})]
            assert syntax.calls("I look.\n" + written(template, *both) + " \n", TOOLS) == (
                "I look.",
                both,
            )


def test_what_stands_behind_and_between_calls_is_the_templates() -> None:
    known = {
        name: spoken(ChatTemplate(TEMPLATES[name], SPECIAL))
        for name in ("Hermes, Qwen 2.5 and 3, Granite 4", "Llama 3", "Mistral to Nemo", "Kimi K2")
    }
    assert {name: (made.ending, made.between) for name, made in known.items()} == {
        "Hermes, Qwen 2.5 and 3, Granite 4": ("\n</tool_call>", "\n</tool_call>\n<tool_call>\n"),
        "Llama 3": ("", None),
        "Mistral to Nemo": ("", None),
        "Kimi K2": (
            "<|tool_call_end|><|tool_calls_section_end|>",
            "<|tool_call_end|><|tool_call_begin|>functions.probe_of_calls:0<|tool_call_argument_begin|>",
        ),
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_where_an_answer_has_to_call_its_beginning_is_the_templates(name: str) -> None:
    template = ChatTemplate(TEMPLATES[name], SPECIAL)
    known = spoken(template)
    assert written(template, Call("tide", {"port": "x"})).startswith(known.beginning_of("tide"))
    assert known.beginning_of("tide").startswith(known.unnamed)
    assert known.names_first == ("tide" in known.beginning_of("tide"))


HERMES, LLAMA, MISTRAL, ARGS, ELEMENT, _, GLM_ROW, MINIMAX_ROW, KIMI_ROW, DEEPSEEK_ROW, GEMMA, _ = (
    SYNTAXES
)
CALL = '{"name": "tide", "arguments": {"port": "x"}}'
TIDE, CLOCK = Call("tide", {"port": "x"}), Call("clock", {})


@pytest.mark.parametrize(
    ("syntax", "text", "said", "calls"),
    [
        (HERMES, f"<tool_call>\n{CALL}", "", [TIDE]),  # ended without the last tag
        (
            HERMES,
            f"A <tool_call>{CALL}</tool_call>\nB\n<tool_call>\n{CALL}\n</tool_call>\n",
            "A\nB",
            [TIDE, TIDE],
        ),
        (
            HERMES,
            f"<tool_call>{{broken</tool_call>\n<tool_call>{CALL}</tool_call>",
            "<tool_call>{broken</tool_call>",
            [TIDE],
        ),
        (
            LLAMA,
            '{"name": "tide", "parameters": {"port": "x"}}; {"name": "clock", "parameters": {}}',
            "",
            [TIDE, CLOCK],
        ),
        (
            LLAMA,
            ' <|python_tag|>{"type": "function", "name": "clock", "parameters": {}}',
            "",
            [CLOCK],
        ),
        (MISTRAL, f"[TOOL_CALLS] [{CALL}, {CALL}]", "", [TIDE, TIDE]),
        (
            ARGS,
            '[TOOL_CALLS]tide[CALL_ID]abc[ARGS] {"port": "x"}[TOOL_CALLS]clock[ARGS]{}',
            "",
            [TIDE, CLOCK],
        ),
        (
            ELEMENT,
            "<tool_call><function=tide><parameter=days>3</parameter><parameter=port>3</parameter></function>",
            "",
            [Call("tide", {"days": 3, "port": "3"})],
        ),
        (  # 4.7 writes no line ends
            GLM_ROW,
            "A<tool_call>tide<arg_key>days</arg_key><arg_value>3</arg_value><arg_key>port</arg_key><arg_value>3</arg_value>"
            "</tool_call><tool_call>clock</tool_call>",
            "A",
            [Call("tide", {"days": 3, "port": "3"}), Call("clock", {})],
        ),
        (
            MINIMAX_ROW,
            '<minimax:tool_call>\n<invoke name="tide">\n<parameter name="port"> x\n</parameter>\n</invoke>\n<invoke '
            'name="clock">\n</invoke>\n</minimax:tool_call>',
            "",
            [Call("tide", {"port": " x\n"}), Call("clock", {})],
        ),
        (
            KIMI_ROW,
            'A<|tool_calls_section_begin|><|tool_call_begin|>functions.tide:3<|tool_call_argument_begin|>{"port": "x"}'
            "<|tool_call_end|><|tool_call_begin|>clock:4<|tool_call_argument_begin|>{}<|tool_call_end|>"
            "<|tool_calls_section_end|>",
            "A",
            [TIDE, CLOCK],
        ),
        (DEEPSEEK_ROW, '<｜tool▁call▁begin｜>tide<｜tool▁sep｜>{"port": "x"}', "", [TIDE]),
        (
            GEMMA,
            '<|tool_call>call:tide{at:[1.5,null,{a:true,b:[],c:{}}], port:<|"|>a:{<|"|>,<|"|>day<|"|>:-3}<tool_call|>',
            "",
            [
                Call(
                    "tide",
                    {"at": [1.5, None, {"a": True, "b": [], "c": {}}], "port": "a:{", "day": -3},
                )
            ],
        ),
    ],
)
def test_as_models_write(syntax: Any, text: str, said: str, calls: list[Call]) -> None:
    assert syntax.calls(text, TOOLS) == (said, calls)


NESTED = '{"name": "tide", "arguments": ' + '{"a": ' * 100_000


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        (HERMES, CALL),
        (HERMES, f"```json\n{CALL}\n```"),
        (HERMES, '<tool_call>\n{"name": "tide", "argum'),
        (HERMES, f"<tool_call>{CALL.replace('tide', 'other')}</tool_call>"),
        (HERMES, f"<tool_call>[{CALL}]</tool_call>"),
        (HERMES, '<tool_call>{"name": "tide"}'),
        (HERMES, '<tool_call>{"name": 3, "arguments": {}}</tool_call>'),
        (HERMES, '<tool_call>{"name": "tide", "arguments": "x"}</tool_call>'),
        (HERMES, '<tool_call>{"name": "tide", "arguments": {"days": 1e999}}'),
        (HERMES, f"<tool_call>{NESTED}"),
        (HERMES, '<tool_call>{"name": "tide", "arguments": {"days": NaN}}'),
        (HERMES, '<tool_call>{"name": "tide", "arguments": {"port": "\\ud800"}}'),
        (HERMES, '<tool_call>{"name": "tide", "arguments": {"days": ' + "9" * 10_000 + "}}"),
        (
            HERMES,
            f'<tool_call>{{"name": "other", "arguments": {{"x": "<tool_call>{json.dumps(CALL)[1:-1]}"}}}}',
        ),
        (LLAMA, f"So: {CALL.replace('arguments', 'parameters')}"),
        (LLAMA, '{"name": "Ada", "parameters": {}}'),
        (LLAMA, '<|python_tag|>tide.call(port="x")'),
        (MISTRAL, "[TOOL_CALLS] []"),
        (MISTRAL, "[TOOL_CALLS] [{}, 3]"),
        (ARGS, "[TOOL_CALLS]tide{}"),
        (ARGS, "[TOOL_CALLS]tide[ARGS]3"),
        (ELEMENT, "<tool_call>\n<function=tide>\n"),
        (ELEMENT, "<tool_call>\n<function=tide>\n<parameter=port>x</function>\n</tool_call>"),
        (GLM_ROW, "<tool_call>tide<arg_key>port</arg_key><arg_value>x</tool_call>"),
        (GLM_ROW, "<tool_call>tide is high</tool_call>"),
        (MINIMAX_ROW, '<minimax:tool_call><invoke name="tide"><parameter name="port">x</invoke>'),
        (KIMI_ROW, "<|tool_call_begin|>functions.tide:0<|tool_call_argument_begin|>[]"),
        (GEMMA, '<|tool_call>call:tide{port:<|"|>x}<tool_call|>'),
        (GEMMA, "<|tool_call>call:tide{port:}"),
        (GEMMA, "<|tool_call>call:tide" + "{a:" * 100_000),
    ],
)
def test_what_is_no_call_of_an_offered_tool_stays_text(syntax: Any, text: str) -> None:
    assert syntax.calls(text, TOOLS) == (text, [])


WORDS = st.lists(
    st.sampled_from(
        [
            "a",
            " ",
            "\n",
            "{",
            "}",
            "<",
            "<tool_call>",
            "</tool_call>",
            CALL,
            "[TOOL_CALLS]",
            "[",
            "]",
            "<|python_tag|>",
            '{"name": "clock", "parameters": {}}',
            ";",
            "[ARGS]",
            "tide",
            "<function=tide>",
            "</function>",
            "<too",
            "<|tool_call>",
            "call:tide{port:",
            '<|"|>',
            "<invoke ",
            'name="clock">',
            "</invoke>",
        ]
    ),
    max_size=8,
).map("".join)


@given(text=WORDS, cuts=st.lists(st.integers(0, 60), max_size=6), syntax=st.sampled_from(SYNTAXES))
def test_however_an_answer_is_cut_into_pieces_it_says_the_same(
    text: str, cuts: list[int], syntax: Any
) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    hearing = Hearing(syntax, TOOLS)
    told = [hearing.add(text[start:end]) for start, end in pairwise(places)]
    rest, calls = hearing.end()
    assert ("".join(told) + rest, calls) == syntax.calls(text, TOOLS)


def test_what_no_call_can_begin_in_is_told_at_once() -> None:
    hearing = Hearing(HERMES, TOOLS)
    assert [
        hearing.add(piece) for piece in ("I look", ". \n", "<tool", " no", "<tool_call>", CALL)
    ] == ["I look", ".", "", " \n<tool no", "", ""]
    assert hearing.end() == ("", [TIDE])
    assert Hearing(LLAMA, TOOLS).add("The tide") == "The tide"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (CHAT_TEMPLATE, "has no place for tools"),
        (QWEN3, "has no place for tools"),
        (
            "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}",
            "has no place for tool calls",
        ),
        (QWEN3_TOOLS.replace("message.role == 'tool'", "false"), "has no place for tool results"),
        (TEXT_ARGUMENTS, "in a syntax that is not read: 'probe_of_calls"),
        ("{{ raise_exception('no') if tools }}", "refused a conversation: no"),
    ],
)
def test_templates_without_a_place_for_tools_are_refused_by_name(source: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"the chat template of this-model .*{words}"):
        spoken(ChatTemplate(source, SPECIAL, name="this-model"))
