"""`forge serve` in front of a workspace's documents: what a model is asked, and what is told beside its answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from phoenix_forge.cli.serve import serve_model
from phoenix_forge.cli.setup import Setup
from phoenix_forge.errors import UsageError
from phoenix_forge.project.grounded import NOTHING
from phoenix_forge.project.serving import service
from phoenix_forge.runtime.serve import Address
from phoenix_forge.runtime.server.documents import Service, without
from phoenix_forge.runtime.server.front import Door, Front

LAMP = "When is the lamp of Harbour Nine lit?"
FRONT = "http://localhost"
TOOLS = [{"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}]


class Stand:
    """A backend that says what it is told to, and remembers what it was asked."""

    completes = True
    ready = True

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[list[dict[str, Any]]]()

    def prompt(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        return [0] * sum(len(message["content"]) for message in messages)  # a token a character

    async def prepare(self, asked: Any) -> None:
        self.asked.append(asked.messages)

    async def write(self, asked: Any, number: int) -> AsyncIterator[dict[str, Any]]:
        said = self.answers.pop(0)
        counts = {"tokens_predicted": len(said), "tokens_evaluated": 1}
        for letter in said:
            yield {"content": letter, "stop": False}
        yield {"content": "", "stop": True, "stop_type": "eos", **counts}


Asking = Callable[..., Any]


def asking(
    folder: Path,
    stand: Stand,
    work: Callable[[httpx2.AsyncClient], Any],
    *settings: str,
    **more: Any,
) -> Any:
    """What comes of `work` with a client of a server in front of the folder's documents."""
    ctx = Setup(workspace=folder, set=["deploy.num_ctx=4096", *settings], quiet=True).context()
    given = {"key": None, "closed": False, "citations": "annotations", **more}
    front = Front(stand, Door(80, key=given["key"]), service(ctx, **given), ctx.report)  # type: ignore[arg-type]

    async def run() -> Any:
        transport = httpx2.ASGITransport(front)  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=transport, base_url=FRONT, timeout=60) as web:
            return await work(web)

    return asyncio.run(run())


def question(*texts: str, **more: Any) -> dict[str, Any]:
    turns = [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(texts)
    ]
    return {"model": "small", "messages": turns, **more}


async def whole(web: httpx2.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    answer = await web.post("/v1/chat/completions", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def message(web: httpx2.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    return (await whole(web, request))["choices"][0]["message"]


async def streamed(web: httpx2.AsyncClient, request: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await web.post("/v1/chat/completions", json={**request, "stream": True})
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line)["choices"][0] for line in lines]


def test_a_question_comes_with_passages_and_its_answer_with_the_places_that_support_it(
    done: Path,
) -> None:
    stand = Stand("At dusk.", "At dusk.")

    async def work(web: httpx2.AsyncClient) -> Any:
        told = await whole(web, question(LAMP))
        link = told["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
        return told, await streamed(web, question(LAMP)), await web.get(link)

    told, chunks, page = asking(done, stand, work)
    assert stand.asked[0][-1]["content"].startswith("From docs/lighthouse.md › Lighthouse:\n\n# L")
    assert stand.asked[0][-1]["content"].endswith(f"\n\n{LAMP}")
    said = told["choices"][0]["message"]
    (annotation,) = said["annotations"]
    cited = annotation["url_citation"]
    assert (annotation["type"], told["model"], said["content"]) == (
        "url_citation",
        "small",
        "At dusk.",
    )
    assert (cited["path"], cited["headings"], cited["line"]) == (
        "docs/lighthouse.md",
        ["Lighthouse"],
        3,
    )
    assert said["content"][cited["start_index"] : cited["end_index"]] == "At dusk."
    assert (said["forge"]["supported"], said["forge"]["doubts"]) == (True, [])
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == "At dusk."
    assert chunks[-2]["delta"] == {"annotations": said["annotations"], "forge": said["forge"]}
    assert (chunks[-1]["delta"], chunks[-1]["finish_reason"]) == ({}, "stop")
    assert page.status_code == 200
    assert '<li data-line="3" id="cited"><span>The lamp of Harbour Nine' in page.text
    assert "script" not in page.headers["content-security-policy"].replace("default-src 'none'", "")


def test_closed_book_by_the_models_name_or_for_the_whole_server(done: Path) -> None:
    async def work(web: httpx2.AsyncClient) -> Any:
        names = [model["id"] for model in (await web.get("/v1/models")).json()["data"]]
        asked = question(LAMP) | {"model": names[-1]}
        return names, await whole(web, asked)

    stand = Stand("At dusk.", "At dusk.")
    names, told = asking(done, stand, work)
    assert (names, told["model"]) == (["small", "small:closed-book"], "small:closed-book")
    assert told["choices"][0]["message"]["forge"]["supported"] is None
    for settings, closed in ((("generation.grounded=false",), False), ((), True)):
        names, told = asking(done, Stand("At dusk."), work, *settings, closed=closed)
        assert (names, told["choices"][0]["message"]) == (
            ["small"],
            {"role": "assistant", "content": "At dusk."},
        )
    assert stand.asked[0] == [{"role": "user", "content": LAMP}]


FOREIGN = "Which xylophone did the violinist of Vienna play?"


def test_what_the_documents_do_not_speak_of_is_refused_but_not_kept_from_tools(done: Path) -> None:
    stand = Stand("By tide.", "{}")

    async def work(web: httpx2.AsyncClient) -> Any:
        said = await message(web, question(FOREIGN))
        told = await streamed(web, question(FOREIGN, stream=True))
        assert stand.answers == ["By tide.", "{}"]
        assert not (await message(web, question(FOREIGN, tools=TOOLS)))["forge"]["abstained"]
        await message(web, question(FOREIGN, response_format={"type": "json_object"}))
        return said, told

    said, told = asking(done, stand, work, "generation.abstain=0.2")
    assert said["content"] == "The documents do not say."
    assert said["forge"]["abstained"]
    words = "".join(choice["delta"].get("content", "") for choice in told)
    assert words == said["content"]
    assert stand.answers == []


def test_what_nothing_supports_is_said_and_in_the_text_where_that_is_wanted(done: Path) -> None:
    async def work(web: httpx2.AsyncClient) -> Any:
        asked = question(LAMP, citations="text")
        return [await message(web, asked), await message(web, asked), await streamed(web, asked)]

    invented, true, chunks = asking(done, Stand("By robots.", "At dusk.", "At dusk."), work)
    assert invented["forge"]["doubts"] == [NOTHING]
    assert invented["content"] == f"By robots.\n\n---\n_{NOTHING}_"
    assert re.fullmatch(
        r"At dusk\.\n\n---\nfrom \[docs/lighthouse\.md:3  Lighthouse  \(lines 1–10\)\]"
        rf"\({FRONT}/source\?path=docs%2Flighthouse.md&span=\d+-\d+&line=3&sign=\w+\)",
        true["content"],
    )
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == true["content"]
    assert [without(said["content"]) for said in (invented, true)] == ["By robots.", "At dusk."]
    assert without("One\n\n---\nTwo") == "One\n\n---\nTwo"


def test_sources_that_a_client_sends_back_are_not_read_by_the_model(done: Path) -> None:
    stand = Stand("At dusk.", "Who lights it?", "By Maren Holt.")

    async def work(web: httpx2.AsyncClient) -> None:
        first = await message(web, question(LAMP, citations="text"))
        await message(web, question(LAMP, first["content"], "Who lights the lamp?"))

    asking(done, stand, work)
    assert stand.asked[-1][1] == {"role": "assistant", "content": "At dusk."}


def test_a_later_question_is_searched_as_the_model_writes_it(done: Path) -> None:
    """Where it writes nothing, the question before is searched as well."""
    turns = question(LAMP, "At dusk.", "And what if one sees nothing?")
    for written, path in (("What does the ferry cost?", "ferry"), ("", "lighthouse")):
        stand = Stand(written, "Four crowns.")
        asking(done, stand, lambda web: message(web, turns), "evaluate.passages=1")
        rewriting, asked = stand.asked
        assert rewriting[-1]["content"].endswith(
            f"Question: {LAMP}\nAnswer: At dusk.\nQuestion: And what if one sees nothing?"
        )
        assert asked[:2] == turns["messages"][:2]
        assert asked[-1]["content"].startswith(f"From docs/{path}.md › ")
        assert asked[-1]["content"].endswith("\n\nAnd what if one sees nothing?")


def test_the_oldest_questions_give_way_and_that_is_said(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for i in range(9) for text in (f"Question {i}? {'x' * 400}", f"Answer {i}.")]
    stand = Stand("When is the lamp lit?", "At dusk.")
    asked = {**question(*texts, LAMP, max_tokens=64), "tools": TOOLS}
    said = asking(done, stand, lambda web: message(web, asked), "deploy.num_ctx=2000")
    kept = stand.asked[-1]
    assert len(kept) % 2 == 1
    assert 1 < len(kept) < len(texts)
    assert kept[0] == asked["messages"][len(texts) - len(kept) + 1] | {"tools": TOOLS}
    assert kept[1:-1] == asked["messages"][len(texts) - len(kept) + 2 : -1]
    assert kept[-1]["content"].startswith("From docs/")
    left_out = (len(texts) + 1 - len(kept)) // 2
    assert said["forge"]["note"] == (
        f"the {left_out} oldest questions and what was answered were left out, to fit "
        "deploy.num_ctx (2,000 tokens)"
    )
    assert said["forge"]["note"] in capsys.readouterr().err


def test_answers_in_json_are_held_by_their_values_and_stay_json(done: Path) -> None:
    asked = question(LAMP, citations="text", response_format={"type": "json_object"})
    said = asking(done, Stand('{"when": "at dusk"}'), lambda web: message(web, asked))
    assert (json.loads(said["content"]), said["forge"]["supported"]) == ({"when": "at dusk"}, True)


def test_what_tools_gave_is_no_document_and_no_doubt(done: Path) -> None:
    call = {"id": "123456789", "function": {"name": "tide", "arguments": "{}"}}
    turns = [
        *question(LAMP)["messages"],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "123456789", "content": "4.2 m"},
    ]
    stand = Stand("The tide is 4.2 m.")
    asked = {"model": "small", "messages": turns, "tools": TOOLS, "citations": "text"}
    said = asking(done, stand, lambda web: message(web, asked))
    assert stand.asked[0][0]["content"].startswith("From docs/lighthouse.md")
    assert [turn["role"] for turn in stand.asked[0]] == ["user", "assistant", "tool"]
    assert (said["content"], said["forge"]["supported"]) == ("The tide is 4.2 m.", None)


@pytest.mark.parametrize("change", [("line=3", "line=4"), ("ferry", "tide"), ("span=", "span=1")])
def test_only_links_of_answers_open_and_without_the_key(
    done: Path, change: tuple[str, str]
) -> None:
    headers = {"Authorization": "Bearer secret"}

    async def work(web: httpx2.AsyncClient) -> list[int]:
        asked = {"json": question("When does the ferry leave?"), "headers": headers}
        said = (await web.post("/v1/chat/completions", **asked)).json()["choices"][0]["message"]
        link = said["annotations"][0]["url_citation"]["url"]
        assert change[0] in link
        forged = link.replace(*change)
        answers = [await web.get(url) for url in (link, forged, "/source", "/v1/models")]
        return [answer.status_code for answer in answers]

    assert asking(done, Stand("At seven."), work, key="secret") == [200, 404, 404, 401]


def test_a_passage_that_is_gone_is_said_to_be(copy: Path) -> None:
    async def work(web: httpx2.AsyncClient) -> Any:
        said = await message(web, question(LAMP))
        link = said["annotations"][0]["url_citation"]["url"]
        (copy / "docs/lighthouse.md").write_text("# Lighthouse\n\nPulled down.\n")
        later = await message(web, question(LAMP))
        return later, await web.get(link)

    later, page = asking(copy, Stand("At dusk.", "At dusk."), work)
    assert later["forge"]["supported"] is False
    assert (page.status_code, "Pulled down" in page.text) == (404, False)


def test_without_an_index_the_server_says_why_and_answers_closed_book(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "models/base").rename(copy / "models/elsewhere")
    said = asking(copy, Stand("At dusk."), lambda web: message(web, question(LAMP)))
    assert said["forge"]["note"].startswith("closed book: nothing at models/base")
    assert "closed book: nothing at models/base" in capsys.readouterr().err


def test_a_server_without_documents_has_no_passages_to_show() -> None:
    front = Front(Stand("Hi."), Door(80), Service("bare"), Setup(quiet=True).report)  # type: ignore[arg-type]

    async def run() -> int:
        transport = httpx2.ASGITransport(front)  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=transport, base_url=FRONT) as web:
            return (await web.get("/source")).status_code

    assert asyncio.run(run()) == 404


@pytest.mark.parametrize(
    ("backend", "own", "words"),
    [
        ("ollama", {"cores": 2, "parallel": None}, "--threads: only the built-in"),
        ("olama", {}, "neither builtin, ollama nor an address"),
    ],
)
def test_what_is_not_for_this_backend_is_refused(
    done: Path, backend: str, own: dict[str, Any], words: str
) -> None:
    setup, asked = Setup(workspace=done, quiet=True), {"closed": True, "citations": "text"}
    with pytest.raises(UsageError, match=words):
        serve_model(setup, Address(), backend=backend, own=own, **asked)
