"""What a request may ask: read once, here, so that nothing else reaches llama.cpp.

The names are OpenAI's (https://platform.openai.com/docs/api-reference) and a few of llama.cpp's. Every value has a type
and a range, every text a length; what has none of its own, a grammar, is held to a shape that llama.cpp computes fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from phoenix_forge.chat.template import Message
from phoenix_forge.runtime.server import grammars, tools
from phoenix_forge.runtime.server.refused import Refused
from phoenix_forge.runtime.server.tools import Offer

CLOSED_BOOK = ":closed-book"  # what a model's name ends with that is to be asked without passages
CITATIONS = (
    "annotations",
    "text",
)  # where an answer's sources are told: beside it, or at its end as well
MESSAGES, CHOICES, STOPS, BIASES, LIKELIEST = 1024, 16, 16, 1024, 20
STOP_LENGTH = 256  # characters
CHARACTERS = (
    64  # a token has, at most: of a longer text it is known without counting that it does not fit
)
BODY = 2**20  # bytes, beside those that a full context may need
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
# Numbers and their ranges; None: the context's length.
NUMBERS: dict[str, tuple[type, float, float | None]] = {
    "temperature": (float, 0, 100),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "typical_p": (float, 0, 1),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
    "repeat_penalty": (float, 0, 10),
    "top_k": (int, -1, 2**31 - 1),
    "repeat_last_n": (int, -1, None),
    "seed": (int, -(2**63), 2**63 - 1),
    "max_tokens": (int, -1, 2**31 - 1),
    "max_completion_tokens": (int, -1, 2**31 - 1),
    "n": (int, 1, CHOICES),
    "top_logprobs": (int, 0, LIKELIEST),
}
SENT = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "top_k",
    "repeat_last_n",
    "seed",
)
# They say whose a request is, or what another service should do: there is nothing here for them to change.
IGNORED = {
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "cache_prompt",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "best_of",
}
# Nothing of the sort wanted is what is done anyway.
NOTHING: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "echo": (False,),
    "suffix": ("",),
    "modalities": (["text"],),
    "chat_template_kwargs": ({}, {"enable_thinking": False}),
}
INSTEAD = {
    "tools": "ask /v1/chat/completions",
    "functions": "give them as tools",
    "echo": "prompts are not scored here",
    "chat_template_kwargs": "the model was trained without thoughts, and is asked for none",
}


@dataclass
class Asked:
    """One request, checked. `prompts` of text, or of token ids, for a completion; `messages` for a chat, whose answers
    may call what is in `offer`. `sent` are llama.cpp's settings for every choice of the `n` for each prompt. `closed`:
    no passages are wanted; `citations` is one of CITATIONS, where the request says."""

    messages: list[Message] = field(default_factory=list)
    offer: Offer | None = None
    prompts: list[str | list[int]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    n: int = 1
    stream: bool = False
    usage: bool = False
    logprobs: bool = False
    closed: bool = False
    citations: str | None = None

    @property
    def longest(self) -> int | None:
        """Tokens that an answer may have, where the request says."""
        given = self.sent.get("n_predict", -1)
        return given if given >= 0 else None

    @property
    def bound(self) -> bool:
        """Whether a grammar or schema says what an answer may be."""
        return bool(self.sent.keys() & {"grammar", "json_schema"})


def body_limit(num_ctx: int) -> int:
    """Bytes of the longest body that is read."""
    return BODY + CHARACTERS * num_ctx


def parsed(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refused("the body is not a JSON object")
    return {name: value for name, value in request.items() if value is not None}


def chat(request: dict[str, Any], num_ctx: int) -> Asked:
    """Raises Refused, as do the others here."""
    asked = _asked(
        request,
        num_ctx,
        {
            "messages",
            "logprobs",
            "top_logprobs",
            "response_format",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "citations",
        },
    )
    asked.citations = request.get("citations")
    if asked.citations not in (None, *CITATIONS):
        raise Refused(f"citations is not {' or '.join(CITATIONS)}", param="citations")
    asked.messages = [
        _message(turn, place) for place, turn in enumerate(_list(request, "messages", MESSAGES))
    ]
    if not asked.messages:
        raise Refused("messages is empty", param="messages")
    given = tools.tools(request.get("tools", []))
    asked.offer = tools.offer(
        given, request.get("tool_choice"), not _flag(request, "parallel_tool_calls", True)
    )
    if asked.offer:
        asked.messages[0] |= {"tools": given}
        if asked.bound:
            raise Refused(
                "an answer that may call tools cannot be bound to a grammar or schema as well; with "
                "tool_choice none it can",
                param="tools",
            )
    _fits(sum(map(_length, asked.messages)), num_ctx)
    asked.logprobs = _flag(request, "logprobs")
    if asked.logprobs:
        asked.sent["n_probs"] = max(1, _number(request, "top_logprobs", num_ctx) or 0)
    return asked


def completion(request: dict[str, Any], num_ctx: int) -> Asked:
    asked = _asked(request, num_ctx, {"prompt", "logprobs", "response_format"})
    prompt = request.get("prompt")
    several = (
        prompt
        if isinstance(prompt, list) and not all(type(token) is int for token in prompt)
        else [prompt]
    )
    asked.prompts = [_prompt(one, num_ctx) for one in several]
    if not asked.prompts or len(asked.prompts) * asked.n > CHOICES:
        raise Refused(f"at most {CHOICES} answers are written at a time", param="prompt")
    likeliest = request.get("logprobs", False)
    if likeliest is not False:
        asked.logprobs = True
        asked.sent["n_probs"] = max(
            1, int(_in_range("logprobs", likeliest, (int, 0, LIKELIEST), num_ctx))
        )
    return asked


def _asked(request: dict[str, Any], num_ctx: int, own: set[str]) -> Asked:
    """What both kinds of request have in common."""
    known = (
        own
        | IGNORED
        | NOTHING.keys()
        | NUMBERS.keys()
        | {"stream", "stream_options", "stop", "logit_bias", "ignore_eos", "grammar", "json_schema"}
        | {"model"}
    )
    for name, value in request.items():
        if name not in known:
            raise Refused(f"{name!r:.100} is not supported", param=name[:100])
        if name in NOTHING.keys() - own and value not in NOTHING[name]:
            raise Refused(
                f"{name} is not supported: {INSTEAD.get(name, 'leave it out')}", param=name
            )
    sent = {name: _number(request, name, num_ctx) for name in SENT if name in request}
    longest = "max_completion_tokens" if "max_completion_tokens" in request else "max_tokens"
    if longest in request:
        sent["n_predict"] = _number(request, longest, num_ctx)
    if "stop" in request:
        sent["stop"] = _stops(request)
    if "logit_bias" in request:
        sent["logit_bias"] = _biases(request["logit_bias"])
    if _flag(request, "ignore_eos"):
        sent["ignore_eos"] = True
    sent |= _constraint(request)
    options = request.get("stream_options", {})
    if not isinstance(options, dict):
        raise Refused("stream_options is not an object", param="stream_options")
    return Asked(
        sent=sent,
        n=_number(request, "n", num_ctx) or 1,
        stream=_flag(request, "stream"),
        usage=_flag(options, "include_usage"),
        closed=str(request.get("model", "")).endswith(CLOSED_BOOK),
    )


def _constraint(request: Mapping[str, Any]) -> dict[str, Any]:
    """The grammar or schema that the answer has to keep to, if any."""
    form = request.get("response_format", {"type": "text"})
    if not isinstance(form, dict) or form.get("type") not in ("text", "json_object", "json_schema"):
        raise Refused(
            "response_format.type is not text, json_object or json_schema", param="response_format"
        )
    found = {name: request[name] for name in ("grammar", "json_schema") if name in request}
    if form["type"] == "json_object":
        found["json_schema"] = form.get("schema", {"type": "object"})
    if form["type"] == "json_schema":
        named = form.get("json_schema")
        found["json_schema"] = named.get("schema") if isinstance(named, dict) else None
    if len(found) > 1:
        raise Refused("grammar and a schema exclude each other", param="grammar")
    if "grammar" in found:
        grammars.check_grammar(found["grammar"])
    if "json_schema" in found:
        grammars.check_schema(found["json_schema"])
    return found


def _message(turn: Any, place: int) -> Message:
    where = f"messages[{place}]"
    if not isinstance(turn, dict):
        raise Refused(f"{where} is not an object", param=where)
    role = turn.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise Refused(
            f"{where}.role is {role!r:.60}, not one of {', '.join(ROLES)}", param=f"{where}.role"
        )
    called = (
        tools.calls(turn["tool_calls"], f"{where}.tool_calls") if turn.get("tool_calls") else []
    )
    if called and role != "assistant":
        raise Refused(f"{where}.tool_calls: only an assistant calls", param=where)
    wordless = called and turn.get("content") is None
    message: Message = {
        "role": ROLES[role],
        "content": "" if wordless else _content(turn.get("content"), f"{where}.content"),
    }
    if role == "tool":
        return (
            message
            | tools.identity(turn, "tool_call_id", where)
            | tools.identity(turn, "name", where)
        )
    return message | ({"tool_calls": called} if called else {})


def _content(content: Any, where: str) -> str:
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [
        part["text"]
        for part in parts
        if isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    ]
    if len(texts) < len(parts):
        raise Refused(f"{where} is neither a text nor a list of text parts", param=where)
    return "\n".join(texts)


def _prompt(prompt: Any, num_ctx: int) -> str | list[int]:
    if isinstance(prompt, str) and prompt:
        _fits(len(prompt), num_ctx)
        return prompt
    if (
        isinstance(prompt, list)
        and prompt
        and all(type(token) is int and 0 <= token < 2**31 for token in prompt)
    ):
        _fits(len(prompt) * CHARACTERS, num_ctx)
        return prompt
    raise Refused(
        "prompt is neither a text nor a list of token ids, nor a list of these, or it is empty",
        param="prompt",
    )


def _length(message: Message) -> int:
    """Characters of a turn, those of its calls and tools as JSON."""
    rest = [message[name] for name in ("tool_calls", "tools") if name in message]
    return len(message["content"]) + sum(len(orjson.dumps(value)) for value in rest)


def _fits(characters: int, num_ctx: int) -> None:
    if characters > CHARACTERS * num_ctx:
        raise Refused(
            f"{characters:,} characters exceed the available context size ({num_ctx} tokens)",
            kind="exceed_context_size_error",
        )


def _list(request: Mapping[str, Any], name: str, most: int) -> list[Any]:
    found = request.get(name)
    if not isinstance(found, list):
        raise Refused(f"{name} is not a list", param=name)
    if len(found) > most:
        raise Refused(f"{name} has {len(found):,} entries, at most {most:,} are read", param=name)
    return found


def _flag(request: Mapping[str, Any], name: str, otherwise: bool = False) -> bool:
    value = request.get(name, otherwise)
    if not isinstance(value, bool):
        raise Refused(f"{name} is {value!r:.60}, not true or false", param=name)
    return value


def _number(request: Mapping[str, Any], name: str, num_ctx: int) -> Any:
    return _in_range(name, request[name], NUMBERS[name], num_ctx) if name in request else None


def _in_range(name: str, value: Any, row: tuple[type, float, float | None], num_ctx: int) -> Any:
    kind, low, high = row
    high = num_ctx if high is None else high
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (kind is int and value != int(value)) or not low <= value <= high:
        raise Refused(f"{name} is {value!r:.60}, not a number from {low:g} to {high:g}", param=name)
    return kind(value)


def _stops(request: Mapping[str, Any]) -> list[str]:
    given = [request["stop"]] if isinstance(request["stop"], str) else _list(request, "stop", STOPS)
    if not all(isinstance(text, str) and len(text) <= STOP_LENGTH for text in given):
        raise Refused(
            f"stop is not a text, or a list of {STOPS}, of up to {STOP_LENGTH} characters",
            param="stop",
        )
    return [text for text in given if text]


def _biases(given: Any) -> list[list[float]]:
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list) or len(pairs) > BIASES:
        raise Refused(
            f"logit_bias does not map up to {BIASES:,} token ids to numbers", param="logit_bias"
        )
    found: list[list[float]] = []
    for pair in pairs:
        try:
            token, bias = int(pair[0]), float(pair[1])
        except (TypeError, ValueError, LookupError, OverflowError):
            raise Refused(
                f"logit_bias has {pair!r:.60}, not a token id and a number", param="logit_bias"
            ) from None
        if not 0 <= token < 2**31 or not -1000 <= bias <= 1000:
            raise Refused(f"logit_bias has {pair!r:.60}: out of range", param="logit_bias")
        found.append([token, bias])
    return found


READERS: dict[str, Callable[[dict[str, Any], int], Asked]] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completion,
}
