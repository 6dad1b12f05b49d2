"""What `forge mcp` offers: the tools, and the texts of its resources and its prompt. phoenix_forge.cli.mcp serves them.

The config is read anew for every call, since an assistant may have edited it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import anyio.from_thread
from mcp.server.mcpserver import Context
from pydantic import Field, StringConstraints

from phoenix_forge import stages
from phoenix_forge.cli import runs
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core import config
from phoenix_forge.core.fsio import inside
from phoenix_forge.core.outside import place
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.project.asking import conversation, in_place_of, told
from phoenix_forge.project.grounded import Asked, Grounding, Held
from phoenix_forge.project.models import MODELS, Kept
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.session import answered

Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100_000)]
System = (
    Annotated[str, Field(max_length=20_000, description="System prompt; null: the configured one.")]
    | None
)
MaxTokens = Annotated[int, Field(ge=1, le=8192, description="Longest answer, in tokens.")]
Temperature = Annotated[float, Field(ge=0, le=2, description="0: always the likeliest token.")]
ModelName = Annotated[
    str,
    Field(
        json_schema_extra={"enum": list(MODELS)},
        description="gguf: the quantised result; base: before training.",
    ),
]
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
RunId = Annotated[str, Field(description="As start_run and model_status give it.")]
StageName = Annotated[str, Field(json_schema_extra={"enum": list(stages.STAGES)})] | None


class Tools:
    """The tools; names, arguments and docstrings are what an assistant reads."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._kept, self._starting = setup, Kept(), threading.Lock()

    def close(self) -> None:
        self._kept.close()

    def setup(self) -> Setup:
        return replace(self._setup)

    def query_model(
        self,
        call: Context,
        prompt: Prompt,
        model: ModelName = "gguf",
        system: System = None,
        max_tokens: MaxTokens | None = None,
        temperature: Temperature | None = None,
        closed_book: bool = False,
    ) -> dict[str, Any]:
        """Ask the model made from this project's documents a question.

        The passages of the documents that may answer come with it, unless closed_book. Returns answer, stopped (false:
        max_tokens cut it off), tokens and seconds; passages, as they were given to the model; citations, the places
        (path, headings, line) that support a sentence of the answer; supported (false: no passage that was found has
        its words); unsupported, sentences that none has; quote, a sentence the model quoted by heart and whether it
        stands in a document; note, why passages are missing. The model stays loaded for the next question; without
        max_tokens and temperature those of the config apply.
        """
        ctx = self.setup().context()
        return told(
            *self.answered(
                call,
                ctx,
                model,
                prompt,
                system,
                max_tokens,
                temperature,
                closed=closed_book or not ctx.config.generation.grounded,
            )
        )

    def answered(
        self,
        call: Context,
        ctx: stages.Context,
        model: str,
        prompt: str,
        system: str | None,
        max_tokens: int | None,
        temperature: float | None,
        closed: bool,
    ) -> tuple[Answer, Asked, Held]:
        """The model's answer, the turn that it answers, and what of it the passages hold. Tells the client of each piece
        as it is written."""
        chosen = in_place_of(ctx.config.generation, temperature=temperature, max_tokens=max_tokens)
        pieces = itertools.count(1)

        def hear(_: str) -> None:
            anyio.from_thread.check_cancelled()  # raises, which ends the answer, when the client no longer waits for it
            anyio.from_thread.run(call.report_progress, next(pieces), chosen.max_tokens)

        with self._kept.open(ctx, model) as answering, Grounding(ctx) as passages:
            turn = passages.asked(
                answering, conversation(ctx, prompt, system), closed=closed, generation=chosen
            )
            answer = answered(answering, turn, chosen, hear)
            return answer, turn, turn.hold(answer.text)

    def search_documents(
        self, query: Query, count: Annotated[int, Field(ge=1, le=20)] = 5
    ) -> dict[str, Any]:
        """Find the passages of this project's documents that speak of something, best first.

        Each has path, title, headings, span (bytes of the file) and text. The index is brought up to date first.
        """
        return {
            "passages": [
                {
                    "path": p.path,
                    "title": p.title,
                    "headings": p.headings,
                    "span": p.span,
                    "text": p.text,
                }
                for p in self._found(query, count)
            ]
        }

    def _found(self, query: str, count: int) -> list[Any]:
        from phoenix_forge.stages.evaluate import open_index

        ctx = self.setup().context()
        if not ctx.base_dir.exists():
            raise UsageError(
                f"nothing at {ctx.workspace.shown(ctx.base_dir)}: its tokenizer measures passages",
                fix="forge download, or start_run with last=download",
            )
        with open_index(ctx) as index:
            ctx.digests.save()
            return index.search(query, count)

    def model_status(self) -> dict[str, Any]:
        """What exists of the model and whether it is up to date; its evaluation, Ollama, and the latest run."""
        setup = self.setup()
        made = setup.project.status()
        ctx, w = setup.context(), setup.space
        latest = runs.ids(w)[-1:]
        return {
            "model": ctx.config.model.name,
            "base": ctx.base.identity,
            "workspace": str(w.root),
            "up_to_date": all(stage["up_to_date"] for stage in made["stages"]),
            **made,
            "evaluation": _evaluation(w),
            "ollama": in_ollama(ctx),
            "latest_run": {
                key: value for key, value in runs.follow(w, latest[0]).items() if key != "lines"
            }
            if latest
            else None,
        }

    def start_run(
        self,
        first: StageName = None,
        last: StageName = None,
        force: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make the model anew: start `forge run` in the background, from stage `first` to stage `last`.

        Stages that are up to date are skipped, unless `force` does them again and overwrites what was edited.
        `settings` are of this run only, by dotted key: {"train.epochs": 1}. Returns run_id for follow_run and stop_run.
        The run goes on when this server ends; refused while another is under way.
        """
        pairs = [
            f"{key}={json.dumps(value)}" for key, value in config.dotted(settings or {}).items()
        ]
        setup = replace(self._setup, set=[*self._setup.set, *pairs])
        if fixed := _fixed(self.setup(), setup):
            raise UsageError(
                f"{', '.join(fixed)}: not for an assistant to set", fix="write it into forge.yaml"
            )
        with self._starting:
            run_id = runs.start(setup, first, last, force)
        self._kept.close()
        return {
            "run_id": run_id,
            "state": "running",
            "log": setup.space.shown(runs.log(setup.space, run_id)),
        }

    def follow_run(
        self,
        run_id: RunId,
        since_line: Annotated[int, Field(ge=0)] = 0,
        wait: Annotated[
            float, Field(ge=0, le=50, description="Seconds to wait for something new.")
        ] = 0,
    ) -> dict[str, Any]:
        """How a run is getting on: state (running, done, stopped, failed), stages, progress, and new lines of its log.

        Pass next_line as since_line the next time; `error` says why a run failed.
        """
        return runs.follow(
            self.setup().space, run_id, since_line, wait, anyio.from_thread.check_cancelled
        )

    def stop_run(self, run_id: RunId) -> dict[str, Any]:
        """Stop a run. Training saves first and goes on from there the next time; follow_run says when it has ended."""
        runs.stop(self.setup().space, run_id)
        return {"run_id": run_id, "state": "stopping"}

    def answer_from_documents(self, question: str) -> str:
        """A question together with the passages of the documents that answer it."""
        from phoenix_forge.corpus.index import cited

        passages = [cited(p.path, p.headings, p.text) for p in self._found(question, 5)]
        return "\n\n".join(
            [
                *passages,
                "Answer from these passages, and name the ones you used; say so if they do not "
                f"answer it.\n\n{question}",
            ]
        )

    def config_in_force(self) -> str:
        """Every setting with the value in force and where it comes from."""
        loaded = self.setup().loaded
        values = config.dotted(loaded.config.model_dump())
        return json.dumps(
            {
                key: {"value": value, "origin": loaded.origins.get(key, "default")}
                for key, value in values.items()
            },
            indent=2,
            ensure_ascii=False,
        )

    def reader(self, path: Callable[[Workspace], Path], made_by: str) -> Callable[[], str]:
        def read() -> str:
            w = self.setup().space
            if not path(w).exists():
                raise UsageError(
                    f"nothing at {w.shown(path(w))}", fix=f"forge {made_by}, or start_run"
                )
            return path(w).read_text(encoding="utf-8")

        return read


def _fixed(before: Setup, after: Setup) -> list[str]:
    """Settings that differ and that only the user may change: what is read, where to, whose it is. A document could
    talk an assistant into any of it. Another model is a choice of the run, where it lies in the workspace or everybody
    can have it."""
    one, other = (config.dotted(setup.loaded.config.model_dump()) for setup in (before, after))
    changed = [key for key in config.KINDS if one[key] != other[key]]
    return [
        key
        for key in changed
        if config.KINDS[key] != config.MODEL or _elsewhere(other[key], before.root)
    ]


def _elsewhere(model: str, root: Path) -> bool:
    return not model.startswith("ollama:") and not inside(place(model, root), root)


def _evaluation(w: Workspace) -> dict[str, Any] | None:
    if not w.evaluation.exists():
        return None
    from phoenix_forge.evaluate.report_words import headline

    result = json.loads(w.evaluation.read_text(encoding="utf-8"))
    return {
        "headline": headline(result),
        "gate": result.get("gate"),
        "created": result.get("created"),
    }


def in_ollama(ctx: stages.Context) -> dict[str, Any]:
    """What Ollama says: its models, and whether this project's is `deployed`; `problem` where it does not answer."""
    from phoenix_forge.runtime.ollama import Ollama

    name = ctx.config.deploy.name or ctx.config.model.name
    with contextlib.closing(Ollama()) as server:
        try:
            version, models = server.version(), [model["name"] for model in server.list()]
        except (EnvironmentProblem, StageFailed) as error:
            return {
                "url": server.url,
                "reachable": False,
                "problem": error.message,
                "models": [],
                "deployed": False,
            }
        return {
            "url": server.url,
            "reachable": True,
            "version": version,
            "models": models,
            "deployed": name in models or f"{name}:latest" in models,
        }
