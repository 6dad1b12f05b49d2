"""Chat templates come from downloads: rendered in a sandbox, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.errors import UsageError
from phoenix_forge.weights.tiny import CHAT_TEMPLATE

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['datetime'] }}",
        "{{ strftime_now.__closure__ }}{{ strftime_now.__code__.co_consts }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
        "{{ ('' | attr('__class__')).mro() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{% for x in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_no_way_out_of_the_sandbox(source):
    with pytest.raises(UsageError, match="refused a conversation") as caught:
        ChatTemplate(source).render(HELLO)
    assert caught.value.fix
    assert HELLO == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    "source", ["{% include 'secrets' %}", "{% import '/etc/passwd' as x %}{{ x }}"]
)
def test_a_template_reads_no_files(source):
    with pytest.raises(UsageError):
        ChatTemplate(source).render(HELLO)


@pytest.mark.parametrize("source", ["{% for %}", "{{ messages", "{% unknown %}"])
def test_broken_jinja(source):
    with pytest.raises(UsageError, match="not valid Jinja") as caught:
        ChatTemplate(source)
    assert caught.value.fix


@pytest.mark.parametrize(
    "source", ["{{ messages[0]['content'] + 1 }}", "{{ 1 / 0 }}", "{{ messages[9].role.x }}"]
)
def test_a_template_that_fails_is_no_bug_of_ours(source):
    with pytest.raises(UsageError, match="refused a conversation"):
        ChatTemplate(source).render(HELLO)


def test_a_templates_own_refusal_is_told():
    template = ChatTemplate(
        "{% if messages[0].role != 'user' %}{{ raise_exception('no system turns') }}{% endif %}"
    )
    assert template.render(HELLO) == ""
    with pytest.raises(UsageError, match=r"no system turns.*'system'"):
        template.render([{"role": "system", "content": "x"}])


def test_what_templates_may_use():
    source = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ bos_token }}{{ m | tojson }}"
        "{% endfor %}{{ strftime_now('%Y') | length }}"
    )
    assert (
        ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO * 2)
        == '<s>{"role": "user", "content": "hello"}4'
    )


def test_marks_around_what_is_generated_are_read_over():
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{%- generation -%}{{ m.content }}!"
        "{%- endgeneration -%}{% else %}[{{ m.content }}]{% endif %}{% endfor %}"
    )
    asked = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]
    assert ChatTemplate(source).render(asked) == "[hello]yes!"
    with pytest.raises(UsageError, match="not valid Jinja"):
        ChatTemplate("{% generation %}{{ messages[0].content }}")


SYSTEM = "{% if messages[0].role != 'system' %}[S]Be kind.[/S]{% endif %}"
TURNS = "{% for m in messages %}[{{ m.role[0] | upper }}]{{ m.content }}[/{{ m.role[0] | upper }}]{% endfor %}"


@pytest.mark.parametrize(
    ("source", "default"),
    [
        (CHAT_TEMPLATE, "You are a small test model."),
        (SYSTEM + TURNS, "Be kind."),
        (TURNS, None),
        ("<s>" + TURNS, None),
        ("<s>" + SYSTEM + TURNS, "Be kind."),
    ],
)
def test_the_default_system_prompt(source, default):
    assert ChatTemplate(source).default_system == default


@pytest.mark.parametrize(
    "source",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}",
        "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}",
    ],
    ids=["refuses", "ignores"],
)
def test_a_template_without_system_turns_has_no_default(source):
    assert ChatTemplate(source).default_system is None


def folder(path: Path, config: object = None, jinja: str | None = None) -> Path:
    if config is not None:
        (path / "tokenizer_config.json").write_text(
            config if isinstance(config, str) else json.dumps(config)
        )
    if jinja is not None:
        (path / "chat_template.jinja").write_text(jinja)
    return path


@pytest.mark.parametrize(
    ("config", "jinja", "source"),
    [
        ({"chat_template": "A"}, "B", "B"),
        ({"chat_template": "A"}, None, "A"),
        ({}, "B", "B"),
        (None, "B", "B"),
        (
            {
                "chat_template": [
                    {"name": "tool_use", "template": "T"},
                    {"name": "default", "template": "D"},
                ]
            },
            None,
            "D",
        ),
    ],
)
def test_where_a_template_is_found(tmp_path, config, jinja, source):
    assert ChatTemplate.load(folder(tmp_path, config, jinja)).source == source


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"chat_template": ""},
        {"chat_template": [{"name": "rag"}]},
        {"chat_template": None},
        "{",
        "[]",
        {"chat_template": 5},
    ],
)
def test_a_folder_without_a_usable_template(tmp_path, config):
    with pytest.raises(UsageError) as caught:
        ChatTemplate.load(folder(tmp_path, config))
    assert str(tmp_path) in caught.value.message
    assert caught.value.fix


def test_special_tokens_come_as_text_or_as_objects(tmp_path):
    config = {
        "chat_template": "{{ bos_token }}|{{ eos_token }}",
        "bos_token": {"content": "<s>"},
        "eos_token": None,
    }
    assert ChatTemplate.load(folder(tmp_path, config)).render(HELLO) == "<s>|"
