"""The server's page, in a real Chromium where there is one with Playwright, and by what can be read of it elsewhere."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cli.test_serving import LAMP, Stand

from phoenix_forge.cli.setup import Setup
from phoenix_forge.project.serving import service
from phoenix_forge.runtime.server import pages
from phoenix_forge.runtime.server.front import Door, Front

MARKUP = "<img src=x onerror=alert(1)><b>By robots.</b>"


def test_the_page_may_do_what_it_does_itself_and_nothing_else() -> None:
    page = pages.ask().data.decode()
    policy = dict(pages.ask().headers)[b"content-security-policy"].decode()
    rules = {rule.partition(" ")[0]: rule.partition(" ")[2] for rule in policy.split("; ")}
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"https?://|//\w+\.|@import|<link|<img|\bsrc=|\bstyle=|\bon\w+=", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
    assert set(re.findall(r'fetch\("([^"]+)"', page)) == {"/v1/models", "/v1/chat/completions"}


class Slow(Stand):
    """Says a letter a millisecond where it says much."""

    async def write(self, asked: Any, number: int) -> AsyncIterator[dict[str, Any]]:
        slow = len(self.answers[0]) > 1000
        async for piece in super().write(asked, number):
            if slow:
                await asyncio.sleep(0.001)
            yield piece


@pytest.fixture
def served(done: Path) -> Iterator[tuple[str, Stand]]:
    """A server with a key in front of the documents, and the stand-in that answers."""
    stand = Slow()
    ctx = Setup(workspace=done, set=["deploy.num_ctx=4096"], quiet=True).context()
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        what = service(ctx, "secret", closed=False, citations="annotations")
        front: Any = Front(stand, Door(port, key="secret"), what, ctx.report)  # type: ignore[arg-type]
        server = uvicorn.Server(uvicorn.Config(front, lifespan="off", log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}", stand
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def page(served: tuple[str, Stand]) -> Iterator[Any]:
    """The page in Chromium, after the key was given; whatever it logs or throws fails the test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page()
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("dialog", lambda dialog: problems.append("a script of an answer ran"))
        opened.on(
            "console",
            lambda said: problems.append(said.text) if "security" in said.text.lower() else None,
        )
        opened.goto(served[0])
        opened.fill("#key", "secret")
        opened.press("#key", "Tab")
        playwright.expect(opened.locator("#name")).to_have_text("small")
        yield opened
        browser.close()
        assert problems == []


def ask(page: Any, question: str) -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_selector("#send:text-is('Ask')")


@pytest.mark.slow
def test_answers_come_with_their_sources_and_are_text(page: Any, served: tuple[str, Stand]) -> None:
    served[1].answers += ["At dusk.", "fog", MARKUP]
    ask(page, LAMP)
    assert page.inner_text(".text") == "At dusk."
    assert page.inner_text("summary").startswith("docs/lighthouse.md:3 Lighthouse")
    page.click("summary")
    with page.expect_popup() as opening:
        page.click("details a")
    opening.value.wait_for_load_state()
    assert opening.value.inner_text("#cited").startswith("The lamp of Harbour Nine")
    assert opening.value.get_attribute("#cited", "data-line") == "3"
    ask(page, "And then?")
    assert page.inner_text("article:nth-of-type(2) .text") == MARKUP
    assert page.locator("article img, article b").count() == 0
    assert "check it" in page.inner_text("article:nth-of-type(2) .doubt")
    asked = [turn["content"] for turn in served[1].asked[-1]]
    assert asked[:2] == [LAMP, "At dusk."]
    page.click("#new")
    assert page.locator("article").count() == 0


@pytest.mark.slow
def test_both_ways_stand_side_by_side(page: Any, served: tuple[str, Stand]) -> None:
    served[1].answers += ["At dusk.", "At dusk."]
    page.select_option("#mode", "both")
    ask(page, LAMP)
    assert page.locator(".answer .text").all_inner_texts() == ["At dusk.", "At dusk."]
    assert page.locator("summary").count() == 1


@pytest.mark.slow
def test_the_keyboard_asks_begins_lines_and_stops(page: Any, served: tuple[str, Stand]) -> None:
    served[1].answers.append("endless " * 20_000)
    page.focus("#question")
    page.keyboard.type("One")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Two")
    page.keyboard.press("Enter")
    page.wait_for_selector(".text:text('endless')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".error")
    assert page.inner_text("article h2") == "One\nTwo"
    assert page.inner_text(".error") == "stopped"
    assert len(page.inner_text(".text")) < 160_000


@pytest.mark.slow
def test_it_fits_a_phone(page: Any, served: tuple[str, Stand]) -> None:
    served[1].answers.append("At dusk. " + "x" * 400)
    page.set_viewport_size({"width": 360, "height": 640})
    ask(page, LAMP + " " + "y" * 300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
