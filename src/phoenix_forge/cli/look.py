"""forge dataset --preview: examples beside their sources, in colour on a terminal, with ⟦marks⟧ elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from phoenix_forge.examples.preview import Shown, SourceText

LONGEST = 1600  # characters of a passage, and of each part of a conversation, that are printed
TRAINED, SHARED = "bold cyan", "bold yellow"
INDENT = "  "
# C0, DEL and C1 controls but newline and tab, as pictures: a document must not drive the terminal.
_CONTROLS = {i: 0x2400 + i for i in range(32) if i not in (9, 10)} | dict.fromkeys(
    range(0x7F, 0xA0), 0x2421
)

Run = tuple[str, bool]  # a text, and whether it is highlighted


def render(shown: Sequence[Shown], console: Console | None = None) -> str:
    """The examples as text for stdout: with colours if that is a terminal, else with the marks ⟦ and ⟧."""
    from rich.console import Console

    console = console or Console(highlight=False, soft_wrap=True)
    if not console.is_terminal or console.no_color:
        return "\n".join(plain(shown))
    with console.capture() as captured:
        _print(console, shown)
    return captured.get().rstrip("\n")


def plain(shown: Sequence[Shown]) -> Iterable[str]:
    """Lines of marked text."""
    for i, one in enumerate(shown, 1):
        yield ("" if i == 1 else "\n") + f"── {_title(one, i, len(shown))}"
        yield (
            f"{_source(one)}, what the answer holds of it in ⟦ ⟧"
            if one.passage.shared
            else _source(one)
        )
        if one.passage.text:
            yield _indented("".join(_marked(run) for run in passage_runs(one.passage)))
        yield f"{_counts(one)} in ⟦ ⟧"
        yield _indented("".join(_marked(run) for run in conversation_runs(one)))


def _print(console: Console, shown: Sequence[Shown]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for i, one in enumerate(shown, 1):
        console.print(Text(f"── {_title(one, i, len(shown))}", style="bold"))
        console.print(Text(_source(one), style="dim"))
        if one.passage.text:
            console.print(
                Padding(_styled(passage_runs(one.passage), SHARED), (0, 0, 0, len(INDENT)))
            )
        console.print(Text(_counts(one), style="dim"))
        console.print(Padding(_styled(conversation_runs(one), TRAINED), (0, 0, 0, len(INDENT))))
        console.print()


def _styled(runs: Iterable[Run], style: str) -> Text:
    from rich.text import Text

    return Text.assemble(*((text, style if lit else "") for text, lit in runs))


def _marked(run: Run) -> str:
    text, lit = run
    return f"⟦{text}⟧" if lit else text


def _title(one: Shown, i: int, of: int) -> str:
    where = f" · {one.path}" if one.path else ""
    span = f":{one.span[0]}–{one.span[1]}" if one.span and one.path else ""
    return printable(f"{i}/{of} · {one.kind}{where}{span} · line {one.line}")


def _source(one: Shown) -> str:
    if one.passage.note:
        return printable(f"source: {one.passage.note}")
    size = one.span[1] - one.span[0] if one.span else 0
    return f"source, {size:,} bytes"


def _counts(one: Shown) -> str:
    return f"conversation, {one.tokens:,} tokens, {one.trained:,} of them trained"


def passage_runs(passage: SourceText) -> list[Run]:
    """The passage, cut to where it meets the answer if it is long."""
    runs: list[Run] = []
    at = 0
    for start, end in passage.shared:
        runs += [(passage.text[at:start], False), (passage.text[start:end], True)]
        at = end
    runs.append((passage.text[at:], False))
    first = passage.shared[0][0] if passage.shared else 0
    return _window(
        [run for run in runs if run[0]], max(0, first - 200) if len(passage.text) > LONGEST else 0
    )


def conversation_runs(one: Shown) -> list[Run]:
    """The rendered conversation; the middle of a very long part is left out."""
    return [(printable(_clipped(part.text)), part.trained) for part in one.conversation]


def _window(runs: list[Run], start: int) -> list[Run]:
    """LONGEST characters from `start` on, saying how many are left out on either side."""
    kept: list[Run] = [(f"[… {start:,} characters] ", False)] if start else []
    at = 0
    for text, lit in runs:
        piece = text[max(0, start - at) : max(0, start + LONGEST - at)]
        at += len(text)
        if piece:
            kept.append((printable(piece), lit))
    left = at - start - LONGEST
    return [*kept, (f" [{left:,} characters …]", False)] if left > 0 else kept


def _clipped(text: str) -> str:
    left = len(text) - 2 * LONGEST
    return f"{text[:LONGEST]} [… {left:,} characters …] {text[-LONGEST:]}" if left > 0 else text


def _indented(text: str) -> str:
    return "\n".join(INDENT + line if line else "" for line in text.rstrip("\n").split("\n"))


def printable(text: str) -> str:
    """Control characters as pictures."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)
