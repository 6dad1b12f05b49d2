"""Questions with the passages of the documents that may answer them, and answers held against what they stand on."""

from __future__ import annotations

import bisect
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from phoenix_forge.chat.pieces import plain
from phoenix_forge.chat.template import Message, beside
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.errors import EnvironmentProblem, ForgeError, UsageError, one_line
from phoenix_forge.project import follow_up
from phoenix_forge.runtime.session import Chats
from phoenix_forge.stages import Context

if TYPE_CHECKING:
    from phoenix_forge.corpus.index import Index, Passage
    from phoenix_forge.corpus.places import Place
    from phoenix_forge.runtime.server.documents import Model

Lines = tuple[int, int] | None  # first and last, counted from one
REFUSALS = Path(__file__).parent / "data" / "refusals.json"
CLOSED = "closed book"
NOTHING = "no passage that was found says this in such words: check it"
MADE_UP = "no document has the sentence that this answer quotes: it is made up"


class Citation(NamedTuple):
    """A place with the sentence of the answer that stands there, and the passage that it is in."""

    place: Place
    sentence: str
    passage: Passage


@dataclass(frozen=True)
class Held:
    """An answer, held against the documents. `supported` is None where there was nothing to hold it against: closed
    book, without a quotation. `stands` says whether a document has the sentence `quote` ("": none was quoted); it is
    None where there is no index to look in."""

    supported: bool | None
    citations: Sequence[Citation] = ()
    unsupported: Sequence[str] = ()
    quote: str = ""
    stands: bool | None = None

    @property
    def sources(self) -> list[Citation]:
        """One a passage."""
        found: dict[Any, Citation] = {}
        for citation in self.citations:
            found.setdefault(citation.place._replace(line=None), citation)
        return list(found.values())

    @property
    def doubts(self) -> list[str]:
        """What has no support, for people."""
        shown = []
        if self.quote and self.stands is False:
            shown.append(MADE_UP)
        elif self.supported is False:
            shown.append(NOTHING)
        if self.supported and (rest := len(self.unsupported)):
            shown.append(
                f"{rest} of its sentences {'has' if rest == 1 else 'have'} no support in the documents"
            )
        return shown

    def lines(self, root: Path) -> list[str]:
        """For people, a line a source; paths are shown from the current folder."""
        places = [_from_here(source.place, root) for source in self.sources]
        return [*(f"from {place.shown}" for place in places), *self.doubts]

    def json(self) -> dict[str, Any]:
        return {
            "supported": self.supported,
            "citations": [
                {
                    "path": place.path,
                    "headings": list(place.headings),
                    "line": place.line,
                    "lines": place.lines,
                    "sentence": sentence,
                }
                for place, sentence, _ in self.citations
            ],
            "unsupported": list(self.unsupported),
            "quote": {"sentence": self.quote, "stands": self.stands} if self.quote else None,
        }


@dataclass(frozen=True)
class Asked:
    """A question as a model is asked it: the conversation with the `passages` that came with its last message, and
    what is missing of them (`note`). A `refusal` is its answer without a model; "" where one is asked."""

    messages: list[Message]
    passages: list[Passage]
    note: str
    hold: Callable[[str], Held] = field(repr=False)
    root: Path
    refusal: str = ""

    def told(self, answer: str) -> list[str]:
        return self.hold(answer).lines(self.root)


class Grounding:
    """Passages from the index over the workspace's documents, as they are when a question is asked.

    Where there can be no index, questions are asked closed book and their note says why. Not to be used by two threads.
    """

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self._index: Index | None = None
        self._problem: ForgeError | None = None  # why there is none

    def __enter__(self) -> Grounding:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._index:
            self._index.close()
        self._index = None

    def refresh(self) -> None:
        """Looks at the documents again before the next question."""
        self.close()
        self._problem = None

    def load_ahead(self) -> None:
        """Loads the modules that find passages, which takes as long as finding them, while the caller loads a model."""
        threading.Thread(target=_load, name="load ahead", daemon=True).start()

    def search(self, text: str) -> list[Passage]:
        """The passages nearest to a text. Raises the ForgeError that says why there is no index."""
        found = self._try(lambda index: self._nearest(index, text))
        if self._problem:
            raise self._problem
        return found

    @property
    def problem(self) -> str:
        """Why questions are asked closed book now; empty where they are not."""
        self._try(lambda index: index)
        return _on_one_line(self._problem) if self._problem else ""

    def passage(self, path: str, span: tuple[int, int]) -> tuple[Passage, Lines] | None:
        """The passage of a document at these bytes, and its lines; None where it does not stand there (any more)."""
        from phoenix_forge.corpus.places import place
        from phoenix_forge.corpus.support import Words

        there = self._try(lambda index: index.at(path, span)) or []
        found = next((passage for passage in there if passage.span == span), None)
        if found is None:
            return None
        return found, place(self.ctx.workspace.root, found, "", Words()).lines

    def asked(
        self,
        model: Chats | Model,
        messages: Sequence[Message],
        *,
        closed: bool,
        generation: GenerationConfig,
        search: str | None = None,
    ) -> Asked:
        """The conversation as `model` is to be asked it: what a user said last behind the passages that may answer it.

        The passages are those nearest to `search`; without one, to the question, which the model makes one that is
        understood by itself where others came before (a Model, which only the server can ask, needs a `search`). Where
        not all of it fits the context window beside an answer of `generation.max_tokens`, the oldest questions but one
        are left out with their answers, then passages, then that one."""
        at = last_question(messages)
        closed = closed or at is None
        wanted = "" if at is None else messages[at]["content"]
        if not closed:
            wanted = self._searched(cast("Chats", model), messages) if search is None else search
        found = [] if closed else self._try(lambda index: self._nearest(index, wanted)) or []
        doubt = "" if closed else self._abstains(wanted, found)
        missing = "" if closed or not self._problem else f"{CLOSED}: {_on_one_line(self._problem)}"
        turns, longest = _turns(messages), generation.max_tokens

        def made(choice: tuple[int, int]) -> list[Message]:
            return self._with(_without(messages, turns, choice[0]), found[: choice[1]])

        def fits(choice: tuple[int, int]) -> bool:
            return self._fits(model, made(choice), longest)

        left_out, count = _first(fits, len(turns), len(found))
        notes = [doubt, missing, self._fewer(count, len(found)), self._shorter(left_out)]
        looked = bool(count) or not (closed or missing or found)

        said = refusal(wanted) if doubt else ""

        def hold(answer: str) -> Held:
            if said and said == answer:  # which is no claim about the documents
                return Held(None)
            return self._hold(answer, wanted, found[:count], looked)

        note, root = "; ".join(filter(None, notes)), self.ctx.workspace.root
        return Asked(made((left_out, count)), found[:count], note, hold, root, said)

    def _abstains(self, question: str, found: Sequence[Passage]) -> str:
        """Why a question is not put to a model, by generation.abstain; "" where it is."""
        from phoenix_forge.corpus.support import Words, covered

        least = self.ctx.config.generation.abstain
        if not least or self._index is None:
            return ""
        share = covered(question, found, Words(), self._index.weight)
        if share is None or share >= least:
            return ""
        return (
            f"no passage that was found has more than {share:.0%} of the question: ask in the "
            f"documents' words, or closed book (generation.abstain is {least:g})"
        )

    def follow_up(self, model: Chats | Model, messages: Sequence[Message]) -> list[Message] | None:
        """What a model is asked for a search with, by follow_up.request; None where the question is its own search,
        nothing can be searched, or the window has no place for it."""
        request = follow_up.request(messages) if self._try(lambda index: index) else None
        return request if request and self._fits(model, request, follow_up.LONGEST) else None

    def _searched(self, model: Chats, messages: Sequence[Message]) -> str:
        questions = [turn["content"] for turn in messages if turn["role"] == "user"]
        if len(questions) == 1:
            return questions[0]
        request = self.follow_up(model, messages)
        if request is None:
            return follow_up.search(messages, "", whole=False)
        written = model.chat(request, **follow_up.SAMPLING, on_text=None)
        return follow_up.search(messages, written.text, written.stopped)

    def _nearest(self, index: Index, text: str) -> list[Passage]:
        return index.search(text, self.ctx.config.evaluate.passages)

    def _with(self, messages: Sequence[Message], passages: Sequence[Passage]) -> list[Message]:
        from phoenix_forge.corpus.index import grounded

        at = last_question(messages)
        if at is None or not passages:
            return list(messages)
        asked = messages[at]
        said = grounded(asked["content"], passages, lambda text: plain(text, self._control))
        return [*messages[:at], {**asked, "content": said}, *messages[at + 1 :]]

    # -- the context window --------------------------------------------------------------------------------------------

    @property
    def _window(self) -> str:
        return f"deploy.num_ctx ({self.ctx.config.deploy.num_ctx:,} tokens)"

    def _fewer(self, count: int, found: int) -> str:
        if count == found:
            return ""
        if count == 0:
            return f"{CLOSED}: no passage fits beside the conversation in {self._window}"
        return f"{count} of {found} passages fit {self._window}"

    def _shorter(self, left_out: int) -> str:
        if not left_out:
            return ""
        oldest = "oldest question" if left_out == 1 else f"{left_out} oldest questions"
        return f"the {oldest} and what was answered were left out, to fit {self._window}"

    def _fits(self, model: Chats | Model, messages: Sequence[Message], longest: int) -> bool:
        """Whether there is room for an answer of `longest` tokens, or of half the window; of a model that counts for
        itself alone, where no base lies here, it is for that to say."""
        window = self.ctx.config.deploy.num_ctx
        prompt: Callable[[Sequence[Message]], Sequence[int]] | None = getattr(model, "prompt", None)
        if prompt is None and not (self.ctx.base_dir / "tokenizer.json").exists():
            return True
        return len((prompt or self._prompt)(messages)) <= window - min(longest, window // 2)

    @cached_property
    def _prompt(self) -> Callable[[Sequence[Message]], Sequence[int]]:
        """By the base's tokenizer, for a model that keeps its own to itself."""
        from phoenix_forge.stages.dataset import encoder

        return encoder(self.ctx, tuned=True).prompt

    @cached_property
    def _control(self) -> Any:
        from phoenix_forge.stages.evaluate import control_tokens

        return control_tokens(self.ctx)

    # -- the index -----------------------------------------------------------------------------------------------------

    def _try(self, look: Callable[[Index], Any]) -> Any:
        """What is found in the index; None where there is none, and `_problem` then says why."""
        from phoenix_forge.stages.evaluate import open_index

        try:
            if self._index is None and self._problem is None:
                folder = self.ctx.base_dir
                if not (folder / "tokenizer.json").exists():
                    raise UsageError(
                        f"nothing at {self.ctx.workspace.shown(folder)}, and without a base's tokenizer "
                        "there is no index over the documents",
                        fix="forge download",
                    )
                self._index = open_index(self.ctx)
            return look(self._index) if self._index else None
        except ForgeError as error:
            self._problem = error
        except OSError as error:
            self._problem = EnvironmentProblem(
                f"no index over the documents: {error.strerror}: {error.filename}",
                fix="check the disk, the path and its permissions",
            )
        self.close()
        return None

    # -- answers -------------------------------------------------------------------------------------------------------

    def _hold(self, answer: str, question: str, passages: Sequence[Passage], looked: bool) -> Held:
        """`looked`: passages were looked for, and an answer without any stands on nothing."""
        from phoenix_forge.corpus.places import place
        from phoenix_forge.corpus.support import Words, supported
        from phoenix_forge.examples.quote import split

        words, root, said = Words(), self.ctx.workspace.root, split(answer)
        cited: dict[tuple[str, int | None], Citation] = {}

        def cite(passage: Passage, sentence: str) -> None:
            found = place(root, passage, sentence, words)
            cited.setdefault(
                (found.path, found.line or passage.span[0]), Citation(found, sentence, passage)
            )

        stands = None
        if said.quote:
            spot = self._try(lambda index: (index.locate(said.quote),))
            stands = spot and spot[0] is not None
            if stands:
                cite(spot[0], said.quote)
        held = supported(said.answer, question, passages, words) if looked else []
        for one in held:
            if one.passage is not None:
                cite(passages[one.passage], one.sentence)
        rest = [one.sentence for one in held if one.passage is None]
        known = bool(cited) if looked or stands is not None else None
        return Held(known, list(cited.values()), rest, said.quote, stands)


def refusal(question: str) -> str:
    """That the documents do not say, in the question's language where there are words for it."""
    from phoenix_forge.corpus.prose import language

    words = json.loads(REFUSALS.read_text(encoding="utf-8"))
    return words.get(language(question), words["en"])


def _turns(messages: Sequence[Message]) -> list[int]:
    """Where each question before the last begins; what stands before the first of them (a system message, say) is no
    part of any."""
    last = last_question(messages) or 0
    return [at for at in range(last) if messages[at]["role"] == "user"]


def _without(messages: Sequence[Message], turns: Sequence[int], oldest: int) -> list[Message]:
    """The conversation without so many of its `oldest` questions and what was answered; what stands beside it stays
    with its first message."""
    if not oldest:
        return list(messages)
    rest = [*turns, last_question(messages) or 0][oldest]
    first, *others = [*messages[: turns[0]], *messages[rest:]]
    return [{**first, **beside(messages)}, *others]


def _first(fits: Callable[[tuple[int, int]], bool], turns: int, passages: int) -> tuple[int, int]:
    """How many of the oldest questions are left out, and how many passages come along: the best that fits. A prompt is
    counted for each that is tried, so that of many questions only some are."""
    if not turns and not passages:
        return 0, 0
    ways = [
        [(oldest, passages) for oldest in range(max(1, turns))],
        [(max(0, turns - 1), count) for count in range(passages - 1, 0, -1)],
        [(turns, count) for count in range(passages, 0, -1)] if turns else [],
        [(oldest, 0) for oldest in range(turns + 1)],
    ]
    for way in ways:
        if way and fits(way[0]):  # as nearly always
            return way[0]
        at = bisect.bisect_left(way, True, lo=min(1, len(way)), key=fits)
        if at < len(way):
            return way[at]
    return turns, 0


def last_question(messages: Sequence[Message]) -> int | None:
    """Where a user spoke last; behind it there may be calls of tools and what they gave."""
    places = range(len(messages) - 1, -1, -1)
    return next((at for at in places if messages[at]["role"] == "user"), None)


def _load() -> None:
    for name in ("phoenix_forge.stages.evaluate", "phoenix_forge.corpus.index"):
        import_module(name)


def _on_one_line(problem: ForgeError) -> str:
    fix = f" (fix: {problem.fix})" if problem.fix else ""
    return one_line(problem.message.partition("\n")[0].rstrip(":") + fix)


def _from_here(place: Place, root: Path) -> Place:
    at = root / place.path
    with suppress(OSError):  # the current folder may be gone
        if at.exists():
            return place._replace(path=os.path.relpath(at))
    return place
