"""The commands. Each is a few lines: read the flags, call a room, print the result. Imports happen inside.

Wording: the first docstring line of a command is what `forge --help` shows.
"""

from __future__ import annotations

import enum
import functools
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from phoenix_forge.cli.command import command as command_on
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.extensions import extension, names
from phoenix_forge.errors import EnvironmentProblem, ForgeError

LONGEST = 200  # characters of a command's sentence
# Every command, by what it is for.
GROUPS = {
    "Begin": ("init", "doctor", "allow"),
    "Make": (
        "run",
        "download",
        "dataset",
        "train",
        "merge",
        "quantize",
        "modelfile",
        "evaluate",
        "deploy",
    ),
    "Look": ("plan", "status", "validate", "verify", "config"),
    "Use": ("ask", "chat", "serve", "mcp"),
    "Share": ("publish",),
}
if added := tuple(names("commands")):
    GROUPS["Stand in"] = added


class Grouped(TyperGroup):
    """Shows commands in their groups, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(LONGEST)) for name in group]
                )


app = typer.Typer(
    cls=Grouped,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn a folder of documents into a language model that knows them and runs on your own machine.",
)
config_app = typer.Typer(help="Show the config in force, or its JSON Schema.")
app.add_typer(config_app, name="config")
for name in names("commands"):
    app.add_typer(extension("commands", name), name=name)
command = functools.partial(command_on, app)

Force = Annotated[bool, typer.Option("--force", help="Do it again, overwriting what is there.")]


def one_stage(setup: Setup, name: str, force: bool, **options: Any) -> dict:
    """Runs a single stage if it is not up to date; returns its metrics."""
    setup.context()
    result = setup.project.stage(name, force=force, **options)
    close(setup)
    return result


def close(setup: Setup) -> None:
    """Ends the live display, so that results are printed below it."""
    console: Any = getattr(setup.report, "console", None)
    if hasattr(console, "close"):
        console.close()


@command(optional=True)
def init(
    setup: Setup,
    folder: Annotated[Path, typer.Argument(help="The folder of documents.")] = Path(),
    force: Force = False,
) -> None:
    """Write forge.yaml for a folder, by looking at it, and show what is in it."""
    from phoenix_forge.cli.init import init as look_and_write

    setup.emit(*look_and_write(setup.workspace or folder, force))


@command(optional=True)
def doctor(
    setup: Setup,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Check by name; repeatable.")
    ] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Do what is safe: small reinstallations, a place for the "
            "token, stale caches. The rest is shown.",
        ),
    ] = False,
) -> int:
    """Check GPU, libraries, runtime, Ollama, token, clock, disk and memory; exit 3 if a critical one fails."""
    from phoenix_forge.doctor import critical_failed, examine, mend

    checks = examine(setup.root, only=only or None, report=setup.report)
    checks, mended = mend(checks, setup.root, report=setup.report) if fix else (checks, [])
    close(setup)
    marks = {"ok": "OK     ", "warning": "warning", "failed": "FAILED "}
    lines = [f"{'mended ' if m['done'] else 'FAILED '} {m['name']}: {m['what']}" for m in mended]
    for check in checks:
        lines.append(f"{marks[check['status']]} {check['name']}: {check['found']}")
        if check["fix"] and check["status"] != "ok":
            lines.append(f"        fix: {check['fix']}")
    setup.emit({"checks": checks, **({"mended": mended} if fix else {})}, "\n".join(lines))
    return 3 if critical_failed(checks) else 0


@command()
def download(setup: Setup, force: Force = False) -> None:
    """Get the base model from the first of its sources that can be reached."""
    from phoenix_forge.stages.download import moved

    result = one_stage(setup, "download", force)
    ctx = setup.context()
    path = ctx.base_dir
    if news := moved(ctx):
        setup.report.info(news)
    setup.emit(
        {**result, "path": setup.space.shown(path)},
        f"{setup.space.shown(path)} ({result['source']})",
    )


@command()
def dataset(
    setup: Setup,
    force: Force = False,
    preview: Annotated[
        int,
        typer.Option(
            "--preview",
            min=0,
            help="Print N examples with their source and what of them is trained.",
        ),
    ] = 0,
    report: Annotated[
        bool, typer.Option("--report", help="Write one HTML page about the dataset.")
    ] = False,
    export: Annotated[
        str | None,
        typer.Option("--export", help="Further formats, comma-separated: alpaca,sharegpt,parquet."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="local, or ray: a Ray cluster.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="The model that reads the documents and asks "
            "about them: auto, none, base, a model folder, FILE.gguf, "
            "ollama:NAME or https://HOST/v1#MODEL.",
        ),
    ] = None,
) -> None:
    """Turn the documents into training examples."""
    setup.set += [
        f"dataset.{key}={value}"
        for key, value in (("engine", engine), ("teacher", teacher))
        if value
    ]
    r = one_stage(setup, "dataset", force)
    asked = r["facts"] * 1000 / max(1, r["source_tokens"])
    lines = [
        f"{r['path']}: {r['examples']:,} examples from {r['documents']:,} documents; {r['source_tokens']:,} "
        f"source tokens, {r['coverage']:.1%} of them trained on, {asked:.0f} facts asked for a thousand; "
        f"{r['redactions']} redactions"
    ]
    if export:
        from phoenix_forge.cli.dataset import exported

        r["exports"] = exported(setup, export.split(","))
        lines += r["exports"]
    if report:
        from phoenix_forge.cli.dataset import write_report

        r["report"] = write_report(setup)
        lines.append(f"report: {r['report']}")
    shown = ""
    if preview:
        from phoenix_forge.cli.dataset import previewed

        shown = previewed(setup, preview)
    setup.emit(r, "\n".join(lines), shown)


@command(optional=True)
def validate(
    setup: Setup,
    file: Annotated[
        Path, typer.Argument(help="Messages, alpaca or ShareGPT, as JSONL or parquet.")
    ],
) -> int:
    """Check a dataset; exit 4 when training would suffer."""
    from phoenix_forge.cli.validate import check_file

    result, lines = check_file(setup, file)
    close(setup)
    setup.emit(result, "\n".join(lines))
    return 4 if result["errors"] else 0


@command()
def train(
    setup: Setup,
    force: Force = False,
    gpus: Annotated[
        int, typer.Option("--gpus", min=1, help="GPUs of this machine to train on together.")
    ] = 1,
) -> None:
    """Train the adapter (QLoRA); resumes where it stopped."""
    from phoenix_forge.cli.parallel import follower, start
    from phoenix_forge.train.parallel import end

    if start(setup, force, gpus) or follower(setup):
        return
    try:
        r = one_stage(setup, "train", force)
    except ForgeError as error:
        end(failed=error.exit_code != 0)
        raise
    end()
    setup.emit(
        r,
        f"{r['adapter']}: {r['steps']} steps, loss {r['first_loss']} → {r['loss']}, "
        f"{r['tokens_per_second']:,.0f} tokens/s",
    )


@command()
def merge(setup: Setup, force: Force = False) -> None:
    """Write base + adapter as one 16-bit model folder."""
    r = one_stage(setup, "merge", force)
    setup.emit(r, f"{setup.space.shown(setup.space.merged)}: {len(r['files'])} files")


@command()
def quantize(
    setup: Setup,
    force: Force = False,
    quant: Annotated[
        str | None, typer.Option("--quant", help="Types, comma-separated: Q4_K_M,Q8_0.")
    ] = None,
    imatrix: Annotated[
        str | None, typer.Option("--imatrix", help="Importance matrix: auto, none or a FILE.")
    ] = None,
) -> None:
    """Write base + adapter as quantised GGUF."""
    if quant:
        setup.set.append(f"quantize.types=[{quant}]")
    if imatrix:
        given = imatrix if imatrix in ("auto", "none") else Path(imatrix).resolve()
        setup.set.append(f"quantize.imatrix={given}")
    r = one_stage(setup, "quantize", force)
    setup.emit(
        r,
        "\n".join(
            f"{f['path']}: {f['type']}, {f['bytes']:,} bytes, sha256 {f['sha256'][:16]}…"
            for f in r["files"]
        ),
    )


@command()
def modelfile(setup: Setup, force: Force = False) -> None:
    """Write the Modelfile for Ollama."""
    r = one_stage(setup, "modelfile", force)
    name = setup.loaded.config.deploy.name or setup.loaded.config.model.name
    setup.emit(r, f"{r['path']}; next: forge deploy, or: ollama create {name} -f {r['path']}")


@command()
def evaluate(
    setup: Setup,
    force: Force = False,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            help="JSONL with question, answer, aliases, "
            "distractors, path (default: the dataset's probes).",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="base, adapter, "
            "merged or gguf; repeat it for several (default: base, "
            "adapter, gguf).",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Questions that are asked.")
    ] = None,
    test_set: Annotated[
        bool,
        typer.Option("--test-set", help="Only write the questions as instruction, input, output."),
    ] = False,
    lm_eval: Annotated[
        Path | None,
        typer.Option(
            "--lm-eval",
            help="Only write the questions as a task for lm-evaluation-harness, into this folder.",
        ),
    ] = None,
) -> int:
    """Measure what the model learned, closed book, and write a report; exit 4 where it misses evaluate.gate."""
    from phoenix_forge.cli.evaluate import exported, summary

    if questions:
        setup.set.append(f"evaluate.questions={questions.resolve()}")
    if model:
        setup.set.append(f"evaluate.models=[{','.join(model)}]")
    if count:
        setup.set.append(f"evaluate.count={count}")
    if test_set or lm_eval:
        paths = exported(setup, lm_eval)
        setup.emit({"files": paths}, "\n".join(paths))
        return 0
    r = one_stage(setup, "evaluate", force)
    setup.emit(r, summary(r))
    return 0 if r["gate"]["passed"] else 4


@command()
def deploy(
    setup: Setup,
    force: Force = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Give the model its name although Ollama does not "
            "answer as the built-in runtime does.",
        ),
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the version before; again: forward.")
    ] = False,
    alias: Annotated[
        str | None,
        typer.Option("--alias", help="Give the deployed model a further name, which follows it."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Show what this workspace deployed to Ollama.")
    ] = False,
    remove: Annotated[
        str | None,
        typer.Option(
            "--remove",
            help="Delete a model that this workspace deployed "
            "from Ollama, or one alias or version.",
        ),
    ] = None,
) -> None:
    """Create the model in Ollama (or the built-in runtime), check it and ask it who it is."""
    from phoenix_forge.cli.deploy import manage, went_back

    if manage(setup, force, rollback=rollback, alias=alias, listed=listed, remove=remove):
        return
    r = one_stage(setup, "deploy", force, anyway=anyway)
    if "version" in r and (other := went_back(setup, r["version"])):
        setup.report.warn(other)
    setup.emit(r, f"{r['target']} answers: {r['answer']}")


class Citations(enum.StrEnum):
    ANNOTATIONS = "annotations"
    TEXT = "text"


ClosedBook = Annotated[
    bool, typer.Option("--closed-book", help="The model alone, without passages of the documents.")
]


@command()
def ask(
    setup: Setup,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION", help="Questions; without any, --file or stdin."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="base, adapter, merged, gguf or ollama; repeat it to compare (default: gguf).",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Read the prompt from a file.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token.")] = False,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0: greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Longest answer.")] = None,
    closed_book: ClosedBook = False,
) -> None:
    """Ask a question of the base, adapter, merged model, GGUF or Ollama model.

    The passages of your documents that may answer come with it, and below the answer stands where in them it is.
    """
    from phoenix_forge.cli.ask import ask_models

    ask_models(
        setup, prompts or [], model or ["gguf"], file, greedy, temperature, max_tokens, closed_book
    )


@command()
def chat(
    setup: Setup,
    model: Annotated[str, typer.Option("--model", help="gguf, or ollama.")] = "gguf",
    closed_book: ClosedBook = False,
) -> None:
    """Talk with the model, and your documents, in the terminal."""
    from phoenix_forge.cli.ask import converse

    converse(setup.context(), model, closed_book)


@command()
def serve(
    setup: Setup,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8080,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            metavar="BACKEND",
            help="What answers: builtin; ollama, with the deployed model; or https://HOST/v1#MODEL, an "
            "OpenAI-compatible server (its key: FORGE_BACKEND_KEY).",
        ),
    ] = "builtin",
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=1,
            help="Simultaneous conversations of the built-in backend (default: 4); further ones wait for their turn.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads (default: measured once).")
    ] = None,
    gpu_layers: Annotated[
        int | None,
        typer.Option(
            "--gpu-layers",
            min=0,
            help="Layers on the GPU (default: as many as its free memory holds).",
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="FORGE_API_KEY", help="Required beyond 127.0.0.1."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="Another name that the server goes by, NAME or NAME:PORT.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", metavar="URL", help="A web site whose pages may ask, https://NAME."
        ),
    ] = None,
    closed_book: ClosedBook = False,
    citations: Annotated[
        Citations,
        typer.Option(
            "--citations",
            help="Where an answer's sources are told: beside it, or in its text as well, for clients that "
            "show nothing else.",
        ),
    ] = Citations.ANNOTATIONS,
) -> None:
    """Serve the model, and your documents, with an OpenAI-compatible API."""
    from phoenix_forge.cli.serve import serve_model
    from phoenix_forge.runtime.serve import Address

    serve_model(
        setup,
        Address(host, port, api_key, allow_host or [], allow_origin or []),
        backend=backend,
        own={"parallel": parallel, "cores": threads, "gpu_layers": gpu_layers},
        closed=closed_book,
        citations=citations.value,
    )


@command()
def mcp(
    setup: Setup,
    http: Annotated[
        int | None,
        typer.Option(
            "--http",
            min=0,
            max=65535,
            help="Serve streamable HTTP on this port "
            "of 127.0.0.1 (0: any free one), not stdin and stdout.",
        ),
    ] = None,
) -> None:
    """Serve Forge's tools to AI assistants (Model Context Protocol)."""
    try:
        from phoenix_forge.cli.mcp import serve as serve_tools
    except ImportError as error:
        raise EnvironmentProblem(
            f"the MCP server needs the package mcp: {error}", fix="pip install 'phoenix-forge[mcp]'"
        ) from None
    serve_tools(setup, http)


@command()
def publish(
    setup: Setup,
    repo: Annotated[str | None, typer.Option("--repo", help="Hub repository, ORG/NAME.")] = None,
    gguf: Annotated[bool, typer.Option("--gguf", help="The quantised model.")] = False,
    modelfile: Annotated[bool, typer.Option("--modelfile", help="The Modelfile.")] = False,
    readme: Annotated[bool, typer.Option("--readme", help="The model card as README.md.")] = False,
    lora: Annotated[bool, typer.Option("--lora", "--adapter", help="The adapter.")] = False,
    merged: Annotated[bool, typer.Option("--merged", help="The merged 16-bit model.")] = False,
    dataset: Annotated[
        bool,
        typer.Option(
            "--dataset",
            help="The training and validation examples (the probes "
            "never: published, they would measure nothing); alone, as a dataset "
            "repository.",
        ),
    ] = False,
    model_card: Annotated[bool, typer.Option("--model-card", help="model_card.yaml.")] = False,
    files: Annotated[list[Path] | None, typer.Option("--files", help="Further files.")] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Who may see it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent.")] = False,
) -> None:
    """Publish GGUF, adapter, Modelfile and model card (or what is chosen) to the Hugging Face Hub."""
    from phoenix_forge.cli.publish import publish_files

    chosen = {
        "gguf": gguf,
        "modelfile": modelfile,
        "readme": readme,
        "lora": lora,
        "model_card": model_card,
        "merged": merged,
        "dataset": dataset,
    }
    publish_files(setup, repo, chosen, files or [], private, dry_run)


@command()
def run(
    setup: Setup,
    first: Annotated[str | None, typer.Option("--from", help="First stage.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last stage.")] = None,
    force: Force = False,
) -> None:
    """Run every stage that is not up to date."""
    from phoenix_forge.pipeline import Done
    from phoenix_forge.project.project import ran

    ctx = setup.context()
    results: list[Done] = []

    try:
        made = setup.project.run(first, last, force=force, each=results.append)
    finally:
        close(setup)
        if any(r.status == "failed" for r in results):
            setup.emit(ran(ctx, results))  # machines learn how far it came; people read the error
    if all(r.status == "skipped" for r in results):
        setup.emit(made, "nothing to do: everything is up to date")
        return
    lines = [f"  {a['path']}  {a['bytes']:,} bytes" for a in made["artifacts"]]
    setup.emit(made, "\n".join(["made:", *lines, 'next: forge ask "…" · forge chat · forge serve']))


@command()
def plan(
    setup: Setup,
    first: Annotated[str | None, typer.Option("--from", help="First stage.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last stage.")] = None,
) -> None:
    """Show what would run and why, with the time, memory and disk it needs."""
    from phoenix_forge.cli.planning import planned

    setup.context()
    result = setup.project.plan(first, last)
    setup.emit(result, "\n".join(planned(result)))


@command()
def status(setup: Setup) -> None:
    """Show what exists, and whether it is up to date."""
    from phoenix_forge.cli.planning import state

    setup.context()
    result = setup.project.status()
    setup.emit(result, "\n".join(state(result)))


@command()
def allow(setup: Setup) -> None:
    """Show what forge.yaml and links reach outside of this folder, and allow it from now on."""
    from phoenix_forge.core.outside import Allowed

    record, asked = Allowed(), setup.project.outside
    if missing := record.missing(setup.root, asked):
        record.add(setup.root, missing)
    listed = "\n  ".join(map(str, asked))
    setup.emit(
        {"allowed": list(map(str, asked)), "record": str(record.path)},
        f"allowed from now on, and kept in {record.path}:\n  {listed}"
        if asked
        else f"nothing to allow: {setup.root} reaches nothing outside of itself",
    )


@command()
def verify(setup: Setup) -> int:
    """Read again everything that was made and compare it with its record; exit 4 where something differs."""
    from phoenix_forge.cli.verify import verified

    result, lines = verified(setup)
    close(setup)
    setup.emit(result, "\n".join(lines))
    return 0 if result["intact"] else 4


@command_on(config_app)
def show(setup: Setup) -> None:
    """The config in force, each value with its origin."""
    from phoenix_forge.core.config import dotted

    loaded = setup.loaded
    values = dotted(loaded.config.model_dump())
    origins = {key: loaded.origins.get(key, "default") for key in values}
    setup.emit(
        {"config": loaded.config.model_dump(), "origins": origins, "notices": loaded.notices},
        "\n".join(
            [f"{key}: {value!r}  # {origins[key]}" for key, value in values.items()]
            + [f"# {notice}" for notice in loaded.notices]
        ),
    )


@command_on(config_app, optional=True)
def schema(setup: Setup) -> None:
    """JSON Schema of forge.yaml, for editors."""
    import json

    from phoenix_forge.core.config import schema as json_schema

    print(json.dumps(json_schema(), indent=None if setup.json else 2))


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from phoenix_forge import __version__

        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
