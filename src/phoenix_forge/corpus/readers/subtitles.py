"""Subtitles (SRT, WebVTT): what is said, as paragraphs; times, numbers, marks and sounds are left out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.readers import Unreadable, markdown, writing

TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
TIMES = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}.*")
SPEAKER = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
MARK = re.compile(r"</?[a-zA-Z0-9.:#_-]+(?:\s[^<>]*)?/?>|\{\\[^}]*\}")
SOUND = re.compile(r"[\s♪♫#-]*|\s*[♪♫(\[][^()\[\]]*[♪♫)\]]\s*")
DASH = re.compile(r"\s*[-–—]\s*(?=\S)")
PAUSE = 2.5  # seconds without a word, after which another paragraph starts
LONG = 600  # characters of a paragraph, from which the next sentence starts another
SENTENCE_END = re.compile(r"[.!?…]['\"”’)\]]*$")
read = markdown.read


class _Said(NamedTuple):
    """A line that somebody says; times in seconds. `turn`: another than before begins to speak."""

    text: str
    start: float
    end: float
    speaker: str = ""
    turn: bool = False


def extract(data: bytes) -> str:
    """What is said, as Markdown. Raises Unreadable where no line has times."""
    lines = encodings.decode(data).text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not any(TIMES.fullmatch(line) for line in lines):
        raise Unreadable("not subtitles: no line with times, as 00:00:01,000 --> 00:00:02,000")
    paragraphs = _paragraphs(list(_said(lines)))
    if not paragraphs:
        raise Unreadable("subtitles without words")
    return "\n\n".join(writing.line(text) for text in paragraphs) + "\n"


def _said(lines: list[str]) -> Iterator[_Said]:
    """Lines from below each line of times to the next empty one; a line that rolls on is said once."""
    at: tuple[float, float] | None = None
    shown: list[str] = []  # in the last caption
    now: list[str] = []
    for line in lines:
        match = TIMES.fullmatch(line)
        if match or not line.strip():
            shown, now = (now, []) if now else (shown, [])
            at = (_seconds(match.groups()[:4]), _seconds(match.groups()[4:])) if match else None
        elif at:
            text = " ".join(html.unescape(MARK.sub("", line)).split())
            now.append(text)
            speaker = SPEAKER.search(line)
            dash = DASH.match(text)
            if text not in shown and not SOUND.fullmatch(text):
                yield _Said(
                    text[dash.end() :] if dash else text,
                    *at,
                    speaker[1].strip() if speaker else "",
                    bool(dash),
                )


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return (
        int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction) / 10 ** len(fraction)
    )


def _paragraphs(said: list[_Said]) -> list[str]:
    made: list[str] = []
    last: _Said | None = None
    speaker = ""
    for line in said:
        turns = line.turn or (bool(line.speaker) and line.speaker != speaker)
        whole = bool(made) and bool(SENTENCE_END.search(made[-1]))
        if (
            last is None
            or turns
            or line.start - last.end > PAUSE
            or (whole and len(made[-1]) > LONG)
        ):
            made.append(f"{line.speaker}: {line.text}" if line.speaker else line.text)
        else:
            made[-1] += f" {line.text}"
        speaker, last = line.speaker or speaker, line
    return made
