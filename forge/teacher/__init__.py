"""A model that reads and writes: what it is asked, where it runs, and every answer of it kept."""

from forge.teacher.cache import Cache, Completion
from forge.teacher.endpoint import KEY
from forge.teacher.requests import Tally, completed, self_answers
from forge.teacher.transports import Teacher, check, open_teacher
from forge.teacher.write import Asked, Passage, write

__all__ = ["KEY", "Asked", "Cache", "Completion", "Passage", "Tally", "Teacher", "check", "completed",
           "open_teacher", "self_answers", "write"]
