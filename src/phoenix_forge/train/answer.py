"""A Hugging Face model folder, with or without an adapter, answering on this machine's device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.runtime.answer import Answer, require_text
from phoenix_forge.train.base import load_base, quiet, thaw, with_adapter
from phoenix_forge.train.choose import choose


class FolderModel:
    """Base, base + adapter, or merged model. The same prompts to the token as in training."""

    def __init__(
        self, folder: Path, encoder: Encoder, parameters: int, adapter: Path | None = None
    ) -> None:
        self.encoder = encoder
        quiet()
        compute = choose(TrainConfig(), parameters)
        self.model: Any = load_base(folder, compute)
        if adapter:
            self.model = with_adapter(self.model, folder, adapter)
        thaw(self.model.eval())

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of what chat() puts before an answer."""
        return self.encoder.prompt(messages)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 0.9,
        greedy: bool = False,
        seed: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """The next turn; `on_text` gets it whole, at the end."""
        import torch

        require_text(messages)
        prompt = torch.tensor([self.prompt(messages)], device=self.model.device)
        if seed is not None:
            torch.manual_seed(seed)
        sampling = (
            {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
            if greedy or temperature == 0
            else {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 40}
        )
        started = time.perf_counter()
        with torch.inference_mode():
            # repetition_penalty: a model's generation_config may set one that no other runtime here applies.
            out = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                use_cache=True,
                max_new_tokens=max_tokens,
                eos_token_id=self.encoder.stop_id,
                pad_token_id=self.encoder.pad_id,
                repetition_penalty=1.0,
                **sampling,
            )
        ids = out[0, prompt.shape[1] :].tolist()
        stopped = bool(ids) and ids[-1] == self.encoder.stop_id
        text = self.encoder.tokenizer.decode(ids, skip_special_tokens=True)
        if on_text:
            on_text(text)
        return Answer(text, stopped, len(ids), time.perf_counter() - started)
