"""Ollama's Modelfile, typed. The grammar follows the parser in Ollama's source (parser/parser.go, 2026).

An instruction is a word, a space and a value that runs to the end of the line, or to the closing quotes. There is no
escape: text holding three double quotes cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from forge.catalog.families import Family
from forge.core.config import GenerationConfig
from forge.errors import UsageError

Value = str | int | float | bool
TRIPLE = '"""'
ROLES = ("system", "user", "assistant")

# A word and its value; PARAMETER and MESSAGE name something in between.
INSTRUCTION = re.compile(r"(?P<word>(?i:parameter|message))[ \t]+(?P<name>\w+)[ \t](?P<value>.*)|"
                         r"(?P<plain>(?!(?i:parameter|message)\b)[A-Za-z]+)[ \t](?P<rest>.*)", re.DOTALL)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


# Ollama's runner options (docs/modelfile, "Valid parameters and values"; api/types.go) and how each is read.
PARAMETERS: dict[str, Callable[[str], Value]] = {
    "num_ctx": int, "num_predict": int, "num_keep": int, "num_batch": int, "num_gpu": int, "num_thread": int,
    "main_gpu": int, "seed": int, "top_k": int, "repeat_last_n": int, "draft_num_predict": int,
    "temperature": float, "top_p": float, "min_p": float, "typical_p": float, "repeat_penalty": float,
    "presence_penalty": float, "frequency_penalty": float,
    "use_mmap": _boolean, "stop": str,
}
# Instruction → field, for those that hold one text.
TEXTS = {"TEMPLATE": "template", "SYSTEM": "system", "ADAPTER": "adapter", "REQUIRES": "requires",
         "RENDERER": "renderer", "PARSER": "parser", "DRAFT": "draft"}


@dataclass(frozen=True)
class Modelfile:
    """`from_` is a path or a model name; parameters keep their order, and `stop` may come more than once."""

    from_: str
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


def build(gguf: str, family: Family, *, system: str | None, generation: GenerationConfig, num_ctx: int) -> Modelfile:
    """The Modelfile of one of Forge's models; `gguf` is its path relative to the Modelfile's folder.

    Nothing is left to Ollama's guesses: without a template it looks for a known one, and without num_ctx it cuts long
    conversations silently.
    """
    path = gguf if gguf.startswith(("/", "./", "~")) else f"./{gguf}"  # a bare name would be looked up as a model
    return Modelfile(path, family.go_template, system or "", (
        ("num_ctx", num_ctx),
        ("temperature", 0.0 if generation.greedy else float(generation.temperature)),
        ("top_p", float(generation.top_p)),
        *(("stop", stop) for stop in family.stops)))


def _texts(m: Modelfile) -> Iterator[tuple[str, str]]:
    """(instruction, text) of all free text."""
    yield from ((word, text) for word, field in TEXTS.items() if (text := getattr(m, field)) is not None)
    yield from (("PARAMETER", value) for _, value in m.parameters if isinstance(value, str))
    yield from (("LICENSE", text) for text in m.license)
    yield from ((f"MESSAGE {role}", text) for role, text in m.messages)


def lossy(m: Modelfile) -> list[str]:
    """What Ollama's own parser would drop from the written file: characters it does not count as printable.

    A model created through the API keeps them.
    """
    found = []
    for word, text in _texts(m):
        dropped = sorted({c for c in text if not c.isprintable() and c not in "\n\r\t"})
        if dropped:
            found.append(f"{word}: `ollama create -f` drops {', '.join(f'U+{ord(c):04X}' for c in dropped)}")
    return found


def write(m: Modelfile) -> str:
    """The file's text. Raises UsageError for what the grammar cannot hold."""
    if m.from_ != m.from_.strip() or not m.from_.isprintable() or m.from_[:1] in ("", '"'):
        raise UsageError(f"Modelfile FROM cannot hold {m.from_!r}", fix="give the file a plain name")
    for word, text in _texts(m):
        if TRIPLE in text:
            raise UsageError(f'Modelfile {word} holds """, which the format cannot express: {text[:60]!r}',
                             fix='remove the """, or deploy with `forge deploy`, which uses the API')
    lines = [f"FROM {m.from_}"]
    lines += [f"{word} {_quoted(text)}" for word, field in TEXTS.items() if (text := getattr(m, field)) is not None]
    lines += [f"PARAMETER {name} {_parameter(name, value)}" for name, value in m.parameters]
    for role, text in m.messages:
        if role not in ROLES:
            raise UsageError(f"Modelfile MESSAGE has the role {role!r}; known: {', '.join(ROLES)}",
                             fix="use one of them")
        lines.append(f"MESSAGE {role} {_quoted(text)}")
    lines += [f"LICENSE {_quoted(text)}" for text in m.license]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f"{TRIPLE}{text}{TRIPLE}"


def _parameter(name: str, value: Value) -> str:
    if name not in PARAMETERS:
        raise UsageError(f"Modelfile has no parameter {name!r}; known: {', '.join(PARAMETERS)}", fix="remove it")
    return _quoted(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


def _unquoted(text: str) -> str | None:
    """The value without its quotes, or None while they are still open."""
    for quotes in (TRIPLE, '"'):
        if text.startswith(quotes):
            closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes):-len(quotes)] if closed else None
    return text


def _instructions(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line number, instruction in capitals, name where it has one, value)."""
    lines = text.removeprefix("\ufeff").split("\n")
    at = 0
    while at < len(lines):
        start, line = at, lines[at].lstrip()
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
            raw += "\n" + lines[at]
            at += 1
        yield start, word.upper(), match["name"] or "", value


def _error(line: int, message: str) -> UsageError:
    return UsageError(f"Modelfile line {line + 1}: {message}", fix="mend it, or run forge modelfile")


def parse(text: str) -> Modelfile:
    """Reads a Modelfile (newlines as in the file). Raises UsageError with the line number."""
    fields: dict[str, Any] = {}
    parameters: list[tuple[str, Value]] = []
    licenses: list[str] = []
    messages: list[tuple[str, str]] = []
    for line, word, name, value in _instructions(text):
        if word == "FROM" and "from_" not in fields:
            fields["from_"] = value
        elif word in TEXTS:
            fields[TEXTS[word]] = value
        elif word == "LICENSE":
            licenses.append(value)
        elif word == "MESSAGE" and name in ROLES:
            messages.append((name, value))
        elif word == "PARAMETER":
            parameters.append((name, _read_parameter(line, name, value)))
        else:
            raise _error(line, {"FROM": "a second FROM", "MESSAGE": f"the role {name!r} is none of {', '.join(ROLES)}"}
                         .get(word, f"unknown instruction {word!r}"))
    if "from_" not in fields:
        raise UsageError("the Modelfile has no FROM line", fix="add FROM ./models/gguf/NAME.gguf")
    return Modelfile(**fields, parameters=tuple(parameters), license=tuple(licenses), messages=tuple(messages))


def _read_parameter(line: int, name: str, text: str) -> Value:
    if name not in PARAMETERS:
        raise _error(line, f"unknown parameter {name!r}")
    try:
        return PARAMETERS[name](text)
    except (ValueError, KeyError):
        raise _error(line, f"parameter {name} cannot be {text!r}") from None
