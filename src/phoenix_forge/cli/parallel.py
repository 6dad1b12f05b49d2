"""forge train on several GPUs: starting the processes, and what all but the first of them do."""

from __future__ import annotations

from phoenix_forge.cli.setup import Setup
from phoenix_forge.train import parallel


def start(setup: Setup, force: bool, gpus: int) -> bool:
    """Starts one process a GPU and waits for them, where several GPUs are asked for. They print the result."""
    if gpus == 1 or parallel.launched():
        return False
    flags = {
        "--json": setup.json,
        "--quiet": setup.quiet,
        "--verbose": setup.verbose,
        "--force": force,
    }
    config = ["--config", str(setup.config)] if setup.config else []
    parallel.launch(
        gpus,
        [
            "train",
            "--workspace",
            str(setup.root),
            *config,
            *(f for f, on in flags.items() if on),
            *(part for pair in setup.set for part in ("--set", pair)),
        ],
    )
    return True


def follower(setup: Setup) -> bool:
    """In a process that is not the first of several: trains along, silently, if the first one trains."""
    if parallel.first():
        return False
    from phoenix_forge.core.report import Silent
    from phoenix_forge.stages import Context
    from phoenix_forge.stages.train import trained

    if parallel.join().share(None):
        trained(Context(setup.loaded.config, setup.space, Silent()))
    parallel.end()
    return True
