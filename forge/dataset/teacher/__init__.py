"""A model that writes about each section: prompts (a table), transports, a cache of completions, and the gate."""

from forge.dataset.teacher.asking import Tally, self_answers, teach
from forge.dataset.teacher.cache import Cache, Completion
from forge.dataset.teacher.endpoint import KEY
from forge.dataset.teacher.gate import as_facts
from forge.dataset.teacher.prompts import STYLES, Passage, Style, Written
from forge.dataset.teacher.transports import Teacher, check, open_teacher

__all__ = ["KEY", "STYLES", "Cache", "Completion", "Passage", "Style", "Tally", "Teacher", "Written", "as_facts",
           "check", "open_teacher", "self_answers", "teach"]
