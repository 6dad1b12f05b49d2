"""The documents behind the answers, as the front knows them; who finds passages is above (phoenix_forge.project)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from phoenix_forge.chat.template import Message

SOURCE = "/source"  # where the server shows a passage
RULE = "\n\n---\n"  # of Markdown; below it an answer's sources
BREAK = "  \n"  # of a line, in Markdown


class Evidence(NamedTuple):
    """What is to be known of an answer: `annotations` as OpenAI's API has them, `more` beside them by Forge's own
    names, and the same as `lines` of Markdown."""

    annotations: list[dict[str, Any]]
    more: dict[str, Any]
    lines: list[str]


class PassageView(NamedTuple):
    """A passage for people: `first` is the number of its text's first line in the file, `line` of the one that was
    cited; both None for a file without lines."""

    path: str
    headings: tuple[str, ...]
    text: str
    first: int | None
    line: int | None


class Turn(Protocol):
    """A question as a model is asked it."""

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation, with the passages that come with its last question."""

    @property
    def note(self) -> str:
        """What is missing, and why; empty where nothing is."""

    @property
    def refusal(self) -> str:
        """The answer where the model is not to be asked; else empty."""

    async def evidence(self, answer: str, site: str) -> Evidence:
        """An answer held against the documents; links lead to `site`, http://HOST."""


class Model(Protocol):
    """What answers, as far as finding passages takes it. It may have a `prompt`, too, which gives the token ids of what
    is answered; it is called in a thread beside the event loop."""

    async def completed(self, messages: Sequence[Message], longest: int) -> tuple[str, bool]:
        """The likeliest answer, of at most `longest` tokens, and whether it ended by itself. Raises Refused."""


class Documents(Protocol):
    """May be asked for several conversations at a time."""

    async def asked(
        self, model: Model, messages: Sequence[Message], *, closed: bool, longest: int | None
    ) -> Turn:
        """The conversation with passages, or without (`closed`), as `model` is to be asked it for an answer of at most
        `longest` tokens. Raises UsageError for a conversation that the model's template refuses."""

    async def passage(self, query: str) -> PassageView | None:
        """The passage that a link leads to, by the query in it; None where it is none, or stands there no more."""


@dataclass(frozen=True)
class Service:
    """What a server offers: a model by the name `alias`, of `num_ctx` tokens, whose questions are answered from
    `documents` (None: closed book). `citations` are told beside an answer ("annotations"), or at its end as well
    ("text"), where a request does not say."""

    alias: str
    num_ctx: int = 4096
    documents: Documents | None = None
    citations: str = "annotations"


def written(told: Evidence | None) -> str:
    """What stands at an answer's end."""
    return RULE + BREAK.join(told.lines) if told and told.lines else ""


def without(answer: str) -> str:
    """An answer as it was, before its sources were written below: a model that reads them writes some itself."""
    said, rule, below = answer.rpartition(RULE)
    return said if rule and all(map(_is_told, below.split(BREAK))) else answer


def _is_told(line: str) -> bool:
    if "\n" in line:
        return False
    cited = line.startswith("from [") and f"{SOURCE}?" in line and line.endswith(")")
    return cited or (line.startswith("_") and line.endswith("_"))
