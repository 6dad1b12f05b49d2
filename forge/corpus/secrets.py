"""Keys, tokens, private keys, connection strings and e-mail addresses in a text. What is found is never shown.

Linear in the text: a rule runs only where its hint occurs, starts at a literal, and never looks back over what it read.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Span = tuple[int, int]
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
    words, or, where the secret can be short or hold spaces, `anywhere`.
    """

    kind: str
    hints: tuple[bytes, ...]
    find: Callable[[str], Iterator[Span]]
    anywhere: bool = False


PLACEHOLDER = re.compile(r"example|placeholder|your|change_?me|xxx|\*\*\*|dummy|sample|secret|passw(or)?d|redacted|<"
                         r"|\$\{?[A-Za-z_(]|[{}]|%\(|\.\.\.|…|test|foo|insert|replace|1234567|abcdef|process\.env|os\.environ",
                         re.IGNORECASE)
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")


def _entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _mixed(secret: str) -> bool:
    return bool(_DIGIT.search(secret) and _LETTER.search(secret))


def _filled(secret: str) -> bool:
    """Not a word that documentation uses for a blank."""
    return not PLACEHOLDER.search(secret)


def _random(secret: str) -> bool:
    return len(secret) >= 12 and _mixed(secret) and _filled(secret) and _entropy(secret) >= 3.2


def _any(secret: str) -> bool:
    return True


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


def _prefixed(kind: str, prefixes: str, rest: str, real: Callable[[str], bool] = _varied) -> list[Rule]:
    """Rules for tokens that begin with one of the space-separated prefixes. The boundary test stands behind the
    literal, so that the search can skip to it.
    """
    edge = r"[\w-]" if "-]" in rest else r"\w"
    return [Rule(kind, (prefix.lower().encode(),),
                 _matches(f"{re.escape(prefix)}(?<!{edge}{re.escape(prefix)}){rest}", real))
            for prefix in prefixes.split()]


# PEM and OpenPGP armour (RFC 7468, RFC 9580), as a file, indented, quoted, or as a JSON string with \n in it. The key
# is read line by line to its end: a heading alone, as documentation quotes it, is none, and one cut off is found.
_GAP = r"(?:\\[rn]|[\s\"'+,>|#*\\]){1,80}+"
_ARMOUR = (r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
           rf"(?:{_GAP}(?:[A-Z][A-Za-z-]{{2,20}}: [^\n\\]{{0,200}}|[A-Za-z0-9+/=]{{16,}}+))++"
           rf"(?:(?:{_GAP}[A-Za-z0-9+/=]{{1,15}}){{0,2}}+{_GAP}-----END [A-Z0-9 ]{{0,60}}-----)?")


_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\Z")
_DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@(])")
# Names kept for examples (RFC 2606), senders that are nobody, and remotes of version control.
RESERVED = re.compile(r"[@.](?:example|test|invalid|localhost|local|domain|email|internal)(?:\.(?:com|org|net|edu))?$"
                      r"|@(?:your|my|some)?-?(?:domain|company|server|host|site)\.\w+$"
                      r"|noreply|no-reply|^(?:git|hg|svn|user|username|email|name|you|me|foo|x)@"
                      r"|\.(?:png|jpe?g|gif|svg|webp|ico|css|js|ts|py|md|json|ya?ml|txt|sh|html|so|service|timer)$",
                      re.IGNORECASE)


def _addresses(text: str) -> Iterator[Span]:
    """Somebody's e-mail address; the user and host of a URL are the connection string's business."""
    for match in _DOMAIN.finditer(text):
        local = _LOCAL.search(text, max(0, match.start() - 64), match.start())
        if not local or RESERVED.search(text[local.start():match.end()]):
            continue
        ahead = text[max(0, local.start() - 64):local.start()]
        if not re.search(r"(?:://[^\s/]*|[/\w])\Z", ahead):
            yield local.start(), match.end()


_SEPARATOR = re.compile(r"[:=,][:=]?>?\*{0,2}[ \t]{0,8}(?:\\?[\"'`])?(?=[^\s\"'`<>(){}\[\],;|\\]{8})")
_NAMES = ("key", "token", "pass", "secret", "pwd", "credential")  # one is in whatever _KEY matches
_QUOTES = ("'", '"', "`")
_PATH = re.compile(r"::\w*\Z")  # the key ends a name such as AWS::AppSync::ApiKey: what follows is about that type
_VALUE = re.compile(r"[^\s\"'`<>(){}\[\],;|\\&]{8,128}")  # enough to judge it by
_REST = re.compile(r"[^\s\"'`<>(){}\[\],;|\\&]*")
_KEY = re.compile(r"(?P<password>passw(?:or)?d|passphrase|passwd|pwd|pass)(?:_?\d)?[\\\"'`\])*]{0,4}\s{0,8}\Z"
                  r"|(?:api_?-?key|secret|(?:secret|access|auth|private|signing|encryption|master|account|shared|client|"
                  r"service|license|storage)_?-?key|token|credentials?|authkey)(?:_?\d)?[\\\"'`\])*]{0,4}\s{0,8}\Z")
# What stands after such a key in code without being its value: names, calls, attributes, paths, versions, dates.
_CODE = re.compile("|".join((
    r"[A-Za-z_][\w-]*(?:\.[A-Za-z_]\w*)+(?:[:=].*)?", r"[A-Za-z_]\w*[:=].*", r"(?:[\w.~-]*/){2,}[\w.-]*", r"https?:.*",
    r"[a-z]+(?:[-_][a-z0-9]+)+", r"[A-Z]+(?:_[A-Z0-9]+)+", r"[a-z_]+\d{1,3}_?[a-z_]*_[a-z_]*\d*", r"[A-Za-z]+[-_]?\d",
    r"(?:[A-Z][A-Za-z]*\d{0,2})?(?:[A-Z][a-z]+)+\d?", r"[a-z]+(?:[A-Z][a-z]+)+\d{0,2}", r"v?\d+(?:[.:T-]\d+)+\S*",
    r"--?[a-z][\w-]*", r"[@%#].*", r".*[%@]\w+[%@].*", r"sha\d+.*")))


def _assigned(text: str) -> Iterator[Span]:
    """`KEY = VALUE`, `"key": "value"`, `key: value` where the key's name says secret and the value looks made up."""
    done = 0
    for match in _SEPARATOR.finditer(text):
        start = match.start()
        if start < done:
            continue
        if text[start] == "," and not (text[start - 1:start] in _QUOTES and match[0][-1] in _QUOTES):
            continue  # only as in setenv("TOKEN", "...")
        ahead = text[max(0, start - 32):start].lower()
        key = _KEY.search(ahead) if any(name in ahead for name in _NAMES) else None
        if not key:
            continue
        value = _VALUE.match(text, match.end())
        if not value or text[value.end():value.end() + 1] in ("(", "[", "{", "<"):
            continue
        if text[start] == "," and text[value.end():value.end() + 1] not in _QUOTES:
            continue
        secret = value[0] if match[0][-1] in _QUOTES else value[0].rstrip(".*:!?")
        if _made_up(secret, bool(key["password"])) and not _PATH.search(text, max(0, start - 64), start - len(key[0])):
            rest = _REST.match(text, value.end()) if len(secret) == len(value[0]) else None
            done = rest.end() if rest else value.start() + len(secret)
            yield value.start(), done


def _made_up(secret: str, password: bool) -> bool:
    """The cheap tests come first: a key's name is common in prose about keys."""
    if len(secret) < (8 if password else 16) or not _mixed(secret) or not _filled(secret) or _CODE.fullmatch(secret):
        return False
    return _entropy(secret) >= (2.5 if password else 3.2)


def _basic(secret: str) -> bool:
    """RFC 7617: the base64 of `user:password`."""
    try:
        user, colon, password = base64.b64decode(secret, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(colon) and bool(user) and password.isprintable() and _filled(password)


def _account(number: str) -> bool:
    """ISO 13616: an IBAN with its first four characters moved behind is 1 modulo 97."""
    compact = number.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _card(number: str) -> bool:
    """ISO/IEC 7812: the Luhn sum; the numbers that payment services publish for tests repeat their digits."""
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 4


_BOT = re.compile(r"\.[\w-]{6}\.[\w-]{27,}")
_USER = re.compile(r"(?<![\w.-])[MNO][A-Za-z\d_-]{22,27}\Z")


def _bot_tokens(text: str) -> Iterator[Span]:
    """Discord: user id in base64, time, signature. Sought from its first dot: letters are everywhere."""
    for match in _BOT.finditer(text):
        user = _USER.search(text, max(0, match.start() - 32), match.start())
        if user and _mixed(match[0]):
            yield user.start(), match.end()


_URL_SAFE = r"[A-Za-z0-9_-]"
# Formats as their issuers document them. Order matters: where two rules meet, the first one names the finding.
RULES: tuple[Rule, ...] = (
    Rule("private key", (b"private key",), _matches(_ARMOUR), anywhere=True),
    Rule("private key", (b"private-lines:",), _matches(
        r"Private-Lines: \d+(?:\s|\\[rn]){1,8}"
        r"(?P<secret>[A-Za-z0-9+/=]{16,}+(?:(?:\s|\\[rn]){1,8}[A-Za-z0-9+/=]{16,}+)*+"
        r"(?:(?:\s|\\[rn]){1,4}[A-Za-z0-9+/=]{1,15}(?![\w:-]))?)"), anywhere=True),
    Rule("connection string", (b"://",), _matches(r"://[^\s:/@'\"<>`]{0,128}:(?P<secret>[^\s/'\"<>`]{3,128})@"
                                                  r"[\w\-\[\]][\w.\-\[\]]*", _filled), anywhere=True),
    Rule("connection string", (b"pwd=", b"password="), _matches(
        r"(?i:server|data source|host|uid|user id)=[^;\n\"']{1,80};(?:[^;\n\"'=]{1,40}=[^;\n\"']{0,80};){0,6}"
        r"(?i:pwd|password)=(?P<secret>[^;\s\"']{6,128})", _filled), anywhere=True),
    Rule("Azure storage key", (b"accountkey=", b"sharedaccesskey="), _matches(
        r"(?:AccountKey|accountkey|SharedAccessKey|ACCOUNTKEY)=(?P<secret>[A-Za-z0-9+/]{43,}={0,2})")),
    Rule("Azure SAS token", (b"sig=",), _matches(r"[?&;]sig=(?P<secret>(?:[A-Za-z0-9+/]|%2[BbFf]){40,}(?:=|%3[Dd])?)")),
    Rule("Azure client secret", (b"q~",), _matches(r"(?<![\w.~-])[\w.~-]{3}\dQ~[\w.~-]{31,34}(?![\w~-])")),
    *_prefixed("age secret key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
    *_prefixed("AWS access key", "AKIA ASIA AROA AIDA", r"[A-Z2-7]{16}\b", lambda s: "EXAMPLE" not in s and _varied(s)),
    Rule("AWS secret key", (b"secret_access_key", b"secretaccesskey", b"aws_secret", b"awssecret"), _matches(
        r"(?i:aws_?secret_?(?:access_?)?key|secretaccesskey)['\"]?\s{0,4}[:=]\s{0,4}['\"]?(?P<secret>[A-Za-z0-9/+]{40})"
        r"(?![A-Za-z0-9/+])", lambda s: "EXAMPLE" not in s), anywhere=True),
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
    Rule("Slack token", (b"xox", b"xapp-"), _matches(r"x(?:ox[abeoprs]|app)-[A-Za-z0-9-]{10,}", _mixed)),
    Rule("Slack webhook", (b"hooks.slack.com",), _matches(
        r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9/]+", _filled)),
    Rule("Discord webhook", (b"/api/webhooks/",), _matches(
        r"(?:https://[\w.]{0,20}discord(?:app)?\.com)?/api/webhooks/\d{5,20}/[\w-]{20,}")),
    Rule("Discord bot token", (b".",), _bot_tokens),
    Rule("Telegram bot token", (b":aa",), _matches(r"(?<!\w)\d{8,10}:AA[A-Za-z0-9_-]{33}(?![\w-])")),
    *_prefixed("SendGrid key", "SG.", _URL_SAFE + r"{22}\." + _URL_SAFE + "{43}"),
    *_prefixed("Mailgun key", "key-", r"[0-9a-f]{32}\b"),
    Rule("Mailchimp key", (b"-us",), _matches(r"(?<!\w)[0-9a-f]{32}-us\d{1,2}\b")),
    *_prefixed("Brevo key", "xkeysib-", r"[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    *_prefixed("Twilio key", "SK", r"[0-9a-f]{32}\b"),
    *_prefixed("npm token", "npm_", r"[A-Za-z0-9]{36,}"),
    *_prefixed("PyPI token", "pypi-AgEIcHlwaS5vcmc pypi-AgENdGVzdC5weXBpLm9yZw", _URL_SAFE + "{50,}"),
    *_prefixed("RubyGems key", "rubygems_", r"[0-9a-f]{48}"),
    *_prefixed("crates.io token", "cio", r"[A-Za-z0-9]{32}\b", _random),
    *_prefixed("Docker Hub token", "dckr_pat_ dckr_oat_", _URL_SAFE + "{27,}"),
    *_prefixed("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[a-f0-9]{64}"),
    *_prefixed("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"[a-fA-F0-9]{32}"),
    *_prefixed("Databricks token", "dapi", r"[a-f0-9]{32}(?:-\d)?\b"),
    *_prefixed("Grafana token", "glsa_", r"[A-Za-z0-9]{32}_[a-fA-F0-9]{8}"),
    *_prefixed("Linear key", "lin_api_", r"[A-Za-z0-9]{40,}"),
    *_prefixed("Notion token", "ntn_ secret_", r"[A-Za-z0-9]{40,}", _mixed),
    *_prefixed("Replicate token", "r8_", r"[A-Za-z0-9]{37,40}\b"),
    *_prefixed("Groq key", "gsk_", r"[A-Za-z0-9]{48,}"),
    *_prefixed("xAI key", "xai-", r"[A-Za-z0-9]{70,}"),
    *_prefixed("Perplexity key", "pplx-", r"[A-Za-z0-9]{40,}"),
    *_prefixed("Vault token", "hvs. hvb.", _URL_SAFE + "{24,}"),
    Rule("Terraform token", (b".atlasv1.",), _matches(r"(?<![\w.])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}")),
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
    *_prefixed("Tailscale key", "tskey-", r"[a-z]+-[A-Za-z0-9]+(?:-[A-Za-z0-9]{16,})?", _mixed),
    *_prefixed("Doppler token", "dp.pt. dp.st. dp.ct. dp.sa.", r"[A-Za-z0-9.]{40,}"),
    *_prefixed("Alibaba access key", "LTAI", r"[A-Za-z0-9]{17,21}\b", _mixed),
    *_prefixed("JSON web token", "eyJ", rf"{_URL_SAFE}{{8,}}\.eyJ{_URL_SAFE}{{8,}}\.{_URL_SAFE}{{10,}}"),
    Rule("bearer token", (b"bearer",), _matches(
        r"(?:[Bb]earer|BEARER)(?:\s{1,4}|['\"]?\s{0,4}[:=]\s{0,4}['\"]?)(?P<secret>[A-Za-z0-9._~+/=-]{16,})", _random),
        anywhere=True),
    Rule("basic credentials", (b"basic ",), _matches(r"[Bb]asic (?P<secret>[A-Za-z0-9+/]{8,512}={0,2})", _basic),
         anywhere=True),
    Rule("assigned secret", tuple(name.encode() for name in _NAMES), _assigned, anywhere=True),
    Rule("assigned secret", (b"--",), _matches(
        r"--?(?:password|passwd|token|api-key|secret|auth-token|access-token|passphrase) +['\"]?"
        r"(?P<secret>[^\s'\"`<>(){}\[\],;|\\]{8,4096})", lambda s: _made_up(s, password=True)), anywhere=True),
    Rule("bank account", (b"iban",), _matches(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)",
                                              _account), anywhere=True),
    Rule("card number", (b"card", b"visa", b"amex"), _matches(
        r"(?<![\w.-])(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011)([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -]?)\d{6}\2\d{5})"
        r"(?![\w-]|\.\d)", _card), anywhere=True),
    Rule("e-mail address", (b"@",), _addresses, anywhere=True),
)


HINTS = tuple((hint, at) for at, rule in enumerate(RULES) if not rule.anywhere for hint in rule.hints)
HINTS_ANYWHERE = tuple((hint, at) for at, rule in enumerate(RULES) if rule.anywhere for hint in rule.hints)


def scan(text: str) -> list[Finding]:
    """Secrets in a text, in order, none overlapping another."""
    whole = text.encode("utf-8", "surrogatepass").lower()
    words = b"\n".join([word for word in whole.split() if len(word) >= LONG_WORD])
    hinted = {at for hint, at in HINTS if hint in words} | {at for hint, at in HINTS_ANYWHERE if hint in whole}
    taken: list[tuple[int, int, str]] = []
    for rule in (RULES[at] for at in sorted(hinted)):
        for start, end in rule.find(text):
            _claim(taken, start, end, rule.kind)
    if not taken:
        return []
    breaks = [match.start() for match in re.finditer("\n", text)]
    return [Finding(kind, start, end, bisect_left(breaks, start) + 1) for start, end, kind in taken]


def _claim(taken: list[tuple[int, int, str]], start: int, end: int, kind: str) -> None:
    """Adds a span to the sorted ones; those it meets become one with it, under the name of the rule that came first."""
    at = bisect_right(taken, start, key=lambda span: span[0])
    while at and taken[at - 1][1] > start:
        at -= 1
    while at < len(taken) and taken[at][0] < end:
        known = taken.pop(at)
        start, end, kind = min(start, known[0]), max(end, known[1]), known[2]
    insort(taken, (start, end, kind))


def redact(text: str, offsets: np.ndarray, findings: list[Finding]) -> tuple[str, np.ndarray]:
    """The text with each finding replaced by its kind, and the byte offsets of its characters in the file."""
    pieces: list[str] = []
    kept: list[np.ndarray] = []
    at = 0
    for finding in findings:
        mark = f"[REDACTED {finding.kind}]"
        pieces += [text[at:finding.start], mark]
        kept += [offsets[at:finding.start], np.full(len(mark), offsets[finding.start], offsets.dtype)]
        at = finding.end
    return "".join([*pieces, text[at:]]), np.concatenate([*kept, offsets[at:]])
