"""Exports of chats as programs write them: who said what and when, and what is no chat."""

import json
from pathlib import Path

import pytest

from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.walk import File


def read(value):
    made = load(
        File(Path("a.json"), "a.json", "a.json"),
        "redact",
        json.dumps(value, ensure_ascii=False).encode(),
    )
    return made.document.text.strip().split("\n\n")


def node(role, parts, parent, time=1714556460.5):
    message = {
        "author": {"role": role},
        "create_time": time,
        "content": {"content_type": "text", "parts": parts},
    }
    return {"message": message, "parent": parent}


SLACK = [
    {
        "type": "message",
        "user": "U1",
        "text": "Who has the <@U2|bob> key? <https://x.y|wiki> &amp; so on",
        "ts": "1714556460.0001",
        "user_profile": {"real_name": "Ann Lee"},
    },
    {
        "type": "message",
        "subtype": "channel_join",
        "user": "U2",
        "text": "<@U2> has joined",
        "ts": "1714556461.1",
    },
    {
        "type": "message",
        "user": "U2",
        "text": "Me.",
        "ts": "1714642860.2",
        "user_profile": {"real_name": "Bob"},
    },
]
TELEGRAM = {
    "name": "Boat club",
    "type": "private_group",
    "messages": [
        {
            "id": 1,
            "type": "service",
            "date": "2024-05-01T09:00:00",
            "actor": "Ida",
            "action": "create_group",
        },
        {
            "id": 2,
            "type": "message",
            "date": "2024-05-01T09:41:00",
            "from": "Ida",
            "text": ["Look at ", {"type": "link", "text": "https://a.b"}, " today"],
        },
        {"id": 3, "type": "message", "date": "2024-05-01T09:45:00", "from": "Jo", "text": "# Fine"},
    ],
}
DISCORD = {
    "guild": {"name": "G"},
    "channel": {"name": "general"},
    "messages": [
        {
            "id": "1",
            "timestamp": "2024-05-01T09:41:00.123+00:00",
            "content": "Hi",
            "author": {"id": "9", "name": "ann"},
        },
        {
            "id": "2",
            "timestamp": "2024-05-01T09:42:00+00:00",
            "content": "Ho",
            "author": {"name": "b", "nickname": "Bo"},
        },
    ],
}
CHATGPT = [
    {
        "title": "Pumps",
        "current_node": "d",
        "mapping": {
            "a": node("system", ["You help."], None),
            "b": node("user", ["How many turns?"], "a"),
            "c": node("assistant", ["900"], "b"),
            "d": node("assistant", ["1450 turns."], "b", 1714556520),
        },
    }
]


@pytest.mark.parametrize(
    ("export", "blocks"),
    [
        (
            SLACK,
            [
                "## 2024-05-01",
                "**Ann Lee** (2024-05-01 09:41): Who has the bob key? wiki (https://x.y) & so on",
                "## 2024-05-02",
                "**Bob** (2024-05-02 09:41): Me.",
            ],
        ),
        (
            TELEGRAM,
            [
                "## Boat club, 2024-05-01",
                "**Ida** (2024-05-01 09:41): Look at https://a.b today",
                "**Jo** (2024-05-01 09:45): \\# Fine",
            ],
        ),
        (
            DISCORD,
            [
                "## general, 2024-05-01",
                "**ann** (2024-05-01 09:41): Hi",
                "**Bo** (2024-05-01 09:42): Ho",
            ],
        ),
        (
            CHATGPT,
            [
                "## Pumps, 2024-05-01",
                "**user** (2024-05-01 09:41): How many turns?",
                "**assistant** (2024-05-01 09:42): 1450 turns.",
            ],
        ),
    ],
)
def test_an_export_is_a_dialogue(export, blocks):
    assert read(export) == blocks


def test_articles_and_reviews_are_no_chat():
    written = {"date": "2024-05-01", "text": "It turns. " * 20}
    articles = [{"title": f"Pump {i}", "author": "Ann", **written} for i in (1, 2)]
    reviews = [{"user": f"u{i}", "stars": i, **written} for i in range(4)]
    assert read(articles)[0] == "## Pump 1"
    assert any("stars" in block for block in read(reviews))
