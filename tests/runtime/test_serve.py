"""The OpenAI-compatible server, asked with the official client."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import openai
import pytest

from forge.core.report import Silent
from forge.errors import EnvironmentProblem, UsageError
from forge.runtime.serve import is_loopback, serve

SCRIPT = """
import sys
from pathlib import Path
from forge.core.report import Silent
from forge.runtime.serve import serve

class Lines(Silent):
    def info(self, message):
        print(message, flush=True)

serve(Path(sys.argv[1]), report=Lines(), port=int(sys.argv[2]), num_ctx=256, parallel=2, alias="mine",
      api_key=sys.argv[3] or None, system=sys.argv[4] or None, chat_template=sys.argv[5] or None)
"""


TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(gguf: Path, key: str = "", system: str = "",
           template: str = "") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(gguf), str(port), key, system, template],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/v1" in line, line
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def url(tiny: Path) -> Iterator[str]:
    with served(tiny) as (address, _):
        yield address


def test_models_chat_and_streaming(url: str) -> None:
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    assert [m.id for m in client.models.list()] == ["mine"]
    ask = {"model": "mine", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6, "temperature": 0}
    whole = client.chat.completions.create(**ask)
    assert whole.usage.completion_tokens <= 6
    parts = [c.choices[0].delta.content or "" for c in client.chat.completions.create(**ask, stream=True)]
    assert "".join(parts) == whole.choices[0].message.content
    assert len(parts) > 2


def test_another_web_site_may_not_call_it(url: str) -> None:
    request = urllib.request.Request(f"{url}/models", headers={"Origin": "https://evil.example"})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers.get("Access-Control-Allow-Origin") not in ("*", "https://evil.example")


def test_the_models_system_prompt_goes_before_conversations_without_one(tiny: Path) -> None:
    system = 'I am "G".\nKeep {{ this }} \\ as it is: ü.'
    with served(tiny, "", system, TEMPLATE) as (address, _):
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
def test_a_signal_ends_it_cleanly_and_the_key_is_checked(tiny: Path, number: signal.Signals) -> None:
    with served(tiny, "secret") as (address, process):
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=address, api_key="wrong", max_retries=0).models.list()
        assert openai.OpenAI(base_url=address, api_key="secret", max_retries=0).models.list().data
        started = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
    assert time.monotonic() - started < 10


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
