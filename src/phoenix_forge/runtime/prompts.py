"""A conversation as llama.cpp is given it: rendered by the GGUF's own template in the metered sandbox, never by
llama.cpp, whose Jinja has no meter and reads control tokens wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from phoenix_forge.chat.calls import Spoken, spoken
from phoenix_forge.chat.pieces import Piece, pieces
from phoenix_forge.chat.template import ChatTemplate, Message, UnsafeTemplate
from phoenix_forge.errors import UsageError

# What a file without a template is answered with, as in llama.cpp, where it also has this name. The library is always
# told to take it: whatever template it takes, it parses and renders while it loads the file.
CHATML_NAME = "chatml"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SUSPICIOUS = re.compile(r"[<\[|＜｜▁]")  # no control token that is known does without
OTHER_FILE = (
    "take another GGUF of the model, or give it another template: gguf-new-metadata "
    "--chat-template-file FILE.jinja THIS.gguf OTHER.gguf"
)
QUESTION: list[Message] = [{"role": "user", "content": "x"}]  # every template takes it


class Tokens(Protocol):
    """llama.cpp's tokenizer for one file: control tokens read as such (`special`) or as text, with what the model
    begins texts with (`beginning`) or without."""

    def __call__(self, text: str, *, special: bool, beginning: bool = False) -> list[int]: ...


def template_of(gguf: Path) -> ChatTemplate:
    """The chat template that a GGUF brings, with the texts of the tokens that it may name; ChatML where it brings none.

    Raises UsageError for a file that is no sound GGUF, and for a template that is no Jinja or comes to no end: it is
    tried on a question, before anybody waits for the file to be loaded.
    """
    from phoenix_forge.gguf.container import read_header

    header = read_header(gguf)
    texts = header.get("tokenizer.ggml.tokens", [])
    ids = {role: header.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos")}
    special = {
        f"{role}_token": texts[i] if i is not None and i < len(texts) else ""
        for role, i in ids.items()
    }
    try:
        template = ChatTemplate(
            header.get("tokenizer.chat_template") or CHATML,
            special,
            name=gguf.name,
            tool_use=header.get("tokenizer.chat_template.tool_use"),
        )
        template.render(QUESTION, prompt=True)
    except UsageError as error:
        raise UsageError(f"{gguf}: {error.message}", fix=OTHER_FILE) from None
    return template


class Prompts:
    """Renders with `template`; `system` goes before conversations that bring no system message."""

    def __init__(
        self, template: ChatTemplate, tokens: Tokens, *, system: str | None = None
    ) -> None:
        self.template, self.tokens, self.system = template, tokens, system
        self._begins = bool(tokens("", special=True, beginning=True))

    @cached_property
    def spoken(self) -> Spoken:
        """How the model writes tool calls. Raises UsageError where its template has no place for them."""
        return spoken(self.template)

    def of(self, messages: Sequence[Message], begun: str = "") -> str | list[int]:
        """What llama.cpp is to answer: a text, of which it reads control tokens and before which it puts what the model
        begins texts with; or token ids, where somebody wrote control tokens, which then are text. `begun` is how the
        answer begins.

        Raises UsageError where the template does not take the conversation.
        """
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        first, *rest = _begun(self._pieces(messages), begun)
        text = first.text
        if self._begins:
            text = text.removeprefix(self.template.special.get("bos_token", ""))
        if not rest:
            return text
        ids = self.tokens(text, special=True, beginning=True)
        for piece in rest:
            ids += self.tokens(piece.text, special=not piece.written)
        return ids

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The same, as token ids in any case."""
        made = self.of(messages)
        return self.tokens(made, special=True, beginning=True) if isinstance(made, str) else made

    def _pieces(self, messages: Sequence[Message]) -> list[Piece]:
        try:
            return pieces(self.template, messages, self._acts)
        except UnsafeTemplate as error:
            raise UsageError(f"{self.template.name}: {error.message}", fix=OTHER_FILE) from None

    def _acts(self, text: str) -> bool:
        return bool(_SUSPICIOUS.search(text)) and self.tokens(text, special=True) != self.tokens(
            text, special=False
        )


def _begun(prompt: list[Piece], begun: str) -> list[Piece]:
    """A prompt with the beginning of its answer, which is the template's as what stands before it."""
    *before, last = prompt
    if last.written or not begun:
        return [*prompt, *([Piece(begun, written=False)] if begun else [])]
    return [*before, Piece(last.text + begun, written=False)]
