"""A function of a Setup as a command line: the flags that all commands have are added to its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from phoenix_forge.cli.setup import Setup
from phoenix_forge.errors import UsageError

COMMON = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        (
            "config",
            None,
            Annotated[
                Path | None, typer.Option("--config", help="Config file (default: ./forge.yaml).")
            ],
        ),
        (
            "set",
            [],
            Annotated[
                list[str],
                typer.Option(
                    "--set",
                    metavar="KEY=VALUE",
                    help="Override a setting: section.key=value; repeatable.",
                ),
            ],
        ),
        (
            "workspace",
            None,
            Annotated[Path | None, typer.Option("--workspace", help="Folder of forge.yaml.")],
        ),
        (
            "json",
            False,
            Annotated[
                bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")
            ],
        ),
        (
            "quiet",
            False,
            Annotated[bool, typer.Option("--quiet", help="Warnings and the result only.")],
        ),
        ("verbose", False, Annotated[bool, typer.Option("--verbose", help="Say more.")]),
    )
]


def command(on: typer.Typer, **defaults: Any) -> Callable[[Callable], Callable]:
    """Registers `work(setup, …)` as a command: the common flags are added and arrive as its Setup."""

    def register(work: Callable) -> Callable:
        own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]

        @functools.wraps(work)
        def run(**given: Any) -> Any:
            common = {p.name: given.pop(p.name) for p in COMMON}
            ground = (given.pop("context").obj or {}).get("ground")
            setup = Setup(**common, **defaults, ground=ground)
            try:
                return work(setup, **given)
            except UsageError as error:
                raise setup.of_this_base(error) from None

        context = inspect.Parameter(
            "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
        )
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [
            context,
            *COMMON,
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        on.command(work.__name__.rstrip("_"))(run)
        return work

    return register
