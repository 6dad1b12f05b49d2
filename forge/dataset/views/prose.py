"""What sentences and headings say: questions, statements, openings, gaps, mentions and quotations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from forge.dataset import language as en
from forge.dataset import phrasings
from forge.dataset.views.model import LONG, SHORT, Fact, Passage, Source, Topic, brief, fill, interleaved

ASKED = re.compile(
    r"^(?:\*\*|__)?(?:Q(?:uestion)?\s*\d*\s*[:.]\s*)?(?P<question>[^*\n]{8,160}\?)(?:\*\*|__)?"
    r"(?:\s*\n?\s*(?:A(?:nswer)?\s*[:.]\s*)?(?P<answer>\S.*))?$",
    re.DOTALL,
)
ANSWER_MARK = re.compile(r"^A(?:nswer)?\s*[:.]\s*")
NAMES_ITSELF = re.compile(r"\w[\w`] .*(?:\b[A-Z][\w-]+|[`\d])|\b(?:I|my|me|you|your)\b")
NUMBER = re.compile(
    r"(?<![\w.`/:$#-])\$?\d[\d,.]*\d(?:\s?(?:%|[kMGT]?i?B|ms|seconds|minutes|hours|days|weeks|months|tokens|bits|"
    r"files|documents|percent))?(?![\w/:-])(?!\.\d)"
)
IDENTIFIER = re.compile(r"`[^`\n]{2,50}`")
NAME = re.compile(
    r"(?<=[a-z,] )(?!(?:MUST|SHALL|NOT|NEVER|ALL|ONLY|SHOULD|MAY|AND|ANY|REQUIRED)\b)"
    r"[A-Z][\w-]{2,}(?: (?:of |the |of the )?[A-Z][\w-]+){0,3}(?![\w:]|['’]s)"
)
NAMES = re.compile(r"(?<=[a-z,] )[A-Z][\w-]+(?: (?:of |of the )?[A-Z][\w-]+)+(?![\w:])")
GAPS = (("number", NUMBER), ("identifier", IDENTIFIER), ("name", NAME))  # the first that a sentence holds is left out
DISTINCT = (("identifier", IDENTIFIER), ("name", NAMES), ("number", NUMBER))
GAP = "____"
DURATION = re.compile(r"\s*\((?:about |~)?\d[^()]*\)$")  # 'Make the documentation (1 hour)'
# Headings that every other document has: they do not say what stands below.
COMMON_HEADINGS = en.phrases("""
overview, context, decision, consequences, status, summary, introduction, background, references, notes, conclusion,
objective, objectives, purpose, scope, goal, goals, rationale, deliverables, acceptance criteria, implementation,
next steps, prerequisites, usage, examples, example, positive, negative, preamble, description, installation,
features, related documents, appendix, changelog, requirements, architecture, testing, dependencies, risks, success
criteria, alternatives considered, options considered, configuration, table of contents, definition of done,
metadata, result, results, steps, outcome, details, discussion, license, contents, see also, future work, action
items, key insights""")


def asked(topic: Topic) -> Iterator[tuple[str, str, int, int]]:
    """(question, answer, start, end) of headings that ask, instructions, and question paragraphs of FAQs."""
    if topic.opens and topic.body and topic.asks:
        yield topic.title, topic.body, topic.start, topic.end
    elif _instructs(topic) and (act := en.imperative(DURATION.sub("", topic.title))):
        yield f"How do I {en.sentence_case(act, topic.lower)}?", topic.body, topic.start, topic.end
    passages = topic.passages
    for i, passage in enumerate(passages):
        match = ASKED.match(passage.raw) if passage.block.kind == "paragraph" and "?" in passage.raw else None
        if not match or not en.is_question(en.plain(match["question"])):
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


def questions(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        for question, body, start, end in asked(topic):
            made = not topic.asks and start == topic.start  # from an instruction
            answer = body if len(body) <= LONG else _lead(body)
            if "\n" not in answer:
                answer = en.plain(answer)
            alone = bool(NAMES_ITSELF.search(question)) if not made else en.distinctive(question[9:])
            forms = tuple(en.question_forms(question, topic.subject, topic.names[1:], alone))
            said = en.sentences(en.plain(answer.split("\n\n")[0]))
            gold = " ".join(said[:2] if said and len(said[0].split()) < 3 else said[:1])
            listed = gold.startswith(("```", "|", "- ", "* ", "1. ", "1) "))
            checkable = len(gold) <= 160 and not gold.endswith(":") and not listed
            yield Fact("question", forms, answer, start, end, gold if checkable else "", "question")


def _lead(body: str) -> str:
    """First paragraph, with the list, table or code that it introduces."""
    parts = re.split(r"\n\s*\n", body)
    n = 2 if len(parts) > 1 and parts[0].rstrip().endswith(":") else 1
    return "\n\n".join(parts[:n])[:LONG].strip()


def statements(source: Source) -> Iterator[Fact]:
    """Sentences turned back into the question they answer."""
    for topic in source.topics:
        for passage in topic.prose:
            answered = passage is topic.passages[0] and topic.asks  # its first sentence is the answer
            for sentence in passage.sentences[int(answered) : 8]:
                if not 5 <= len(sentence.split()) <= 60 or len(sentence) > SHORT or en.LEFTOVER.search(sentence):
                    continue
                question = en.question_of(sentence)
                if question and question.rstrip("?").split(" ", 2)[2].lower() != topic.subject.lower():
                    thing = question.rstrip("?").split(" ", 2)[2]
                    forms = en.question_forms(question, topic.subject, topic.names[1:], en.distinctive(thing))
                    yield Fact("statement", tuple(forms), sentence, passage.start, passage.end)


def _first(topic: Topic) -> Passage | None:
    """The first paragraph of sentences, where the topic begins with one."""
    first = topic.passages[0] if topic.opens and topic.passages else None
    return first if first is not None and first.prose else None


def summaries(source: Source) -> Iterator[Fact]:
    """What a document says of itself in its first paragraph."""
    for topic in source.topics:
        opening = next(iter(topic.prose), None)
        if not opening or not topic.is_document or not topic.title or not topic.opens:
            continue
        said = opening.brief
        if len(said.split()) < 6 or said[-1] not in ".!?" or not en.OPENS.match(said):
            continue
        name = topic.subject
        if not name.startswith('"') and name.lower() in said.lower()[:80]:
            forms = interleaved(
                fill(phrasings.DEFINITION, [name], t=name), fill(phrasings.DOES, [name], t=name)[:7]
            )
            yield Fact("definition", forms, said, opening.start, opening.end)
        else:
            answer = f"{en.capitalised(name)} begins: {said}"
            yield Fact("about", fill(phrasings.SUMMARY, topic.names), answer, opening.start, opening.end)


def abouts(source: Source) -> Iterator[Fact]:
    """A heading that asks nothing, answered by the beginning of what stands below it."""
    yield from summaries(source)
    for topic in source.topics:
        first = _first(topic)
        if first is None or topic.is_document or topic.asks or topic.code:
            continue
        said = first.brief
        if said[-1:] not in ".!?" or len(said.split()) < 5 or not en.OPENS.match(said):
            continue
        yield Fact(
            "about",
            fill(phrasings.ABOUT, topic.names, t=topic.mark),
            f"On {topic.mark}, {topic.subject} says: {said}",
            first.start,
            first.end,
        )


def headings(source: Source) -> Iterator[Fact]:
    """From the beginning of a section to its heading."""
    for topic in source.topics:
        first = _first(topic)
        if first is None or topic.is_document or topic.asks or topic.code:
            continue
        passage = brief(first.sentences, 200)
        if 8 <= len(passage.split()) <= 60 and en.OPENS.match(passage) and passage[-1] in ".!?":
            yield Fact(
                "heading",
                fill(phrasings.HEADING, topic.names, t=quote(passage)),
                f"In {topic.subject}, that is under {topic.mark}.",
                first.start,
                first.end,
                topic.title,
                "heading",
            )


def clozes(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        taken = 0
        for passage in topic.passages:
            for _, sentence, _ in passage.telling:
                found = next(((k, m) for k, pattern in GAPS if (m := pattern.search(sentence))), None)
                if not found or len(sentence.split()) > 40:
                    continue
                kind, match = found
                taken += 1
                gapped = sentence[: match.start()] + GAP + sentence[match.end() :]
                yield Fact(
                    "cloze",
                    fill(phrasings.CLOZE, topic.names, t=gapped),
                    sentence,
                    passage.start,
                    passage.end,
                    match[0].strip("`"),
                    f"cloze {kind}",
                )
                if taken >= 4:
                    break
            if taken >= 4:
                break


def mentions(source: Source) -> Iterator[Fact]:
    """A name, identifier or number that the document has once, and the sentence that has it."""
    text = source.document.text
    for topic in source.topics:
        taken = 0
        for passage in topic.passages:
            for before, sentence, _ in passage.telling:
                if taken >= 3:
                    break
                said = sentence
                if not en.stands_alone(sentence):
                    if not (before and en.is_whole(before) and en.stands_alone(before)):
                        continue
                    said = f"{before} {sentence}"
                what = _distinct(sentence, text)
                if what:
                    taken += 1
                    forms = fill(phrasings.MENTION, topic.names, t=what)
                    yield Fact(
                        "mention", forms, f"{en.capitalised(topic.subject)} says: {said}", passage.start, passage.end
                    )


def _distinct(sentence: str, text: str) -> str | None:
    for kind, pattern in DISTINCT:
        for match in pattern.finditer(sentence):
            what = match[0]
            if text.count(what) == 1 and (kind != "number" or not what.isdigit() or len(what) > 3):
                return what if kind != "number" else f'"{what}"'
    return None


def origins(source: Source) -> Iterator[Fact]:
    """From a quotation to the document and heading it is from."""
    title = en.clean_title(source.document.title) or source.document.name
    taken = 0
    for topic in source.topics:
        told = [(p, s) for p in topic.passages for _, s, _ in p.telling if en.stands_alone(s) and 60 <= len(s) <= 240]
        for passage, sentence in _spread(told, 2 if taken < 4 else 0):
            taken += 1
            where = topic.subject if topic.is_document else f"{topic.subject}, under {topic.mark}"
            yield Fact(
                "place",
                fill(phrasings.PLACE, topic.names, t=quote(sentence)),
                f"That is from {where}.",
                passage.start,
                passage.end,
                title,
                "place",
            )
    titles = {topic.title for topic in source.topics}
    lines = (line for line in source.told if (len(line) > 24 or len(line.split()) > 3) and len(line) <= 160)
    line = next((line for line in lines if line[0] != "|" and en.clean_title(line) not in titles), "")
    if not taken and line:
        yield Fact(
            "place",
            fill(phrasings.PLACE, source.names, t=quote(line)),
            f"That is from {source.names[0]}.",
            source.section.start,
            source.section.end,
            title,
            "place",
        )


def _spread(items: Sequence[tuple[Passage, str]], n: int) -> list[tuple[Passage, str]]:
    return list(items) if len(items) <= n else [items[i * len(items) // n] for i in range(n)]


def quote(text: str) -> str:
    return f'"{text}"' if '"' not in text else f"“{text}”"
