"""The small tokenizer that these tests count with."""

from stand_ins.tokenizer import encoder, loaded

__all__ = ("encoder", "loaded")
