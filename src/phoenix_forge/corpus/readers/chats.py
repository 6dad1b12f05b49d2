"""Chat exports (JSON): who said what, and when, one paragraph a message.

A list of messages is told by its records: most have a text, a speaker and a time, whatever a program calls these. So
Slack's, Telegram's, Discord's, Signal's and Claude's exports are read by one rule; ChatGPT's is a tree of answers, of
which the branch that was shown last is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import unescape
from typing import Any, NamedTuple

from phoenix_forge.corpus.document import Cut
from phoenix_forge.corpus.readers import records, writing

TEXTS = ("text", "content", "body", "message", "parts")
SPEAKERS = ("user_profile", "from", "author", "sender", "user", "username", "role", "name")
TIMES = ("ts", "date", "timestamp", "created_at", "create_time", "time", "datetime")
NAMES = ("real_name", "display_name", "nickname", "name", "username", "role", "id")
TITLES = ("title", "name", "channel", "subject", "guild")
LISTS = (
    "messages",
    "chat_messages",
    "list",
    "chats",
    "conversations",
)  # that hold messages, or chats
LEAST = 2  # messages of a chat
SHARE = 0.6  # of a list's records: the others are people who join, calls, pictures
DEEP = 4  # lists within objects within lists
SECONDS = (
    1e8,
    1e11,
)  # a time in seconds since 1970; in milliseconds it is a thousand times as large
NAMED = (
    "title",
    "subject",
    "headline",
    "question",
)  # what a text of its own has: an article, an issue
HIDDEN = ("system", "tool")  # roles whose words nobody said
MENTION = re.compile(
    r"<(?:[@#]\w+\|([^<>|]+)|(https?://[^<>|]+)(?:\|([^<>]+))?)>"
)  # as Slack writes them


class Message(NamedTuple):
    """`time` is ISO 8601 to the minute."""

    speaker: str
    time: str
    text: str


def hidden(text: str) -> list[Cut]:
    """The whole file as dialogues, where it is an export of chats; else nothing."""
    if not any(f'"{key}"' in text for key in TIMES):
        return []
    try:
        chats = list(_chats(json.loads(text), "", 0))
    except (ValueError, RecursionError):
        return []
    written = [block for title, messages in chats for block in _written(title, messages)]
    return [Cut(0, len(text), "\n\n".join(written) + "\n")] if written else []


# -- which chats -------------------------------------------------------------------------------------------------------


def _chats(value: Any, title: str, depth: int) -> Iterator[tuple[str, list[Message]]]:
    """Chats with their titles, in the file's order."""
    if depth > DEEP:
        return
    if isinstance(value, dict):
        title = _title(value) or title
        if isinstance(value.get("mapping"), dict):
            yield title, _branch(value)
            return
        for key in LISTS:
            if isinstance(value.get(key), list | dict):
                yield from _chats(value[key], title, depth + 1)
    elif isinstance(value, list):
        messages = _messages(value)
        if messages and (depth or _is_talk(value, messages)):
            yield title, messages
        elif value and all(isinstance(each, dict) for each in value):
            for each in value:
                yield from _chats(each, title, depth + 1)


def _title(chat: dict[str, Any]) -> str:
    for key in TITLES:
        held = chat.get(key)
        said = held.get("name") if isinstance(held, dict) else held
        if isinstance(said, str) and said.strip():
            return said
    return ""


def _messages(values: Sequence[Any]) -> list[Message]:
    """The messages of a list of them; none where it is another list."""
    made = [message for each in values if isinstance(each, dict) and (message := _message(each))]
    return made if len(made) >= max(LEAST, SHARE * len(values)) else []


def _is_talk(values: Sequence[Any], messages: Sequence[Message]) -> bool:
    """Whether a list that nothing names is a chat: people answer each other, while of reviews each has its writer."""
    typed = sum(each.get("type") == "message" for each in values if isinstance(each, dict))
    return 2 * typed > len(values) or 2 * len({message.speaker for message in messages}) <= len(
        messages
    )


def _branch(conversation: dict[str, Any]) -> list[Message]:
    """From the answer that was shown last up to the first question (ChatGPT)."""
    nodes = conversation["mapping"]
    at, seen = conversation.get("current_node"), set()
    if at not in nodes:
        at = next(reversed(nodes), None)
    made: list[Message] = []
    while isinstance(at, str) and at in nodes and at not in seen and isinstance(nodes[at], dict):
        seen.add(at)
        held = nodes[at].get("message")
        if isinstance(held, dict) and (message := _message(held)):
            made.append(message)
        at = nodes[at].get("parent")
    return made[::-1]


# -- what a message says -----------------------------------------------------------------------------------------------


def _message(record: dict[str, Any]) -> Message | None:
    if any(record.get(key) for key in NAMED) or str(record.get("subtype", "")).startswith(
        "channel_"
    ):
        return None
    speaker = next((said for key in SPEAKERS if (said := _speaker(record.get(key)))), "")
    time = next((said for key in TIMES if (said := _time(record.get(key)))), "")
    text = next((said for key in TEXTS if (said := _said(record.get(key)))), "")
    wanted = speaker and time and text and speaker not in HIDDEN
    return Message(speaker, time, _readable(text)) if wanted else None


def _speaker(value: Any) -> str:
    if isinstance(value, dict):
        return next(
            (str(value[key]) for key in NAMES if isinstance(value.get(key), str) and value[key]), ""
        )
    return " ".join(value.split()) if isinstance(value, str) and len(value) < 100 else ""


def _said(value: Any) -> str:
    """Text, of which Telegram writes what is bold or a link as an object of its own, and ChatGPT has several parts."""
    if isinstance(value, dict):
        return next((_said(value[key]) for key in ("parts", "text") if value.get(key)), "")
    if isinstance(value, list):
        return "".join(_said(part) for part in value)
    return value.strip("\r") if isinstance(value, str) else ""


def _time(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"\d{9,13}(\.\d+)?", value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value >= SECONDS[1] else value
        if not SECONDS[0] <= seconds < SECONDS[1]:
            return ""
        return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "minutes").removesuffix("+00:00")
    try:
        return datetime.fromisoformat(value).replace(tzinfo=None).isoformat(" ", "minutes")
    except (ValueError, TypeError):
        return ""


def _readable(text: str) -> str:
    """Without Slack's marks around mentions and links."""
    if "<" in text:
        text = MENTION.sub(
            lambda found: found[1] or (f"{found[3]} ({found[2]})" if found[3] else found[2]), text
        )
    return unescape(text) if "&" in text else text


def _written(title: str, messages: Sequence[Message]) -> Iterator[str]:
    """A heading for the chat and for each day; a chat of one day has one only."""
    days = [message.time[:10] for message in messages]
    if messages:
        one = len(set(days)) == 1
        yield writing.heading(2, f"{title}, {days[0]}" if title and one else title or days[0])
    for i, message in enumerate(messages):
        if (i == 0 or days[i] != days[i - 1]) and not one and (title or i):
            yield writing.heading(3 if title else 2, days[i])
        yield f"**{message.speaker}** ({message.time}): {records.below(message.text.strip())}"
