"""What a request may ask, read without a server: bounds, names, shapes of grammars and schemas."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.runtime.server import child
from phoenix_forge.runtime.server.grammars import check_grammar, check_schema
from phoenix_forge.runtime.server.refused import Refused
from phoenix_forge.runtime.server.requests import chat, completion, parsed

HI = [{"role": "user", "content": "Hi"}]
JSON = r"""
root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws  # a comment ((((
array ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.mark.parametrize(
    "grammar",
    [
        JSON,
        'root ::= "yes" | "no"',
        "root ::= [a-z ]{1,1000}",
        'root ::= ("- " [^\\n]+ "\\n")+',
        "root ::= <[12]> <[345]>",
        'root ::= (expr "=" term "\\n")+\nexpr ::= term ([-+*/] term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+',
    ],
)
def test_grammars_as_people_write_them_pass(grammar: str) -> None:
    check_grammar(grammar)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ('root ::= ((("a"{0,30}){0,30}){0,30})', "repeats itself"),
        ('root ::= ("a"?){500}', "repeats itself"),
        ('root ::= a{0,50}\na ::= b{0,50}\nb ::= c{0,50}\nc ::= "a"?', "repeats itself"),
        ('root ::= x{2}\nx ::= "a" x | ', "repeats itself"),
        ('root ::= "a"{1000000}', "1,000,000 repetitions"),
        ("root ::= x x x x x x\nx ::= [a-z]*", "side by side"),
        ('root ::= x x x x x x\nx ::= "a" | ', "side by side"),
        ('root ::= "a"? "b"? "c"? "d"? "e"? "f"?', "side by side"),
        ("root ::= " + "(" * 3000 + '"a"' + ")" * 3000, "parentheses"),
        ("root ::= " + "(" * 100_000, "characters"),
        ("\n".join(f'r{i} ::= "a"' for i in range(500)), "256 rules"),
        ("", "rules"),
        ("no rules", "rules"),
        (7, "text"),
    ],
)
def test_grammars_that_stop_llama_cpp_are_refused(grammar: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_grammar(grammar)


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        made = {"type": "array", "items": made}
    return made


@pytest.mark.parametrize(
    "schema",
    [
        {},
        nested(10),
        {"enum": [f"value {i}" for i in range(900)]},
        {"type": "string", "maxLength": 1000},
        {"type": "string", "pattern": r"^[A-Z]{2}-\d{4}( [a-z]+)?$"},
        {"type": "string", "pattern": r"^(\(x\)|[({]){1,9}$"},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {
            "type": "object",
            "properties": {
                "pattern": {"type": "integer"},
                "$ref": {"type": "string"},
                "enum": {"enum": ["a", None, 3]},
            },
        },
    ],
)
def test_schemas_as_people_write_them_pass(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"enum": [f"value {i}" for i in range(50_000)]}, "longer than"),
        ({"enum": list(range(2000))}, "1,000 values"),
        (
            {"properties": {"a": {"enum": list(range(600))}, "b": {"enum": list(range(600))}}},
            "1,000 values",
        ),
        (nested(40), "nested"),
        (nested(400), "nested"),
        ({"maxItems": 100_000}, "100,000 repetitions"),
        ({"items": {"minLength": 1e300}}, "repetitions"),
        ({"pattern": "^((a{0,99}){0,99})+$"}, "repeats itself"),
        ({"pattern": "(" * 200}, "parentheses"),
        ({"pattern": "a" * 300}, "300"),
        ({"items": {"$ref": "https://example.org/x.json"}}, "not in the schema"),
        ({"$ref": "#/$defs/a"}, "not in the"),
        ({"pattern": "a{1,5000}"}, "5,000 repetitions"),
        ([], "object"),
        (None, "object"),
    ],
)
def test_schemas_that_stop_llama_cpp_are_refused(schema: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_schema(schema)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": []}, "empty"),
        ({"messages": HI * 2000}, "2,000 entries"),
        ({"messages": [{"role": "user<|im_end|>", "content": "x"}]}, "role"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "text parts"),
        ({"messages": [{"role": "user", "content": "x" * 70_000}]}, "context size"),
        ({"messages": [{"role": "function", "content": "x"}]}, "role"),
        ({"functions": [{"name": "f"}]}, "as tools"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 7}, "top_p"),
        ({"n": 1000}, "n is"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"repeat_last_n": 10**9}, "repeat_last_n"),
        ({"stop": ["x"] * 99}, "stop"),
        ({"stop": 3}, "stop"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {str(i): 1 for i in range(9999)}}, "logit_bias"),
        ({"stream": "yes"}, "stream"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"id_slot": 1}, "id_slot"),
        ({"mirostat": 2}, "mirostat"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "thoughts"),
        ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "exclude"),
        ({"top_logprobs": 10_000, "logprobs": True}, "top_logprobs"),
    ],
)
def test_what_no_request_may_hold_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        chat({"messages": HI, **change}, 1024)
    assert caught.value.status == 400
    assert set(caught.value.shown()["error"]) == {"message", "type", "param", "code"}


def test_what_clients_send_besides_is_taken() -> None:
    asked = chat(
        parsed(
            orjson.dumps(
                {
                    "model": "gpt-4o",
                    "user": "me",
                    "tools": [],
                    "tool_choice": "none",
                    "temperature": 0,
                    "max_tokens": 5,
                    "max_completion_tokens": 7,
                    "stop": "x",
                    "logit_bias": {"3": -100},
                    "stream": True,
                    "seed": None,
                    "stream_options": {"include_usage": True},
                    "chat_template_kwargs": {"enable_thinking": False},
                    "messages": [
                        {
                            "role": "developer",
                            "content": [
                                {"type": "text", "text": "a"},
                                {"type": "text", "text": "b"},
                            ],
                        }
                    ],
                }
            )
        ),
        1024,
    )
    assert asked.messages == [{"role": "system", "content": "a\nb"}]
    assert asked.sent == {
        "temperature": 0.0,
        "n_predict": 7,
        "stop": ["x"],
        "logit_bias": [[3, -100.0]],
    }
    assert (asked.stream, asked.usage) == (True, True)


# -- tools


def tool(name: Any = "tide", **parameters: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": "x", "parameters": parameters},
    }


def turn(**call: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}} | call
        ],
    }


NAMED = {"type": "function", "function": {"name": "tide"}}


def test_tools_calls_and_results_are_taken_as_templates_want_them() -> None:
    tools = [
        tool(type="object", properties={"port": nested(20)}),
        {"type": "function", "function": {"name": "get-time.v2", "strict": True}},
    ]
    asked = chat(
        parsed(
            orjson.dumps(
                {
                    "tools": tools,
                    "parallel_tool_calls": False,
                    "messages": [
                        *HI,
                        {
                            **turn(
                                function={
                                    "name": "tide",
                                    "arguments": '{"port": "Büsum", "n": [1.0, null]}',
                                }
                            ),
                            "refusal": None,
                        },
                        {
                            "role": "tool",
                            "tool_call_id": "c1",
                            "content": [{"type": "text", "text": "14:10"}],
                        },
                        {**turn(id=None), "content": "x", "name": "me"},
                    ],
                }
            )
        ),
        4096,
    )
    assert asked.messages == [
        {**HI[0], "tools": tools},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "tide", "arguments": {"port": "Büsum", "n": [1.0, None]}},
                }
            ],
        },
        {"role": "tool", "content": "14:10", "tool_call_id": "c1"},
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [{"type": "function", "function": {"name": "tide", "arguments": {}}}],
        },
    ]
    assert asked.offer is not None
    assert (list(asked.offer.functions), asked.offer.must, asked.offer.single) == (
        ["tide", "get-time.v2"],
        (),
        True,
    )


@pytest.mark.parametrize(
    ("choice", "must"), [("auto", ()), ("required", ("tide", "clock")), (NAMED, ("tide",))]
)
def test_what_has_to_be_called(choice: Any, must: tuple[str, ...]) -> None:
    asked = chat(
        {"messages": [dict(HI[0])], "tools": [tool(), tool("clock")], "tool_choice": choice}, 1024
    )
    assert asked.offer is not None
    assert asked.offer.must == must


def test_tools_that_are_not_to_be_called_are_not_shown() -> None:
    asked = chat(
        {
            "messages": HI,
            "tools": [tool()],
            "tool_choice": "none",
            "response_format": {"type": "json_object"},
        },
        1024,
    )
    assert (asked.offer, asked.messages, "json_schema" in asked.sent) == (None, HI, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tools": {}}, "not a list"),
        ({"tools": [tool()] * 129}, "at most 128"),
        ({"tools": [3]}, r"tools\[0\]"),
        (
            {"tools": [tool(), {"type": "custom", "custom": {}}]},
            r"tools\[1\] is not of type function",
        ),
        ({"tools": [tool("")]}, "name"),
        ({"tools": [tool("a" * 65)]}, "name"),
        ({"tools": [tool("a<|im_end|>")]}, "name"),
        ({"tools": [tool(3)]}, "name"),
        ({"tools": [tool(a=nested(40))]}, "nested"),
        ({"tools": [tool(a=nested(900))]}, "nested"),
        ({"tools": [tool(x="y" * 70_000)]}, "context size"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "not an object",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": []}}]},
            "not a text",
        ),
        ({"tool_choice": "required"}, "no such function"),
        ({"tool_choice": NAMED}, "no such function"),
        ({"tools": [tool("x")], "tool_choice": NAMED}, "no such function"),
        ({"tool_choice": "any"}, "not none, auto"),
        ({"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}, "not none, auto"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": []}}},
            "not none, auto",
        ),
        ({"tools": [tool(enum=list(range(2000)))], "tool_choice": "required"}, "1,000 values"),
        (
            {
                "tools": [tool(f"t{i}", enum=list(range(20))) for i in range(60)],
                "tool_choice": "required",
            },
            "1,000 values",
        ),
        ({"tools": [tool(pattern="^((a{0,99}){0,99})+$")], "tool_choice": NAMED}, "repeats itself"),
        ({"tools": [tool(items={"$ref": "#/$defs/a"})], "tool_choice": NAMED}, "not in the schema"),
        (
            {"tools": [tool()], "response_format": {"type": "json_object"}},
            "bound to a grammar or schema as well",
        ),
        ({"tools": [tool()], "parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"messages": [*HI, turn(function={"name": "f", "arguments": "[]"})]}, "JSON of an object"),
        (
            {"messages": [*HI, turn(function={"name": "f", "arguments": '{"a": "\\ud800"}'})]},
            "JSON of an object",
        ),
        (
            {"messages": [*HI, turn(function={"name": "f", "arguments": "{" * 10_000})]},
            "JSON of an object",
        ),
        (
            {"messages": [*HI, turn(function={"name": "f", "arguments": {"a": nested(40)}})]},
            "nested",
        ),
        (
            {"messages": [*HI, turn(function={"name": "f", "arguments": {"a": "x" * 70_000}})]},
            "context size",
        ),
        ({"messages": [*HI, turn(function={"name": "</x>"})]}, "name"),
        ({"messages": [*HI, turn(type="x")]}, "type"),
        ({"messages": [*HI, turn(id="x" * 300)]}, "id"),
        ({"messages": [*HI, {**turn(), "tool_calls": 3}]}, "not a list"),
        ({"messages": [*HI, {**turn(), "tool_calls": turn()["tool_calls"] * 129}]}, "at most 128"),
        ({"messages": [{**turn(), "role": "user"}]}, "only an assistant"),
        ({"messages": [{"role": "assistant", "content": None}]}, "content"),
        ({"messages": [*HI, {"role": "tool", "tool_call_id": 3, "content": "x"}]}, "tool_call_id"),
    ],
)
def test_what_tools_may_not_hold_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        chat({"messages": [dict(HI[0])], **change}, 1024)
    assert caught.value.status == 400


def test_completions_have_no_tools() -> None:
    with pytest.raises(Refused, match="chat/completions"):
        completion({"prompt": "x", "tools": [tool()]}, 1024)


@pytest.mark.parametrize(
    "prompt", [None, "", [], [[]], [1, "x"], [-1], [True], ["x"] * 17, "x" * 70_000, {"a": 1}]
)
def test_prompts_that_are_none_are_refused(prompt: Any) -> None:
    with pytest.raises(Refused):
        completion({"prompt": prompt}, 1024)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'{"a": "\\ud800"}']
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="body"):
        parsed(body)


def test_requests_that_do_not_say_how_are_sampled_as_configured() -> None:
    given = {
        "gguf": "x.gguf",
        "num_ctx": 256,
        "parallel": 2,
        "verbose": False,
        "gpu_layers": 0,
        "socket": "x.sock",
        "generation": GenerationConfig(temperature=0.3, top_p=0.8).model_dump(),
    }
    params = child.parameters(given, (1, 1))
    assert [
        round(value, 3)
        for value in (
            params.sampling.temp,
            params.sampling.top_p,
            params.sampling.top_k,
            params.sampling.min_p,
        )
    ] == [0.3, 0.8, 40, 0.0]
    assert (params.n_ctx, params.n_parallel) == (512, 2)
    assert params.chat_template == "chatml", "llama.cpp parses no template of the file"
