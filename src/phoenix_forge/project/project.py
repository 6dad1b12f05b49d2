"""The Python API: a folder with its forge.yaml, what is opened of it, and every step by name.

The commands are a thin layer over this one: what a method returns is what its command prints with --json, and what it
raises are the errors (phoenix_forge.errors) that the command prints, each with the way out in `fix`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from phoenix_forge.core.config import PUBLISH, Config, Loaded, dotted
from phoenix_forge.core.faults import named
from phoenix_forge.core.report import Event, Reporter, Silent, Told
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError
from phoenix_forge.project.folder import CONFIG
from phoenix_forge.stages import Context

if TYPE_CHECKING:
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.outside import Reach
    from phoenix_forge.corpus.index import Index
    from phoenix_forge.pipeline import Done
    from phoenix_forge.project.models import Kept
    from phoenix_forge.project.settings import Ground
    from phoenix_forge.runtime.session import Chats
    from phoenix_forge.weights.base import ModelFolder

OPENED = ("encoder", "base", "index")  # what a step may make anew


@dataclass(eq=False)
class Project:
    """A folder of documents and what is made of it. `Project.open` and `Project.init` make one.

    What it opens it opens once, until a step runs or it is closed; `with Project.open(".") as project:` closes it. Not
    to be used by two threads at a time.
    """

    root: Path
    config_file: Path | None = None  # that was named, in place of the folder's own
    overrides: Mapping[str, Any] = field(default_factory=dict)  # by dotted key
    report: Reporter = field(default_factory=Silent)
    ground: Ground | None = None  # the layers below forge.yaml, in place of a profile
    optional: bool = False  # defaults will do where there is no config
    theirs: Sequence[Path] = ()  # configs above that belong to other users

    @classmethod
    def open(
        cls,
        folder: str | Path = ".",
        *,
        config: str | Path | None = None,
        set: Mapping[str, Any] | None = None,
        progress: Callable[[Event], None] | None = None,
    ) -> Project:
        """The project in `folder`: exactly that one, not one above it.

        `config` names another file than its forge.yaml; `set` are settings beside the file, {"train.rank": 8};
        `progress` is called with an Event for each message and each step forward, and print is one that will do.
        Raises UsageError for a folder without a config, for settings that are wrong, and for what the folder's files
        reach outside of it without the user's leave (forge allow).
        """
        root = Path(folder).expanduser().resolve()
        if not root.is_dir():
            raise UsageError(f"{folder} is not a folder", fix="mkdir it, or name another")
        project = cls(
            root,
            Path(config) if config else None,
            _overrides(set),
            Told(progress) if progress else Silent(),
        )
        with named(root):
            ctx = project.context()
        for notice in project.loaded.notices:
            ctx.report.info(notice)
        if said := project.loaded.without_effect:
            ctx.report.warn(said)
        return project

    @classmethod
    def init(
        cls,
        folder: str | Path = ".",
        *,
        force: bool = False,
        set: Mapping[str, Any] | None = None,
        progress: Callable[[Event], None] | None = None,
    ) -> Project:
        """Writes a forge.yaml that fits the folder and this machine, as `forge init` does, and opens it. `force`
        overwrites one that is there; `set` and `progress` as in `open`."""
        from phoenix_forge.project.init import look, place, way_to_read, write_config

        root = Path(folder).expanduser()
        with named(root):
            place(root, force)
            found = look(root.resolve())
            write_config(root, force, found)
        project = cls.open(root, set=set, progress=progress)
        if not found.files:
            project.report.warn(f"nothing in {root} can be read yet; {way_to_read(found)}")
        return project

    def with_settings(self, settings: Mapping[str, Any]) -> Project:
        """The same project with other settings beside the file, by dotted key; it opens what it needs itself."""
        return replace(self, overrides={**self.overrides, **_overrides(settings)})

    # -- what is opened ------------------------------------------------------------------------------------------------

    @cached_property
    def loaded(self) -> Loaded:
        """The config with the origin of each value."""
        from phoenix_forge.project.settings import load

        return load(
            self.root,
            self.config_file,
            self.overrides,
            ground=self.ground,
            optional=self.optional,
            theirs=self.theirs,
        )

    @property
    def config(self) -> Config:
        return self.loaded.config

    @cached_property
    def workspace(self) -> Workspace:
        """Where everything lies. Raises UsageError where something reaches outside that the user has not allowed."""
        from phoenix_forge.core.outside import Allowed

        Allowed().require(self.root, [reach for reach in self.outside if reach.kind != PUBLISH])
        return Workspace(self.root, self.config)

    @cached_property
    def outside(self) -> list[Reach]:
        """What the folder's own files ask for beyond it: its links, and its config unless that was named."""
        from phoenix_forge.core import outside
        from phoenix_forge.corpus.sources import read_sources

        files = [] if self.config_file else [str(self.root / CONFIG)]
        if self.ground:
            files += [
                origin
                for origin in self.loaded.origins.values()
                if Path(origin).is_relative_to(self.root)
            ]
        manifest, listed = self.config.corpus.manifest, []
        if manifest:
            with contextlib.suppress(UsageError):  # who walks the corpus says what is wrong with it
                listed = read_sources(outside.place(manifest, self.root), self.root).roots
        links = outside.links(Workspace(self.root, self.config))
        return [*links, *outside.settings(self.loaded, self.root, files, listed)]

    def may_publish(self) -> None:
        """Raises UsageError where publish.repo is the folder's word alone: its .env may name the account, too."""
        from phoenix_forge.core.outside import Allowed

        Allowed().require(self.root, [reach for reach in self.outside if reach.kind == PUBLISH])

    def context(self, **options: Any) -> Context:
        """What a stage gets. `options` are those of this call: force, anyway."""
        return Context(self.config, self.workspace, self.report, options=options)

    @cached_property
    def encoder(self) -> Encoder:
        """The base's tokenizer and chat template: conversations to token ids and loss masks."""
        from phoenix_forge.stages.dataset import encoder

        with named(self.root):
            return encoder(self._with_base())

    @cached_property
    def base(self) -> ModelFolder:
        """The base's tensors, memory-mapped, with its family and sizes."""
        from phoenix_forge.weights.base import open_base

        with named(self.root):
            return open_base(self._with_base().base_dir)

    @cached_property
    def index(self) -> Index:
        """The full-text index over the documents as they were when it was first used: `index.search(text, 3)`."""
        from phoenix_forge.stages.evaluate import open_index

        with named(self.root):
            return open_index(self._with_base())

    @contextlib.contextmanager
    def open_model(self, model: str = "gguf") -> Iterator[Chats]:
        """base, adapter, merged, gguf or ollama, for conversations of one's own: `chat(messages, …)` returns an Answer.
        It is closed at the end of the block."""
        from phoenix_forge.project.models import open_model

        with contextlib.ExitStack() as opened:
            with named(self.root):  # not around what the caller does with it
                answering = opened.enter_context(open_model(self.context(), model))
            yield answering

    def _with_base(self) -> Context:
        ctx = self.context()
        if not ctx.base_dir.exists():
            raise UsageError(
                f"nothing at {ctx.workspace.shown(ctx.base_dir)}", fix="forge download"
            )
        return ctx

    @cached_property
    def _kept(self) -> Kept:
        from phoenix_forge.project.models import Kept

        return Kept()

    def close(self) -> None:
        """Gives back what is open. The project stays usable, and opens anew what it needs."""
        self._kept.close()
        if "index" in self.__dict__:
            self.index.close()
        for name in OPENED:
            self.__dict__.pop(name, None)

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- steps ---------------------------------------------------------------------------------------------------------

    def plan(self, first: str | None = None, last: str | None = None) -> dict[str, Any]:
        """What `run` would do, from stage `first` to stage `last`: `steps` with reason, time, memory and disk."""
        from phoenix_forge.project.planning import planned

        with named(self.root):
            return planned(self.context(), first, last)

    def status(self) -> dict[str, Any]:
        """What exists, and whether it is up to date: `stages` and `artifacts`."""
        from phoenix_forge.project.planning import state

        with named(self.root):
            return state(self.context())

    def run(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        force: bool = False,
        each: Callable[[Done], None] = lambda done: None,
    ) -> dict[str, Any]:
        """Does every stage that is not up to date, from `first` to `last`: `stages` and `artifacts`. `each` hears of
        a stage as it ends, the failing one too; `force` does all of them, and overwrites what was edited."""
        from phoenix_forge import pipeline

        self.close()
        ctx = self.context(force=force)
        with named(self.root):
            return ran(
                ctx, pipeline.run(ctx, pipeline.selected(ctx, first, last), force=force, each=each)
            )

    def stage(self, name: str, *, force: bool = False, **options: Any) -> dict[str, Any]:
        """Does one stage if it is not up to date; returns its metrics, with the `seconds` that it took (0: none)."""
        from phoenix_forge import pipeline

        self.close()
        ctx = self.context(force=force, **options)
        with named(self.root):
            if name == "dataset" and not ctx.base_dir.exists():
                self.report.info("the base comes first: its tokenizer counts the tokens")
                pipeline.run(ctx, ["download"])
            (done,) = pipeline.run(ctx, [name], force=force)
        return {**done.metrics, "seconds": done.seconds if done.status == "done" else 0.0}

    def download(self, *, force: bool = False) -> dict[str, Any]:
        """Gets the base from the first of its sources that can be reached."""
        return self.stage("download", force=force)

    def dataset(self, *, force: bool = False) -> dict[str, Any]:
        """Turns the documents into training examples."""
        return self.stage("dataset", force=force)

    def train(self, *, force: bool = False) -> dict[str, Any]:
        """Trains the adapter in this process; goes on from the last checkpoint. Ctrl-C saves one first."""
        return self.stage("train", force=force)

    def merge(self, *, force: bool = False) -> dict[str, Any]:
        """Writes base + adapter as one 16-bit model folder."""
        return self.stage("merge", force=force)

    def quantize(
        self, *, types: Sequence[str] = (), imatrix: str | Path | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Writes base + adapter as GGUF: of `types`, ["Q4_K_M"], or those of the config; `imatrix` is auto, none or a
        file."""
        matrix = Path(imatrix).resolve() if imatrix and imatrix not in ("auto", "none") else imatrix
        given = {"quantize.types": list(types) or None, "quantize.imatrix": matrix}
        return self._having(given).stage("quantize", force=force)

    def modelfile(self, *, force: bool = False) -> dict[str, Any]:
        """Writes the Modelfile for Ollama."""
        return self.stage("modelfile", force=force)

    def evaluate(
        self,
        *,
        questions: str | Path | None = None,
        models: Sequence[str] = (),
        count: int | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Measures what the model learned, and writes a report. `questions` is a JSONL file with question and answer
        (default: the dataset's own probes), `models` are of base, adapter, merged and gguf, and `count` questions are
        asked. A missed gate raises nothing: `["gate"]["passed"]` tells."""
        given = {
            "evaluate.questions": Path(questions).resolve() if questions else None,
            "evaluate.models": list(models) or None,
            "evaluate.count": count,
        }
        return self._having(given).stage("evaluate", force=force)

    def deploy(self, *, anyway: bool = False, force: bool = False) -> dict[str, Any]:
        """Creates the model in Ollama or the built-in runtime, checks it and asks it who it is; `anyway` gives it its
        name although Ollama does not answer as the built-in runtime does."""
        return self.stage("deploy", force=force, anyway=anyway)

    # -- questions -----------------------------------------------------------------------------------------------------

    def ask(
        self,
        question: str,
        *,
        model: str = "gguf",
        on_text: Callable[[str], None] | None = None,
        system: str | None = None,
        greedy: bool = False,
        temperature: float | None = None,
        max_tokens: int | None = None,
        closed_book: bool = False,
    ) -> dict[str, Any]:
        """Asks base, adapter, merged, gguf or ollama: `answer`, and where in the documents it stands (`supported`,
        `citations`, `passages`).

        `on_text` hears the answer piece by piece as it is written. `closed_book` leaves the documents' passages out;
        what is not given is the config's. The model stays loaded for the next question.
        """
        from phoenix_forge.project.asking import conversation, in_place_of, told
        from phoenix_forge.project.grounded import Grounding
        from phoenix_forge.runtime.session import answered

        ctx = self.context()
        chosen = in_place_of(
            ctx.config.generation, greedy=greedy, temperature=temperature, max_tokens=max_tokens
        )
        closed = closed_book or not chosen.grounded
        with named(self.root), self._kept.open(ctx, model) as answering, Grounding(ctx) as passages:
            turn = passages.asked(
                answering, conversation(ctx, question, system), closed=closed, generation=chosen
            )
            if turn.note:
                self.report.warn(turn.note)
            answer = answered(answering, turn, chosen, on_text)
            return told(answer, turn, turn.hold(answer.text))

    def _having(self, settings: Mapping[str, Any]) -> Project:
        """This project with those of the settings that are given; itself without any."""
        given = {key: value for key, value in settings.items() if value is not None}
        if not given:
            return self
        self.close()
        return self.with_settings(given)


def ran(ctx: Context, stages: Sequence[Done]) -> dict[str, Any]:
    """What became of the stages of a run, and what lies there now."""
    from phoenix_forge.pipeline import artifacts

    return {
        "stages": [
            {"name": done.name, "status": done.status, "seconds": done.seconds} for done in stages
        ],
        "artifacts": artifacts(ctx),
    }


def _overrides(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings by dotted key, also where they come nested; a path as the text that a config has."""
    flat = dotted(dict(settings or {}))
    return {key: str(value) if isinstance(value, Path) else value for key, value in flat.items()}
