"""The base model, from the first of its sources that can be reached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.catalog import costs
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import require_disk
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context

if TYPE_CHECKING:
    from phoenix_forge.weights.base import ModelFolder

SUMMARY = "get the base model"
VERSION = 1
TOOLS = ()


def wanted(config: Config) -> bool:
    return True


def _users_own(ctx: Context) -> bool:
    """Whether the base is a folder that the last download did not make: it is used in place and never written to.

    Forge's own from before a change of model.base counts too: it is there and complete.
    """
    if ctx.base.sources[0].kind == "folder":
        return True
    manifest = Manifest.read(ctx.workspace.manifest("download"))
    made = {output["path"] for output in manifest.outputs.values()} if manifest else set()
    return (
        ctx.base_dir.exists()
        and ctx.workspace.shown(ctx.base_dir) not in made
        and not ctx.options.get("force")
    )


def settings(ctx: Context) -> dict:
    return {"base": ctx.base.identity, "revision": ctx.config.model.revision}


def inputs(ctx: Context) -> dict[str, Path]:
    return {}


def outputs(ctx: Context) -> dict[str, Path]:
    return {} if _users_own(ctx) else {"base": ctx.base_dir}


def check(ctx: Context) -> None:
    require_known(ctx)
    if not _users_own(ctx) and ctx.base.parameters:
        require_disk(
            ctx.base_dir, costs.import_disk(ctx.base.parameters), f"the base {ctx.base.identity}"
        )


def require_known(ctx: Context) -> None:
    """Refuses what is known to be no base before anything is fetched or computed."""
    source, own = ctx.base.sources[0], _users_own(ctx)
    if (source.kind == "folder" or (source.kind == "gguf" and not own)) and not Path(
        source.at
    ).exists():
        raise UsageError(
            f"model.base: there is nothing at {source.at}",
            fix="name an existing one: --set model.base=…",
        )
    if not own:
        return
    try:
        _opened(ctx.base_dir)
    except UsageError as error:
        raise of_own_base(ctx, error) from None


def of_own_base(ctx: Context, error: UsageError) -> UsageError:
    """The error, whose way out is no download where the base is the user's own folder: there is nothing to fetch."""
    source = ctx.base.sources[0]
    if source.kind != "folder" or "forge download" not in (error.fix or ""):
        return error
    return UsageError(
        error.message,
        fix=f"put what is missing into {source.at}, from where the folder is from; or choose another base: "
        "--set model.base=…",
    )


def _opened(folder: Path) -> ModelFolder:
    """The base in a folder: its weights' headers, tokenizer and chat template are such as training can use."""
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.weights.base import open_base

    model = open_base(folder)
    Encoder.load(folder, stop=model.family.stop, pad=model.family.pad)
    return model


def run(ctx: Context) -> dict:
    if _users_own(ctx):
        model = _opened(ctx.base_dir)
        ctx.report.info(f"base: {ctx.base_dir}, in place")
        return {"source": "in place", "family": model.family.name}
    destination = ctx.staged(ctx.base_dir)
    source, detail = _obtain(ctx, destination)
    family = _opened(destination).family.name
    ctx.report.info(f"base: {ctx.base.identity} from {source}")
    return {"source": source, **detail, "family": family}


def _obtain(ctx: Context, destination: Path) -> tuple[str, dict]:
    """Puts the base's folder at `destination`; returns where it came from and what is worth recording."""
    from phoenix_forge.hub.download import cache_folder, first_reachable, token

    if ctx.base.sources[0].kind == "tiny":
        from phoenix_forge.weights.tiny import build_tiny

        build_tiny(destination, _texts(ctx))
        return "its config (random weights)", {}
    fetched, tried = first_reachable(
        ctx.base.sources,
        cache_folder(),
        revision=_revision(ctx),
        token=token(ctx.workspace.root),
        destination=destination,
        report=ctx.report,
    )
    for source, why in tried:
        ctx.report.info(f"not from {source.kind} {source.at}: {why}")
    if fetched.kind == "gguf":
        from phoenix_forge.gguf.import_ import import_gguf

        import_gguf(fetched.path, destination, report=ctx.report)
    return fetched.detail, {
        "revision": fetched.revision,
        "license": fetched.license or _recorded(ctx).get("license"),
        "from_gguf": fetched.kind == "gguf",
    }


def _recorded(ctx: Context) -> dict:
    """What the last download of this base recorded, or nothing."""
    manifest = Manifest.read(ctx.workspace.manifest("download"))
    return manifest.metrics if manifest and manifest.settings == settings(ctx) else {}


def _revision(ctx: Context) -> str | None:
    """The commit that was taken before, so that doing it again gives the same bytes; else as configured."""
    return _recorded(ctx).get("revision") or ctx.config.model.revision


def moved(ctx: Context) -> str | None:
    """What to tell where the branch or tag of the base's repository is at another commit by now."""
    from phoenix_forge.hub.account import token
    from phoenix_forge.hub.snapshot import head

    taken, wanted = _recorded(ctx).get("revision"), ctx.config.model.revision
    if (
        not taken
        or wanted == taken
        or (source := next((s for s in ctx.base.sources if s.kind == "hub"), None)) is None
    ):
        return None
    now = head(source.at, wanted, token(ctx.workspace.root))
    if now in (None, taken):
        return None
    return (
        f"{wanted or 'main'} of {source.at} has moved to {now}; {taken[:12]} is kept. To take it: "
        f"forge download --set model.revision={now}"
    )


def base_license(ctx: Context) -> str:
    """The base's licence as the catalog or its repository's card has it; "unknown" where neither says."""
    listed = ctx.base.license
    return listed if listed != "other" else _recorded(ctx).get("license") or "unknown"


def license_in_force(ctx: Context) -> str:
    """What the model made here is under: publish.license, else the base's."""
    return ctx.config.publish.license or base_license(ctx)


def _texts(ctx: Context) -> list[str]:
    """The corpus, for the tiny base's tokenizer."""
    from phoenix_forge.corpus.walk import walk

    return [
        f.path.read_text(encoding="utf-8", errors="replace")
        for f in walk(ctx.config.corpus, ctx.workspace.root, ctx.workspace.artifacts).files
    ]
