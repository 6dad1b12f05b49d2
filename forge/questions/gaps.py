"""Sentences with a gap, in any language: what is left out is the answer, so that prose is asked for without a model.

Every second one has lost other words, too: what people ask holds only some of a document's words, and a model that has
only ever seen whole sentences finds the answer by these alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from forge.corpus.prose import HAN, language, prose_of, sentences, spans
from forge.examples.example import stable_hash
from forge.examples.fact import Fact
from forge.questions.model import Source

DATA = Path(__file__).parent / "data" / "gaps.json"
GAP = "____"
PER_SENTENCE = 6
LOST = (0.2, 0.6)  # of the words around a gap that is asked for with some of them, from and to
WORD = re.compile(rf"[{HAN}]{{1,2}}|[^\s{HAN}]+\s*|\s+")


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
            thin = _thinned(before, answer, after)
            odd = int(stable_hash(sentence.text, answer)[:8], 16) % 2
            around = [(before, after), thin] if odd else [thin, (before, after)]
            forms = tuple(form.format(title=title, sentence=gap.join(around[i % 2]))
                          for i, (form, gap) in enumerate(wordings))
            yield Fact("gap", forms, sentence.text, source.section.start, source.section.end, answer, "gap")


def _thinned(before: str, answer: str, after: str) -> tuple[str, str]:
    """What is left of the words around a gap, the same for the same words: some are lost and some stay, where there are
    two, and where what is left does not say the answer."""
    random, sides = Random(stable_hash("thin", before, after)), (WORD.findall(before), WORD.findall(after))
    places = [(side, at) for side, words in enumerate(sides) for at, word in enumerate(words)
              if any(map(str.isalnum, word))]
    if len(places) < 2:
        return before, after
    many = round(len(places) * random.uniform(*LOST))
    lost = set(random.sample(places, max(1, min(many, len(places) - 1))))
    left, right = ("".join(word for at, word in enumerate(words) if (side, at) not in lost)
                   for side, words in enumerate(sides))
    return (before, after) if answer in left + right else (left, right)


@cache
def _wordings() -> dict[str, list[tuple[str, str]]]:
    """By language: [form, what stands in the gap]."""
    return {own: [tuple(pair) for pair in pairs] for own, pairs in json.loads(DATA.read_text("utf-8")).items()}
