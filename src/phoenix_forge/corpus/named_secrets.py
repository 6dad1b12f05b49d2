"""Secrets that are known by what names them: a key's name before the value, around it, or at the head of its column.

Linear in the text, as `phoenix_forge.corpus.secrets` is.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Span = tuple[int, int]
LONGEST_HEADING = 400  # characters of a table's first line

PLACEHOLDER = re.compile(
    r"example|placeholder|your|change_?me|xxx|\*\*\*|dummy|sample|secret|passw(or)?d|redacted|<"
    r"|\$\{?[A-Za-z_(]|[{}]|%\(|\.\.\.|…|test|foo|insert|replace|1234567|abcdef|process\.env|os\.environ",
    re.IGNORECASE,
)
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def mixed(secret: str) -> bool:
    return bool(_DIGIT.search(secret) and _LETTER.search(secret))


def filled(secret: str) -> bool:
    """Not a word that documentation uses for a blank."""
    return not PLACEHOLDER.search(secret)


_SEPARATOR = re.compile(
    r"[:=,：][:=]?>?\*{0,2}[ \t]{0,8}(?:\\?[\"'`])?(?=[^\s\"'`<>(){}\[\],;|\\]{8})"
)
# One is in whatever _KEY matches; only of ASCII is there a lower case, so other first letters are left out.
NAMES = (
    "key",
    "token",
    "pass",
    "secret",
    "pwd",
    "credential",
    "kennwort",
    "contrase",
    "senha",
    "wachtwoord",
    "senord",
    "hasło",
    "ароль",
    "密码",
    "密碼",
    "口令",
    "パスワード",
    "비밀번호",
)
PASSWORDS = ("pass", "pwd", *NAMES[6:])
_PASSWORD = (
    r"passw(?:or)?[dt]|passphrase|passcode|passwd|pwd|pass|kennwort|contrase[ñn]a|"
    r"mot de passe|senha|wachtwoord|lösenord|hasło|пароль|密码|密碼|口令|パスワード|비밀번호"
)
_QUOTES = ("'", '"', "`")
_PATH = re.compile(
    r"::\w*\Z"
)  # the key ends a name such as AWS::AppSync::ApiKey: what follows is about that type
_VALUE = re.compile(r"[^\s\"'`<>(){}\[\],;|\\&]{8,128}")  # enough to judge it by
_REST = re.compile(r"[^\s\"'`<>(){}\[\],;|\\&]*")
_KEY = re.compile(
    rf"(?P<password>{_PASSWORD})(?:_?\d)?[\\\"'`\])*]{{0,4}}\s{{0,8}}\Z"
    r"|(?:api_?-?key|secret|(?:secret|access|auth|private|signing|encryption|master|account|shared|client|"
    r"preshared|service|license|storage)_?-?key|token|credentials?|authkey)(?:_?\d)?[\\\"'`\])*]{0,4}\s{0,8}\Z"
)
# What stands after such a key in code without being its value: names, calls, attributes, paths, versions, dates.
_CODE = re.compile(
    "|".join(
        (
            r"[A-Za-z_][\w-]*(?:\.[A-Za-z_]\w*)+(?:[:=].*)?",
            r"[A-Za-z_]\w*[:=](?!=?$).*",
            r"(?:[\w.~-]*/){2,}[\w.-]*",
            r"https?:.*",
            r"[a-z]+(?:[-_][a-z0-9]+)+",
            r"[A-Z]+(?:_[A-Z0-9]+)+",
            r"[a-z_]+\d{1,3}_?[a-z_]*_[a-z_]*\d*",
            r"[A-Za-z]+[-_]?\d",
            r"(?:[A-Z][A-Za-z]*\d{0,2})?(?:[A-Z][a-z]+)+\d?",
            r"[a-z]+(?:[A-Z][a-z]+)+\d{0,2}",
            r"v?\d+(?:[.:T-]\d+)+\S*",
            r"--?[a-z][\w-]*",
            r"[@%#].*",
            r".*[%@]\w+[%@].*",
            r"sha\d+.*",
        )
    )
)


def assigned(text: str) -> Iterator[Span]:
    """`KEY = VALUE`, `"key": "value"`, `key: value` where the key's name says secret and the value looks made up."""
    done = 0
    for match in _SEPARATOR.finditer(text):
        start = match.start()
        if start < done:
            continue
        if text[start] == "," and not (
            text[start - 1 : start] in _QUOTES and match[0][-1] in _QUOTES
        ):
            continue  # only as in setenv("TOKEN", "...")
        ahead = text[max(0, start - 32) : start].lower()
        key = _KEY.search(ahead) if any(name in ahead for name in NAMES) else None
        if not key:
            continue
        value = _VALUE.match(text, match.end())
        if not value or text[value.end() : value.end() + 1] in ("(", "[", "{", "<"):
            continue
        if text[start] == "," and text[value.end() : value.end() + 1] not in _QUOTES:
            continue
        secret = value[0] if match[0][-1] in _QUOTES else value[0].rstrip(".*:!?")
        if made_up(secret, bool(key["password"])) and not _PATH.search(
            text, max(0, start - 64), start - len(key[0])
        ):
            rest = _REST.match(text, value.end()) if len(secret) == len(value[0]) else None
            done = rest.end() if rest else value.start() + len(secret)
            yield value.start(), done


def made_up(secret: str, password: bool) -> bool:
    """The cheap tests come first: a key's name is common in prose about keys."""
    if len(secret) < (8 if password else 16) or not filled(secret) or _CODE.fullmatch(secret):
        return False
    if not mixed(secret) and not (secret.endswith("=") and encoded(secret)):
        return False
    return entropy(secret) >= (2.5 if password else 3.2)


def encoded(secret: str) -> str:
    """The text that base64 stands for, if it is any."""
    try:
        clear = base64.b64decode(secret, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return clear if clear.isprintable() else ""


# A value below its key in YAML: folded (>), or as it stands (|).
_BLOCK = re.compile(
    r":[ ]{1,4}[|>][+-]?\d?[ \t]{0,8}\r?\n[ \t]{1,32}(?P<secret>[^\s\"'`<>(){}\[\],;|\\&]{8,128})"
    r"[ \t]*(?=\r?\n|\Z)"
)


def beneath(text: str) -> Iterator[Span]:
    for match in _BLOCK.finditer(text):
        key = _KEY.search(text[max(0, match.start() - 32) : match.start()].lower())
        if key and made_up(match["secret"], bool(key["password"])):
            yield match.span("secret")


_ELEMENT = re.compile(
    r"<(?P<name>[A-Za-z][\w.:-]{2,40})(?:\s[^<>]{0,200})?>\s{0,8}"
    r"(?P<secret>[^\s<>&]{6,128})\s{0,8}</"
)
_ATTRIBUTE = re.compile(
    r"=[\"'](?P<name>[\w.:-]{3,60})[\"'](?:\s+value=[\"']|\s*>\s{0,8}(?:<value>)?)"
    r"(?P<secret>[^\s\"'<>&]{6,128})[\"'<]"
)


def elements(text: str) -> Iterator[Span]:
    """Of XML: `<password>…</password>`, and `<add key="Password" value="…"/>`."""
    for match in (*_ELEMENT.finditer(text), *_ATTRIBUTE.finditer(text)):
        key = _KEY.search(match["name"].lower())
        if key and made_up(match["secret"], bool(key["password"])):
            yield match.span("secret")


# What is told of a password without being one.
_STATES = re.compile(
    "required|optional|invalid|incorrect|correct|wrong|empty|missing|hashed|encrypted|stored|unknown|"
    "expired|changed|protected|disabled|enabled|string|boolean|hidden|weak|strong|false|true|none|null|"
    "erforderlich|ungültig|falsch|richtig|leer|requis|invalide|vacía",
    re.IGNORECASE,
)
_OPEN = "[\"'`“”„«「『]|\\*\\*"
# Without the letters before a hint.
_SPOKEN = (
    r"passw(?:or)?[dt]|passphrase|passcode|passwd|passe|pwd|kennwort|contrase[ñn]a|senha|wachtwoord|senord|"
    r"hasło|ароль|密码|密碼|口令|パスワード|비밀번호"
)
_TOLD = re.compile(
    rf"(?i:{_SPOKEN})(?![A-Za-z])[^\n.;:=\"'`|<>()]{{0,24}}?"
    rf"(?:[ ](?:is|was|ist|war|lautet|est|era|es|é|è|är|to|auf)[ ]|[ ]?[:=：][ ]?|[是为為は][ ]?|\W{{0,3}}\|[ ]{{1,8}})"
    rf"(?:(?:{_OPEN})(?P<quoted>[^\s\"'`“”„«»「」『』*]{{6,64}})(?:[\"'`“”»」』]|\*\*)"
    r"|(?P<bare>[^\s\"'`<>(){}\[\],;|\\&“”„«»「」『』。、，]{8,128}))"
)


def told_of(text: str) -> Iterator[Span]:
    """A password in a sentence: `The password is "swordfish"`; without quotes only one that looks made up."""
    for match in filter(None, (_TOLD.match(text, at) for at in places(text, PASSWORDS))):
        quoted, bare = match["quoted"], (match["bare"] or "").rstrip(".!?:")
        if (
            quoted
            and filled(quoted)
            and not _STATES.fullmatch(quoted)
            and not _NAME.fullmatch(quoted)
        ):
            yield match.span("quoted")
        elif bare and made_up(bare, password=True):
            yield match.start("bare"), match.start("bare") + len(bare)


def places(text: str, words: Sequence[str]) -> Iterator[int]:
    """Where one of some words in lower case begins, in either case. `str.find` is far quicker than an alternation."""
    lower = text.replace("İ", "I").lower()  # the only letter that two come from
    for word in words:
        at = lower.find(word)
        while at >= 0:
            yield at
            at = lower.find(word, at + len(word))


# A name of code that stands where a password could: password: 'currentPassword' is filled in, `user.pwd`, 'db_user'.
_NAME = re.compile(r"[A-Za-z]\w*(?:[._/:-]\w+)+|[a-z]+(?:[A-Z][a-z]+)+|[A-Z_]+|[a-z]{6,8}")
_CELL = re.compile(rf"[\s\"'`*]*(?i:[\w .-]{{0,24}}(?:{_SPOKEN}))[\s\"'`*]*")


def columns(text: str) -> Iterator[Span]:
    """A table's column of passwords: cells below a heading that says so, between bars, tabs, semicolons or commas."""
    at = 0
    for start in sorted({text.rfind("\n", 0, at) + 1 for at in places(text, PASSWORDS)}):
        if start < at:
            continue
        line, at = _line(text, start)
        heading = _heading(line)
        while heading and at < len(text):
            line, after = _line(text, at)
            cells = line.split(heading.mark)
            if len(cells) != heading.cells:
                break
            secret = cells[heading.at].strip(" \t\r\"'`*")
            if heading.holds(secret):
                place = text.index(
                    secret, at + sum(len(ahead) + 1 for ahead in cells[: heading.at])
                )
                yield place, place + len(secret)
            at = after


def _line(text: str, start: int) -> tuple[str, int]:
    """The line that begins at `start`, and where the next one does."""
    end = text.find("\n", start)
    return (text[start:end], end + 1) if end >= 0 else (text[start:], len(text))


class _Heading(NamedTuple):
    """Column number `at` of `cells`, divided by `mark`, holds passwords."""

    at: int
    cells: int
    mark: str

    def holds(self, secret: str) -> bool:
        if self.mark in ",;":  # prose has these, too
            return made_up(secret, password=True)
        spoken = len(secret) >= 6 and not _STATES.fullmatch(secret) and not re.search(r"\s", secret)
        return (
            spoken
            and filled(secret)
            and bool(_LETTER.search(secret))
            and not _CODE.fullmatch(secret)
        )


def _heading(line: str) -> _Heading | None:
    for mark in "|\t;," if len(line) <= LONGEST_HEADING else "":
        cells = line.split(mark)
        columns = [i for i, cell in enumerate(cells) if _CELL.fullmatch(cell)]
        filled = all(cell.strip() for cell in cells) or mark == "|"
        if len(cells) > 1 and columns and filled and all(len(cell.split()) <= 4 for cell in cells):
            return _Heading(columns[0], len(cells), mark)
    return None
