"""The models of a project that can be asked, by the name that the commands have for them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from phoenix_forge.catalog.bases import Source
from phoenix_forge.errors import UsageError
from phoenix_forge.hub.download import cache_folder, cached_gguf
from phoenix_forge.hub.ollama_store import stored_gguf
from phoenix_forge.runtime.session import Chats
from phoenix_forge.stages import Context
from phoenix_forge.stages.recorded import require_as_made


def _folder(ctx: Context, folder: Path, adapter: Path | None, fix: str) -> Chats:
    for path in (folder, adapter):
        if path and not path.exists():
            raise UsageError(f"nothing at {ctx.workspace.shown(path)}", fix=fix)
    require_as_made(ctx, folder, *([adapter] if adapter else []))
    from phoenix_forge.train.answer import FolderModel
    from phoenix_forge.weights.adapter import open_adapter
    from phoenix_forge.weights.base import open_base

    model = open_base(folder)
    if adapter:
        open_adapter(adapter, model)
    from phoenix_forge.stages.dataset import encoder

    own = encoder(ctx, tuned=folder != ctx.base_dir or adapter is not None)
    return FolderModel(folder, own, model.parameters, adapter)


def _gguf(ctx: Context) -> Chats:
    from phoenix_forge.runtime.llama import Model

    path = ctx.workspace.gguf()
    if not path.exists():
        raise UsageError(f"no GGUF at {ctx.workspace.shown(path)}", fix="forge quantize")
    require_as_made(ctx, path)
    return Model(path, num_ctx=ctx.config.deploy.num_ctx)


def _ollama(ctx: Context) -> Chats:
    from phoenix_forge.runtime.ollama import Ollama, OllamaModel

    server = Ollama()
    server.require(ctx.report)
    return OllamaModel(server, ctx.config.deploy.name or ctx.config.model.name)


MODELS: dict[str, Callable[[Context], Chats]] = {
    "base": lambda ctx: _folder(ctx, ctx.base_dir, None, "forge download"),
    "adapter": lambda ctx: _folder(ctx, ctx.base_dir, ctx.workspace.adapter, "forge train"),
    "merged": lambda ctx: _folder(ctx, ctx.workspace.merged, None, "forge merge"),
    "gguf": _gguf,
    "ollama": _ollama,
}


@contextlib.contextmanager
def open_model(ctx: Context, name: str) -> Iterator[Chats]:
    """One of MODELS by its name, until the end of the block."""
    if name not in MODELS:
        raise UsageError(f"--model {name!r}: choose from {', '.join(MODELS)}", fix="--model gguf")
    with closing(MODELS[name](ctx)) as model:
        yield model


@contextlib.contextmanager
def closing(model: Chats) -> Iterator[Chats]:
    """The model, whose memory is given back at the end where its kind holds any."""
    try:
        yield model
    finally:
        if hasattr(model, "close"):
            model.close()


# The base as a GGUF, for the kinds of source that are one.
GGUFS: dict[str, Callable[[Source], Path | None]] = {
    "gguf": lambda source: Path(source.at),
    "wheels": lambda source: cached_gguf(cache_folder(), source.sha256 or ""),
    "ollama": lambda source: stored_gguf(source.at),
}


def base_model(ctx: Context) -> Chats:
    """The base: its GGUF where it came or can come as one that lies on this machine, else its folder."""
    from phoenix_forge.runtime.llama import Model

    for source in ctx.base.sources:
        path = GGUFS.get(source.kind, lambda _: None)(source)
        if path and path.is_file():
            return Model(path, num_ctx=ctx.config.deploy.num_ctx)
    return MODELS["base"](ctx)


class Kept:
    """The model that answered last. It stays loaded until another is asked for, its files or the config change, or a
    run needs its memory. One conversation at a time."""

    def __init__(self) -> None:
        self._lock, self._opened = threading.Lock(), contextlib.ExitStack()
        self._identity: Any = None
        self._model: Chats

    @contextlib.contextmanager
    def open(self, ctx: Context, name: str) -> Iterator[Chats]:
        w = ctx.workspace
        files = [
            path.stat() for path in (ctx.base_dir, w.adapter, w.merged, w.gguf()) if path.exists()
        ]
        wanted = (name, ctx.config, [(file.st_ino, file.st_mtime_ns) for file in files])
        with self._lock:
            if self._identity != wanted:
                self._forget()
                self._model = self._opened.enter_context(open_model(ctx, name))
                self._identity = wanted
            yield self._model

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._identity = None
        self._opened.close()
