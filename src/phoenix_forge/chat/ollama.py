"""Whether Ollama puts before a model what its training put there: the Go template held against the Jinja template.

Both are rendered over the same conversations and have to give the same text. The beginning-of-text token is trained
where the Jinja template writes it. Ollama adds it when it tokenises where the GGUF says so (`adds_bos`): then the Go
template leaves it out, else it has to write it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_forge.chat.go_template import GoTemplate
from phoenix_forge.chat.template import ChatTemplate, Message
from phoenix_forge.errors import UsageError


def _talk(*contents: str, system: str | None = None) -> list[Message]:
    """Question, answer, question, …"""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)
    ]


def shared(*texts: str) -> int:
    """How many characters all of them begin with."""
    return next(
        (i for i, row in enumerate(zip(*texts, strict=False)) if len({*row}) > 1),
        min(map(len, texts)),
    )


SYSTEM = 'You are "Keeper".\nBe brief.'
CONVERSATIONS: dict[str, list[Message]] = {
    "question": _talk("Who lights the lamp?"),
    "system": _talk("Who lights the lamp?", system=SYSTEM),
    "empty system": _talk("Who lights the lamp?", system=""),
    "turns": _talk("Who lights the lamp?", "The keeper.", "And in fog?"),
    "system, turns": _talk("Who lights the lamp?", "The keeper.", "And in fog?", system=SYSTEM),
    "long": _talk("1 + 1?", "2", "2 + 2?", "4", "4 + 4?", "8", "8 + 8?", system=SYSTEM),
    "code": _talk(
        "def f(x):\n\treturn {'a': \"{{ x }}\"}  # {% if %}\n\n<b>&amp;</b>",
        "Größe, 東京 🗼",
        "\\n ''' `?`",
    ),
}


@dataclass(frozen=True)
class Difference:
    """Where two prompts of one conversation part: what follows there, by training and by Ollama."""

    conversation: str
    position: int
    trained: str
    served: str

    def __str__(self) -> str:
        return (
            f"{self.conversation}: from character {self.position}, {self.served[:40]!r} where training had "
            f"{self.trained[:40]!r}"
        )


def _bos(jinja: ChatTemplate) -> str:
    return jinja.special.get("bos_token") or "\0"


def prompts(
    go: GoTemplate,
    jinja: ChatTemplate,
    system: str | None,
    messages: Sequence[Message],
    *,
    adds_bos: bool = True,
) -> tuple[str, str] | None:
    """One conversation's prompt by training and by Ollama, whose model has the system prompt `system` (None or empty:
    no SYSTEM); None where the Jinja template refuses it. What Ollama adds to both is left out."""
    asked = list(messages)
    if system and asked[0]["role"] != "system":
        asked.insert(0, {"role": "system", "content": system})
    try:
        # What the template adds by itself is what `system` says: without a system turn it is asked as in training.
        trained = jinja.render(messages if system == jinja.default_system else asked, prompt=True)
    except UsageError:
        return None
    return trained.removeprefix(_bos(jinja) if adds_bos else ""), go.prompt(asked)


def differences(
    go: str, jinja: ChatTemplate, system: str | None, *, adds_bos: bool = True
) -> list[Difference]:
    """All conversations whose prompts are not the same; `system` as for prompts(). A system prompt that the Jinja
    template refuses was never trained: that is a difference, too."""
    template, found = GoTemplate(go), []
    for name, messages in CONVERSATIONS.items():
        pair = prompts(template, jinja, system, messages, adds_bos=adds_bos)
        if pair is None and system and messages[0]["role"] != "system":
            found.append(Difference(name, 0, "no system turn: the template refuses it", system))
        if pair and pair[0] != pair[1]:
            at = shared(*pair)
            found.append(Difference(name, at, pair[0][at:], pair[1][at:]))
    return found


def derived(jinja: ChatTemplate) -> str | None:
    """A Go template with the texts that stand between the turns of a Jinja template, without the beginning-of-text
    token; None where it takes no such turns.

    It serves templates that write each turn by itself; differences() tells whether this one does.
    """
    marks = [f"\x02{i}\x03" for i in range(3)]

    def between(conversation: list[Message], *around: str) -> list[str]:
        text = jinja.render(conversation, prompt=True).removeprefix(_bos(jinja))
        parts = []
        for mark in around:
            part, found, text = text.partition(mark)
            if not found:
                raise UsageError("a turn is left out", fix="take a template that writes every turn")
            parts.append(part)
        return [*parts, text]

    try:
        bare, answering, asking, opening = between(_talk(*marks), *marks)
        if jinja.default_system is None and not _takes_system(jinja):
            before, first = "", bare
        else:
            before, first, _ = between(_talk(marks[1], system=marks[0]), *marks[:2])
    except UsageError:
        return None
    # The question's header is what all texts before one end with; its ending what all texts behind one begin with.
    header = bare[len(bare) - shared(bare[::-1], asking[::-1], first[::-1]) :]
    ending = opening[: shared(answering, opening)]

    def turn(before: str, after: str) -> str:
        return f"{_literal(before)}{{{{ .Content }}}}{_literal(after)}"

    without = bare[: len(bare) - len(header)]
    alone = (
        f'{{{{ if ne (index .Messages 0).Role "system" }}}}{_literal(without)}{{{{ end }}}}'
        if without
        else ""
    )
    return (
        alone
        + '{{ range .Messages }}{{ if eq .Role "system" }}'
        + turn(before, first[: len(first) - len(header)])
        + '{{ else if eq .Role "user" }}'
        + turn(header, ending)
        + '{{ else if eq .Role "assistant" }}'
        + turn(answering[len(ending) :], asking[: len(asking) - len(header)])
        + "{{ end }}{{ end }}"
        + _literal(opening[len(ending) :])
        + "{{ .Response }}"
    )


def _takes_system(jinja: ChatTemplate) -> bool:
    try:
        jinja.render(_talk("x", system="x"), prompt=True)
    except UsageError:
        return False
    return True


def _literal(text: str) -> str:
    """Text that Go takes as it is."""
    return text.replace("{{", '{{ "{{" }}')


def _opening(jinja: ChatTemplate) -> str:
    """The beginning-of-text token, where the template writes it."""
    try:
        text = jinja.render(CONVERSATIONS["question"], prompt=True)
    except UsageError:
        return ""
    return _bos(jinja) if text.startswith(_bos(jinja)) else ""


def go_template(
    row: str, jinja: ChatTemplate, system: str | None, *, adds_bos: bool = True
) -> tuple[str, list[Difference]]:
    """The Go template for a model: its family's `row` where that writes what its own template does, else one derived
    from it; and what then still differs."""
    opening = "" if adds_bos else _literal(_opening(jinja))
    chosen = opening + row
    found = differences(chosen, jinja, system, adds_bos=adds_bos)
    own = derived(jinja) if found else None
    if own is None:
        return chosen, found
    remaining = differences(opening + own, jinja, system, adds_bos=adds_bos)
    return (opening + own, remaining) if len(remaining) < len(found) else (chosen, found)
