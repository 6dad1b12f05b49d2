"""What of a teacher's writing is kept: grounded in its passage, complete, and asked so that it stands alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from forge.dataset.grounding import find, missing, named, refers_to_source, word_list
from forge.dataset.language import clean_title, ended, is_whole
from forge.dataset.teacher.prompts import Passage, Style, Written, straightened
from forge.dataset.views import Fact, normal
from forge.dataset.views.naming import quoted

FEWEST_WORDS = 3  # of an answer, a question, a quote
IMPERATIVES = frozenset(word_list("""
compare define describe discuss explain give identify list name outline present quote recall recite say show state
summarise summarize tell walk write"""))
ASKING = frozenset(word_list("""
what which who whom whose when where why how is are was were do does did can could should would will may has have
in"""))
DANGLING = frozenset(word_list("""
a an and are as at because but by for from if in into is its of on or our that the their these this to was were
which while who with your"""))
FULL_STOP = re.compile(r"[.!?][\"'”’)\]*`]*(?=\s)")
CONTENT = re.compile(r"[^\W_]{4,}|[^\W_]*\d[^\W_]*|[A-Z]{2,}")
# Words of four letters and more that many questions share, whatever they ask about.
COMMON = frozenset(word_list("""
what which when where whom whose does have been being this that these those with from into about main purpose role
mean means explain describe list name state summarise summarize compare key fact facts point points important know
holds difference between their there they them other"""))


def kept(style: Style, written: Sequence[Written], passage: Passage, seen: set[str],
         dropped: Counter[str]) -> Iterator[Written]:
    """Those that pass, with the questions that pass. `seen` holds the passage's questions so far, in normal form, and
    `dropped` counts by reason: answers as such, single questions as "question: …". Both are added to."""
    source, name = passage.source, quoted(clean_title(passage.title) or passage.title)
    for raw in written:
        item = straightened(raw, source)
        answer = named(_completed(_stated(item) if style.quotes else item.answer), name)
        reason = _against_answer(answer, source) or (_against_quote(item.evidence, passage) if style.quotes else None)
        if reason:
            dropped[reason] += 1
            continue
        questions = tuple(_accepted([named(question, name) for question in item.questions], source, seen, dropped))
        if questions:
            yield replace(item, questions=questions, answer=answer)
        else:
            dropped["no question left"] += 1


def _against_answer(answer: str, source: str) -> str | None:
    if len(answer.split()) < FEWEST_WORDS:
        return "empty or too short"
    if answer.endswith("?"):
        return "answers with a question"
    if refers_to_source(answer):
        return "speaks of its source"
    unknown = missing(answer, source)
    return f"unknown {unknown[0].kind}" if unknown else None


def _against_quote(evidence: str, passage: Passage) -> str | None:
    if len(evidence.split()) >= FEWEST_WORDS and find(evidence, passage.text):
        return None
    return "evidence not in the passage"


def _stated(item: Written) -> str:
    """The answer; where it is only a value, the sentence that states it."""
    alone = len(item.answer.split()) < FEWEST_WORDS and item.answer.strip(" .`*").lower() in item.evidence.lower()
    return item.evidence if alone and is_whole(item.evidence) else item.answer


def _completed(answer: str) -> str:
    """With a full stop; a last sentence that breaks off goes, and with it the answer if that is all there is."""
    answer = answer.strip()
    words = answer.split()
    if words and words[-1].lower().strip("\"'“*`(") in DANGLING | {""}:
        ends = [match.end() for match in FULL_STOP.finditer(answer)]
        return answer[:ends[-1]] if ends else ""
    return ended(answer)


def _accepted(questions: Sequence[str], source: str, seen: set[str], dropped: Counter[str]) -> Iterator[str]:
    for raw in questions:
        question = _asked(raw)
        reason = _against_question(question, source, seen)
        if reason:
            dropped[f"question: {reason}"] += 1
        else:
            seen.add(normal(question))
            yield question


def _asked(question: str) -> str:
    question = " ".join(question.split())
    first = question.partition(" ")[0].lower()
    return f"{question}?" if first in ASKING and question[-1].isalnum() else question


def _against_question(question: str, source: str, seen: set[str]) -> str | None:
    words = question.split()
    if len(words) < FEWEST_WORDS:
        return "empty or too short"
    if not question.rstrip("\"'”’)*`").endswith("?") and words[0].lower() not in IMPERATIVES:
        return "no question"
    if refers_to_source(question):
        return "speaks of its source"
    unknown = [claim for claim in missing(question, source) if claim.kind != "name"]  # titles have capitals too
    if unknown:
        return f"unknown {unknown[0].kind}"
    asked = {word.lower() for word in CONTENT.findall(question)} - COMMON
    known = source.lower()
    if not any(word.rstrip("s") in known for word in asked):
        return "names nothing of the source"
    return "asked before" if normal(question) in seen else None


def as_facts(written: Sequence[Written], passage_start: int, text: str) -> list[Fact]:
    """Facts of kind teacher_STYLE. Their span is where the evidence stands in the passage's `text`, which starts at
    character `passage_start` of its document; without evidence, all of it."""
    facts = []
    for item in written:
        start, end = find(item.evidence, text) or (0, len(text))
        facts.append(Fact(f"teacher_{item.style}", item.questions, item.answer, passage_start + start,
                          passage_start + end))
    return facts
