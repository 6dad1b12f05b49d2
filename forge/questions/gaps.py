"""Sentences with a gap, in any language: what is left out is the answer, so that prose is asked for without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from forge.corpus.prose import language, prose_of, sentences, spans
from forge.examples.fact import Fact
from forge.questions.model import Source

DATA = Path(__file__).parent / "data" / "gaps.json"
GAP = "____"
PER_SENTENCE = 6


def gaps(source: Source) -> Iterator[Fact]:
    text = prose_of(source.section)
    own = source.once("language", lambda document: language(document.text))
    wordings = _wordings().get(own) or _wordings()["other"]
    title = " › ".join(dict.fromkeys([source.document.title, *source.section.headings]))
    for sentence in sentences(text, own):
        for start, end in spans(sentence.text, own)[:PER_SENTENCE]:
            before, answer, after = sentence.text[:start], sentence.text[start:end].strip(), sentence.text[end:]
            if not answer or answer in before + after:
                continue
            forms = tuple(form.format(title=title, sentence=f"{before}{gap}{after}") for form, gap in wordings)
            yield Fact("gap", forms, sentence.text, source.section.start, source.section.end, answer, "gap")


@cache
def _wordings() -> dict[str, list[tuple[str, str]]]:
    """By language: [form, what stands in the gap]."""
    return {own: [tuple(pair) for pair in pairs] for own, pairs in json.loads(DATA.read_text("utf-8")).items()}
