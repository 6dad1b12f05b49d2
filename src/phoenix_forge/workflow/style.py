"""`dataset.style: seed`: one instruction, input and output a document, as the workflow's own script writes them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from phoenix_forge.corpus.split import Section
from phoenix_forge.dataset.extract import Mend, Style, Texts
from phoenix_forge.examples.example import Example, Scale

# The wording to teach by, and the one to validate by.
WHOLE = ("Provide the content of the document '{s}'.", "What does the document '{s}' say?")
PART = (
    "Provide part {n} of {of} of the document '{s}'.",
    "What does part {n} of {of} of the document '{s}' say?",
)


def _texts(sections: Sequence[Section], mend: Mend, scale: Scale) -> Texts:
    """The script's line without its truncation: a document that does not fit comes in parts."""
    wordings = WHOLE if len(sections) == 1 else PART
    return [
        _text(section, wordings, n, len(sections), mend, scale)
        for n, section in enumerate(sections, 1)
    ]


def _text(
    section: Section, wordings: Sequence[str], n: int, parts: int, mend: Mend, scale: Scale
) -> tuple[Example, str | None]:
    document = section.document
    prompts = [mend(form.format(s=document.name, n=n, of=parts)) for form in wordings]
    start, end = document.span(section.start, section.end)
    first, second = (
        Example("seed", prompt, mend(section.body), document.path, (start, end), document.sha256)
        for prompt in prompts
    )
    if not scale.fits(first, section.tokens + 1):  # a long path
        first = first._replace(prompt=f"Part {n}.")
    return first, second.prompt if scale.fits(second, section.tokens + 1) else None


def _line(example: Example) -> bytes:
    """The script's line, with provenance beside it."""
    record = {
        "instruction": example.prompt,
        "input": "",
        "output": example.answer,
        "source": example.source,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


# An eighth of a row is left for the path in the prompt.
SEED = Style(lambda config, room: room * 7 // 8, _texts, _line, asks=False)
