"""Which part of a prompt is the template's, and which somebody wrote who may have written control tokens."""

from __future__ import annotations

import pytest

from phoenix_forge.chat.pieces import CLOSE, OPEN, Piece, pieces
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.errors import UsageError

TEMPLATE = ChatTemplate(
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ (m.tool_calls or []) | tojson }}"
    "{% endfor %}"
)


def acts(text: str) -> bool:
    return "<end>" in text


def test_what_nobody_wrote_a_control_token_in_is_one_piece() -> None:
    messages = [{"role": "user", "content": f"a{OPEN}b{CLOSE}"}]
    assert pieces(TEMPLATE, messages, acts) == [Piece("[user]ab[]", written=False)]


def test_what_holds_control_tokens_is_apart_wherever_it_stands_in_a_conversation() -> None:
    call = {"function": {"name": "f", "arguments": {"<end>": ["x", f"{OPEN}<end>"]}}}
    messages = [
        {"role": "user", "content": "1<end>"},
        {"role": "assistant", "content": "2", "tool_calls": [call]},
    ]
    found = pieces(TEMPLATE, messages, acts)
    assert [piece.text for piece in found if piece.written] == ["1<end>", "<end>", "<end>"]
    assert not any(acts(piece.text) for piece in found if not piece.written)
    whole = TEMPLATE.render(messages, prompt=True).replace(OPEN, "")
    assert "".join(piece.text for piece in found) == whole


def test_a_template_that_takes_such_a_text_apart_is_refused() -> None:
    with pytest.raises(UsageError, match="apart"):
        pieces(
            ChatTemplate("{{ messages[0].content[:4] }}"),
            [{"role": "user", "content": "<end> of it"}],
            acts,
        )
