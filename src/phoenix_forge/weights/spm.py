"""tokenizer.model: SentencePiece's own file of its pieces, written without SentencePiece."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from phoenix_forge.weights.tokenizer import BYTE

_BPE = 2  # TrainerSpec.ModelType
_VARINT, _LENGTH, _FIXED32 = 0, 2, 5  # Protocol Buffers' wire types


def sentencepiece_model(pieces: Sequence[tuple[str, float, int]], *, space_prefix: bool) -> bytes:
    """A tokenizer.model of BPE pieces (text, score, type) that normalises nothing and keeps every space.

    The field numbers are those of sentencepiece_model.proto: pieces 1 (text 1, score 2, type 3), trainer_spec 2
    (model_type 3, byte_fallback 35), normalizer_spec 3 (name 1, add_dummy_prefix 3, remove_extra_whitespaces 4,
    escape_whitespaces 5).
    """
    listed = [
        _field(
            1,
            _LENGTH,
            _field(1, _LENGTH, text.encode())
            + _field(2, _FIXED32, struct.pack("<f", score))
            + _field(3, _VARINT, _varint(kind)),
        )
        for text, score, kind in pieces
    ]
    in_bytes = any(kind == BYTE for _, _, kind in pieces)
    trainer = _field(3, _VARINT, _varint(_BPE)) + _field(35, _VARINT, _varint(in_bytes))
    normaliser = (
        _field(1, _LENGTH, b"identity")
        + _field(3, _VARINT, _varint(space_prefix))
        + _field(4, _VARINT, _varint(0))
        + _field(5, _VARINT, _varint(1))
    )
    return b"".join(listed) + _field(2, _LENGTH, trainer) + _field(3, _LENGTH, normaliser)


def _field(number: int, wire: int, value: bytes) -> bytes:
    return _varint(number << 3 | wire) + (_varint(len(value)) if wire == _LENGTH else b"") + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
