"""Small rules of English that turn what documents say into questions, and questions into other wordings of themselves.

Every rule returns None, or nothing, where it is not sure: a question left out costs little, a crooked one teaches
noise.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from phoenix_forge.examples.english import capitalised, decapitalised, ended, is_plural, sentences

PRONOUNS = {"i", "you", "we", "it", "they", "he", "she", "this", "that", "these", "those", "there"}
VAGUE = re.compile(
    r"\b(it|its|this|that|these|those|they|them|their|he|she|his|her|here|there)\b", re.IGNORECASE
)
DETERMINERS = {"the", "a", "an", "my", "your", "our", "its", "their", "each", "every"}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def phrases(text: str) -> frozenset[str]:
    """A comma-separated list as a set."""
    return frozenset(phrase.strip() for phrase in text.split(","))


# Base forms of verbs that documentation is written with. Third person and gerund are derived from them.
VERBS = _words("""
add allow answer apply ask assign attach authenticate avoid backup build cache call cancel change check choose
clean clear clone close combine compare compile compute configure connect contain contribute control convert
copy create debug declare define delete deploy describe design detect determine develop disable display document
download draft edit enable encode end enforce ensure evaluate exclude execute explain export extend extract
filter find fix follow format generate get give handle help hold implement import improve include index ingest
initialize inspect install integrate invoke join keep launch leave let limit list listen load log maintain make
manage map mark match mean measure merge migrate modify monitor move name need offer open optimize order
organize override pack parse pass perform pick plan post prepare present preserve prevent print process produce
protect prove provide publish pull push quantize query read rebuild receive record reduce refer register reject
release remove rename render replace report represent request require reset resolve restart restore resume
return review roll rotate run save scale schedule search secure select send serve set setup share show sign skip
solve sort specify split start stop store submit suggest support switch sync take teach test track train
transform translate troubleshoot tune turn uninstall unpack update upgrade upload use validate verify view wait
walk work wrap write
""")


def third(verb: str) -> str:
    """need → needs, try → tries, pass → passes, have → has."""
    if verb == "have":
        return "has"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(s|x|z|ch|sh|o)$", verb) else "s")


def gerund(verb: str) -> str:
    """make → making, run → running, install → installing."""
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    if re.search(r"^[^aeiou]*[aeiou][^aeiouwxy]$", verb) or verb in (
        "submit",
        "refer",
        "format",
        "debug",
        "reset",
    ):
        return verb + ("" if verb == "format" else verb[-1]) + "ing"
    return verb + "ing"


THIRD = {third(verb): verb for verb in VERBS}
ACTING = THIRD.keys() - {
    "means",
    "names",
    "marks",
    "describes",
}  # after these, "What does it do?" asks for the rest
GERUND = {gerund(verb): verb for verb in VERBS}


def distinctive(name: str) -> bool:
    """Whether a name says by itself what it is: an identifier, an acronym, a number, a proper name of two words."""
    if re.search(r"[`_/\d@]|[a-z][A-Z]|[A-Z]{2}|\w\.\w|-\w", name):
        return True
    words = name.split()
    return len(words) > 1 and sum(word[:1].isupper() for word in words) > 1


ACTIONS = frozenset(
    _words("""
install setup run configure build start stop create add use update upgrade deploy enable disable remove delete verify
generate clone uninstall restart download upload publish push pull write migrate convert merge open close connect
""")
)


def imperative(heading: str) -> str | None:
    """'Installing Forge' or 'Install Forge' → 'install Forge'; None where the heading is no instruction."""
    first, _, rest = heading.partition(" ")
    if ":" in rest or rest.startswith("("):
        return None  # a label or a remark, and nothing to act on
    if first.lower() in GERUND and rest and rest.lower() != "started":
        return f"{GERUND[first.lower()]} {rest}"
    how = re.match(r"(?i)how to (\w.+)$", heading)
    if how:
        return how[1]
    if re.match(r"[`A-Z]", rest):  # 'Request Flow' is a noun, 'Install Forge' is none
        return f"{first.lower()} {rest}" if first.lower() in ACTIONS else None
    articles = re.match(r"(the|a|an|your|and|with|from|to|[a-z]+s)\b", rest)
    return f"{first.lower()} {rest}" if first.lower() in VERBS and articles else None


IRREGULAR = {
    "run": "run",
    "write": "written",
    "make": "made",
    "build": "built",
    "get": "got",
    "find": "found",
    "send": "sent",
    "keep": "kept",
    "choose": "chosen",
    "read": "read",
    "set": "set",
    "give": "given",
    "hold": "held",
    "take": "taken",
    "teach": "taught",
    "show": "shown",
    "prove": "proven",
    "split": "split",
    "draw": "drawn",
    "reset": "reset",
    "let": "let",
    "leave": "left",
    "mean": "meant",
    "override": "overridden",
}


def participle(verb: str) -> str:
    """install → installed, copy → copied, run → run."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    if verb.endswith("e"):
        return f"{verb}d"
    if re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ied"
    return gerund(verb)[:-3] + "ed"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def with_article(noun: str) -> str:
    return (
        f"an {noun}"
        if re.match(r"[aeioAEIO]|[uU](?!ni|se|ti)|[FHLMNRSX][A-Z]", noun)
        else f"a {noun}"
    )


def as_noun(term: str, explanation: str, text: str) -> str:
    """A glossary's 'Adapter' as it reads in a sentence of `text`: 'an adapter' where it is a common noun."""
    words = term.split()
    if (
        distinctive(term)
        or not words[0][:1].isupper()
        or not words[0][1:].islower()
        or is_plural(term)
    ):
        return term
    common = decapitalised(term)
    if re.search(rf"(?<=[a-z,] ){re.escape(term)}\b", text):
        return term  # capitalised inside a sentence: a name
    counted = re.search(rf"\b(?:an?|each|every|one) (?:[\w`.-]+ )?{re.escape(common)}\b", text)
    if counted or re.match(r"(?i)(?:an?|one|any|every) ", explanation):
        return with_article(common)
    return common if re.search(rf"(?<=[\w,] ){re.escape(common)}\b", text) else term


# Forms of verbs that make a clause of what looks like a noun: 'the team work', 'the agent was'.
FINITE = frozenset(
    _words("""
is are was were am be been has have had do does did can could will would should must may might shall made found gave
took saw led built became began came went sent wrote ran held kept knew grew got said told felt means requires remains
exists happens occurs works fails seems appears becomes comes goes lives lies stands knows thinks says cannot won't
don't doesn't isn't aren't
""")
)
DETERMINER = frozenset(
    _words("""
the a an its their his her our your my this that these those each every all any no it them
""")
)
HEAD_END = re.compile(
    r"[,;:(—–]|\.(?=\s|$)|\s-\s|\b(?:that|which|who|whose|where|when|for|with|to|from|of|in|on|by|as|at|via|per|using)\b"
)


CLAUSE_END = re.compile(
    r"[,;:—–]|\b(?:that|which|who|whose|where|when|while|if|because|so|how|what|whether|and)\b"
)
RELATIVE = re.compile(
    r"\b(?:that|which|who|whose|where|when|while|if|because|so|how|what|whether)\b|[;:—–]"
)
LATER_VERB = re.compile(
    r"\b[a-z]{3,}(?:[^s\W]s|ed) (?:the|an?|its|their|any|each|every)\b"
)  # 'issued a directive'
# 'a loss of contact occurred when …', 'the Council accepted the …', 'unanimously adopted …', 'ceased responding'; a
# participle goes on with a preposition.
PAST = re.compile(
    r"\b[a-z]{3,}ed (?:when\b|[a-z]+ing\b)|(?:\b[A-Z]\w*|\w+ly) [a-z]{2,}ed "
    r"(?!(?:by|for|on|to|in|with|from|at|as|and|or|of|through|via|into|under|using|against|between)\b)\w"
)
ASIDE = re.compile(r"[—–][^—–]*[—–]")
BRACKETED = re.compile(r"\([^()]*\)")
MAIN_VERBS = frozenset(
    _words("""
is are was were will must should shall can cannot could would has have had might does do did requires remains exists
happens occurs seems appears becomes goes knows thinks says tries relies learns predicts begins allows enables ensures
consists depends seeks acts serves
""")
)  # where one of these stands outside of a relative clause, a text is a sentence
VERB_FIRST = re.compile(
    r"[A-Za-z]{2,}[^s\s]s (?:the|an?|its|their|all|any|each|every|both|that|whether|how|[A-Z`])"
)


def is_noun_phrase(text: str) -> bool:
    """Whether a text begins with a noun and no verb follows it: 'one closed-book question with …', not 'Run it'."""
    head = HEAD_END.split(text, maxsplit=1)[0].split()
    if not head or len(head) > 9:
        return False
    words = [word.strip("`*\"'“”").lower() for word in head]
    first = words[0]
    first_sentence = next(iter(sentences(text)), "")
    if (
        first_sentence.endswith("?")
        or ": " in first_sentence
        or _has_verb(BRACKETED.sub("", first_sentence))
    ):
        return False
    if first in VERBS and len(words) > 1 and words[-1].endswith("s"):
        return False  # 'list recent entries'
    if VERB_FIRST.match(text) and (not text[:1].isupper() or first not in PLURALS):
        return False  # 'fulfills Protocol 37', 'shows the way'
    if first in IMPERATIVE or first in NOT_VALUES or first in PRONOUNS or first in FINITE:
        return False
    if re.search(r"(?:ing|ed|ly)$", first):
        return False
    if first in VERBS and words[1:2] and words[1] in DETERMINER:
        return False  # 'query the model'
    for i, word in enumerate(words):
        after = words[i + 1] if i + 1 < len(words) else ""
        if word in FINITE or word == "not" or re.search(r"(?<!on)ly$", word):
            return False
        if i and word in THIRD and not _could_be_plural(word, words[:i]):
            return False
        if i and word in VERBS and after and first in DETERMINER:
            return False
        if i and word.endswith("ed") and after in DETERMINER:
            return False
    rest = text[len(" ".join(head)) :].lstrip().split(" ", 1)[0].lower()
    return not (rest in ("that", "to") and words[-1].endswith("ed") and len(words) > 1)


def _has_verb(text: str) -> bool:
    """Whether a verb stands outside of relative clauses: 'the path of a component must be …', 'an AI runs in …'."""
    whole = RELATIVE.split(ASIDE.sub(" ", text), maxsplit=1)[0]
    words = [word.strip("`*\"'“”,.").lower() for word in whole.split()]
    main = [word.strip("`*\"'“”").lower() for word in CLAUSE_END.split(text, maxsplit=1)[0].split()]
    acts = any(word in ACTS or (word in THIRD and main[0] == "any") for word in main[1:])
    return (
        acts
        or bool(MAIN_VERBS & set(words))
        or bool(LATER_VERB.search(whole))
        or bool(PAST.search(text))
    )


PLURALS = frozenset(
    _words("""
tokens bytes files tests sections documents weights facts names others
""")
)


def _could_be_plural(word: str, before: list[str]) -> bool:
    """'three steps', 'a list of tests' against 'the agent tests': a verb where a singular noun stands before it."""
    return len(before) == 1 and before[0] not in DETERMINER and not before[0].endswith("s")


def is_value(text: str) -> bool:
    """Whether a text can stand after 'The status is': a number, code, a name or a noun; no sentence, no instruction."""
    words = text.split()
    if (
        not words
        or len(text) > 160
        or re.search(r"[.!?:;]\s+[A-Z]|[:;]$|[.!?]$", text.replace("e.g. ", ""))
    ):
        return False
    if re.match(r"[`\d$€<~=\"]|v\d", text) or len(words) == 1:
        return True
    lower = [word.strip("`*,.()").lower() for word in words]
    if lower[0] in NOT_VALUES or (lower[0] in IMPERATIVE and len(words) > 2):
        return False
    return len(words) <= 16 and not any(word in FINITE for word in lower)


# What an instruction begins with; a word that is as often a noun is left out.
IMPERATIVE = frozenset(VERBS) - set(
    _words("""
set list record document process plan test model work access design index backup cache change limit review schedule
search store support track export import order pack release report request update upload view load log map mark name
query sort start stop switch talk turn wait split share sign format filter label
""")
) | set(
    _words("""
consolidate establish enforce become begin bring come go do put tell treat try use write never always please only
avoid let make reach prioritize focus leverage adopt embrace acknowledge address align analyze archive assess
calculate capture conduct confirm consider coordinate deliver demonstrate drive eliminate encourage engage expand
explore expose facilitate foster grant identify increase inject isolate iterate log mandate mitigate mock navigate
notify observe optimise populate post prefer preload promote refactor reflect remember replace require respond retain
retrieve scan signal simplify strengthen summarize synthesize target terminate think transition trigger understand
achieve adapt add determine inform initiate propose receive seek serve stay cannot can must should may will
""")
)
ACTS = frozenset(map(third, IMPERATIVE)) - set(
    _words("""
scans increases uses targets transitions triggers signals posts calls needs builds mocks addresses grants drives
""")
)  # 'remembers' can only be a verb, 'scans' are things too
NOT_VALUES = frozenset(
    _words("""
but and or so then if when while because although with without to not via see both as how why
""")
)


def property_name(label: str, lower: frozenset[str]) -> str:
    """A label or column as the name of a property in a sentence: 'Review Date' → review date; else in quotes."""
    words = (label.lower() if label.isupper() and len(label) > 4 else label).split()
    made = [
        word.lower()
        if word[1:].islower() and (word.lower() in lower or word.lower() in COMMON)
        else word
        for word in words
    ]
    if any(word[:1].isupper() and word[1:].islower() for word in made):
        return f'"{label}"'
    return " ".join(made)


PROPERTIES = frozenset(
    _words("""
status date author version priority owner lead license type category origin classification participants deadline title
name size duration output input path location source scope effort mandate tool command port host language mechanism
mitigation limit memory design principle purpose invocation score count example examples default result results impact
risk probability likelihood severity level phase step stage action actions cost time rate value values field fields
parameter parameters role function usage frequency target metric baseline key total average minimum maximum notes
state method strategy file files module component service server task protocol entry agent model phase review
""")
)
ADJECTIVES = frozenset(
    _words("created updated last new old main full final expected actual current")
)
COMMON = frozenset(VERBS) | PROPERTIES | ADJECTIVES


# -- questions ---------------------------------------------------------------------------------------------------------

AUXILIARY = r"do|does|did|is|are|was|were|can|could|will|would|should|must|has|have|may"
QUESTION = re.compile(rf"(?i)^(what|which|who|whom|whose|where|when|why|how|{AUXILIARY})\b.*\?$")
# Everyday synonyms, chosen to fit wherever the word stands in a question.
SYNONYMS = (
    ("install", "set up"), ("delete", "remove"), ("create", "make"), ("need", "require"), ("start", "launch"),
    ("change", "modify"), ("fix", "repair"), ("build", "compile"), ("built", "compiled"), ("store", "keep"),
    ("stored", "kept"), ("put", "save"), ("show", "display"), ("get", "obtain"), ("big", "large"),
    ("allowed", "permitted"), ("supported", "available"), ("killed", "interrupted"), ("kill", "interrupt"),
    ("half-way", "in the middle"), ("GPU", "graphics card"), ("folder", "directory"), ("finished", "final"),
    ("secrets", "passwords and keys"), ("error", "failure"), ("begin", "start"),
    ("documents", "files"), ("machine", "computer"), ("fast", "quick"), ("often", "frequently"), ("stop", "halt"),
    ("stops", "halts"), ("choose", "pick"), ("default", "standard"), ("cost", "price"), ("version", "release"),
)  # fmt: skip


def is_question(text: str) -> bool:
    return bool(QUESTION.match(text)) and 3 <= len(text.split()) <= 30


def _subject(words: list[str]) -> int | None:
    """How many words the subject at the start has; None where that cannot be told."""
    if not words:
        return None
    if words[0].lower() in PRONOUNS:
        return 1
    if words[0].lower() in DETERMINERS:
        return 2 if len(words) > 2 else None
    n = 0
    while n < len(words) and (words[n][:1].isupper() or words[n][:1] in "`0123456789"):
        n += 1
    return n or None


PREDICATE = re.compile(
    r"[a-z]{2,}ed|made|written|kept|sent|built|found|set|run|taken|chosen|shown|given|held|left|free|safe|"
    r"available|possible|ready|empty|large|small|private|public|secure|open|local|optional|in|on|at|for|"
    r"with|from|by|enough|compatible|able"
)


def declarative(auxiliary: str, rest: str, place: bool = False) -> str | None:
    """('does', 'Forge keep files') → 'Forge keeps files'; ('is', 'the adapter saved') → 'the adapter is saved'.

    After where, what and who (`place`) the subject may be all there is: ('is', 'the model') → 'the model is'.
    """
    words = rest.split()
    n = _subject(words)
    if auxiliary in ("is", "are", "was", "were") and words[0].lower() in DETERMINERS:
        n = next(
            (i for i, word in enumerate(words) if i > 1 and PREDICATE.fullmatch(word)), len(words)
        )
        if n == len(words):
            return f"{rest} {auxiliary}" if place else None
    if n is None or n >= len(words) or auxiliary == "did":
        return None
    subject, verb, after = " ".join(words[:n]), words[n], words[n + 1 :]
    if verb == "not":
        return " ".join([subject, auxiliary, verb, *after])
    if auxiliary in ("do", "does"):
        if verb not in VERBS and verb not in (
            "have",
            "do",
            "go",
            "know",
            "want",
            "cost",
            "happen",
            "look",
            "become",
        ):
            return None
        return " ".join([subject, third(verb) if auxiliary == "does" else verb, *after])
    return " ".join([subject, auxiliary, verb, *after])


# Shapes of questions, and other ways to ask each; {be} agrees with {o}. Every shape that fits is used.
SHAPES = (
    (
        r"how (?:do|can|could|should|would) (?:I|you|we|one) (?P<o>.+)",
        (
            "What do I have to do to {o}?",
            "Tell me how to {o}.",
            "I want to {o}. How does that work?",
            "Could you explain how to {o}?",
            "What is the way to {o}?",
            "how to {o}",
            "How can I {o}?",
            "Please show me how to {o}.",
            "What steps does it take to {o}?",
            "How would someone {o}?",
        ),
    ),
    (
        r"where (?:do|does) \S+ (?:keep|store|put|save|write) (?P<o>.+)",
        (
            "Where can I find {o}?",
            "Where {be} {o}?",
            "I am looking for {o}. Where do I look?",
            "In which place will I find {o}?",
            "In which folder {be} {o}?",
        ),
    ),
    (
        r"what happens (?P<w>if|when) (?P<o>.+)",
        ("If {o}, what happens?", "What if {o}?", "Suppose {o}. What happens then?"),
    ),
    (
        r"what happens (?P<w>if|when) (?P<o>.+ (?:killed|interrupted|stopped|crash|crashes|fails|dies|breaks)\b.*)",
        ("What do I lose {w} {o}?", "Is anything lost {w} {o}?", "Is my work gone {w} {o}?"),
    ),
    (
        r"what happens (?P<w>if|when) (?P<o>.+)",
        ("What follows {w} {o}?", "Tell me what happens {w} {o}.", "Is it bad {w} {o}?"),
    ),
    (
        r"what (?P<v>is|are) (?P<o>.+) (?P<w>used for|good for|made of|called|based on)",
        (
            "Tell me what {o} {v} {w}.",
            "Can you say what {o} {v} {w}?",
            "I would like to know what {o} {v} {w}.",
        ),
    ),
    (
        r"what (?P<v>is|are|was|were) (?!the (?:difference|reason)\b)"
        r"(?P<o>(?!.* (?:used for|good for|made of|called|based on)$).+)",
        (
            "Tell me what {o} {v}.",
            "Can you explain what {o} {v}?",
            "what {v} {o}",
            "I keep hearing about {o}. What's that?",
            "In one sentence, what {v} {o}?",
            "Do you know what {o} {v}?",
            "Please tell me about {o}.",
            "Describe {o} briefly.",
            "How would you describe {o}?",
            "Explain {o}.",
        ),
    ),
    (
        r"who (?P<v>is|are|was|were) (?P<o>.+)",
        (
            "Tell me who {o} {v}.",
            "Do you know who {o} {v}?",
            "who {v} {o}",
            "Can you say who {o} {v}?",
            "Please tell me about {o}.",
            "In one sentence, who {v} {o}?",
        ),
    ),
    (
        r"do (?:I|you|we) (?:need|require) (?!to\b)(?P<o>.+)",
        (
            "Is {o} required?",
            "Can I do without {o}?",
            "Is {o} necessary?",
            "Does it work without {o}?",
            "Must I have {o}?",
            "I have no access to {o}. Is that a problem?",
        ),
    ),
    (
        r"(?:does|do) (?P<s>\S+) (?:need|require) (?!to\b)(?P<o>.+)",
        (
            "Does {s} work without {o}?",
            "Is {o} required for {s}?",
            "Do I have to have {o} for {s}?",
            "Is {o} necessary to run {s}?",
            "Must I own {o} to use {s}?",
        ),
    ),
    (
        r"(?:can|could|may) (?:I|you|we) (?P<o>.+)",
        (
            "Is it possible to {o}?",
            "Am I able to {o}?",
            "Is there a way to {o}?",
            "Am I allowed to {o}?",
        ),
    ),
    (
        r"what (?:does|do|can) (?P<o>.+) do",
        (
            "What is {o} for?",
            "What can I do with {o}?",
            "Tell me about {o}.",
            "What is the purpose of {o}?",
            "Explain {o} in one sentence.",
            "What is {o} good for?",
            "Why would I use {o}?",
        ),
    ),
    (
        r"what (?:does|do) (?P<o>.+) mean",
        (
            "What is the meaning of {o}?",
            "Explain {o}.",
            "I see {o}. What is that?",
            "How do I read {o}?",
            "Tell me about {o}.",
            "What is meant by {o}?",
            "I got {o}. Why?",
        ),
    ),
    (
        rf"which (?P<o>[a-z]+) (?P<w>(?:does (?:everything|all|this|that)\b|(?!(?:{AUXILIARY})\b)[a-z]+s\b).*)",
        (
            "Name the {o} that {w}.",
            "Is there a {o} that {w}?",
            "I am looking for the {o} that {w}.",
            "What {o} {w}?",
            "Tell me the {o} that {w}.",
            "What is the {o} called that {w}?",
        ),
    ),
    (
        r"how (?:do|does) (?P<s>[A-Z`]\S*) (?P<o>.+)",
        (
            "What does {s} do to {o}?",
            "In what way does {s} {o}?",
            "Does {s} {o}, and how?",
            "By what means does {s} {o}?",
        ),
    ),
)
REWORDINGS = tuple((re.compile(f"(?i){shape}$"), forms) for shape, forms in SHAPES)


def _rewordings(question: str) -> Iterator[str]:
    """Other ways to ask the same, by the question's own shape. `question` has no question mark."""
    for shape, forms in REWORDINGS:
        match = shape.match(question)
        if match:
            slots = {name: value for name, value in match.groupdict().items() if value}
            be = "are" if is_plural(slots["o"]) else "is"
            yield from (form.format(**{**slots, "be": be}) for form in forms)
    act = re.match(r"(?i)how (?:do|can) I (\w+) (.+)$", question)
    if act and act[1] in VERBS:
        verb, thing = act.groups()
        yield from (
            f"I need help with {gerund(verb)} {thing}.",
            f"Give me instructions for {gerund(verb)} {thing}.",
        )
        if len(thing.split()) <= 3 and not re.search(
            r"\b(to|in|on|up|for|with|from|if|when)\b", thing
        ):
            yield f"How {'are' if is_plural(thing) else 'is'} {thing} {participle(verb)}?"
    asked = re.match(
        rf"(?i)((?:what|which|where|when|why|who|how)\b[^?]*?) ({AUXILIARY}) (.+)$", question
    )
    whole = asked is not None and asked[1].lower() in ("where", "what", "who")
    statement = declarative(asked[2].lower(), asked[3], whole) if asked else None
    if asked and statement and not act:
        clause = f"{decapitalised(asked[1])} {statement}"
        if asked[1].lower() == "why":
            yield from (f"What is the reason that {statement}?", f"How come {statement}?")
        yield from (
            f"Tell me {clause}.",
            f"Do you know {clause}?",
            f"I would like to know {clause}.",
            f"Can you say {clause}?",
            f"Please explain {clause}.",
        )
    polar = re.match(rf"(?i)({AUXILIARY}) (.+)$", question)
    statement = declarative(polar[1].lower(), polar[2]) if polar else None
    if statement:
        yield from (
            f"Tell me whether {statement}.",
            f"I would like to know if {statement}.",
            f"Is it true that {statement}?",
        )


def _synonyms(question: str) -> Iterator[str]:
    """The question with one word after another replaced by an everyday synonym, and with all of them."""
    whole = question
    for word, other in SYNONYMS:
        pattern = rf"\b{re.escape(word)}\b"
        if re.search(pattern, question):
            yield re.sub(pattern, other, question, count=1)
            whole = re.sub(pattern, other, whole, count=1)
    yield whole


WRAPPERS = (
    "Quick question: {q}",
    "{Q} Please answer briefly.",
    "I was wondering: {q}",
    "Can you help me with this? {Q}",
    "Someone asked me: {q}",
    "Hi! {Q}",
    "I'd like to know: {q}",
    "Short answer, please: {q}",
    "{Q} Thanks!",
    "Please answer this question: {q}",
)
ABOUT = (
    "In {s}, {q}",
    "A question about {s}: {q}",
    "{Q} I am asking about {s}.",
    "Regarding {s}, {q}",
    "I am reading about {s}. {Q}",
    "According to {s}, {q}",
    "About {s}: {q}",
    "{Q} (This is about {s}.)",
    "Here is something about {s} I want to know: {q}",
    "I am working with {s}. {Q}",
)


def question_wordings(
    question: str, subject: str, others: Sequence[str] = (), alone: bool = True
) -> list[str]:
    """The question in many wordings, the original first; `others` are more names of the subject.

    One that is vague, or does not stand alone (`alone`), is made to name its subject in every wording.
    """
    bare = question.rstrip("? ").strip()
    if not subject.startswith('"'):  # a name, not a title: it can stand for "it"
        bare = re.sub(r"\bit\b", lambda _: subject, bare, count=1)
    slots = {"q": f"{decapitalised(bare)}?", "Q": f"{capitalised(bare)}?"}
    names = (subject, *others)
    named = [
        capitalised(form.format(**slots, s=names[i % len(names)])) for i, form in enumerate(ABOUT)
    ]
    synonyms = [f"{capitalised(other)}?" for other in _synonyms(bare)]
    # A rewording and a synonym by turns: what is trained should differ in shape and in words.
    reworded = [form for pair in zip_longest(_rewordings(bare), synonyms) for form in pair if form]
    reworded = [form for form in dict.fromkeys(reworded) if form != slots["Q"]]
    has_name = any(name.strip('"').lower() in bare.lower() for name in names)
    if (VAGUE.search(bare) or len(bare.split()) < 3 or not alone) and not has_name:
        about = [_about(form, names[i % len(names)], i) for i, form in enumerate(reworded)]
        mixed = [form for pair in zip_longest(named, about) for form in pair if form]
        return list(dict.fromkeys(mixed))
    wrapped = [form.format(**slots) for form in WRAPPERS]
    if has_name:
        named = named[-1:] if subject.startswith('"') else []
    turn = zlib.crc32(bare.encode())  # each question begins the lists elsewhere
    wrapped = _rotated(wrapped, turn)
    named = _rotated(named, turn)
    mixed = [form for trio in zip_longest(reworded[5:], wrapped, named) for form in trio if form]
    return list(dict.fromkeys([slots["Q"], *reworded[:5], *mixed]))


def _about(form: str, name: str, turn: int) -> str:
    """A rewording with the document it is about."""
    inside = decapitalised(form)
    places = (f"In {name}: {inside}", f"{form} It is about {name}.", f"About {name}: {inside}")
    return places[turn % len(places)]


def _rotated(items: list[str], by: int) -> list[str]:
    at = by % len(items) if items else 0
    return items[at:] + items[:at]


# -- who is speaking ---------------------------------------------------------------------------------------------------

FIRST_PERSON = (
    (r"\byou are\b", "I am"),
    (r"\byou're\b", "I'm"),
    (r"\byou were\b", "I was"),
    (r"\byou have\b", "I have"),
    (r"\byourself\b", "myself"),
    (r"\byours\b", "mine"),
    (r"\byour\b", "my"),
    (r"\b(for|to|of|with|by|from|about|helps?|lets?|gives?|makes?) you\b", r"\1 me"),
    (r"\byou\b", "I"),
)


def first_person(system: str) -> str | None:
    """A system prompt's first sentence as the model would say it: 'You are X, the …' → 'I am X, the …'."""
    first = next(iter(sentences(" ".join(system.split()))), "")
    if not re.match(r"(?i)you(?: are|'re)\b", first):
        return None
    for pattern, replacement in FIRST_PERSON:
        first = re.sub(pattern, replacement, first, flags=re.IGNORECASE)
    return ended(first)
