"""An OpenAI-compatible endpoint: chat completions as OpenAI's API reference has them, and as vLLM, llama.cpp's server
and others serve them."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

from phoenix_forge.chat.template import Message
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.runtime.serve import is_loopback
from phoenix_forge.teacher.cache import Completion

KEY = "FORGE_TEACHER_KEY"
CONNECT, ANSWER = 10.0, 600.0  # seconds for a connection, and for a whole answer
ATTEMPTS = 6
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds: 1, 2, 4, … between attempts
PATIENCE = 600.0  # seconds: a server that says to wait longer is not waited for
TOLD = 5.0  # seconds from which a pause is told
BUSY = (408, 425, 429)  # and every 5xx: worth another try


class Stopped(StageFailed):
    """The run is being ended: this completion was given up."""


def listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:8]) + (", …" if len(ordered) > 8 else "") or "none"


def address_and_model(spec: str) -> tuple[str, str]:
    """https://HOST/v1#MODEL → the address and the model."""
    address, _, model = spec.partition("#")
    split = urlsplit(address)
    try:
        usable = bool(split.hostname and model.strip()) and split.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if split.username or split.password or split.query:  # named without its value: it may be a key
        raise UsageError(
            f"dataset.teacher: the address of {split.hostname} holds credentials or a query, which would "
            "be written to manifests and logs",
            fix=f"https://HOST/v1#MODEL, and the key in {KEY}",
        )
    if not usable:
        raise UsageError(
            f"dataset.teacher: {spec!r} is no address and model", fix="https://HOST/v1#MODEL"
        )
    return address.rstrip("/"), model.strip()


# What an endpoint may refuse with status 400, and how the request is changed then, for good: (named in the refusal, in
# the request, change).
ADAPTATIONS: tuple[tuple[str, str, Callable[[dict[str, Any]], dict[str, Any]]], ...] = (
    (
        "max_completion_tokens",
        "max_tokens",
        lambda body: {
            **{k: v for k, v in body.items() if k != "max_tokens"},
            "max_completion_tokens": body["max_tokens"],
        },
    ),
    (
        "temperature",
        "temperature",
        lambda body: {k: v for k, v in body.items() if k != "temperature"},
    ),
)


def _without_schema(body: dict[str, Any]) -> dict[str, Any]:
    """The schema as a form to fill in, for endpoints that only know how to write some JSON. Shown the schema itself,
    small models write another schema."""
    schema = body["response_format"]["json_schema"]["schema"]
    *before, last = body["messages"]
    form = json.dumps(_form(schema), ensure_ascii=False)
    asked = (
        f"{last['content']}\n\nAnswer with one JSON object and nothing else, of this form, with as many entries "
        f"as were asked for:\n{form}"
    )
    return {
        **body,
        "messages": [*before, {**last, "content": asked}],
        "response_format": {"type": "json_object"},
    }


def _form(schema: dict[str, Any]) -> Any:
    """An instance of the schema with … for every text, and two entries in every list."""
    if schema["type"] == "object":
        return {name: _form(value) for name, value in schema["properties"].items()}
    return [_form(schema["items"])] * 2 if schema["type"] == "array" else "…"


class Endpoint:
    """One model behind an OpenAI-compatible address. Busy, failing and silent servers are tried again with growing
    pauses, or after the time they name, which then holds for all threads."""

    def __init__(self, url: str, model: str, key: str, report: Reporter, workers: int) -> None:
        self.url, self.model, self.report = url, model, report
        self._key = key
        # A proxy is for the network, never for this machine; redirects are not followed: the key goes nowhere else.
        # By itself the client has 100 connections, and further requests wait for one until they time out.
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(ANSWER, connect=CONNECT, pool=None),
            limits=httpx2.Limits(max_connections=workers, max_keepalive_connections=workers),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )
        self._stopping, self._lock = threading.Event(), threading.Lock()
        self._not_before = 0.0
        self._adapted: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        self._schemas = True  # until the endpoint refuses them

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        self._http.close()

    def require(self) -> None:
        """Raises where nothing answers at the address, or the key is refused. Not every endpoint lists its models."""
        try:
            response = self._http.get(
                f"{self.url}/models", timeout=httpx2.Timeout(30.0, connect=CONNECT)
            )
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise self._silent(error) from None
        if response.status_code in (401, 403):
            raise self._refused(response)

    def complete(
        self, messages: Sequence[Message], schema: dict[str, Any] | None, max_tokens: int
    ) -> Completion:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        return self._read(self._accepted(body))

    def _accepted(self, body: dict[str, Any]) -> httpx2.Response:
        """The answer to a request, changed until the endpoint accepts it; what it took is remembered."""
        plain = _without_schema if "response_format" in body else None
        if plain and not self._schemas:
            body, plain = plain(body), None
        for change in list(self._adapted):
            body = change(body)
        while True:
            response = self._persistent(body)
            if response.status_code not in (400, 422):
                break
            said = response.text
            adaptation = next(
                (c for named, key, c in ADAPTATIONS if named in said and key in body), None
            )
            if adaptation is not None:
                body = adaptation(body)
                with self._lock:
                    if adaptation not in self._adapted:
                        self._adapted.append(adaptation)
            elif plain is not None:
                body, plain, refusal = plain(body), None, response
                response = self._persistent(body)
                if response.status_code != 200:
                    raise self._refused(refusal)  # it was not the schema
                self._remember_no_schemas()
                break
            else:
                break
        if response.status_code != 200:
            raise self._refused(response)
        return response

    def _remember_no_schemas(self) -> None:
        with self._lock:
            first, self._schemas = self._schemas, False
        if first:
            self.report.warn(
                f"{self.url} takes no JSON schema: {self.model} is asked for it in words, and what keeps "
                "to none is dropped"
            )

    def _persistent(self, body: dict[str, Any]) -> httpx2.Response:
        """The first answer that is final; raises where there is none after the last attempt."""
        for attempt in range(1, ATTEMPTS + 1):
            self._wait()
            pause = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
            problem: EnvironmentProblem | StageFailed | UsageError
            try:
                response = self._http.post(f"{self.url}/chat/completions", json=body)
            except httpx2.TransportError as error:
                problem = self._silent(error)
            except httpx2.InvalidURL as error:
                raise UsageError(
                    f"dataset.teacher: {self.url} is no address: {error}",
                    fix="https://HOST/v1#MODEL",
                ) from None
            else:
                status = response.status_code
                if status == 200 and _is_json(response):
                    return response
                if status != 200 and (
                    (status not in BUSY and status < 500) or "insufficient_quota" in response.text
                ):
                    return response
                problem = self._refused(response)
                if (asked := _retry_after(response)) is not None:
                    if asked > PATIENCE:
                        raise problem
                    pause = asked
                    with self._lock:
                        self._not_before = max(self._not_before, time.monotonic() + asked)
            if attempt == ATTEMPTS:
                raise problem
            if pause >= TOLD:
                self.report.info(f"{problem.message}; next try in {pause:.0f} s")
            self._sleep(pause)
        raise AssertionError("unreachable")

    def _wait(self) -> None:
        self._sleep(self._not_before - time.monotonic())

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(max(0.0, seconds)):
            raise Stopped("stopped")

    def _read(self, response: httpx2.Response) -> Completion:
        answer = response.json()
        try:
            choice = answer["choices"][0]
            text, usage = choice["message"].get("content") or "", answer.get("usage") or {}
            return Completion(
                text,
                choice.get("finish_reason") != "length",
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
            )
        except (KeyError, IndexError, TypeError, AttributeError):
            raise StageFailed(
                f"{self.url} answered with something that is no chat completion: {response.text[:200]}",
                fix="name an OpenAI-compatible address, most often one that ends in /v1",
            ) from None

    def _silent(self, error: Exception) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"the teacher does not answer at {self.url}: {str(error) or type(error).__name__}",
            fix="check the address in dataset.teacher and the network; what was written is kept",
        )

    def _refused(self, response: httpx2.Response) -> EnvironmentProblem | StageFailed | UsageError:
        status = response.status_code
        try:
            error = response.json()["error"]
            reason = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            reason = response.text[:200].strip() or "no reason given"
        if self._key:
            reason = reason.replace(self._key, "…")  # some servers quote the key that they refuse
        what = f"{self.url} answered {self.model} with {status}: {reason}"
        if status in (401, 403):
            return EnvironmentProblem(what, fix=f"set {KEY} to a key of this endpoint")
        if status in (301, 302, 303, 307, 308):
            return UsageError(
                f"{what} (moved to {response.headers.get('location', 'nowhere')})",
                fix="name the new address in dataset.teacher",
            )
        if status in (404, 405):
            return UsageError(
                what, fix=f"https://HOST/v1#MODEL; the models there are {self._models()}"
            )
        return StageFailed(
            what, fix="run it again when the endpoint is well: what was written is kept"
        )

    def _models(self) -> str:
        try:
            return listed(
                [str(entry["id"]) for entry in self._http.get(f"{self.url}/models").json()["data"]]
            )
        except (httpx2.TransportError, ValueError, KeyError, TypeError):
            return "not listed"


def _is_json(response: httpx2.Response) -> bool:
    try:
        response.json()
    except ValueError:
        return False
    return True


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds from the Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    said = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None
