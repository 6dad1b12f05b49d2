"""Sentences with a gap, in any language: what is left out is the answer, so that prose is asked for without a model.

Every run of words is left out once, wherever it stands in its sentence, and asked for twice: with the whole sentence,
and with some of its words, for what people ask holds only some of a document's words, and a model that has only ever
seen whole sentences finds the answer by these alone. What a teacher asks is thinned in the same way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from phoenix_forge.corpus.prose import HAN, prose_of, sentences, spans
from phoenix_forge.examples.example import stable_number
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions.model import Material

DATA = Path(__file__).parent / "data" / "gaps.json"
LOST = (0.2, 0.6)  # of the words around a gap that is asked for with some of them, from and to
LESS = (0.15, 0.4)  # of a question's words, which are fewer
FEWEST = 3  # words between a question's first and last, from which on it can lose some
WORD = re.compile(rf"[{HAN}]{{1,2}}|[^\s{HAN}]+\s*|\s+")
ALNUM = re.compile(r"[^\W_]")


def gaps(material: Material) -> Iterator[Fact]:
    own, section = material.language, material.section
    title = " › ".join(dict.fromkeys([material.document.title, *section.headings]))
    templates = [_wording(wording, gap, title) for wording, gap in _wordings(own)]
    for sentence in sentences(prose_of(section), own):
        for start, end in spans(sentence.text, own, joined=False):
            before, answer, after = (
                sentence.text[:start],
                sentence.text[start:end].strip(),
                sentence.text[end:],
            )
            if not answer or answer in before or answer in after:
                continue
            digest = hashlib.blake2b(f"{before}\0{after}".encode(errors="surrogatepass")).digest()
            thin = _thinned(before, after, digest, LOST)
            if answer in thin[0] or answer in thin[1]:
                thin = before, after
            turn = stable_number(sentence.text, answer)
            wordings = tuple(
                [
                    f"{lead}{words[0]}{gap}{words[1]}{tail}"
                    for i, words in enumerate(((before, after), thin))
                    for lead, gap, tail in [templates[(turn + i) % len(templates)]]
                ]
            )
            yield Fact("gap", wordings, sentence.text, section.start, section.end, answer, "gap")


def thinned(question: str, wanted: int) -> Iterator[str]:
    """At most so many copies of a question, each without other words of it; the first word and the last stay."""
    words = WORD.findall(question)
    inner = words[1:-1]
    if len(inner) < FEWEST:
        return
    seen = {question}
    for turn in range(wanted):
        digest = hashlib.blake2b(f"{question}\0{turn}".encode(errors="surrogatepass")).digest()
        wording = "".join([words[0], *_thinned("".join(inner), "", digest, LESS), words[-1]])
        if wording not in seen:
            yield wording
        seen.add(wording)


def _thinned(before: str, after: str, digest: bytes, lost: tuple[float, float]) -> tuple[str, str]:
    """What is left of the words around a gap, the same for the same digest: some are lost and some stay, where there
    are two. `lost`: shares of them, from and to."""
    left, right = WORD.findall(before), WORD.findall(after)
    pieces = left + right
    places = [at for at, piece in enumerate(pieces) if piece[0].isalnum() or ALNUM.search(piece)]
    if len(places) < 2:
        return before, after
    many = round(len(places) * (lost[0] + (lost[1] - lost[0]) * digest[-1] / 255))
    order = sorted(range(len(places)), key=(digest * (1 + len(places) // len(digest))).__getitem__)
    for i in order[: max(1, min(many, len(places) - 1))]:
        pieces[places[i]] = ""
    return "".join(pieces[: len(left)]), "".join(pieces[len(left) :])


def _wording(wording: str, gap: str, title: str) -> tuple[str, str, str]:
    """What stands before a sentence, its gap, and what stands behind it."""
    lead, tail = wording.split("{sentence}")
    return lead.replace("{title}", title), gap, tail.replace("{title}", title)


def _wordings(own: str) -> list[list[str]]:
    """By language: [form, what stands in the gap]."""
    return _every().get(own) or _every()["other"]


@cache
def _every() -> dict[str, list[list[str]]]:
    return json.loads(DATA.read_text("utf-8"))
