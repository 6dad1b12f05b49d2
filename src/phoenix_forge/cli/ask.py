"""Asking models: one answer streamed, or several models beside each other."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from phoenix_forge.catalog.bases import Source
from phoenix_forge.chat.template import Message
from phoenix_forge.cli.grounded import Asked, Grounding, Held
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.errors import UsageError, escaped
from phoenix_forge.hub.download import cache_folder, cached_gguf
from phoenix_forge.hub.ollama_store import stored_gguf
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.session import Chats
from phoenix_forge.stages import Context
from phoenix_forge.stages.recorded import require_as_made


def _folder(ctx: Context, folder: Path, adapter: Path | None, fix: str) -> Chats:
    for path in (folder, adapter):
        if path and not path.exists():
            raise UsageError(f"nothing at {ctx.workspace.shown(path)}", fix=fix)
    require_as_made(ctx, folder, *([adapter] if adapter else []))
    from phoenix_forge.train.answer import FolderModel
    from phoenix_forge.weights.adapter import open_adapter
    from phoenix_forge.weights.base import open_base
    model = open_base(folder)
    if adapter:
        open_adapter(adapter, model)
    from phoenix_forge.stages.dataset import encoder
    own = encoder(ctx, tuned=folder != ctx.base_dir or adapter is not None)
    return FolderModel(folder, own, model.parameters, adapter)


def _gguf(ctx: Context) -> Chats:
    from phoenix_forge.runtime.llama import Model
    path = ctx.workspace.gguf()
    if not path.exists():
        raise UsageError(f"no GGUF at {ctx.workspace.shown(path)}", fix="forge quantize")
    require_as_made(ctx, path)
    return Model(path, num_ctx=ctx.config.deploy.num_ctx)


def _ollama(ctx: Context) -> Chats:
    from phoenix_forge.runtime.ollama import Ollama, OllamaModel
    server = Ollama()
    server.require(ctx.report)
    return OllamaModel(server, ctx.config.deploy.name or ctx.config.model.name)


MODELS: dict[str, Callable[[Context], Chats]] = {
    "base": lambda ctx: _folder(ctx, ctx.base_dir, None, "forge download"),
    "adapter": lambda ctx: _folder(ctx, ctx.base_dir, ctx.workspace.adapter, "forge train"),
    "merged": lambda ctx: _folder(ctx, ctx.workspace.merged, None, "forge merge"),
    "gguf": _gguf,
    "ollama": _ollama,
}


@contextlib.contextmanager
def open_model(ctx: Context, name: str) -> Iterator[Chats]:
    if name not in MODELS:
        raise UsageError(f"--model {name!r}: choose from {', '.join(MODELS)}", fix="--model gguf")
    with closing(MODELS[name](ctx)) as model:
        yield model


@contextlib.contextmanager
def closing(model: Chats) -> Iterator[Chats]:
    """The model, whose memory is given back at the end where its kind holds any."""
    try:
        yield model
    finally:
        if hasattr(model, "close"):
            model.close()


# The base as a GGUF, for the kinds of source that are one.
GGUFS: dict[str, Callable[[Source], Path | None]] = {
    "gguf": lambda source: Path(source.at),
    "wheels": lambda source: cached_gguf(cache_folder(), source.sha256 or ""),
    "ollama": lambda source: stored_gguf(source.at),
}


def _base(ctx: Context) -> Chats:
    """The base: its GGUF where it came or can come as one that lies on this machine, else its folder."""
    from phoenix_forge.runtime.llama import Model
    for source in ctx.base.sources:
        path = GGUFS.get(source.kind, lambda _: None)(source)
        if path and path.is_file():
            return Model(path, num_ctx=ctx.config.deploy.num_ctx)
    return MODELS["base"](ctx)


def converse(ctx: Context, name: str, closed: bool) -> None:
    """A chat on the terminal, or with the lines of stdin. What is said is kept below logs/ as it is said."""
    from phoenix_forge.runtime.session import Session
    kept = ctx.workspace.logs / f"chat-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.md"

    def keep(text: str) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with open(kept, "a", encoding="utf-8", errors="replace") as handle:
            handle.write(text)

    def write(text: str) -> None:
        print(escaped(text, keep="\n\t"), end="", flush=True)

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a stray byte costs its question, not the session

    with contextlib.ExitStack() as opened:
        @functools.cache
        def base() -> Chats:
            return opened.enter_context(closing(_base(ctx)))

        passages = opened.enter_context(Grounding(ctx))
        passages.load_ahead()

        def ground(model: Chats, messages: Sequence[Message], closed: bool) -> Asked:
            passages.refresh()
            return passages.asked(model, messages, closed=closed, generation=ctx.config.generation)

        Session(opened.enter_context(open_model(ctx, name)), system=system_message(ctx),
                generation=ctx.config.generation, write=write, keep=keep, base=base,
                ground=ground, closed=closed or not ctx.config.generation.grounded,
                search=passages.search).run(
            lambda: input("\nyou: " if sys.stdin.isatty() else ""))
    if kept.exists():
        ctx.report.info(f"kept in {ctx.workspace.shown(kept)}")


def system_message(ctx: Context) -> str | None:
    """The configured system prompt; without one each model's own template adds its default."""
    return ctx.config.deploy.system


def read_prompts(prompts: list[str], file: Path | None) -> list[str]:
    if file:
        try:
            return [file.read_text(encoding="utf-8").strip()]
        except OSError as error:
            raise UsageError(f"cannot read --file {file}: {error.strerror}", fix="name a text file") from None
        except UnicodeDecodeError as error:
            raise _no_utf8(f"--file {file}", error) from None
    if prompts:
        return prompts
    if sys.stdin.isatty():
        raise UsageError("nothing was asked", fix='forge ask "your question"')
    try:
        text = sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise _no_utf8("the input", error) from None
    if not text:
        raise UsageError("nothing was asked: the input is empty", fix='forge ask "your question"')
    return [text]


def _no_utf8(what: str, error: UnicodeDecodeError) -> UsageError:
    return UsageError(f"{what} is not UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}",
                      fix="write it as UTF-8: iconv -f latin1 -t utf-8 FILE")


def ask_models(setup: Setup, prompts: list[str], models: list[str], file: Path | None, greedy: bool,
               temperature: float | None, max_tokens: int | None, closed: bool) -> None:
    """Asks each model each prompt; a single question streams its answer, several are shown side by side."""
    ctx = setup.context()
    for name in models:
        if name not in MODELS:
            raise UsageError(f"--model {name!r}: choose from {', '.join(MODELS)}", fix="--model gguf")
    asked = read_prompts(prompts, file)
    single = len(asked) == len(models) == 1
    stream = single and not setup.json
    chosen = in_place_of(ctx.config.generation, greedy=greedy, temperature=temperature, max_tokens=max_tokens)
    results, lines, notes = [], [], dict[str, None]()
    with Grounding(ctx) as passages:
        passages.load_ahead()
        for name in models:
            with open_model(ctx, name) as model:
                for prompt in asked:
                    turn = passages.asked(model, conversation(ctx, prompt), closed=closed or not chosen.grounded,
                                          generation=chosen)
                    if turn.note and turn.note not in notes:
                        ctx.report.warn(turn.note)
                    notes[turn.note] = None
                    answer = model.chat(turn.messages, **chosen.sampling, on_text=_show if stream else None)
                    held = turn.hold(answer.text)
                    results.append({"model": name, "prompt": prompt, **told(answer, turn, held)})
                    lines.append(held.lines(ctx.workspace.root))
    if single:
        setup.emit({key: value for key, value in results[0].items() if key not in ("model", "prompt")})
        if stream:
            print("\n".join(["", *_below(lines[0])]))
    else:
        setup.emit({"answers": results})
        if not setup.json:
            shown = ["\n".join([result["answer"], *_below(own)]) for result, own in zip(results, lines, strict=True)]
            _side_by_side(asked, models, shown)


def in_place_of(own: GenerationConfig, *, greedy: bool = False, temperature: float | None = None,
                max_tokens: int | None = None) -> GenerationConfig:
    """The config's settings, with those that somebody chose for one question."""
    return own.model_copy(update={
        "max_tokens": max_tokens or own.max_tokens, "greedy": greedy or (own.greedy and temperature is None),
        "temperature": own.temperature if temperature is None else temperature})


def conversation(ctx: Context, prompt: str, system: str | None = None) -> list[Message]:
    """A question by itself, under a system prompt or the configured one."""
    system = system_message(ctx) if system is None else system
    question: Message = {"role": "user", "content": prompt}
    return [{"role": "system", "content": system}, question] if system else [question]


def told(answer: Answer, turn: Asked, held: Held) -> dict[str, Any]:
    """An answer, what it was given to read and what of it stands there, as JSON."""
    passages = [{"path": p.path, "headings": p.headings, "span": p.span, "text": p.text} for p in turn.passages]
    return {"answer": answer.text, "stopped": answer.stopped, "tokens": answer.tokens,
            "seconds": round(answer.seconds, 2), "passages": passages, **held.json(), "note": turn.note or None}


def _show(text: str) -> None:
    print(escaped(text, keep="\n\t"), end="", flush=True)


def _below(lines: list[str]) -> list[str]:
    """Lines as they stand below an answer."""
    return ["", *map(escaped, lines)] if lines else []


def _side_by_side(asked: list[str], models: list[str], answers: list[str]) -> None:
    """`answers` come model by model."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    table = Table(show_lines=True)
    table.add_column("question", ratio=2)
    for name in models:
        table.add_column(name, ratio=3)
    for i, prompt in enumerate(asked):
        table.add_row(*(Text(escaped(text, keep="\n")) for text in (prompt, *answers[i::len(asked)])))
    console = Console()
    # Piped output has no width of its own.
    Console(width=None if console.is_terminal else 120).print(table)
