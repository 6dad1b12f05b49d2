"""Extracted text with what its reader had to leave out."""

from __future__ import annotations

from phoenix_forge.corpus.document import Held


class Noted(str):
    """The text of a document; `notes` say what of the file is not in it, and why: one whole clause each. `held` counts
    its pages, slides or sheets."""

    notes: tuple[str, ...]
    held: tuple[Held, ...]

    def __new__(cls, text: str, notes: tuple[str, ...], held: tuple[Held, ...] = ()) -> Noted:
        made = super().__new__(cls, text)
        made.notes = notes
        made.held = held
        return made

    def __reduce__(self) -> tuple[type[Noted], tuple[str, tuple[str, ...], tuple[Held, ...]]]:
        return Noted, (str(self), self.notes, self.held)
