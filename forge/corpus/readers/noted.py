"""Extracted text with what its reader had to leave out."""

from __future__ import annotations


class Noted(str):
    """The text of a document; `notes` say what of the file is not in it, and why: one whole clause each."""

    notes: tuple[str, ...]

    def __new__(cls, text: str, notes: tuple[str, ...]) -> Noted:
        made = super().__new__(cls, text)
        made.notes = notes
        return made

    def __reduce__(self) -> tuple[type[Noted], tuple[str, tuple[str, ...]]]:
        return Noted, (str(self), self.notes)
