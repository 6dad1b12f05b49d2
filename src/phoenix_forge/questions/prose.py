"""Questions that a document asks itself and answers: headings, instructions, and the paragraphs of an FAQ."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phoenix_forge.examples import english as en
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import language as lang
from phoenix_forge.questions.model import LONG, Material, Topic

ASKED = re.compile(
    r"^(?:\*\*|__)?(?:Q(?:uestion)?\s*\d*\s*[:.]\s*)?(?P<question>[^*\n]{8,160}\?)(?:\*\*|__)?"
    r"(?:\s*\n?\s*(?:A(?:nswer)?\s*[:.]\s*)?(?P<answer>\S.*))?$",
    re.DOTALL,
)
ANSWER_MARK = re.compile(r"^A(?:nswer)?\s*[:.]\s*")
NAMES_ITSELF = re.compile(r"\w[\w`] .*(?:\b[A-Z][\w-]+|[`\d])|\b(?:I|my|me|you|your)\b")
DURATION = re.compile(r"\s*\((?:about |~)?\d[^()]*\)$")  # 'Make the documentation (1 hour)'


def asked(topic: Topic) -> Iterator[tuple[str, str, int, int]]:
    """(question, answer, start, end) of headings that ask, instructions, and question paragraphs of FAQs."""
    if topic.opens and topic.body and topic.asks:
        yield topic.title, topic.body, topic.start, topic.end
    elif _instructs(topic) and (act := lang.imperative(DURATION.sub("", topic.title))):
        yield f"How do I {en.sentence_case(act, topic.lower)}?", topic.body, topic.start, topic.end
    passages = topic.passages
    for i, passage in enumerate(passages):
        match = (
            ASKED.match(passage.raw)
            if passage.block.kind == "paragraph" and "?" in passage.raw
            else None
        )
        if not match or not lang.is_question(en.plain(match["question"])):
            continue
        if match["answer"]:
            yield en.plain(match["question"]), match["answer"], passage.start, passage.end
        elif passage.raw.startswith(("**", "__", "Q")) and i + 1 < len(passages):
            end = i + 1
            while end < len(passages) and not ASKED.match(passages[end].raw):
                end += 1
            answer = topic.document.text[passages[i + 1].start : passages[end - 1].end].strip()
            if answer:
                yield (
                    en.plain(match["question"]),
                    ANSWER_MARK.sub("", answer),
                    passage.start,
                    passages[end - 1].end,
                )


def _instructs(topic: Topic) -> bool:
    """Whether something to do can stand below the heading."""
    named = topic.opens and bool(topic.title) and not topic.is_document and not topic.code
    return named and bool(topic.body) and not topic.body.startswith(("![", "|", "<"))


def questions(material: Material) -> Iterator[Fact]:
    for topic in material.topics:
        for question, body, start, end in asked(topic):
            made = not topic.asks and start == topic.start  # from an instruction
            answer = body if len(body) <= LONG else _lead(body)
            if "\n" not in answer:
                answer = en.plain(answer)
            alone = (
                bool(NAMES_ITSELF.search(question)) if not made else lang.distinctive(question[9:])
            )
            wordings = tuple(
                lang.question_wordings(question, topic.subject, topic.names[1:], alone)
            )
            said = en.sentences(en.plain(answer.split("\n\n")[0]))
            answer_key = " ".join(said[:2] if said and len(said[0].split()) < 3 else said[:1])
            listed = answer_key.startswith(("```", "|", "- ", "* ", "1. ", "1) "))
            checkable = len(answer_key) <= 160 and not answer_key.endswith(":") and not listed
            yield Fact(
                "question",
                wordings,
                answer,
                start,
                end,
                answer_key if checkable else "",
                "question",
            )


def _lead(body: str) -> str:
    """First paragraph, with the list, table or code that it introduces."""
    parts = re.split(r"\n\s*\n", body)
    n = 2 if len(parts) > 1 and parts[0].rstrip().endswith(":") else 1
    return "\n\n".join(parts[:n])[:LONG].strip()
