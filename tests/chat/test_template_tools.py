"""Tools and thoughts in a user's own data: rendered as transformers does, trained where the assistant writes them,
and refused by name where a template leaves them out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_templates import LLAMA31_TOOLS, MISTRAL_TOOLS, QWEN3, QWEN3_TOOLS, TEXT_ARGUMENTS

from phoenix_forge.chat.encode import segments
from phoenix_forge.chat.template import THINKING, ChatTemplate
from phoenix_forge.errors import UsageError
from phoenix_forge.examples.formats import conversation, problems
from phoenix_forge.weights.tiny import CHAT_TEMPLATE

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TOOL = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "High & low <water>",
        "parameters": {
            "type": "object",
            "properties": {"port": {"type": "string"}},
            "required": ["port"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
USER = {"role": "user", "content": "When is high water in Cuxhaven?"}
RESULT = {
    "role": "tool",
    "name": "tide",
    "tool_call_id": "a1b2c3d4e",
    "content": '{"high": "14:10"}',
}
ANSWER = {"role": "assistant", "content": "At 14:10."}


def call(name: str = "tide", identity: str = "a1b2c3d4e", **arguments: Any) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


CALL = {"role": "assistant", "content": None, "tool_calls": [call(port="Büsum & Cuxhaven")]}
ASKED = {
    "tools": [TOOL],
    "messages": [{"role": "system", "content": "Be brief."}, USER, CALL, RESULT, ANSWER],
}
TWICE = {
    "tools": [TOOL, CLOCK],
    "messages": [
        USER,
        CALL,
        RESULT,
        ANSWER,
        {"role": "user", "content": "And now?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("clock", "000000001"), call("tide", "000000002")],
        },
        {"role": "tool", "tool_call_id": "000000001", "content": "15:00"},
        {"role": "tool", "tool_call_id": "000000002", "content": "low\n"},
        {"role": "assistant", "content": "It falls.\n"},
    ],
}
BESIDE = {"tools": [TOOL], "messages": [USER, CALL | {"content": "I look it up."}, RESULT, ANSWER]}
TEMPLATES = {
    "qwen3": (QWEN3_TOOLS, "<|im_end|>"),
    "llama 3.1": (LLAMA31_TOOLS, "<|eot_id|>"),
    "mistral": (MISTRAL_TOOLS, "</s>"),
}


def template(name: str) -> ChatTemplate:
    return ChatTemplate(TEMPLATES[name][0], SPECIAL, name=name)


def by_transformers(source: str, record: dict[str, Any], **asked: Any) -> str:
    pytest.importorskip("transformers")
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [
        {key: value for key, value in turn.items() if value is not None}
        for turn in record["messages"]
    ]
    rendered, _ = render_jinja_template(
        [messages],
        tools=record.get("tools"),
        documents=record.get("documents"),
        chat_template=source,
        **asked,
        **SPECIAL,
    )
    return rendered[0]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("qwen3", ASKED),
        ("qwen3", TWICE),
        ("qwen3", BESIDE),
        ("llama 3.1", ASKED),
        ("mistral", ASKED),
        ("mistral", TWICE),
    ],
)
def test_rendered_as_transformers_renders_it(name, record):
    own, messages = template(name), conversation(record)
    assert not problems(messages)
    assert own.render(messages) == by_transformers(own.source, record)
    for cut in (i for i, turn in enumerate(record["messages"]) if turn["role"] == "assistant"):
        before = {**record, "messages": record["messages"][:cut]}
        expected = by_transformers(
            own.source, before, add_generation_prompt=True, enable_thinking=False
        )
        assert own.render(messages[:cut], prompt=True) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0] | tojson }}",
        "{{ messages | tojson(indent=2) }}",
        "{{ messages | tojson(sort_keys=true) }}",
        "{{ messages[0] | tojson(separators=(',', ':')) }}",
        "{{ messages[0] | tojson(true) }}",
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
        "{{ documents is none }}{{ tools is none }}{{ add_generation_prompt }}",
        "{{ strftime_now('%Y') }}",
        "{% for m in messages %}{% generation %}\n  {{- m.content }}{% endgeneration %}{% endfor %}",
    ],
)
def test_what_transformers_adds_to_jinja(source):
    turns = [{"role": "user", "content": "Größe <b> & 'q'"}, {"role": "assistant", "content": "a"}]
    assert ChatTemplate(source, SPECIAL).render(turns) == by_transformers(
        source, {"messages": turns}
    )


def trained(source: ChatTemplate, record: dict[str, Any], stop: str) -> list[str]:
    return [cut.text for cut in segments(source, conversation(record), stop) if cut.trained]


CALLED = {
    "qwen3": '<tool_call>\n{"name": "tide", "arguments": {"port": "Büsum & Cuxhaven"}}\n</tool_call><|im_end|>',
    "llama 3.1": '{"name": "tide", "parameters": {"port": "Büsum & Cuxhaven"}}<|eot_id|>',
    "mistral": '[TOOL_CALLS] [{"name": "tide", "arguments": {"port": "Büsum & Cuxhaven"}, "id": '
    '"a1b2c3d4e"}]</s>',
}


@pytest.mark.parametrize(
    "record", [ASKED, {**ASKED, "messages": ASKED["messages"][1:]}], ids=["system", "none"]
)
@pytest.mark.parametrize("name", TEMPLATES)
def test_calls_and_answers_are_trained_and_results_are_context(name, record):
    stop = TEMPLATES[name][1]
    found = trained(template(name), record, stop)
    assert [text.strip() for text in found] == [CALLED[name], ANSWER["content"] + stop]
    whole = "".join(cut.text for cut in segments(template(name), conversation(record), stop))
    assert "14:10" in whole
    assert "description" in whole


def test_hermes_text_is_trained_as_it_stands():
    asked = "<tool_call>\n" + json.dumps({"name": "tide", "arguments": {}}) + "\n</tool_call>"
    record = {
        "conversations": [
            {
                "from": "system",
                "value": "You call functions.\n<tools>\n" + json.dumps(TOOL) + "\n</tools>",
            },
            {"from": "human", "value": USER["content"]},
            {"from": "gpt", "value": asked},
            {"from": "tool", "value": "<tool_response>\n14:10\n</tool_response>"},
            {"from": "gpt", "value": "At 14:10."},
        ]
    }
    assert not problems(conversation(record))
    cuts = segments(template("qwen3"), conversation(record), "<|im_end|>")
    assert [cut.text for cut in cuts if cut.trained] == [
        asked + "<|im_end|>",
        "At 14:10.<|im_end|>",
    ]
    assert "".join(cut.text for cut in cuts).count("<tool_response>") == 1


def test_several_calls_rounds_and_questions():
    found = trained(template("qwen3"), TWICE, "<|im_end|>")
    assert len(found) == 4
    assert found[2].count("<tool_call>") == 2
    assert found[3] == "It falls.\n<|im_end|>"
    assert (
        trained(template("qwen3"), BESIDE, "<|im_end|>")[0] == "I look it up.\n" + CALLED["qwen3"]
    )


def test_a_call_of_weight_0_is_context():
    record = {
        **ASKED,
        "messages": [turn | {"weight": 0} if turn is CALL else turn for turn in ASKED["messages"]],
    }
    assert trained(template("qwen3"), record, "<|im_end|>") == ["At 14:10.<|im_end|>"]


@pytest.mark.parametrize(
    "answer",
    [
        {"reasoning_content": "High water is at 14:10."},
        {"thinking": "High water is at 14:10."},
        {"content": "<think>\nHigh water is at 14:10.\n</think>\n\nAt 14:10."},
    ],
)
def test_thoughts_are_trained_behind_a_prompt_that_asks_for_them(answer):
    record = {"messages": [USER, ANSWER | answer]}
    cuts = segments(template("qwen3").thinking(), conversation(record), "<|im_end|>")
    assert cuts[0].text.endswith("<|im_start|>assistant\n")
    assert cuts[1].text == "<think>\nHigh water is at 14:10.\n</think>\n\nAt 14:10.<|im_end|>"
    assert "".join(cut.text for cut in cuts) == by_transformers(QWEN3_TOOLS, record)


def test_thoughts_of_earlier_turns_go_as_the_template_has_it():
    first, last = (
        ANSWER | {"reasoning_content": "I look."},
        ANSWER | {"reasoning_content": "I look again."},
    )
    record = {
        "tools": [TOOL],
        "messages": [USER, first, USER, CALL | {"thinking": "I ask."}, RESULT, last],
    }
    cuts = segments(template("qwen3").thinking(), conversation(record), "<|im_end|>")
    assert "".join(cut.text for cut in cuts) == by_transformers(QWEN3_TOOLS, record)
    assert [cut.text for cut in cuts if cut.trained] == [
        "<think>\nI ask.\n</think>\n\n" + CALLED["qwen3"],
        "<think>\nI look again.\n</think>\n\nAt 14:10.<|im_end|>",
    ]


def test_a_template_that_asks_for_thoughts_does_so_wherever_it_is_rendered():
    asking = template("qwen3").thinking()
    assert asking.thinks
    assert asking.thinking() is asking
    assert (
        by_transformers(
            asking.source, {"messages": [USER]}, add_generation_prompt=True, enable_thinking=False
        )
        == asking.render([USER], prompt=True)
        == "<|im_start|>user\n" + USER["content"] + "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ChatTemplate(CHAT_TEMPLATE).thinking().source == CHAT_TEMPLATE  # it knows of no thoughts
    assert asking.source == THINKING + QWEN3_TOOLS


@pytest.mark.parametrize(
    ("source", "record", "named"),
    [
        (CHAT_TEMPLATE, ASKED, "tool calls"),
        (CHAT_TEMPLATE, {"tools": [TOOL], "messages": [USER, ANSWER]}, "`tools`"),
        (CHAT_TEMPLATE, {"messages": [USER, ANSWER | {"thinking": "Hm."}]}, "an answer's thoughts"),
        (
            QWEN3_TOOLS,
            {"documents": [{"title": "t", "text": "x"}], "messages": [USER, ANSWER]},
            "`documents`",
        ),
        (LLAMA31_TOOLS, BESIDE, "what an answer says beside its tool calls"),
        (LLAMA31_TOOLS, TWICE, "single tool-calls only"),
        (QWEN3, {"messages": [USER, CALL, RESULT, ANSWER]}, "tool calls"),
        (
            "{% for m in messages if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{{ m.content }}"
            "{{ m.tool_calls | default('') }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            {"messages": [USER, CALL, RESULT, ANSWER]},
            "tool results",
        ),
        (
            QWEN3_TOOLS.replace("</tool_call>' }}", "</tool_call><|call|>' }}").replace(
                "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == 'tool'",
                "{{- '<|im_end|>\\n' if not message.tool_calls }}\n    {%- elif message.role == 'tool'",
            ),
            {"tools": [TOOL], "messages": [USER, CALL, RESULT, ANSWER]},
            "does not end a turn of tool calls with",
        ),
        (
            MISTRAL_TOOLS,
            {
                "tools": [TOOL],
                "messages": [USER, CALL | {"tool_calls": [call(identity="1")]}, RESULT, ANSWER],
            },
            "length 9",
        ),
    ],
)
def test_what_a_template_leaves_out_or_refuses_is_refused_by_name(source, record, named):
    stop = next((end for text, end in TEMPLATES.values() if text == source), "<|im_end|>")
    with pytest.raises(UsageError, match="the chat template of this-base") as caught:
        segments(ChatTemplate(source, SPECIAL, name="this-base"), conversation(record), stop)
    assert named in caught.value.message
    assert "--set model.base=" in caught.value.fix


def test_documents_where_a_template_has_them():
    source = "{% for d in documents or [] %}{{ d.text }}\n{% endfor %}" + CHAT_TEMPLATE
    record = {"documents": [{"title": "t", "text": "The tide table."}], "messages": [USER, ANSWER]}
    assert ChatTemplate(source).render(conversation(record)) == by_transformers(source, record)
    assert trained(ChatTemplate(source), record, "<|im_end|>") == ["At 14:10.<|im_end|>"]


def test_a_template_that_wants_arguments_as_text_gets_them():
    record = {
        **ASKED,
        "messages": [
            turn
            if turn is not CALL
            else {
                **CALL,
                "tool_calls": [
                    {
                        **call(),
                        "function": {"name": "tide", "arguments": '{"port": "Büsum & Cuxhaven"}'},
                    }
                ],
            }
            for turn in ASKED["messages"]
        ],
    }
    assert ChatTemplate(TEXT_ARGUMENTS).render(conversation(record)) == by_transformers(
        TEXT_ARGUMENTS, record
    )
    assert (
        conversation(record)[2:] == conversation(ASKED)[2:]
    )  # one meaning, whichever way it was written


def test_a_template_of_its_own_for_tools(tmp_path):
    (tmp_path / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (tmp_path / "chat_templates").mkdir()
    (tmp_path / "chat_templates" / "tool_use.jinja").write_text(QWEN3_TOOLS)
    for config in ({}, {"chat_template": [{"name": "default", "template": "not this"}]}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        loaded = ChatTemplate.load(tmp_path)
        assert loaded.render(conversation(ASKED)) == by_transformers(QWEN3_TOOLS, ASKED)
        assert loaded.render([USER]) == ChatTemplate(CHAT_TEMPLATE).render([USER])
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(UsageError, match="only one for tool_use"):
        ChatTemplate.load(tmp_path)


def test_an_adapter_brings_what_its_training_fixed(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "chat_template.jinja").write_text(QWEN3)
    assert ChatTemplate.load(base, adapter).source == QWEN3
    (adapter / "chat_template.jinja").write_text(THINKING + QWEN3)
    assert ChatTemplate.load(base, adapter).thinks


def test_results_in_hermes_marks_are_not_marked_twice():
    wrapped = RESULT | {"content": "<tool_response>\n" + RESULT["content"] + "\n</tool_response>"}
    record = {
        **ASKED,
        "messages": [turn if turn is not RESULT else wrapped for turn in ASKED["messages"]],
    }
    assert template("qwen3").render(conversation(record)) == template("qwen3").render(
        conversation(ASKED)
    )
    record["messages"] = record["messages"][1:]
    assert template("mistral").render(conversation(record)) == by_transformers(
        MISTRAL_TOOLS, record
    )
