"""The MCP server (Model Context Protocol): Forge as tools, resources and a prompt for AI assistants; see docs/mcp.md.

On stdio, stdout belongs to the protocol: the SDK points file descriptor 1 at stderr while it serves.
"""

from __future__ import annotations

import functools
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, ToolAnnotations

from phoenix_forge import __version__
from phoenix_forge.cli.mcp_tools import Tools
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.extensions import extension, names
from phoenix_forge.core.faults import unbound
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import EnvironmentProblem, ForgeError

HOST = "127.0.0.1"
INSTRUCTIONS = """Forge turns this project's documents into a language model that knows them. query_model asks that
model; search_documents finds passages of the documents themselves, to check an answer by; model_status says what exists
and is up to date; start_run, follow_run and stop_run make it anew in the background."""
# Tool → what a client may tell its user about it before it is called.
LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
TOOLS = {
    "query_model": LOOKS,
    "search_documents": LOOKS,
    "model_status": LOOKS,
    "start_run": ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True),
    "follow_run": LOOKS,
    "stop_run": ToolAnnotations(
        read_only_hint=False, destructive_hint=False, open_world_hint=False
    ),
}
# URI → type, description, file, the command that makes it.
FILES: dict[str, tuple[str, str, Callable[[Workspace], Path], str]] = {
    "forge://dataset/card": (
        "application/json",
        "What the dataset holds: counts, tokens, coverage, splits, hashes.",
        lambda w: w.card,
        "dataset",
    ),
    "forge://report/summary": (
        "text/markdown",
        "What the model learned, in figures and words.",
        lambda w: w.evaluation_files["summary"],
        "evaluate",
    ),
    "forge://report/evaluation": (
        "application/json",
        "The whole evaluation, every answer included.",
        lambda w: w.evaluation,
        "evaluate",
    ),
}


def told(work: Callable[..., Any], kind: Callable[[str], Exception]) -> Callable[..., Any]:
    """`work`, with failures that Forge or the machine explains raised as `kind`, which reaches the assistant. Anything
    else is a bug: the SDK says that there was one and writes its traceback to stderr."""

    @functools.wraps(work)
    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return work(*arguments, **named)
        except ForgeError as error:
            raise kind(str(error)) from error
        except ImportError as error:
            raise kind(f"{error}\nfix: pip install 'phoenix-forge[train]'") from error
        except OSError as error:
            raise kind(
                f"{error.strerror or error}: {error.filename or ''}\nfix: check the disk, the path and its "
                "permissions"
            ) from error

    return run


def server(tools: Tools) -> MCPServer:
    made = MCPServer(
        "forge", title="Forge", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING"
    )
    for name, hints in TOOLS.items():
        made.add_tool(told(getattr(tools, name), ToolError), annotations=hints)
    for tool in _of_profile(tools):
        made.add_tool(told(tool, ToolError), annotations=LOOKS)
    for uri, (mime, about, path, made_by) in FILES.items():
        read = told(tools.reader(path, made_by), ResourceError)
        made.resource(uri, name=uri.partition("//")[2], description=about, mime_type=mime)(read)
    made.resource("forge://config", name="config", mime_type="application/json")(
        told(tools.config_in_force, ResourceError)
    )
    made.prompt()(told(tools.answer_from_documents, lambda text: MCPError(INTERNAL_ERROR, text)))
    return made


def _of_profile(tools: Tools) -> list[Callable[..., Any]]:
    """Further tools, which change nothing, of the profile in force."""
    profile = tools.setup().loaded.config.profile
    named = profile in names("MCP tools")
    return extension("MCP tools", str(profile))(tools) if named else []


def serve(setup: Setup, port: int | None) -> None:
    """Serves on stdin and stdout until the client leaves, or on a port of 127.0.0.1 (0: any) until a signal comes."""
    setup.context()  # a workspace that cannot work is told at once
    tools = Tools(setup)
    try:
        if port is None:
            if sys.stdin.isatty():
                setup.report.info(
                    "waiting for an MCP client on stdin; docs/mcp.md has the clients' settings"
                )
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # the SDK's loop would first wait for a line on stdin
            server(tools).run("stdio")
        else:
            _serve_http(server(tools), setup, port)
    finally:
        tools.close()


def _serve_http(made: MCPServer, setup: Setup, port: int) -> None:
    """The SDK's app for a loopback host, which refuses requests whose Host or Origin is another (DNS rebinding)."""
    import uvicorn

    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot listen on {HOST}:{port}: {error.strerror}",
            fix=unbound(error, port, "forge mcp --http"),
        ) from None
    setup.report.info(f"MCP at http://{HOST}:{listening.getsockname()[1]}/mcp; Ctrl-C stops it")
    uvicorn.Server(
        uvicorn.Config(made.streamable_http_app(host=HOST), log_level=logging.WARNING)
    ).run([listening])
