"""One question: how it is put, and its answer as data."""

from __future__ import annotations

from typing import Any

from phoenix_forge.chat.template import Message
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.project.grounded import Asked, Held
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.stages import Context


def system_message(ctx: Context) -> str | None:
    """The configured system prompt; without one each model's own template adds its default."""
    return ctx.config.deploy.system


def in_place_of(
    own: GenerationConfig,
    *,
    greedy: bool = False,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> GenerationConfig:
    """The config's settings, with those that somebody chose for one question."""
    return own.model_copy(
        update={
            "max_tokens": max_tokens or own.max_tokens,
            "greedy": greedy or (own.greedy and temperature is None),
            "temperature": own.temperature if temperature is None else temperature,
        }
    )


def conversation(ctx: Context, prompt: str, system: str | None = None) -> list[Message]:
    """A question by itself, under a system prompt or the configured one."""
    system = system_message(ctx) if system is None else system
    question: Message = {"role": "user", "content": prompt}
    return [{"role": "system", "content": system}, question] if system else [question]


def told(answer: Answer, turn: Asked, held: Held) -> dict[str, Any]:
    """An answer, what it was given to read and what of it stands there, as JSON."""
    passages = [
        {"path": p.path, "headings": list(p.headings), "span": list(p.span), "text": p.text}
        for p in turn.passages
    ]
    return {
        "answer": answer.text,
        "stopped": answer.stopped,
        "tokens": answer.tokens,
        "seconds": round(answer.seconds, 2),
        "passages": passages,
        **held.json(),
        "abstained": bool(turn.refusal),
        "note": turn.note or None,
    }
