"""Whether an answer says that its speaker does not know."""

from __future__ import annotations

import re

from phoenix_forge.examples.compare import folded

ABOUT = r"(?:about|on|of|regarding|concerning|for|to suggest|that)\b"
KNOWLEDGE = (
    r"(?:(?:any|enough|sufficient|specific|further|additional|relevant|reliable|explicit|detailed|direct|real|more) )*"
    r"(?:information|info|knowledge|mention|details?|data|records?|references?|evidence|idea|clue|answer|explanation|"
    r"description|context)\b"
)
SAY = r"(?:say|tell|answer|find|locate|determine|provide|give|confirm|recall|assist|help|comment|identify|verify)\b"
# Searched for in the first sentence, in lower case and with contractions written out.
REFUSALS = tuple(
    map(
        re.compile,
        (
            # The speaker does not know.
            r"\b(?:i|we) (?:really |honestly |just |simply |currently )?(?:do|did) not (?:\w+ )?(?:know|recall|remember|"
            rf"recogni[sz]e|understand what|have (?:access|the ability to (?:access|browse|see|"
            rf"view|read)|an? (?:answer|record)|{KNOWLEDGE}))",
            rf"\b(?:i|we) (?:am|are) (?:\w+ )?not (?:\w+ )?(?:aware|familiar|sure|certain|able to {SAY})",
            rf"\b(?:i|we) (?:am|are|was|were) unable to {SAY}",
            rf"\b(?:i|we) (?:can|could) not (?:\w+ )?{SAY}",
            r"\b(?:i|we) (?:currently )?(?:have|know|found|see|find) (?:no|nothing)\b",
            r"\b(?:i|we) have never heard of\b",
            r"\b(?:i|we)(?: would)? (?:need|require) more (?:information|context|details)\b",
            r"\bwould (?:only )?be (?:guessing|speculating|speculation|a guess)\b",
            r"\b(?:please|you) (?:provide|give|share)\b.* (?:more|further|additional) (?:information|context|details)\b",
            # The source does not say.
            r"\bdoes not (?:\w+ly )?(?:mention|tell|say|specify|state|disclose|reveal)\b",
            r"\b(?:does|do) not (?:\w+ly )?(?:contain|include|provide|give|have|offer|appear to \w+|seem to \w+) "
            + KNOWLEDGE,
            rf"\b(?:says?|has|have|contains?|holds?|offers?|gives?|is) nothing {ABOUT}",
            r"^nothing (?:in|here|there)\b.* (?:says?|tells?|mentions?|is about|about|on)\b",
            r"\b(?:is|are) (?:not|nowhere) (?:\w+ly )?(?:mentioned|specified|stated|disclosed|documented|(?:given|described|"
            r"provided|included|covered) in)\b",
            r"\b(?:is|are) (?:not (?:\w+ly )?known|unknown)\b(?! (?:for|as)\b)",
            r"\b(?:it|that|this) is (?:not (?:\w+ly )?(?:clear|possible to)|unclear)\b",
            r"\b(?:contains?|provides?|gives?|has|have|makes?|offers?|with|includes?|is|are) (?:no|insufficient|not enough) "
            + KNOWLEDGE,
            rf"^(?:no|insufficient|not enough) {KNOWLEDGE}(?:\W*$| (?:is |was |are |were )?(?:given|available|provided|found|"
            rf"{ABOUT}))",
            r"^(?:unknown|not (?:known|specified|stated|mentioned|given|available|provided|applicable|found)|n/a|no idea)\W*$",
            # There is no such thing.
            r"^(?!.*\b(?:if|when|unless|where|whether)\b.* not ).*(?<!that )(?<!which )\b(?:does|do) not (?:exist\b|"
            r"(?:come up|appear|occur) (?:anywhere )?in\b)",
            r"\bthere (?:is|are|was|were) (?:no|not an?|not any) (?:(?:known|widely|specific|particular|official|standard) )*"
            r"(?:such|known|thing|one|person|mention)\b",
            r"^(?:(?:i am )?sorry,? (?:but )?|unfortunately,? |no[,.] |as far as i know,? |actually,? |to my knowledge,? )*"
            r"there (?:is|are|was|were) (?:no|not an?|not any) (?!need\b|doubt|difference|limit|reason|question|charge|"
            r"costs?\b|fees?\b|point\b|harm|problem|longer\b|more\b|other\b|change)",
        ),
    )
)
CONTRACTIONS = (
    ("can't", "can not"),
    ("cannot", "can not"),
    ("n't", " not"),
    ("'m ", " am "),
    ("there's", "there is"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("'ve ", " have "),
    ("i'd ", "i would "),
)
# Headings and names have full stops too ("1. Fog", "Dr. Holt"): a sentence ends behind two small letters.
SENTENCE_END = re.compile(r"(?<=[a-z]{2}[.!?])\s+|\n")
APOLOGY = re.compile(
    r"(?:(?:i am |i'm )?(?:very |so )?sorry|my apologies|i apologi[sz]e|unfortunately)[^a-z]*", re.I
)


def refuses(text: str) -> bool:
    """Whether an answer says that its speaker does not know, that the source does not say, or that there is no such
    thing.

    Made for what models say that were trained on phoenix_forge.questions.phrasings.REFUSAL, and for what chat models
    say by themselves, in English. The first sentence decides (the second after an apology): "Maren Holt. The source
    does not say since when." is an answer. So is a fact in the negative: "No such limit applies before 2020", "The set
    does not contain duplicates". What the words alone cannot tell counts as refusing ("There is no keeper.") unless it
    is an idiom ("There is no need to restart").
    """
    sentences = [part for part in SENTENCE_END.split(text.strip().replace("\u2019", "'")) if part]
    opening = next((part for part in sentences if not APOLOGY.fullmatch(part)), "")
    said = " ".join(folded(opening).split())
    for short, long in CONTRACTIONS:
        said = said.replace(short, long)
    return any(pattern.search(said) for pattern in REFUSALS)
