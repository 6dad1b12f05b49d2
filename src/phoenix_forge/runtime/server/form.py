"""OpenAI's forms of an answer."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phoenix_forge.chat.calls import Call, Hearing
from phoenix_forge.runtime.server import tools
from phoenix_forge.runtime.server.backend import Piece
from phoenix_forge.runtime.server.documents import Evidence, written
from phoenix_forge.runtime.server.requests import Asked
from phoenix_forge.runtime.server.tools import Called

FINISH = {"eos": "stop", "word": "stop"}


@dataclass
class Choice:
    """One answer as far as it is written; `last` is its last piece."""

    text: list[str] = field(default_factory=list)
    told: list[dict[str, Any]] = field(
        default_factory=list
    )  # each token's log-probability and its likeliest others
    calls: list[Call] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)


class Form:
    """OpenAI's forms of an answer, for one request. Those of a completion's log-probabilities hold a chat's as well."""

    def __init__(self, asked: Asked, model: str, called: Called | None) -> None:
        self.chat, self.model, self.logprobs = bool(asked.messages), model, asked.logprobs
        self.called, self.created = called, int(time.time())
        self.single = bool(asked.offer and asked.offer.single)
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{secrets.token_hex(12)}"
        self.choices: dict[int, Choice] = {}  # of a stream, as they are told
        self.offsets: dict[int, int] = {}
        self.hearings: dict[int, Hearing] = {}
        self.untold: dict[int, list[dict[str, Any]]] = {}  # log-probabilities of words that wait

    def head(self, suffix: str = "") -> dict[str, Any]:
        kind = f"chat.completion{suffix}" if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def read(self, choice: Choice) -> None:
        """Parts a whole answer into what it says and what it calls."""
        choice.calls = choice.last.get("calls", [])
        if self.called:
            text, choice.calls = self.called.hearing().whole("".join(choice.text))
            choice.text = [text]

    def whole(
        self, choices: Mapping[int, Choice], told: Mapping[int, Evidence | None]
    ) -> dict[str, Any]:
        made = []
        for number, choice in sorted(choices.items()):
            text = "".join(choice.text)
            said = (
                {"message": self._message(text, choice.calls, told[number])}
                if self.chat
                else {"text": text}
            )
            made.append(
                {
                    "index": number,
                    **said,
                    "logprobs": self._logprobs(number, choice.told),
                    "finish_reason": _finish(choice.last, choice.calls),
                }
            )
        lasts = [choice.last for _, choice in sorted(choices.items())]
        return {**self.head(), "choices": made, "usage": usage(lasts, 1)}

    def _message(self, text: str, calls: list[Call], told: Evidence | None) -> dict[str, Any]:
        called = self._calls(calls)
        content = text + written(told)
        return {
            "role": "assistant",
            "content": content if content or not called else None,
            **({"tool_calls": called} if called else {}),
            **_beside(told),
        }

    def _calls(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        return tools.told(calls, self.single, self.called)

    def chunks(self, number: int, piece: Piece) -> list[dict[str, Any]]:
        """What a piece adds to an answer."""
        made = []
        if number not in self.choices:
            self.choices[number] = Choice()
            if self.chat:
                begun = {"delta": {"role": "assistant", "content": ""}}
                made.append(self._chunk(number, begun, [], None))
        text, calls = self._heard(number, piece)
        self.choices[number].text.append(text)
        self.choices[number].calls += calls
        untold = [*self.untold.pop(number, []), *piece.get("completion_probabilities", [])]
        if text:
            said: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
            made.append(self._chunk(number, said, untold, None))
        elif untold:
            self.untold[number] = untold
        if called := self._calls(calls):
            told = [{"index": place, **call} for place, call in enumerate(called)]
            made.append(self._chunk(number, {"delta": {"tool_calls": told}}, [], None))
        return made

    def said(self, number: int) -> tuple[str, list[Call]]:
        """What an answer says and calls, as far as it was told."""
        return "".join(self.choices[number].text), self.choices[number].calls

    def end(self, number: int, piece: Piece, told: Evidence | None) -> list[dict[str, Any]]:
        """What is told behind an answer's words, and why it ended."""
        finish = _finish(piece, self.choices[number].calls)
        if not self.chat:
            return [self._chunk(number, {"text": ""}, [], finish)]
        deltas = [{"content": written(told)}, _beside(told)]
        made = [
            self._chunk(number, {"delta": delta}, [], None)
            for delta in deltas
            if any(delta.values())
        ]
        return [*made, self._chunk(number, {"delta": {}}, [], finish)]

    def _heard(self, number: int, piece: Piece) -> tuple[str, list[Call]]:
        """What a piece adds to what is said, and the calls of an answer that ends with it."""
        if self.called is None:
            return piece["content"], piece.get("calls", [])
        hearing = self.hearings.setdefault(number, self.called.hearing())
        text = hearing.add(piece["content"])
        rest, calls = hearing.end() if piece["stop"] else ("", [])
        return text + rest, calls

    def _chunk(
        self, number: int, said: dict[str, Any], told: list[dict[str, Any]], finish: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(number, told) if told else None
        return {
            **self.head(".chunk"),
            "choices": [{"index": number, **said, "logprobs": logprobs, "finish_reason": finish}],
        }

    def _logprobs(self, number: int, told: list[dict[str, Any]]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        if self.chat:
            return {"content": told}
        texts = [token["token"] for token in told]
        *offsets, self.offsets[number] = itertools.accumulate(
            map(len, texts), initial=self.offsets.get(number, 0)
        )
        return {
            "content": told,
            "tokens": texts,
            "token_logprobs": [token["logprob"] for token in told],
            "top_logprobs": [
                {other["token"]: other["logprob"] for other in token["top_logprobs"]}
                for token in told
            ],
            "text_offset": offsets,
        }


def _beside(told: Evidence | None) -> dict[str, Any]:
    return {"annotations": told.annotations, "forge": told.more} if told else {}


def _finish(last: Mapping[str, Any], calls: list[Call]) -> str:
    """Why an answer ends; one that was cut is not said to have ended with its calls."""
    finish = FINISH.get(last["stop_type"], "length")
    return "tool_calls" if calls and finish == "stop" else finish


def usage(lasts: Sequence[Mapping[str, Any]], n: int) -> dict[str, Any]:
    """Tokens of all answers, and of the prompts."""
    written = sum(last["tokens_predicted"] for last in lasts)
    read = sum(last["tokens_evaluated"] for last in lasts) // n
    cached = sum(last.get("timings", {}).get("cache_n", 0) for last in lasts)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
