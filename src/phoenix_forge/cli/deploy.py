"""What `forge deploy` does with models that are in Ollama already: back, further names, list, remove."""

from __future__ import annotations

import contextlib
from typing import Any

from phoenix_forge.cli.setup import Setup
from phoenix_forge.errors import UsageError


def went_back(setup: Setup, version: str) -> str | None:
    """What to say where the model's name is another version than the one deployed last."""
    from phoenix_forge.runtime.ollama import Ollama
    from phoenix_forge.stages.deploy import deployments, model_name

    ctx = setup.context()
    with contextlib.closing(Ollama()) as server:
        if not server.reachable():
            return None
        live, name = deployments(ctx, server).live(model_name(ctx)), model_name(ctx)
    if live == version:
        return None
    return (
        f"{name} is {live or 'no version of this workspace'} since a rollback or a change by hand; "
        f"{version} comes back with forge deploy --rollback or --force"
    )


def manage(
    setup: Setup,
    force: bool,
    *,
    rollback: bool,
    alias: str | None,
    listed: bool,
    remove: str | None,
) -> bool:
    """Does the one thing that was asked for; False where it was none of these, and the model is to be deployed."""
    asked = {"--rollback": rollback, "--alias": alias, "--list": listed, "--remove": remove}
    given = [flag for flag, value in asked.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} at once", fix=f"forge deploy {given[0]}")
    if not given:
        return False
    from phoenix_forge import pipeline
    from phoenix_forge.runtime.ollama import Ollama
    from phoenix_forge.stages.deploy import deployments, model_name

    ctx = setup.context()
    name = model_name(ctx)
    with (
        contextlib.nullcontext() if listed else pipeline.lock(ctx),
        contextlib.closing(Ollama()) as server,
    ):
        server.require(ctx.report)
        record = deployments(ctx, server)
        if rollback:
            now, before = record.rollback(name)
            result: dict[str, Any] = {
                "name": name,
                "version": now.name,
                "before": before.name if before else None,
            }
            text = f"{name} is {now.name} again, deployed {now.made}"
            text += f"; forge deploy --rollback brings {before.name} back" if before else ""
        elif alias:
            record.alias(name, alias, force=force)
            result, text = {"name": name, "alias": alias}, f"{alias} is {name}, and follows it"
        elif remove:
            deleted, kept = record.remove(remove, force=force)
            result = {"deleted": deleted, "kept": kept}
            text = (
                f"deleted {', '.join(deleted) or 'nothing: the server had none of it'}"
                + "".join(
                    f"\nkept {other}: it was there before Forge; ollama rm {other} deletes it"
                    for other in kept
                )
            )
        else:
            rows = record.listed()
            result = {"server": server.url, "models": rows}
            text = (
                "\n".join(
                    [
                        f"{row['name']:48} {row['role']:16} {(row['sha256'] or '')[:12]:12}  "
                        f"{row['made'] or ''}{'' if row['there'] else '  not there any more'}"
                        for row in rows
                    ]
                )
                or f"this workspace has deployed nothing to {server.url}"
            )
    setup.emit(result, text)
    return True
