"""llama.cpp's programs by name over Forge's runtime, quantiser and converter: what `forge tools link` lays calls this.

They take the flags that the workflow uses and a few more, and refuse any other by name. An answer goes to stdout,
everything else to stderr, as with llama.cpp's own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from phoenix_forge import __version__
from phoenix_forge.cli.boundary import guarded
from phoenix_forge.cli.consoles import Plain
from phoenix_forge.errors import UsageError

OUTTYPES = ("auto", "f32", "f16", "bf16", "q8_0")


class Parser(argparse.ArgumentParser):
    """Wrong usage is a UsageError that names the flags there are."""

    def error(self, message: str) -> NoReturn:
        flags = [action.option_strings[0] for action in self._actions if action.option_strings]
        raise UsageError(
            f"{self.prog} (Forge's own): {message}; it has {', '.join(flags)}",
            fix=f"{self.prog} --help",
        )


def _cli(parser: Parser) -> None:
    parser.add_argument("-m", "--model", type=Path, required=True, help="the GGUF")
    parser.add_argument("-p", "--prompt", help="a question to answer; without it, a conversation")
    parser.add_argument(
        "-n",
        "--predict",
        "--n-predict",
        type=int,
        default=-1,
        help="longest answer in tokens (-1: to its own end)",
    )
    parser.add_argument(
        "--temp",
        "--temperature",
        type=float,
        default=0.8,
        help="0: always the likeliest token (0.8)",
    )
    parser.add_argument("-s", "--seed", type=int, help="for the same answer again")
    parser.add_argument("-c", "--ctx-size", type=int, default=4096, help="context in tokens (4096)")


def _answer(given: argparse.Namespace) -> None:
    from phoenix_forge.core.config import GenerationConfig
    from phoenix_forge.runtime.llama import Model
    from phoenix_forge.runtime.session import Session

    def write(text: str) -> None:
        print(text, end="", flush=True)

    limit = given.predict if given.predict > 0 else given.ctx_size
    with Model(given.model, num_ctx=given.ctx_size) as model:
        if given.prompt is None:
            generation = GenerationConfig(max_tokens=limit, temperature=given.temp)
            Session(model, system=None, generation=generation, write=write).run(
                lambda: input("\n> " if sys.stdin.isatty() else "")
            )
        else:
            model.chat(
                [{"role": "user", "content": given.prompt}],
                max_tokens=limit,
                temperature=given.temp,
                seed=given.seed,
                on_text=write,
            )
            print()


def _server(parser: Parser) -> None:
    parser.add_argument("-m", "--model", type=Path, required=True, help="the GGUF")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0: any free port (8080)")
    parser.add_argument(
        "-c",
        "--ctx-size",
        type=int,
        default=4096,
        help="context of a conversation in tokens (4096)",
    )
    parser.add_argument(
        "-np", "--parallel", type=int, default=1, help="simultaneous conversations (1)"
    )
    parser.add_argument("-a", "--alias", help="the model's name in the API")
    parser.add_argument("--api-key", help="required beyond 127.0.0.1")


def _serve(given: argparse.Namespace) -> None:
    from phoenix_forge.runtime.serve import Address, serve
    from phoenix_forge.runtime.server.documents import Service

    serve(
        given.model,
        Service(given.alias or given.model.stem, given.ctx_size),
        report=Plain(),
        at=Address(given.host, given.port, given.api_key),
        parallel=given.parallel,
    )


def _quantizer(parser: Parser) -> None:
    parser.add_argument("input", type=Path, help="GGUF of type F32, F16 or BF16")
    parser.add_argument("output", type=Path, help="the GGUF to write")
    parser.add_argument("type", help="Q4_K_M and so on; a wrong one lists them all")
    parser.add_argument("threads", type=int, nargs="?", help="default: all cores")


def _quantize(given: argparse.Namespace) -> None:
    """By way of the model's folder: the file is then held against the architecture, and the bytes are those that
    `forge quantize` writes."""
    import tempfile

    from phoenix_forge.catalog.quants import quant
    from phoenix_forge.gguf.container import read_header
    from phoenix_forge.gguf.import_ import import_gguf
    from phoenix_forge.gguf.recipe import FLOATS

    kind = quant(given.type).name
    header = read_header(given.input)
    if done := next((t for t in header.tensors.values() if t.type not in FLOATS), None):
        raise UsageError(
            f"{given.input} is quantised already ({done.name} is {done.type}): quantising it again would "
            "lose more",
            fix="start from its F16, BF16 or F32 file",
        )
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.output.parent, prefix=".llama-quantize-") as folder:
        import_gguf(given.input, Path(folder), report=Plain())
        _write(
            Path(folder),
            given.output,
            kind,
            header.get("general.name") or given.input.stem,
            given.threads,
        )


def _converter(parser: Parser) -> None:
    parser.add_argument("model", type=Path, help="Hugging Face folder")
    parser.add_argument(
        "--outfile", type=Path, help="the GGUF to write (default: in the folder, by name and type)"
    )
    parser.add_argument(
        "--outtype", choices=OUTTYPES, default="auto", help="auto: as the folder's weights are"
    )
    parser.add_argument("--model-name", help="general.name (default: the folder's)")


def _convert(given: argparse.Namespace) -> None:
    from phoenix_forge.weights.base import open_base

    name = given.model_name or given.model.resolve().name
    kind = given.outtype.upper()
    if kind == "AUTO":
        kinds = {entry.dtype for entry in open_base(given.model).entries.values()}
        kind = kinds.pop() if len(kinds) == 1 else "F16"
    _write(given.model, given.outfile or given.model / f"{name}-{kind}.gguf", kind, name, None)


def _write(folder: Path, out: Path, kind: str, name: str, threads: int | None) -> None:
    from phoenix_forge.core.fsio import partial_path, publish, remove
    from phoenix_forge.gguf.make import make

    out.parent.mkdir(parents=True, exist_ok=True)
    staged = partial_path(out)
    try:
        (made,) = make(folder, None, {kind: staged}, name=name, threads=threads, report=Plain())
        publish(staged, out)
    finally:
        remove(staged)
    print(f"{out}: {kind}, {made['bytes']:,} bytes", file=sys.stderr)


@dataclass(frozen=True)
class Tool:
    flags: Callable[[Parser], Any]
    run: Callable[[argparse.Namespace], None]
    about: str


TOOLS = {
    "llama-cli": Tool(_cli, _answer, "Answers a question with a GGUF."),
    "llama-server": Tool(_server, _serve, "Serves a GGUF with an OpenAI-compatible API."),
    "llama-quantize": Tool(_quantizer, _quantize, "Writes a GGUF in a smaller type."),
    "convert_hf_to_gguf.py": Tool(_converter, _convert, "Writes a Hugging Face folder as GGUF."),
}


def run(name: str, arguments: Sequence[str]) -> None:
    """One of TOOLS with its command line. Raises UsageError for flags that it has not."""
    tool = TOOLS[name]
    parser = Parser(prog=name, description=tool.about, allow_abbrev=False)
    parser.add_argument(
        "--version",
        action="version",
        version=f"version: Forge {__version__}, llama.cpp as of xllamacpp {version('xllamacpp')}",
    )
    tool.flags(parser)
    tool.run(parser.parse_args(arguments))


def main(arguments: Sequence[str]) -> int:
    """`NAME [flags]`: the exit code."""
    return guarded(lambda: run(arguments[0], arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
