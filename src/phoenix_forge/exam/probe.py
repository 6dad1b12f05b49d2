"""A closed-book question with its answer key, as it is frozen."""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_forge.examples.example import stable_hash

EXAM = "exam"  # the kind of a probe that a model wrote by reading; every other was made by a rule


@dataclass(frozen=True)
class Probe:
    """`distractors` are right answers to other questions of the same sort; `document` is its number in the corpus."""

    kind: str
    question: str
    answer: str
    distractors: tuple[str, ...]
    document: int
    path: str
    span: tuple[int, int]
    sha256: str

    def record(self) -> dict:
        return {
            "id": stable_hash(self.question, self.answer)[:16],
            "kind": self.kind,
            "question": self.question,
            "answer": self.answer,
            "aliases": [],
            "distractors": list(self.distractors),
            "path": self.path,
            "span": list(self.span),
            "sha256": self.sha256,
        }
