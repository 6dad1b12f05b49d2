"""Questions about what does not exist. A model that knows its documents says so; one that makes things up answers.

The names are of other syllables than those that the dataset's refusals are made of (questions/absent.py), and half
of them are of kinds that are not among those.
"""

from __future__ import annotations

from collections.abc import Callable

NAMES = (
    ("Maren Tolvesk", "Who is {}?"),
    ("Ansgar Ulmequist", "What did {} decide?"),
    ("Priyanth Okolewa", "Which part of the project does {} maintain?"),
    ("Doctor Sarronde", "What does {} warn of?"),
    ("Halvorsted Accord", "What does the {} say?"),
    ("Nimbroth Charter", "When was the {} adopted?"),
    ("Kestrelmoor Report", "What are the findings of the {}?"),
    ("Operation Glasswick", "What was the aim of {}?"),
    ("Project Tamberlune", "Who leads {}?"),
    ("Vintra Cascade", "How does the {} work?"),
    ("Ollendorf-Pryce criterion", "What is the {}?"),
    ("Eightfold Ledger of Samsby", "What is written in the {}?"),
    ("zorbctl", "What does `{} sync` do?"),
    ("fennlint", "Which options does `{}` take?"),
    ("quell_factor_ms", "What is the default of `{}`?"),
    ("GRANDEL_TOKEN_PATH", "What is the environment variable `{}` for?"),
    ("splice_meridian()", "What does `{}` return?"),
    ("TavernQueueAdapter", "Which class does `{}` inherit from?"),
    ("murmur_bridge.py", "What is in the file `{}`?"),
    ("docs/harbinger_notes.md", "What does `{}` describe?"),
    ("error E-77219", "What causes {}?"),
    ("port 48813", "Which service listens on {}?"),
    ("version 41.7.3", "What changed in {}?"),
    ("the Wednesday Quorum", "How many members does {} have?"),
)  # fmt: skip


def questions(occurs: Callable[[str], bool]) -> list[str]:
    """Those whose name the corpus does not have after all."""
    return [form.format(name) for name, form in NAMES if not occurs(name)]
