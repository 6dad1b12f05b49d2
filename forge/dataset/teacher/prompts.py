"""What the teacher is asked for: a table of styles, each with its JSON schema and how its JSON becomes examples.

A fixed set of about seven styles taught a small corpus as well as free-form entity graphs did (docs of EntiGraph,
arXiv 2409.07431, and its follow-ups). The passage comes before the instruction, so that an engine that keeps the
beginning of a prompt computes it once for all styles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from forge.chat.template import Message
from forge.dataset import language as en
from forge.dataset.grounding import LEAD

SYSTEM = ("You write study material about a document. Use only what the passage says: no other numbers, names or "
          "facts. Every question and every answer must make sense to someone who sees nothing else: name what it is "
          "about, and never write \"the passage\", \"the text\" or \"the document\".")


@dataclass(frozen=True, slots=True)
class Passage:
    """What the teacher reads. `key` names it to people; `headings` from the outermost; `text` without secrets."""

    key: str
    title: str
    headings: tuple[str, ...]
    text: str

    @property
    def source(self) -> str:
        """All that an answer may take its facts from."""
        return "\n".join((self.title, *self.headings, self.text))

    @property
    def place(self) -> str:
        """How messages name it."""
        return " > ".join((self.key, *self.headings[-1:]))


@dataclass(frozen=True, slots=True)
class Written:
    """One example by the teacher: complete questions, one answer, and the passage's own words behind it ("": none)."""

    style: str
    questions: tuple[str, ...]
    answer: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """`read` turns the parsed JSON into examples; it raises KeyError or TypeError where the JSON keeps to no schema."""

    name: str
    instruction: str
    schema: dict[str, Any]
    read: Callable[[Any], Iterator[Written]]
    max_tokens: int = 700
    quotes: bool = False  # whether its evidence has to stand in the passage word for word

    @property
    def most(self) -> int:
        """Examples that are asked for; some models go on and on where no schema holds them."""
        return self.schema["properties"].get("items", {}).get("maxItems", 1)


LONGEST_TOPIC = 8  # words
TEXT: dict[str, Any] = {"type": "string"}


def _list(item: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least, "maxItems": most}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    """Every property required and no other allowed: what OpenAI's strict mode asks for. They are written in order."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _items(least: int, most: int, **properties: dict[str, Any]) -> dict[str, Any]:
    return _object(items=_list(_object(**properties), least, most))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.encode("utf-8", "ignore").decode().strip()  # half a surrogate pair, written as \\ud83d, goes


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(_text(item) for item in value)


def _unmarked(value: Any) -> tuple[str, ...]:
    """Texts without the numbers or bullets that some models write before each."""
    return tuple(LEAD.sub("", text) for text in _texts(value))


def _rows(value: Any) -> list[Any]:
    rows = value["items"]
    if not isinstance(rows, list):
        raise TypeError(f"{rows!r} is no list")
    return rows


def _one_question(style: str) -> Callable[[Any], Iterator[Written]]:
    return lambda value: (Written(style, (_text(row["question"]),), _text(row["answer"])) for row in _rows(value))


def _more_questions(style: str) -> Callable[[Any], Iterator[Written]]:
    return lambda value: (Written(style, _texts(row["questions"]), _text(row["answer"])) for row in _rows(value))


def _explanation(value: Any) -> Iterator[Written]:
    yield Written("explanation", _texts(value["questions"]), _text(value["explanation"]))


def _howto(value: Any) -> Iterator[Written]:
    if steps := _unmarked(value["steps"]):  # none: nothing is done in this passage
        numbered = "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
        yield Written("howto", (_text(value["question"]),), numbered)


def _summary(value: Any) -> Iterator[Written]:
    facts = _unmarked(value["facts"])
    yield Written("summary", _texts(value["questions"]), "\n".join(f"- {fact}" for fact in facts))


def _claims(value: Any) -> Iterator[Written]:
    for row in _rows(value):
        topic = _text(row["topic"]).rstrip(".?!: ")
        about = en.inside(topic) if 0 < len(topic.split()) <= LONGEST_TOPIC else ""  # a sentence is no topic
        forms = (f"State a key point about {about}.", f"What is important to know about {about}?",
                 f"What holds for {about}?")
        yield Written("claims", forms if about else (), _text(row["claim"]))


def _grounded(value: Any) -> Iterator[Written]:
    for row in _rows(value):
        yield Written("grounded", _texts(row["questions"]), _text(row["answer"]), _text(row["evidence"]))


STYLES = (
    Style("explanation", "Explain what this is about in plain language, in three to five sentences, to someone new to "
          "it. Add two questions that your explanation answers.",
          _object(explanation=TEXT, questions=_list(TEXT, 2, 3)), _explanation),
    Style("qa", "Write three or four pairs of questions and answers that cover the most important facts. Ask each "
          "question in two different wordings. Answer in one or two full sentences.",
          _items(2, 4, questions=_list(TEXT, 2, 2), answer=TEXT), _more_questions("qa")),
    Style("faq", "Write three questions that a newcomer would ask about this, the most basic one first, and answer "
          "each in two full sentences.", _items(2, 3, question=TEXT, answer=TEXT), _one_question("faq")),
    Style("howto", "Say step by step how something described here is done or works: one question that starts with "
          "\"How\", and two to six steps as full sentences. If nothing is done here, leave the steps empty.",
          _object(question=TEXT, steps=_list(TEXT, 0, 6)), _howto),
    Style("comparison", "Compare two things that occur here: for one or two such pairs, write a question that asks how "
          "they differ or belong together, naming both, and an answer of one to three sentences.",
          _items(0, 2, question=TEXT, answer=TEXT), _one_question("comparison")),
    Style("dialogue", "Imagine a learner who asks an expert about this, going deeper each time. Write two to four of "
          "the learner's questions, each naming its subject in full, with the expert's answer to each in one to three "
          "full sentences.", _items(2, 4, question=TEXT, answer=TEXT), _one_question("dialogue")),
    Style("summary", "List the three to six key facts, each as one full sentence that names its subject. Then write "
          "two questions that ask for these key facts together.",
          _object(facts=_list(TEXT, 2, 6), questions=_list(TEXT, 2, 2)), _summary),
    Style("claims", "Pick two to five key claims. For each, write its topic (a name or a few words) and the claim as "
          "one full sentence in your own words that names the topic.",
          _items(2, 5, topic=TEXT, claim=TEXT), _claims),
    Style("grounded", "Pick two or three facts that can be looked up. For each: copy the sentence that states it, word "
          "for word, as evidence; write one full-sentence answer that names its subject; and ask for the fact in "
          "three different wordings, each naming the subject.",
          _items(2, 3, evidence=TEXT, answer=TEXT, questions=_list(TEXT, 3, 3)), _grounded, 900, quotes=True),
)


JSON = json.JSONDecoder(strict=False)
QUOTED = re.compile(r'"([^"\n]*)"')
STRAIGHT = str.maketrans("“”", '""')


def messages(style: Style, passage: Passage) -> list[Message]:
    place = f"Section: {' > '.join(passage.headings)}\n" if passage.headings else ""
    shown = _curled(f"Document: {passage.title}\n{place}\n<passage>\n{passage.text.strip()}\n</passage>")
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{shown}\n\n{style.instruction}"}]


def _curled(text: str) -> str:
    """With typographic quotation marks: a small model that copies straight ones into a JSON string ends it there."""
    return QUOTED.sub("“\\1”", text).replace('"', "”")


def straightened(item: Written, source: str) -> Written:
    """With the quotation marks that the source has itself."""
    if "“" in source or "”" in source:
        return item
    return Written(item.style, tuple(q.translate(STRAIGHT) for q in item.questions), item.answer.translate(STRAIGHT),
                   item.evidence.translate(STRAIGHT))


def whole_items(style: Style, text: str) -> list[Written]:
    """What was finished of a JSON that was cut off: the complete ones of its items."""
    try:
        return parsed(style, f"{text[:text.rfind('}') + 1]}]}}")
    except ValueError:
        return []


def parsed(style: Style, text: str) -> list[Written]:
    """Raises ValueError where the text's first object is no JSON of the style's schema. Fences and words around it,
    further objects, and line breaks in strings are passed over."""
    try:
        read = style.read(JSON.raw_decode(text, max(text.find("{"), 0))[0])
        return list(islice(read, style.most))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{style.name}: {error}") from None
