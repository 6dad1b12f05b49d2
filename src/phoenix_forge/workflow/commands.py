"""forge tools: llama.cpp's programs by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoenix_forge.cli.command import command
from phoenix_forge.cli.setup import Setup

tools = typer.Typer(help="Stand in for llama.cpp's own programs.")


@command(tools, optional=True)
def link(
    setup: Setup,
    folder: Annotated[Path, typer.Argument(help="Where guides expect llama.cpp: ../llama.cpp.")],
) -> None:
    """Lay llama-cli, llama-server, llama-quantize and convert_hf_to_gguf.py over Forge's own code into a folder."""
    from phoenix_forge.workflow import llama_cpp_shims

    became = llama_cpp_shims.link(folder)
    setup.emit(
        {"folder": str(folder), "tools": became},
        "\n".join(f"{folder / name}: {what}" for name, what in became.items()),
    )
