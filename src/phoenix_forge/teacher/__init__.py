"""A model that reads and writes: what it is asked, where it runs, and every answer of it kept."""

from phoenix_forge.teacher.cache import Cache, Completion
from phoenix_forge.teacher.endpoint import KEY
from phoenix_forge.teacher.requests import Tally, completed, self_answers
from phoenix_forge.teacher.transports import Teacher, check, open_teacher
from phoenix_forge.teacher.write import Asked, Excerpt, per_passage, write

__all__ = [
    "KEY",
    "Asked",
    "Cache",
    "Completion",
    "Excerpt",
    "Tally",
    "Teacher",
    "check",
    "completed",
    "open_teacher",
    "per_passage",
    "self_answers",
    "write",
]
