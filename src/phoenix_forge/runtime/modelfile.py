"""Ollama's Modelfile, typed. The grammar follows the parser in Ollama's source (parser/parser.go, 2026).

An instruction is a word, a space and a value that runs to the end of the line, or to the closing quotes. There is no
escape: text holding three double quotes cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.errors import UsageError

Value = str | int | float | bool
TRIPLE, SINGLES = '"""', "'''"
ROLES = ("system", "user", "assistant")

# A word and its value; PARAMETER and MESSAGE name something in between.
INSTRUCTION = re.compile(
    r"(?P<word>(?i:parameter|message))[ \t](?P<name>\w+)[ \t](?P<value>.*)|"
    r"(?P<plain>(?!(?i:parameter|message)\b)[A-Za-z]+)[ \t](?P<rest>.*)",
    re.DOTALL,
)
LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
INTEGER = re.compile(r"[+-]?[0-9]+")
REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
VERSION = re.compile(
    r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)(\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?)?"
)
LARGEST = 3.4028235677973366e38  # from here on a float32 is infinite


def _integer(text: str) -> int:
    if not INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(text)
    return int(text)


def _real(text: str) -> float:
    if not REAL.fullmatch(text) or abs(float(text)) >= LARGEST:
        raise ValueError(text)
    return float(text)


def _boolean(text: str) -> bool:
    """As Go's strconv.ParseBool."""
    return {
        **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
        **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
    }[text]


# Ollama's runner options (docs/modelfile, "Valid parameters and values"; api/types.go) and how each is read.
PARAMETERS: dict[str, Callable[[str], Value]] = {
    "num_ctx": _integer,
    "num_predict": _integer,
    "num_keep": _integer,
    "num_batch": _integer,
    "num_gpu": _integer,
    "num_thread": _integer,
    "main_gpu": _integer,
    "seed": _integer,
    "top_k": _integer,
    "repeat_last_n": _integer,
    "draft_num_predict": _integer,
    "temperature": _real,
    "top_p": _real,
    "min_p": _real,
    "typical_p": _real,
    "repeat_penalty": _real,
    "presence_penalty": _real,
    "frequency_penalty": _real,
    "use_mmap": _boolean,
    "stop": str,
}
# Of older Modelfiles; Ollama reads over them.
DEPRECATED = frozenset(
    {
        "penalize_newline",
        "low_vram",
        "f16_kv",
        "logits_all",
        "vocab_only",
        "use_mlock",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
    }
)
# Instruction → field, for those that hold one text.
TEXTS = {
    "TEMPLATE": "template",
    "SYSTEM": "system",
    "ADAPTER": "adapter",
    "REQUIRES": "requires",
    "RENDERER": "renderer",
    "PARSER": "parser",
    "DRAFT": "draft",
}


@dataclass(frozen=True)
class Modelfile:
    """`from_` is a path or a model name, `more` are those of further FROM lines: a projector, or parts of a model.
    Parameters keep their order, and `stop` may come more than once."""

    from_: str
    more: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    parameters: tuple[tuple[str, Value], ...] = ()
    license: tuple[str, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    adapter: str | None = None
    requires: str | None = None
    renderer: str | None = None
    parser: str | None = None
    draft: str | None = None

    def options(self) -> dict[str, Any]:
        """The parameters as Ollama's API takes them: one value a name, all stops in a list."""
        options: dict[str, Any] = {}
        for name, value in self.parameters:
            if name == "stop":
                options.setdefault("stop", []).append(value)
            else:
                options[name] = value
        return options


def build(
    gguf: str,
    template: str,
    stops: Sequence[str],
    *,
    system: str | None,
    generation: GenerationConfig,
    num_ctx: int,
) -> Modelfile:
    """The Modelfile of one of Forge's models; `gguf` is its path relative to the Modelfile's folder.

    Nothing is left to Ollama's guesses. Without num_ctx it cuts long conversations silently. Without a repeat_penalty,
    releases before March 2026 take 1.1. And since May 2026 it sets a template aside for the GGUF's own where that
    mentions tools or thoughts (server/images.go, shouldPreferChatTemplate), and then has the model think before it
    answers; a parser, of which `passthrough` changes nothing, makes it keep to this one.
    """
    path = (
        gguf if gguf.startswith(("/", "./", "~")) else f"./{gguf}"
    )  # a bare name would be looked up as a model
    return Modelfile(
        path,
        template=template,
        system=system or "",
        parser="passthrough",
        parameters=(
            ("num_ctx", num_ctx),
            ("temperature", 0.0 if generation.greedy else float(generation.temperature)),
            ("top_p", float(generation.top_p)),
            ("repeat_penalty", 1.0),
            *(("stop", stop) for stop in stops),
        ),
    )


def _texts(m: Modelfile) -> Iterator[tuple[str, str]]:
    """(instruction, text) of all free text."""
    yield from (
        (word, text) for word, field in TEXTS.items() if (text := getattr(m, field)) is not None
    )
    yield from (("PARAMETER", value) for _, value in m.parameters if isinstance(value, str))
    yield from (("LICENSE", text) for text in m.license)
    yield from ((f"MESSAGE {role}", text) for role, text in m.messages)


def lossy(m: Modelfile) -> list[str]:
    """What the written file cannot hold: characters that Ollama's own parser does not count as printable, which it
    drops, and three double quotes in a row, which would end a text.

    A model created through the API keeps them.
    """
    found = []
    for word, text in _texts(m):
        dropped = sorted({c for c in text if not c.isprintable() and c not in "\n\r\t"})
        if dropped:
            found.append(
                f"{word}: `ollama create -f` drops {', '.join(f'U+{ord(c):04X}' for c in dropped)}"
            )
        if TRIPLE in text:
            found.append(
                f"{word}: {TRIPLE} stands in the file as {SINGLES}: the format cannot express it"
            )
    return found


def write(m: Modelfile) -> str:
    """The file's text. Raises UsageError for what the grammar cannot hold."""
    for name in (m.from_, *m.more):
        if name != name.strip() or not name.isprintable() or name[:1] in ("", '"'):
            raise UsageError(
                f"Modelfile FROM cannot hold {name!r}", fix="give the file a plain name"
            )
    if m.requires is not None and not VERSION.fullmatch(m.requires):
        raise UsageError(
            f"Modelfile REQUIRES cannot be {m.requires!r}", fix="give a version as 0.17.1"
        )
    lines = [f"FROM {name}" for name in (m.from_, *m.more)]
    lines += [
        f"{word} {_quoted(text)}"
        for word, field in TEXTS.items()
        if (text := getattr(m, field)) is not None
    ]
    lines += [f"PARAMETER {name} {_parameter(name, value)}" for name, value in m.parameters]
    for role, text in m.messages:
        if role not in ROLES:
            raise UsageError(
                f"Modelfile MESSAGE has the role {role!r}; known: {', '.join(ROLES)}",
                fix="use one of them",
            )
        lines.append(f"MESSAGE {role} {_quoted(text)}")
    lines += [f"LICENSE {_quoted(text)}" for text in m.license]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f"{TRIPLE}{text.replace(TRIPLE, SINGLES)}{TRIPLE}"


def _parameter(name: str, value: Value) -> str:
    if name not in PARAMETERS:
        raise UsageError(
            f"Modelfile has no parameter {name!r}; known: {', '.join(PARAMETERS)}", fix="remove it"
        )
    if isinstance(value, str):
        return _quoted(value)
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    try:
        same = PARAMETERS[name](text) == value
    except (ValueError, KeyError):
        same = False
    if not same:
        raise UsageError(
            f"Modelfile parameter {name} cannot be {value!r}",
            fix="give a number that Ollama can hold",
        )
    return text


def _unquoted(text: str) -> str | None:
    """The value without its quotes, or None while they are still open."""
    for quotes in (TRIPLE, '"'):
        if text.startswith(quotes):
            closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if closed else None
    return text


def _instructions(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line number from 0, instruction in capitals, name where it has one, value)."""
    lines = LINE.findall(text.removeprefix("\ufeff"))
    at = 0
    while at < len(lines):
        start, line = at, lines[at][0].lstrip()
        at += 1
        if not line or line.startswith("#"):
            continue
        match = INSTRUCTION.fullmatch(line)
        if not match:
            raise _error(start, f"{line[:60]!r} is not an instruction with its value")
        word, raw = match["word"] or match["plain"], match["value"] or match["rest"] or ""
        while (value := _unquoted(raw.strip())) is None:
            if at == len(lines):
                raise _error(start, "the quotes opened here are never closed")
            raw += lines[at - 1][1] + lines[at][0]
            at += 1
        yield start, word.upper(), match["name"] or "", value


def _error(line: int, message: str) -> UsageError:
    return UsageError(
        f"Modelfile line {line + 1}: {message}", fix="mend it, or run forge modelfile"
    )


def parse(text: str) -> Modelfile:
    """Reads a Modelfile (newlines as in the file). Raises UsageError with the line number."""
    fields: dict[str, Any] = {}
    sources: list[str] = []
    parameters: list[tuple[str, Value]] = []
    licenses: list[str] = []
    messages: list[tuple[str, str]] = []
    for line, word, name, value in _instructions(text):
        if word == "FROM":
            sources.append(value)
        elif word in TEXTS:
            _require(line, word, value, fields)
            fields[TEXTS[word]] = value
        elif word == "LICENSE":
            licenses.append(value)
        elif word == "MESSAGE" and name in ROLES:
            messages.append((name, value))
        elif word == "PARAMETER":
            if name not in DEPRECATED:
                parameters.append((name, _read_parameter(line, name, value)))
        else:
            raise _error(
                line,
                f"the role {name!r} is none of {', '.join(ROLES)}"
                if word == "MESSAGE"
                else f"unknown instruction {word!r}",
            )
    if not sources:
        raise UsageError("the Modelfile has no FROM line", fix="add FROM ./models/gguf/NAME.gguf")
    return Modelfile(
        sources[0],
        tuple(sources[1:]),
        **fields,
        parameters=tuple(parameters),
        license=tuple(licenses),
        messages=tuple(messages),
    )


def _require(line: int, word: str, value: str, before: dict[str, Any]) -> None:
    """Of a repeated instruction the last counts, as in Ollama; but that takes all DRAFTs, and here is room for one."""
    if word == "DRAFT" and "draft" in before:
        raise _error(line, "a second DRAFT")
    if word == "REQUIRES" and not VERSION.fullmatch(value):
        raise _error(line, f"{value!r} is no version as 0.17.1")


def _read_parameter(line: int, name: str, text: str) -> Value:
    if name not in PARAMETERS:
        raise _error(line, f"unknown parameter {name!r}")
    try:
        return PARAMETERS[name](text)
    except (ValueError, KeyError):
        raise _error(line, f"parameter {name} cannot be {text!r}") from None
