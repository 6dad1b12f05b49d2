"""Keys, tokens, private keys, connection strings and e-mail addresses in a text. What is found is never shown.

Linear in the text: a rule runs only where its hint occurs, starts at a literal, and never looks back over what it read.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from phoenix_forge.corpus.named_secrets import (
    NAMES,
    PASSWORDS,
    Span,
    assigned,
    beneath,
    columns,
    elements,
    encoded,
    entropy,
    filled,
    made_up,
    mixed,
    places,
    told_of,
)
from phoenix_forge.corpus.personal import FINDERS

LONGEST_TOKEN, MOST_CUTS = 400, 4  # characters of one that something divides, and how often
LONG_WORD = 16  # bytes; every rule that is not marked `anywhere` describes an unbroken run at least this long


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret's kind and place: characters of the text, and the line (from 1). Its text is kept out on purpose."""

    kind: str
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret. One of `hints` (lower case) must occur in the text before `find` is called: in its long
    words, or, where the secret can be short or hold spaces, `anywhere`. `divided`: it is known from its beginning, and
    found with a line's end in it, too.
    """

    kind: str
    hints: tuple[bytes, ...]
    find: Callable[[str], Iterator[Span]]
    anywhere: bool = False
    divided: bool = False


def _random(secret: str) -> bool:
    return len(secret) >= 12 and mixed(secret) and filled(secret) and entropy(secret) >= 3.2


def _any(secret: str) -> bool:
    return True


def _mixed_case(secret: str) -> bool:
    return mixed(secret) and secret.upper() != secret


def _varied(secret: str) -> bool:
    """Not a row of crosses that stands for a token."""
    return len(set(secret)) >= 12


def _matches(pattern: str, real: Callable[[str], bool] = _any) -> Callable[[str], Iterator[Span]]:
    """Finds a pattern; its group `secret`, where there is one, is the secret."""
    compiled = re.compile(pattern)
    group = "secret" if "secret" in compiled.groupindex else 0

    def find(text: str) -> Iterator[Span]:
        for match in compiled.finditer(text):
            if real(match[group]):
                yield match.span(group)

    return find


def _prefixed(
    kind: str, prefixes: str, rest: str, real: Callable[[str], bool] = _varied
) -> list[Rule]:
    """Rules for tokens that begin with one of the space-separated prefixes. The boundary test stands behind the
    literal, so that the search can skip to it.
    """
    edge = r"[\w-]" if "-]" in rest else r"\w"
    return [
        Rule(
            kind,
            (prefix.lower().encode(),),
            _matches(f"{re.escape(prefix)}(?<!{edge}{re.escape(prefix)}){rest}", real),
            divided=len(prefix) >= 4,
        )
        for prefix in prefixes.split()
    ]


# PEM and OpenPGP armour (RFC 7468, RFC 9580), as a file, indented, quoted, or as a JSON string with \n in it. The key
# is read line by line to its end: a heading alone, as documentation quotes it, is none, and one cut off is found.
_GAP = r"(?:\\[rn]|[\s\"'+,>|#*\\]){1,80}+"
_ARMOUR = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    rf"(?:{_GAP}(?:[A-Z][A-Za-z-]{{2,20}}: [^\n\\]{{0,200}}|[A-Za-z0-9+/=]{{16,}}+))++"
    rf"(?:(?:{_GAP}[A-Za-z0-9+/=]{{1,15}}){{0,2}}+{_GAP}-----END [A-Z0-9 ]{{0,60}}-----)?"
)


_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\Z")
_DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@(])")
# Names kept for examples (RFC 2606), senders that are nobody, and remotes of version control.
RESERVED = re.compile(
    r"[@.](?:example|test|invalid|localhost|local|domain|email|internal)(?:\.(?:com|org|net|edu))?$"
    r"|@(?:your|my|some)?-?(?:domain|company|server|host|site)\.\w+$"
    r"|noreply|no-reply|^(?:git|hg|svn|user|username|email|name|you|me|foo|x)@"
    r"|\.(?:png|jpe?g|gif|svg|webp|ico|css|js|ts|py|md|json|ya?ml|txt|sh|html|so|service|timer)$",
    re.IGNORECASE,
)


def _addresses(text: str) -> Iterator[Span]:
    """Somebody's e-mail address; the user and host of a URL are the connection string's business."""
    for match in _DOMAIN.finditer(text):
        local = _LOCAL.search(text, max(0, match.start() - 64), match.start())
        if not local or RESERVED.search(text[local.start() : match.end()]):
            continue
        ahead = text[max(0, local.start() - 64) : local.start()]
        if not re.search(r"(?:://[^\s/]*|[/\w])\Z", ahead):
            yield local.start(), match.end()


_BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/]{24,4096}={0,2}(?![A-Za-z0-9+/=_-])")


def _inside(text: str) -> Iterator[Span]:
    """base64 of a text that holds a token."""
    for match in _BLOB.finditer(text):
        clear = encoded(match[0]) if len(match[0]) % 4 == 0 else ""
        if clear and any(next(rule.find(clear), None) for rule in RULES if not rule.anywhere):
            yield match.span()


# What bold runs of a Word file, soft hyphens and broken lines leave in the middle of a token.
_SPLIT = re.compile(
    r"(?<=[\w-]{4})(?:\*\*|[\u00ad\u200b\u2060]|[\"']?[ \t]?[+\\&]?\r?\n[ \t>#*]{0,16}[\"']?)"
    r"(?=[\w-]{4})"
)


def _rejoined(text: str, rules: Sequence[Rule]) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of tokens that something divides, as the rules see them without it."""
    for rule in rules:
        done = 0
        for at in places(text, [rule.hints[0].decode()]):
            if at < done:
                continue
            done, start = (
                at + LONG_WORD,
                max(0, at - 1),
            )  # a letter before it would make it part of a word
            window = text[start : start + LONGEST_TOKEN]
            cuts = [
                match.span() for match in islice(_SPLIT.finditer(window, at - start), MOST_CUTS)
            ]
            for first, last in rule.find(_cut(window, cuts)) if cuts else ():
                yield start + first, start + _before_cuts(last, cuts), rule.kind


def _cut(text: str, cuts: Sequence[Span]) -> str:
    edges = [0, *(edge for cut in cuts for edge in cut), len(text)]
    return "".join(text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))


def _before_cuts(at: int, cuts: Sequence[Span]) -> int:
    """A place in a text with spans cut out of it → in the whole text."""
    for start, end in cuts:
        if at <= start:
            break
        at += end - start
    return at


def _basic(secret: str) -> bool:
    """RFC 7617: the base64 of `user:password`."""
    user, colon, password = encoded(secret).partition(":")
    return bool(colon) and bool(user) and filled(password)


def _account(number: str) -> bool:
    """ISO 13616: an IBAN with its first four characters moved behind is 1 modulo 97."""
    compact = number.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _card(number: str) -> bool:
    """ISO/IEC 7812: the Luhn sum; the numbers that payment services publish for tests repeat their digits."""
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [
        d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))
    ]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 4


_BOT = re.compile(r"\.[\w-]{6}\.[\w-]{27,}")
_USER = re.compile(r"(?<![\w.-])[MNO][A-Za-z\d_-]{22,27}\Z")


def _bot_tokens(text: str) -> Iterator[Span]:
    """Discord: user id in base64, time, signature. Sought from its first dot: letters are everywhere."""
    for match in _BOT.finditer(text):
        user = _USER.search(text, max(0, match.start() - 32), match.start())
        if user and mixed(match[0]):
            yield user.start(), match.end()


_URL_SAFE = r"[A-Za-z0-9_-]"
# Formats as their issuers document them. Order matters: where two rules meet, the first one names the finding.
RULES: tuple[Rule, ...] = (
    Rule("private key", (b"private key",), _matches(_ARMOUR), anywhere=True),
    Rule(
        "private key",
        (b"private-lines:",),
        _matches(
            r"Private-Lines: \d+(?:\s|\\[rn]){1,8}"
            r"(?P<secret>[A-Za-z0-9+/=]{16,}+(?:(?:\s|\\[rn]){1,8}[A-Za-z0-9+/=]{16,}+)*+"
            r"(?:(?:\s|\\[rn]){1,4}[A-Za-z0-9+/=]{1,15}(?![\w:-]))?)"
        ),
        anywhere=True,
    ),
    Rule(
        "connection string",
        (b"://",),
        _matches(
            r"://[^\s:/@'\"<>`]{0,128}:(?P<secret>[^\s/'\"<>`]{3,128})@"
            r"[\w\-\[\]][\w.\-\[\]]*",
            filled,
        ),
        anywhere=True,
    ),
    Rule(
        "connection string",
        (b"pwd=", b"password="),
        _matches(
            r"(?i:server|data source|host|uid|user id)=[^;\n\"']{1,80};(?:[^;\n\"'=]{1,40}=[^;\n\"']{0,80};){0,6}"
            r"(?i:pwd|password)=(?P<secret>[^;\s\"']{6,128})",
            filled,
        ),
        anywhere=True,
    ),
    Rule(
        "Azure storage key",
        (b"accountkey=", b"sharedaccesskey="),
        _matches(
            r"(?:AccountKey|accountkey|SharedAccessKey|ACCOUNTKEY)=(?P<secret>[A-Za-z0-9+/]{43,}={0,2})"
        ),
    ),
    Rule(
        "Azure storage key",
        (b"==",),
        _matches(r"(?<![\w+/-])[A-Za-z0-9+/]{86}==(?![\w+/=])", _varied),
    ),
    *_prefixed("Artifactory key", "AKCp AKC", r"[A-Za-z0-9]{10,200}\b", _mixed_case),
    Rule(
        "Azure SAS token",
        (b"sig=",),
        _matches(r"[?&;]sig=(?P<secret>(?:[A-Za-z0-9+/]|%2[BbFf]){40,}(?:=|%3[Dd])?)"),
    ),
    Rule(
        "Azure client secret",
        (b"q~",),
        _matches(r"(?<![\w.~-])[\w.~-]{3}\dQ~[\w.~-]{31,34}(?![\w~-])"),
    ),
    *_prefixed("age secret key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
    *_prefixed(
        "AWS access key",
        "AKIA ASIA AROA AIDA ABIA ACCA",
        r"[A-Z0-9]{16}\b",
        lambda s: "EXAMPLE" not in s and _varied(s),
    ),
    Rule(
        "AWS secret key",
        (b"secret_access_key", b"secretaccesskey", b"aws_secret", b"awssecret"),
        _matches(
            r"(?i:aws_?secret_?(?:access_?)?key|secretaccesskey)['\"]?\s{0,4}[:=]\s{0,4}['\"]?(?P<secret>[A-Za-z0-9/+]{40})"
            r"(?![A-Za-z0-9/+])",
            lambda s: "EXAMPLE" not in s,
        ),
        anywhere=True,
    ),
    *_prefixed("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,}"),
    *_prefixed("GitHub fine-grained token", "github_pat_", r"[A-Za-z0-9_]{50,}"),
    *_prefixed("GitLab token", "glpat- gldt- glrt- glptt- glcbt-", _URL_SAFE + "{20,}"),
    *_prefixed("Hugging Face token", "hf_ api_org_", r"[A-Za-z0-9]{34,40}\b"),
    *_prefixed("OpenRouter key", "sk-or-v1-", r"[0-9a-f]{64}"),
    *_prefixed("Anthropic key", "sk-ant-", _URL_SAFE + "{32,}"),
    *_prefixed("OpenAI key", "sk-", _URL_SAFE + "{32,}", _random),
    *_prefixed("Stripe key", "sk_live_ rk_live_ pk_live_", r"[A-Za-z0-9]{16,}"),
    *_prefixed("Stripe test key", "sk_test_ rk_test_", r"[A-Za-z0-9]{16,}"),
    *_prefixed("Stripe webhook secret", "whsec_", r"[A-Za-z0-9+/=]{32,}"),
    *_prefixed("Google API key", "AIza", _URL_SAFE + "{35,}"),
    *_prefixed("Google OAuth secret", "GOCSPX-", _URL_SAFE + "{28,}"),
    *_prefixed("Google access token", "ya29.", _URL_SAFE + "{30,}"),
    Rule(
        "Slack token",
        (b"xox", b"xapp-"),
        _matches(r"x(?:ox[abeoprs]|app)-[A-Za-z0-9-]{10,}", mixed),
    ),
    Rule(
        "Slack webhook",
        (b"hooks.slack.com",),
        _matches(
            r"https://hooks\.slack\.com/(?:services|workflows|triggers)/\w+/\w+/[\w/]+", filled
        ),
    ),
    Rule(
        "Discord webhook",
        (b"/api/webhooks/",),
        _matches(r"(?:https://[\w.]{0,20}discord(?:app)?\.com)?/api/webhooks/\d{5,20}/[\w-]{20,}"),
    ),
    Rule("Discord bot token", (b".",), _bot_tokens),
    Rule(
        "Telegram bot token", (b":aa",), _matches(r"(?<!\w)\d{8,10}:AA[A-Za-z0-9_-]{33}(?![\w-])")
    ),
    *_prefixed("SendGrid key", "SG.", _URL_SAFE + r"{22}\." + _URL_SAFE + "{43}"),
    *_prefixed("Mailgun key", "key-", r"[0-9a-f]{32}\b"),
    Rule("Mailchimp key", (b"-us",), _matches(r"(?<!\w)[0-9a-f]{32}-us\d{1,2}\b")),
    *_prefixed("Brevo key", "xkeysib-", r"[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    *_prefixed("Twilio key", "SK", r"[0-9a-f]{32}\b"),
    *_prefixed("npm token", "npm_", r"[A-Za-z0-9]{36,}"),
    *_prefixed(
        "PyPI token", "pypi-AgEIcHlwaS5vcmc pypi-AgENdGVzdC5weXBpLm9yZw", _URL_SAFE + "{50,}"
    ),
    *_prefixed("RubyGems key", "rubygems_", r"[0-9a-f]{48}"),
    *_prefixed("crates.io token", "cio", r"[A-Za-z0-9]{32}\b", _random),
    *_prefixed("Docker Hub token", "dckr_pat_ dckr_oat_", _URL_SAFE + "{27,}"),
    *_prefixed("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[a-f0-9]{64}"),
    *_prefixed("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"[a-fA-F0-9]{32}"),
    *_prefixed("Databricks token", "dapi", r"[a-f0-9]{32}(?:-\d)?\b"),
    *_prefixed("Grafana token", "glsa_", r"[A-Za-z0-9]{32}_[a-fA-F0-9]{8}"),
    *_prefixed("Linear key", "lin_api_", r"[A-Za-z0-9]{40,}"),
    *_prefixed("Notion token", "ntn_ secret_", r"[A-Za-z0-9]{40,}", mixed),
    *_prefixed("Replicate token", "r8_", r"[A-Za-z0-9]{37,40}\b"),
    *_prefixed("Groq key", "gsk_", r"[A-Za-z0-9]{48,}"),
    *_prefixed("xAI key", "xai-", r"[A-Za-z0-9]{70,}"),
    *_prefixed("Perplexity key", "pplx-", r"[A-Za-z0-9]{40,}"),
    *_prefixed("Vault token", "hvs. hvb.", _URL_SAFE + "{24,}"),
    Rule(
        "Terraform token",
        (b".atlasv1.",),
        _matches(r"(?<![\w.])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    ),
    *_prefixed("Atlassian token", "ATATT3 ATCTT3", r"[A-Za-z0-9_=-]{60,}"),
    *_prefixed("Airtable token", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    *_prefixed("Figma token", "figd_", _URL_SAFE + "{38,}"),
    *_prefixed("Heroku key", "HRKU-", _URL_SAFE + "{36,}"),
    *_prefixed("New Relic key", "NRAK-", r"[A-Z0-9]{27}\b"),
    *_prefixed("Postman key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    *_prefixed("PlanetScale token", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w=.-]{32,}"),
    *_prefixed("Pulumi token", "pul-", r"[0-9a-f]{40}\b"),
    *_prefixed("Sentry token", "sntrys_ sntryu_", r"[A-Za-z0-9+/=_]{40,}"),
    *_prefixed("Square token", "sq0atp- sq0csp-", _URL_SAFE + "{22,}"),
    *_prefixed("Supabase token", "sbp_ sb_secret_", r"[A-Za-z0-9_]{31,}"),
    *_prefixed("Tailscale key", "tskey-", r"[a-z]+-[A-Za-z0-9]+(?:-[A-Za-z0-9]{16,})?", mixed),
    *_prefixed("Doppler token", "dp.pt. dp.st. dp.ct. dp.sa.", r"[A-Za-z0-9.]{40,}"),
    *_prefixed("Alibaba access key", "LTAI", r"[A-Za-z0-9]{17,21}\b", mixed),
    *_prefixed(
        "JSON web token", "eyJ", rf"{_URL_SAFE}{{8,}}\.eyJ{_URL_SAFE}{{8,}}\.{_URL_SAFE}{{10,}}"
    ),
    Rule(
        "bearer token",
        (b"bearer",),
        _matches(
            r"(?:[Bb]earer|BEARER)(?:\s{1,4}|['\"]?\s{0,4}[:=]\s{0,4}['\"]?)(?P<secret>[A-Za-z0-9._~+/=-]{16,})",
            _random,
        ),
        anywhere=True,
    ),
    Rule(
        "basic credentials",
        (b"basic ",),
        _matches(r"[Bb]asic (?P<secret>[A-Za-z0-9+/]{8,512}={0,2})", _basic),
        anywhere=True,
    ),
    Rule("assigned secret", tuple(name.encode() for name in NAMES), assigned, anywhere=True),
    Rule(
        "assigned secret",
        (b"--",),
        _matches(
            r"--?(?:password|passwd|token|api-key|secret|auth-token|access-token|passphrase) +['\"]?"
            r"(?P<secret>[^\s'\"`<>(){}\[\],;|\\]{8,4096})",
            lambda s: made_up(s, password=True),
        ),
        anywhere=True,
    ),
    Rule(
        "assigned secret",
        (b"machine",),
        _matches(  # .netrc
            r"\bmachine\s+\S{1,128}\s+(?:(?:login|account)\s+\S{1,128}\s+){0,2}password\s+(?P<secret>\S{3,128})",
            filled,
        ),
        anywhere=True,
    ),
    Rule(
        "assigned secret",
        (b"curl", b"wget", b"httpie"),
        _matches(
            r"(?:\s-[a-zA-Z]{0,6}u|--user|--proxy-user|--auth)[ =]?['\"]?[^\s:'\"`]{1,64}:"
            r"(?P<secret>[^\s'\"`]{3,128})",
            filled,
        ),
        anywhere=True,
    ),
    Rule(
        "assigned secret",
        (b"sshpass",),
        _matches(r"sshpass -p ?['\"]?(?P<secret>[^\s'\"`]{3,128})", filled),
        anywhere=True,
    ),
    Rule("assigned secret", tuple(name.encode() for name in NAMES), beneath, anywhere=True),
    Rule("assigned secret", (b"</", b"value="), elements, anywhere=True),
    Rule("assigned secret", tuple(name.encode() for name in PASSWORDS), told_of, anywhere=True),
    Rule("assigned secret", tuple(name.encode() for name in PASSWORDS), columns, anywhere=True),
    Rule("encoded secret", (b"base64", b"kind: secret"), _inside, anywhere=True),
    Rule(
        "bank account",
        (b"iban",),
        _matches(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", _account),
        anywhere=True,
    ),
    Rule(
        "card number",
        (b"card", b"visa", b"amex"),
        _matches(
            r"(?<![\w.-])(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011)([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -]?)\d{6}\2\d{5})"
            r"(?![\w-]|\.\d)",
            _card,
        ),
        anywhere=True,
    ),
    Rule("e-mail address", (b"@",), _addresses, anywhere=True),
)


HINTS = tuple(
    (hint, at) for at, rule in enumerate(RULES) if not rule.anywhere for hint in rule.hints
)
HINTS_ANYWHERE = tuple(
    (hint, at) for at, rule in enumerate(RULES) if rule.anywhere for hint in rule.hints
)


def scan(text: str, *, personal: bool = False) -> list[Finding]:
    """Secrets in a text, in order, none overlapping another; with `personal`, people's numbers are among them."""
    whole = text.encode("utf-8", "surrogatepass").lower()
    words = b"\n".join([word for word in whole.split() if len(word) >= LONG_WORD])
    hinted = {at for hint, at in HINTS if hint in words} | {
        at for hint, at in HINTS_ANYWHERE if hint in whole
    }
    claims: list[tuple[int, int, str]] = []
    for rule in (RULES[at] for at in sorted(hinted)):
        for start, end in rule.find(text):
            _claim(claims, start, end, rule.kind)
    divided = [rule for rule in RULES if rule.divided and rule.hints[0] in whole]
    for start, end, kind in _rejoined(text, divided) if divided else ():
        if not any(start < known_end and claim_start < end for claim_start, known_end, _ in claims):
            _claim(claims, start, end, kind)
    for kind, find in FINDERS if personal else ():
        for start, end in find(text):
            _claim(claims, start, end, kind)
    if not claims:
        return []
    breaks = [match.start() for match in re.finditer("\n", text)]
    return [
        Finding(kind, start, end, bisect_left(breaks, start) + 1) for start, end, kind in claims
    ]


def _claim(claims: list[tuple[int, int, str]], start: int, end: int, kind: str) -> None:
    """Adds a span to the sorted ones; those it meets become one with it, under the name of the rule that came first."""
    at = bisect_right(claims, start, key=lambda span: span[0])
    while at and claims[at - 1][1] > start:
        at -= 1
    while at < len(claims) and claims[at][0] < end:
        earlier = claims.pop(at)
        start, end, kind = min(start, earlier[0]), max(end, earlier[1]), earlier[2]
    insort(claims, (start, end, kind))


def redact(text: str, offsets: np.ndarray, findings: list[Finding]) -> tuple[str, np.ndarray]:
    """The text with each finding replaced by its kind, and the byte offsets of its characters in the file."""
    pieces: list[str] = []
    offset_runs: list[np.ndarray] = []
    at = 0
    for finding in findings:
        mark = f"[REDACTED {finding.kind}]"
        pieces += [text[at : finding.start], mark]
        offset_runs += [
            offsets[at : finding.start],
            np.full(len(mark), offsets[finding.start], offsets.dtype),
        ]
        at = finding.end
    return "".join([*pieces, text[at:]]), np.concatenate([*offset_runs, offsets[at:]])
