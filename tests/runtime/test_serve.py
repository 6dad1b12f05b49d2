"""The OpenAI-compatible server, asked with the official client."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from forge.core.report import Silent
from forge.errors import EnvironmentProblem, UsageError
from forge.runtime.serve import is_loopback, placed, serve

SCRIPT = """
import json, sys
from pathlib import Path
from forge.core.config import GenerationConfig
from forge.core.report import Silent
from forge.runtime.serve import serve

class Lines(Silent):
    def info(self, message):
        print(message, flush=True)

serve(Path(sys.argv[1]), report=Lines(), alias="mine", generation=GenerationConfig(temperature=0.3, top_p=0.8), cores=1,
      **json.loads(sys.argv[2]))
"""
TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
HELLO = [{"role": "user", "content": "Hi"}]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(gguf: Path, **options: Any) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    given = json.dumps({"port": port, "num_ctx": 256, "parallel": 2, **options})
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(gguf), given],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/v1" in line, line
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.kill()
        process.communicate()


def client(address: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=address, api_key=key, max_retries=0, timeout=60)


def got(address: str, path: str, key: str = "") -> Any:
    """What the server says beside OpenAI's API."""
    request = urllib.request.Request(address.removesuffix("/v1") + path,
                                     headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def url(tiny: Path) -> Iterator[str]:
    with served(tiny) as (address, _):
        yield address


def test_models_and_health(url: str) -> None:
    assert [m.id for m in client(url).models.list()] == ["mine"]
    assert got(url, "/health") == got(url, "/v1/health") == {"status": "ok"}


def test_chat_whole_and_streamed(url: str) -> None:
    ask: dict[str, Any] = {"model": "mine", "messages": HELLO, "max_tokens": 6, "temperature": 0}
    whole = client(url).chat.completions.create(**ask)
    assert (whole.object, whole.model, whole.choices[0].message.role) == ("chat.completion", "mine", "assistant")
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert 0 < whole.usage.completion_tokens <= 6
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    chunks = list(client(url).chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    parts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(parts) == whole.choices[0].message.content
    assert len(parts) > 2
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage.model_copy(
        update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details})


def test_completions_whole_and_streamed(url: str) -> None:
    ask: dict[str, Any] = {"model": "mine", "prompt": "Once", "max_tokens": 6, "temperature": 0}
    whole = client(url).completions.create(**ask)
    assert (whole.object, whole.usage.prompt_tokens) == ("text_completion", len("Once"))  # a token a byte
    streamed = client(url).completions.create(**ask, stream=True)
    assert "".join(c.text for chunk in streamed for c in chunk.choices) == whole.choices[0].text != ""


def test_another_models_name_is_answered_by_the_one_there_is(url: str) -> None:
    """OpenAI's own API would say 404. Many clients have a name built in; the answer says who spoke."""
    assert client(url).chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=1).model == "mine"


@pytest.mark.parametrize(("change", "words"), [
    ({"messages": [{"role": "user", "content": "hi " * 400}]}, "context size"), ({"temperature": "hot"}, "temperature"),
    ({"messages": "hi"}, "messages"), ({"messages": [{"role": "user", "content": HELLO[0]}]}, "content")])
def test_bad_requests_are_refused_and_the_server_goes_on(url: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client(url).chat.completions.create(**{"model": "mine", "messages": HELLO, "max_tokens": 2, **change})
    assert client(url).chat.completions.create(model="mine", messages=HELLO, max_tokens=1).choices


def test_requests_that_do_not_say_how_are_sampled_as_configured(url: str) -> None:
    assert {name: round(value, 3) for name, value in got(url, "/props")["default_generation_settings"]["params"].items()
            if name in ("temperature", "top_p", "top_k", "min_p")} == {
        "temperature": 0.3, "top_p": 0.8, "top_k": 40, "min_p": 0.0}


def test_more_streams_than_places_wait_for_their_turn(url: str) -> None:
    def stream(number: int) -> int:
        chunks = client(url).chat.completions.create(
            model="mine", messages=[{"role": "user", "content": f"{number}?"}], max_tokens=40, stream=True,
            extra_body={"ignore_eos": True}, stream_options={"include_usage": True})
        return list(chunks)[-1].usage.completion_tokens

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(stream, range(32))) == [40] * 32


def test_a_client_that_leaves_frees_its_place(tiny: Path) -> None:
    """Nobody computes 200,000 tokens within the seconds that are waited for."""
    with served(tiny, num_ctx=200_000, parallel=1) as (address, _):
        chunks = client(address).chat.completions.create(
            model="mine", messages=HELLO, max_tokens=190_000, stream=True, extra_body={"ignore_eos": True})
        next(iter(chunks))
        assert got(address, "/slots")[0]["is_processing"]
        chunks.close()
        assert client(address).chat.completions.create(model="mine", messages=HELLO, max_tokens=1, timeout=10).choices


def test_another_web_site_may_not_call_it(url: str) -> None:
    request = urllib.request.Request(f"{url}/models", headers={"Origin": "https://evil.example"})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers.get("Access-Control-Allow-Origin") not in ("*", "https://evil.example")


def test_the_models_system_prompt_goes_before_conversations_without_one(tiny: Path) -> None:
    system = 'I am "G".\nKeep {{ this }} \\ as it is: ü.'
    with served(tiny, system=system, chat_template=TEMPLATE) as (address, _):
        def rendered(*messages: tuple[str, str]) -> str:
            body = json.dumps({"messages": [{"role": role, "content": text} for role, text in messages]}).encode()
            request = urllib.request.Request(f"{address.removesuffix('/v1')}/apply-template", body,
                                             {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)["prompt"]

        turn = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        assert rendered(("user", "hi")) == f"<|im_start|>system\n{system}<|im_end|>\n{turn}"
        assert rendered(("system", "own"), ("user", "hi")) == f"<|im_start|>system\nown<|im_end|>\n{turn}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tiny: Path, number: signal.Signals) -> None:
    with served(tiny) as (_, process):
        started = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
    assert time.monotonic() - started < 10


def test_the_key_is_asked_for_everything_that_tells_or_computes(tiny: Path) -> None:
    with served(tiny, api_key="secret") as (address, _):
        assert got(address, "/health") == {"status": "ok"}  # tells nothing, and load balancers have no key
        for key in ("wrong", "secret2", "none"):
            stranger = client(address, key)
            with pytest.raises(openai.AuthenticationError):
                stranger.models.list()
            with pytest.raises(openai.AuthenticationError):
                stranger.chat.completions.create(model="mine", messages=HELLO, max_tokens=1)
            with pytest.raises(openai.AuthenticationError):
                stranger.chat.completions.create(model="mine", messages=HELLO, max_tokens=1, stream=True)
            with pytest.raises(openai.AuthenticationError):
                stranger.completions.create(model="mine", prompt="x", max_tokens=1)
        for path in ("/slots", "/props"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                got(address, path)
        assert client(address, "secret").chat.completions.create(model="mine", messages=HELLO, max_tokens=1).choices
        assert got(address, "/slots", "secret")


def test_others_need_a_key(tiny: Path) -> None:
    with pytest.raises(UsageError, match="no API key"):
        serve(tiny, report=Silent(), host="0.0.0.0", port=free_port())


def test_a_taken_port_is_named(tiny: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=rf"127\.0\.0\.1:{port}.*in use"):
            serve(tiny, report=Silent(), port=port)


def test_loopback_forms() -> None:
    assert [is_loopback(h) for h in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "0.0.0.0", "::", "192.168.1.2",
                                     "example.org")] == [True] * 4 + [False] * 4


def test_what_computes_is_said() -> None:
    assert placed((4, 4), {}, {}) == "threads: 4"
    assert placed((4, 8), {"CUDA0 (A)": 8_000_000_000, "CUDA1 (B)": 24_000_000_000},
                  {"CUDA0 (A)": 7_500_000_000, "CUDA1 (B)": 20_000_000_000}) == (
        "threads: 4 (8 for prompts), 500 MB of 8.0 GB free on CUDA0 (A), 4.0 GB of 24.0 GB free on CUDA1 (B)")
