"""A model folder on a GPU behind the address an OpenAI-compatible teacher has, so that recipes with a teacher can be
measured on a machine whose llama.cpp has no CUDA. Requests that wait are answered together, greedily.

It knows no JSON schemas: it refuses them with status 400, and Forge then asks for the schema in words.
Usage: python bench/teacher_server.py FOLDER --port 8100 [--together 1536]
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GATHER = 1.0  # seconds that a batch waits for company
READ = 128  # prompts that are read at a time, which bounds the memory


@dataclass
class Request:
    messages: list[dict[str, str]]
    max_tokens: int
    answer: Future[dict[str, Any]]


def model_of(folder: Path) -> tuple[Any, Any]:
    import torch

    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.train.base import quiet
    from phoenix_forge.weights.base import open_base

    quiet()
    from transformers import AutoModelForCausalLM

    family = open_base(folder).family
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, device_map={"": device}
    )
    return model.eval(), Encoder.load(folder, stop=family.stop, pad=family.pad)


def work(model: Any, encoder: Any, waiting: queue.Queue[Request], together: int) -> None:
    """For ever: as many waiting requests as go together become one batch."""
    while True:
        batch = [waiting.get()]
        try:
            while len(batch) < together:
                batch.append(waiting.get(timeout=GATHER))
        except queue.Empty:
            pass
        answer(model, encoder, batch)


def answer(model: Any, encoder: Any, batch: list[Request]) -> None:
    """Greedily, padded on the left; who has finished leaves the batch, so that a long answer keeps few others waiting.
    Each request gets its answer as soon as it is there."""
    import torch

    prompts = [encoder.prompt(request.messages) for request in batch]
    width, device = max(map(len, prompts)), model.device
    ids = torch.tensor([[encoder.pad_id] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    there, made = list(range(len(batch))), [list[int]() for _ in batch]
    with torch.inference_mode():
        token, cache = read(model, ids, mask, places)
        while True:
            left = []
            for row, (i, chosen) in enumerate(zip(there, token.tolist(), strict=True)):
                if chosen == encoder.stop_id or len(made[i]) + 1 == batch[i].max_tokens:
                    stopped = chosen == encoder.stop_id
                    batch[i].answer.set_result(
                        completion(encoder, prompts[i], made[i] + [chosen] * (not stopped), stopped)
                    )
                else:
                    made[i].append(chosen)
                    left.append(row)
            if not left:
                return
            if len(left) < len(there):
                keep = torch.tensor(left, dtype=torch.long, device=device)
                cache.batch_select_indices(keep)
                there, token, mask, places = (
                    [there[row] for row in left],
                    token[keep],
                    mask[keep],
                    places[keep],
                )
            ids, places = token[:, None], places[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(there), 1)], 1)
            token = (
                model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=places,
                    past_key_values=cache,
                    logits_to_keep=1,
                )
                .logits[:, -1]
                .argmax(-1)
            )


def read(model: Any, ids: Any, mask: Any, places: Any) -> tuple[Any, Any]:
    """The token that follows each prompt, and the cache of all; `ids`, `mask` and `places` are [prompts, width]."""
    import torch
    from transformers import DynamicCache

    tokens, parts = [], []
    for some in torch.arange(len(ids), device=ids.device).split(READ):
        part = DynamicCache()
        out = model(
            input_ids=ids[some],
            attention_mask=mask[some],
            position_ids=places[some],
            past_key_values=part,
            logits_to_keep=1,
        )
        tokens.append(out.logits[:, -1].argmax(-1))
        parts.append(part)
    whole = DynamicCache()
    for layer in range(len(parts[0])):
        whole.update(
            *(
                torch.cat([getattr(part.layers[layer], name) for part in parts])
                for name in ("keys", "values")
            ),
            layer,
        )
        for part in parts:
            part.layers[layer].keys = part.layers[layer].values = None
    return torch.cat(tokens), whole


def completion(encoder: Any, prompt: list[int], ids: list[int], stopped: bool) -> dict[str, Any]:
    return {
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop" if stopped else "length",
                "message": {"role": "assistant", "content": encoder.tokenizer.decode(ids)},
            }
        ],
        "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(ids)},
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    waiting: queue.Queue[Request]

    def log_message(self, format: str, *arguments: object) -> None:
        """Thousands of requests are not worth a line each."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": "teacher"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("response_format", {}).get("type") == "json_schema":
            self._send(400, {"error": {"message": "response_format json_schema is not supported"}})
            return
        request = Request(body["messages"], int(body["max_tokens"]), Future())
        self.waiting.put(request)
        self._send(200, request.answer.result())

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    request_queue_size = 4096  # connections that come in at the same moment
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--together", type=int, default=1536)
    given = parser.parse_args()
    model, encoder = model_of(given.folder)
    Handler.waiting = queue.Queue()
    threading.Thread(
        target=work, args=(model, encoder, Handler.waiting, given.together), daemon=True
    ).start()
    print(f"http://127.0.0.1:{given.port}/v1#{given.folder.name}", flush=True)
    Server(("127.0.0.1", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
