"""What an answer that may call tools is bound to, as llama.cpp is told it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from phoenix_forge.chat.calls import SYNTAXES, Spoken
from phoenix_forge.runtime.server.refused import Refused
from phoenix_forge.runtime.server.supervisor import Ended, Upstream
from phoenix_forge.runtime.server.tools import Called, Offer

HERMES, LLAMA, _, ARGS = SYNTAXES[:4]
NAME = "probe_of_calls"
TIDE = {"name": "tide", "parameters": {"type": "object", "properties": {"port": {"enum": [1]}}}}
OFFER = Offer({"tide": TIDE, "clock": {"name": "clock"}})
CONTROL = {"<|end|>": 7, "[TOOL_CALLS]": 8, "[ARGS]": 9}


def tokens(text: str, *, special: bool, beginning: bool = False) -> list[int]:
    return [CONTROL[text]] if special and text in CONTROL else [*text.encode()]


def rules(spoken: Spoken, offer: Offer = OFFER) -> tuple[dict[str, str], dict[str, Any]]:
    """The grammar by its rules, and those that are schemas."""
    head, *lines = Called(spoken, offer, tokens).sent["wished_grammar"].splitlines()
    assert head == "%llguidance {}"
    found = dict(line.split(": ", 1) for line in lines)
    schemas = {
        name: json.loads(rule.removeprefix("%json "))
        for name, rule in found.items()
        if rule.startswith("%json ")
    }
    return {name: rule for name, rule in found.items() if name not in schemas}, schemas


def test_text_until_a_mark_then_calls() -> None:
    spoken = Spoken(
        HERMES, "<tool_call>\n", "\n</tool_call>", "\n</tool_call>\n<tool_call>\n", ("<|end|>",)
    )
    found, schemas = rules(spoken)
    assert found == {
        "start": "(PLAIN | until calls) (<[7]>)?",
        "PLAIN": "~/(?s:.*)<tool_call>(?s:.*)/",
        "until[lazy]": "/(?s:.*)<tool_call>/",
        "calls": r'("\n" call0) "\n</tool_call>" (("\n<tool_call>\n" call0) "\n</tool_call>")* ',
    }
    names = [option["properties"]["name"]["const"] for option in schemas["call0"]["anyOf"]]
    assert names == ["tide", "clock"]
    assert schemas["call0"]["$defs"] == {"call0": TIDE["parameters"], "call1": {"type": "object"}}
    alone, _ = rules(spoken, Offer(OFFER.functions, single=True))
    assert alone["calls"] == r'("\n" call0) "\n</tool_call>"'


def test_control_tokens_are_told_by_their_ids_and_names_as_the_template_has_them() -> None:
    call = f"[TOOL_CALLS]{NAME}[ARGS]"
    found, schemas = rules(Spoken(ARGS, call, "", call))
    named = '"tide" <[9]> call0 | "clock" <[9]> call1'
    again = '<[8]> "tide" <[9]> call0 | <[8]> "clock" <[9]> call1'
    assert found == {
        "start": "TEXT? (<[8]> calls)? ",
        "TEXT": "/(?s:.+)/",
        "calls": f"({named})  (({again}) )* ",
    }
    assert schemas["call1"]["$defs"] == {"call0": {"type": "object"}}


def test_json_is_a_call_where_it_has_the_name_of_a_function() -> None:
    found, _ = rules(Spoken(LLAMA, ""))
    began = r'\s*\{\s*"name"\s*:\s*"tide"', r'\s*\{\s*"name"\s*:\s*"clock"'
    assert found["PLAIN"] == f"~/({began[0]}|{began[1]})(?s:.*)/"
    assert found["begun0[lazy]"] == f"/{began[0]}/"


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "https://example.org/schema"},
        {"enum": ["x" * 9] * 1001},
        {"type": "string", "minLength": 10**9},
    ],
)
def test_a_schema_beyond_the_limits_binds_no_call_that_nobody_asked_for(parameters: Any) -> None:
    offer = Offer({"tide": {"name": "tide", "parameters": parameters}})
    _, schemas = rules(Spoken(HERMES, "<tool_call>\n"), offer)
    assert schemas["call0"]["$defs"] == {"call0": {"type": "object"}}


def test_without_the_library_that_follows_it_nothing_is_bound() -> None:
    assert Called(Spoken(HERMES, "<tool_call>\n"), OFFER).sent == {
        "preserved_tokens": ["<tool_call>"]
    }


class Ending(Upstream):
    """A process that ends after its first word."""

    def __init__(self) -> None:
        self._strikes: Counter[str] = Counter()
        self.asked: list[tuple[Any, Any]] = []

    async def _piece_by_piece(
        self, prompt: Any, settings: dict[str, Any], digest: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        self.asked.append((prompt, settings.get("grammar")))
        first = len(self.asked) == 1
        yield {"content": "a", "stop": not first, "tokens_predicted": 1, "tokens_evaluated": 3}
        if first:
            raise Ended


async def _answer(upstream: Upstream, settings: dict[str, Any]) -> list[str]:
    return [piece["content"] async for piece in upstream.write("p", settings)]


def test_an_answer_goes_on_without_the_grammar_that_nobody_asked_for() -> None:
    upstream = Ending()
    assert asyncio.run(_answer(upstream, {"wished_grammar": "G"})) == ["a", "a"]
    assert upstream.asked == [("p", "G"), ("pa", None)]
    with pytest.raises(Refused, match="not tried again"):
        asyncio.run(_answer(Ending(), {"grammar": "G"}))
