"""`forge serve`: which model, with which documents, behind which address."""

from __future__ import annotations

from typing import Any

from phoenix_forge.cli.setup import Setup
from phoenix_forge.errors import UsageError
from phoenix_forge.project.serving import remote, service
from phoenix_forge.runtime.serve import Address, serve, serve_backend
from phoenix_forge.stages.recorded import require_as_made

PARALLEL = 4
FLAGS = {"parallel": "--parallel", "cores": "--threads", "gpu_layers": "--gpu-layers"}


def serve_model(
    setup: Setup,
    at: Address,
    *,
    backend: str,
    own: dict[str, Any],
    closed: bool,
    citations: str,
) -> None:
    """`own` are settings of the built-in backend, None where they were not given."""
    ctx, given = setup.context(), {name: value for name, value in own.items() if value is not None}
    at.require_key()
    if backend != "builtin":
        make = remote(ctx, backend)
        if given:
            flags = " and ".join(FLAGS[name] for name in given)
            raise UsageError(
                f"{flags}: only the built-in backend is told, and --backend is {backend}",
                fix="leave it out, and set it there",
            )
        what = service(ctx, at.key, closed=closed, citations=citations)
        serve_backend(make, what, report=setup.report, at=at, verbose=setup.verbose)
        return
    gguf = ctx.workspace.gguf()
    if not gguf.exists():
        raise UsageError(f"no GGUF at {ctx.workspace.shown(gguf)}", fix="forge run")
    require_as_made(ctx, gguf)
    serve(
        gguf,
        service(ctx, at.key, closed=closed, citations=citations),
        report=setup.report,
        at=at,
        system=ctx.config.deploy.system,
        generation=ctx.config.generation,
        verbose=setup.verbose,
        **{"parallel": PARALLEL, **given},
    )
