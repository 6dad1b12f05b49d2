"""Asking models: one answer streamed, or several models beside each other."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from phoenix_forge.chat.template import Message
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.fsio import unread
from phoenix_forge.errors import UsageError, escaped
from phoenix_forge.project.asking import conversation, in_place_of, system_message, told
from phoenix_forge.project.grounded import Asked, Grounding
from phoenix_forge.project.models import MODELS, base_model, closing, open_model
from phoenix_forge.runtime.session import Chats, answered
from phoenix_forge.stages import Context


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
        sys.stdin.reconfigure(
            errors="surrogateescape"
        )  # a stray byte costs its question, not the session

    with contextlib.ExitStack() as opened:

        @functools.cache
        def base() -> Chats:
            return opened.enter_context(closing(base_model(ctx)))

        passages = opened.enter_context(Grounding(ctx))
        passages.load_ahead()

        def ground(model: Chats, messages: Sequence[Message], closed: bool) -> Asked:
            passages.refresh()
            return passages.asked(model, messages, closed=closed, generation=ctx.config.generation)

        Session(
            opened.enter_context(open_model(ctx, name)),
            system=system_message(ctx),
            generation=ctx.config.generation,
            write=write,
            keep=keep,
            base=base,
            ground=ground,
            closed=closed or not ctx.config.generation.grounded,
            search=passages.search,
        ).run(lambda: input("\nyou: " if sys.stdin.isatty() else ""))
    if kept.exists():
        ctx.report.info(f"kept in {ctx.workspace.shown(kept)}")


def read_prompts(prompts: list[str], file: Path | None) -> list[str]:
    if file:
        try:
            return [file.read_text(encoding="utf-8").strip()]
        except OSError as error:
            raise UsageError(
                f"cannot read --file {file}: {error.strerror}",
                fix=unread(error, file, "name a text file"),
            ) from None
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
    return UsageError(
        f"{what} is not UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}",
        fix="write it as UTF-8: iconv -f latin1 -t utf-8 FILE",
    )


def ask_models(
    setup: Setup,
    prompts: list[str],
    models: list[str],
    file: Path | None,
    greedy: bool,
    temperature: float | None,
    max_tokens: int | None,
    closed: bool,
) -> None:
    """Asks each model each prompt; a single question streams its answer, several are shown side by side."""
    ctx = setup.context()
    for name in models:
        if name not in MODELS:
            raise UsageError(
                f"--model {name!r}: choose from {', '.join(MODELS)}", fix="--model gguf"
            )
    asked = read_prompts(prompts, file)
    single = len(asked) == len(models) == 1
    stream = single and not setup.json
    chosen = in_place_of(
        ctx.config.generation, greedy=greedy, temperature=temperature, max_tokens=max_tokens
    )
    results, lines, notes = [], [], dict[str, None]()
    with Grounding(ctx) as passages:
        passages.load_ahead()
        for name in models:
            with open_model(ctx, name) as model:
                for prompt in asked:
                    turn = passages.asked(
                        model,
                        conversation(ctx, prompt),
                        closed=closed or not chosen.grounded,
                        generation=chosen,
                    )
                    if turn.note and turn.note not in notes:
                        ctx.report.warn(turn.note)
                    notes[turn.note] = None
                    answer = answered(model, turn, chosen, _show if stream else None)
                    held = turn.hold(answer.text)
                    results.append({"model": name, "prompt": prompt, **told(answer, turn, held)})
                    lines.append(held.lines(ctx.workspace.root))
    if single:
        setup.emit(
            {key: value for key, value in results[0].items() if key not in ("model", "prompt")}
        )
        if stream:
            print("\n".join(["", *_below(lines[0])]))
    else:
        setup.emit({"answers": results})
        if not setup.json:
            shown = [
                "\n".join([result["answer"], *_below(own)])
                for result, own in zip(results, lines, strict=True)
            ]
            _side_by_side(asked, models, shown)


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
        table.add_row(
            *(Text(escaped(text, keep="\n")) for text in (prompt, *answers[i :: len(asked)]))
        )
    console = Console()
    # Piped output has no width of its own.
    Console(width=None if console.is_terminal else 120).print(table)
