"""A line of Markdown as it reads: without links, emphasis and tags, and with code and mathematics as they stand."""

from __future__ import annotations

import re

# What is held back before marks are taken off: code, mathematics, and punctuation that is written with a backslash.
HELD = re.compile(
    r"(?<![`\\])(?P<ticks>`{1,3})(?!`)(?P<code>(?:[^\n]|\n(?![ \t]*\n)){1,400}?)(?<!`)(?P=ticks)(?!`)"
    r"|(?<![\w$\\])\$(?=[^\s$])[^$\n]{0,300}(?<=[^\s\\])\$(?![\w$])"
    r"|\\(?P<escaped>[*_`#<>])"
)
PLACES = re.compile("[\U000f0000-\U000ffffd]")  # private use; one stands for each piece held
FIRST = 0xF0000
WIKI = re.compile(r"!?\[\[(?:[^\[\]|\n]{0,300}\|)?(?P<shown>[^\[\]|\n]{1,300})\]\]")
# A link of reStructuredText, with its address or without.
RST = re.compile(r"(?<!`)`(?P<shown>[^`<>\n]{1,300}?)(?:\s+<[^`<>\n]{1,500}>)?`__?(?![\w`])")
LINK = re.compile(r"!?\[(?P<shown>[^\]\n]{0,1000})\](?:\((?:[^()\n]|\([^()\n]*\))*\)|\[[^\]\n]*\])")
AUTO = re.compile(r"<((?:https?|ftp|mailto):[^<>\s]{1,2000})>")
# Elements of HTML alone: what else stands between angles is a type's parameter, or something to fill in.
NAMES = (
    "a|abbr|address|article|aside|b|bdi|bdo|big|blockquote|body|br|button|caption|center|cite|code|col|colgroup|"
    "dd|del|details|dfn|div|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|header|hr|i|iframe|img|input|ins|"
    "kbd|label|li|main|mark|nav|ol|p|picture|pre|q|s|samp|script|section|small|source|span|strike|strong|style|"
    "sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var|video|wbr"
)
TAG = re.compile(
    rf"</?(?P<element>{NAMES})(?=[\s/>])[^<>]{{0,1000}}>|<!--.{{0,5000}}?-->",
    re.IGNORECASE | re.DOTALL,
)
WITHIN_WORDS = re.compile(
    "a|abbr|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|"
    "strong|sub|sup|tt|u|var|wbr",
    re.IGNORECASE,
)
SPECIAL = "init|main|name|file|all|new|call|str|repr|len|iter|next|enter|exit|dict|doc|version|slots|class|del|getitem"
# Marks in pairs, those of several characters first. After a Latin letter or a digit a star multiplies.
PAIRS = (
    re.compile(
        r"(?<![A-Za-z0-9_*\\])\*{2,3}(?=[^\s*])(?P<text>(?:(?!\*\*).)+?)(?<=\S)\*{2,3}", re.DOTALL
    ),
    re.compile(
        rf"(?<!\w)__(?!(?:{SPECIAL})__)(?=\S)(?P<text>(?:(?!__).)+?)(?<=\S)__(?!\w)", re.DOTALL
    ),
    re.compile(r"(?<![A-Za-z0-9_*\\])\*(?=[^\s*])(?P<text>[^*]+?)(?<=[^\s*])\*(?![A-Za-z0-9_*])"),
    re.compile(r"(?<!\w)_(?=[^\s_])(?P<text>[^_\n]*[^\s_])_(?!\w)"),
)
STRAY = re.compile(
    r"(?<=\S)\*\*(?!\w)|(?<!\S)\*\*(?!\S)"
)  # of a pair whose other mark is elsewhere


def plain(text: str, ticks: bool = False) -> str:
    """The text in one line. `ticks`: code keeps its backticks."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(
            match["escaped"] or (match[0] if ticks or not match["code"] else match["code"].strip())
        )
        return chr(FIRST + len(held) - 1)

    if "`_" in text:
        text = RST.sub(lambda token: token["shown"], text)
    if "`" in text or "$" in text or "\\" in text:
        text = HELD.sub(hold, text)
    if "[" in text:
        text = LINK.sub(lambda token: token["shown"], WIKI.sub(lambda token: token["shown"], text))
    if "<" in text:
        text = TAG.sub(_tag, AUTO.sub(r"\1", text))
    if "*" in text or "_" in text:
        text = STRAY.sub("", _unmarked(text))
    if held:
        text = PLACES.sub(lambda place: _place(place[0], held), text)
    return " ".join(text.split())


def _tag(match: re.Match[str]) -> str:
    return "" if WITHIN_WORDS.fullmatch(match["element"] or "") else " "


def _unmarked(text: str) -> str:
    for pair in PAIRS:
        text, replacements = pair.subn(lambda mark: mark["text"], text)
        if replacements and ("*" in text or "_" in text):  # one within another
            text = pair.sub(lambda mark: mark["text"], text)
    return text


def _place(sign: str, held: list[str]) -> str:
    at = ord(sign) - FIRST
    return held[at] if at < len(held) else sign
