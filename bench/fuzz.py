"""Fuzzes what reads files from strangers: only a ForgeError may come out, in bounded time and memory.

Each target takes bytes, lays them down as the file (or files) that a stranger could send, and opens them as Forge does.
Coverage guides the mutations (atheris, libFuzzer's engine); half of them change bytes, half know the format: a GGUF is
taken apart into metadata and tensors, JSON into its values, and put together again, so that what lies behind the first
check is reached. An input that raises anything else, takes longer than ten seconds or more memory than 2 GB, or lets a
tensor reach beyond the file is kept as a finding.

A document of each kind (`document md`, …) is read, split, asked of and tokenised as for a dataset. Its mutations know
pieces, lines and zip members, and repeat them up to 3,000 times (`fuzz_seeds.py`); no coverage guides them, for watching
it takes eight times as long as reading. 64 kB that take four seconds of a processor, and a token that is lost, are findings.

Usage: python bench/fuzz.py [TARGET…] [--seconds 120] [--findings DIR]     but for documents `pip install atheris`
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import fuzz_seeds

RESULT = Path(__file__).resolve().parent / "results" / "fuzz.json"
SECONDS_AN_INPUT, MEGABYTES = 10, 2048
LIBRARIES = ("atheris", "numpy", "jinja2", "gguf", "orjson", "selectolax", "tree_sitter")
DOCUMENT_SECONDS = 4  # of a processor; 64 kB that take as long would take a minute a megabyte
TEXTS = ["The forge turns documents into a model. It merges, quantises and writes.\n" * 5]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "Good day."},
]


@dataclass(frozen=True)
class Target:
    """`run` opens an input in a scratch folder; `mutate` makes another input that is well-formed on the outside."""

    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes, Path], None]
    mutate: Callable[[bytes, random.Random], bytes]


# ---- what is opened ----


def gguf_header(data: bytes, folder: Path) -> None:
    from phoenix_forge.gguf.container import read_header

    path = folder / "x.gguf"
    path.write_bytes(data)
    header = read_header(path)
    for info in header.tensors.values():
        assert (
            0 <= header.start + info.offset <= header.start + info.offset + info.nbytes <= len(data)
        ), info


def gguf_import(data: bytes, folder: Path) -> None:
    from phoenix_forge.core.report import Silent
    from phoenix_forge.gguf.import_ import import_gguf

    path = folder / "x.gguf"
    path.write_bytes(data)
    import_gguf(path, folder / "imported", report=Silent())


def safetensors(data: bytes, folder: Path) -> None:
    from phoenix_forge.weights.safetensors import NUMPY, Files, read_header

    path, files = folder / "x.safetensors", Files()
    path.write_bytes(data)
    for entry in read_header(path).values():
        assert 0 <= entry.start <= entry.start + entry.nbytes <= len(data), entry
        if entry.dtype in NUMPY:
            assert files.read(entry).nbytes == entry.nbytes


def model_folder(data: bytes, folder: Path) -> None:
    """A base with an adapter beside it; the input is a JSON object of their JSON files by name."""
    from phoenix_forge.chat.template import ChatTemplate
    from phoenix_forge.errors import UsageError
    from phoenix_forge.weights.adapter import open_adapter
    from phoenix_forge.weights.base import open_base

    try:
        files = json.loads(data)
    except (ValueError, RecursionError):
        files = {}
    for path in folder.glob("*.json"):
        path.unlink()
    for name in (CONFIG, TOKENIZER, INDEX, ADAPTER):
        if isinstance(files, dict) and name in files:
            (folder / name).write_text(
                json.dumps(files[name]), encoding="utf-8", errors="surrogatepass"
            )
    for name in (WEIGHTS, DELTAS):
        if not (folder / name).exists():
            (folder / name).write_bytes(_base_files()[name])
    base = None
    for act in (lambda: ChatTemplate.load(folder).render(MESSAGES), lambda: open_base(folder)):
        try:
            base = act()
        except UsageError as error:
            _Seen.note(error)
    if base is not None and not isinstance(base, str):
        open_adapter(folder, base).require_sound()


def tokenizer(data: bytes, folder: Path) -> None:
    from phoenix_forge.chat.encode import Encoder

    (folder / "tokenizer.json").write_bytes(data)
    if not (folder / TOKENIZER).exists():
        (folder / TOKENIZER).write_bytes(_base_files()[TOKENIZER])
    Encoder.load(folder, stop="<|im_end|>", pad="<|endoftext|>").conversation(MESSAGES)


def modelfile(data: bytes, _: Path) -> None:
    """What is parsed can be written, if at all, and says the same, but for quotes that the format cannot hold."""
    from phoenix_forge.errors import UsageError
    from phoenix_forge.runtime.modelfile import TRIPLE, lossy, parse, write

    found = parse(data.decode(errors="replace"))
    try:
        text = write(found)
    except UsageError as error:
        _Seen.note(error)
        return
    again = parse(text)
    assert write(again) == text
    if not any(TRIPLE in loss for loss in lossy(found)):
        assert repr(again) == repr(found), text  # repr: NaN is itself there


def chat_template(data: bytes, _: Path) -> None:
    from phoenix_forge.chat.template import ChatTemplate

    template = ChatTemplate(
        data.decode(errors="replace"), {"bos_token": "<s>", "eos_token": "</s>"}
    )
    template.render(MESSAGES, prompt=True)


def examples(data: bytes, folder: Path) -> None:
    """A dataset and a file of questions."""
    from phoenix_forge.evaluate.questions import read
    from phoenix_forge.examples.formats import lines

    for name in ("x.jsonl", "x.json"):
        (folder / name).write_bytes(data)
        for _ in lines(folder / name):
            pass
    read(folder / "x.jsonl")


@cache
def _context() -> Any:
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.config import Config
    from phoenix_forge.dataset.extract import WorkerContext

    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", TOKENIZER):
            (Path(folder) / name).write_bytes(_base_files()[name])
        return WorkerContext.of(
            Config(), Encoder.load(Path(folder), stop="<|im_end|>", pad="<|endoftext|>")
        )


def _slow(*_: object) -> NoReturn:
    raise TimeoutError(f"more than {DOCUMENT_SECONDS} s of a processor")


def document(suffix: str, data: bytes, folder: Path) -> None:
    """Reads, splits, words and tokenises a document as the dataset stage does; no token of it may be lost.

    What nests too deeply is named and left out there (`phoenix_forge.corpus.guarded`).
    """
    from phoenix_forge.corpus.walk import File
    from phoenix_forge.dataset.extract import extract, unpack

    context = _context()
    path = folder / f"x.{suffix}"
    signal.signal(signal.SIGPROF, _slow)
    signal.setitimer(signal.ITIMER_PROF, DOCUMENT_SECONDS)
    try:
        found = unpack(extract(context, File(path, path.name, path.name, len(data)), data).record)
    except RecursionError as error:
        _Seen.note(error)
        return
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if found.skipped:
        _Seen.refused.setdefault(found.skipped[:40], found.skipped[:300])
    assert all(part.taught for part in found.parts), "a token is lost"


# ---- where it starts ----

CONFIG, TOKENIZER, INDEX = "config.json", "tokenizer_config.json", "model.safetensors.index.json"
WEIGHTS, ADAPTER, DELTAS = "model.safetensors", "adapter_config.json", "adapter_model.safetensors"


@cache
def _base_files() -> dict[str, bytes]:
    """A base of one layer and an adapter for its queries."""
    import numpy as np

    from phoenix_forge.weights.base import open_base
    from phoenix_forge.weights.safetensors import Tensor, write
    from phoenix_forge.weights.tiny import build_tiny

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        build_tiny(folder, TEXTS, hidden=32, ffn=32, layers=1, heads=2, kv_heads=1, vocab=280)
        rows, width = open_base(folder).entries["model.layers.0.self_attn.q_proj.weight"].shape
        stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        halves = {"A": np.ones((2, width), "<f4"), "B": np.ones((rows, 2), "<f4")}
        write(
            folder / DELTAS,
            [
                Tensor(f"{stem}{half}.weight", "F32", value.shape, lambda value=value: value)
                for half, value in halves.items()
            ],
        )
        (folder / ADAPTER).write_text(
            json.dumps(
                {
                    "peft_type": "LORA",
                    "r": 2,
                    "lora_alpha": 4,
                    "rank_pattern": {},
                    "target_modules": ["q_proj"],
                    "modules_to_save": None,
                    "use_dora": False,
                    "bias": "none",
                }
            )
        )
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@cache
def _ggufs() -> list[bytes]:
    """Whole files of a one-layer Qwen2 in two types, and a directory with metadata of every type."""
    import numpy as np

    from phoenix_forge.core.report import Silent
    from phoenix_forge.gguf.container import Field, TensorInfo, encode_header
    from phoenix_forge.gguf.write import quantize

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, content in _base_files().items():
            (folder / name).write_bytes(content)
        paths = {kind: folder / f"{kind}.gguf" for kind in ("Q8_0", "BF16")}
        quantize(folder, None, paths, name="n", report=Silent())
        whole = [path.read_bytes() for path in paths.values()]
    fields = {
        "general.architecture": Field("string", "llama"),
        "i": Field("int64", -1),
        "b": Field("bool", True),
        "x": Field("float64", 0.5),
        "words": Field("[string]", ["a", "", "ß"]),
        "numbers": Field("[uint16]", np.array([1, 2, 3], "<u2")),
        "flags": Field("[bool]", np.array([True])),
    }
    tensors = [TensorInfo("t", (2, 32), "Q4_0", 0), TensorInfo("u", (3,), "F32", 64)]
    return [encode_header(fields, tensors) + bytes(96), *whole]


def _model_folders() -> list[bytes]:
    files: dict[str, Any] = {
        name: json.loads(_base_files()[name]) for name in (CONFIG, TOKENIZER, ADAPTER)
    }
    index = {"weight_map": {"model.norm.weight": WEIGHTS}}
    return [json.dumps(files).encode(), json.dumps(files | {INDEX: index}).encode()]


def _safetensors() -> list[bytes]:
    return [_base_files()[DELTAS], _base_files()[WEIGHTS]]


def _modelfiles() -> list[bytes]:
    from phoenix_forge.catalog.families import FAMILIES
    from phoenix_forge.runtime.modelfile import Modelfile, write

    written = [
        write(
            Modelfile(
                "./x.gguf",
                template=family.go_template,
                system="Be kind.",
                parameters=(
                    ("num_ctx", 4096),
                    ("temperature", 0.7),
                    *(("stop", stop) for stop in family.stops),
                ),
            )
        )
        for family in FAMILIES
    ]
    by_hand = (
        'FROM llama3\n# why\nADAPTER ./a\nSYSTEM """two\nlines"""\nPARAMETER stop "<|x|>"\nPARAMETER seed 1\n'
        'MESSAGE user hi\nMESSAGE assistant "yes"\nLICENSE MIT\nREQUIRES 0.17.1\nRENDERER a\nPARSER b\n'
        "DRAFT c\n"
    )
    return [text.encode() for text in [*written, by_hand]]


def _templates() -> list[bytes]:
    from phoenix_forge.weights.tiny import _ROWS

    grown = (
        "{% macro m(n) %}{{ n }}{{ m(n + 1) if n < 3 }}{% endmacro %}{% set ns = namespace(x='a', l=[1]) %}"
        "{% for i in range(4) %}{% set ns.x = ns.x ~ ns.x %}{% set ns.l = ns.l + ns.l %}{% endfor %}"
        "{{ ns.x * 2 }}{{ ns.l | join(',') | replace('1', 'ab') | center(9) }}{{ m(0) }}"
        "{{ '%3d' % 4 }}{{ '{:>4}'.format(1) }}{{ 2 ** 3 }}{{ [ns.x, {'a': ns.l}] | tojson }}"
    )
    return [row.template.encode() for row in _ROWS.values()] + [grown.encode()]


def _datasets() -> list[bytes]:
    rows = [
        {"messages": MESSAGES},
        {"instruction": "a", "input": "", "output": "b"},
        {"question": "q", "answer": "a"},
        {
            "question": "q",
            "answer": "a",
            "aliases": ["b"],
            "distractors": ["c", "d"],
            "span": [0, 2],
        },
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    ]
    return [json.dumps(row).encode() + b"\n" for row in rows] + [
        b"\n".join(json.dumps(r).encode() for r in rows)
    ]


# ---- how it changes ----

NUMBERS = (0, 1, -1, 7, 255, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    10**4000,
    None,
    True,
    0.5,
    1e308,
    float("nan"),
    "",
    "..",
    "../x",
    "/etc/passwd",
    "\0",
    "\n",
    "a\\b",
    "x" * 5000,
    "\ud800",
    [],
    {},
    [[]],
    [[[[[[]]]]]],
    ["q_proj"],
    "model",
    "F32",
    "BF16",
    "F8_E4M3",
    "U64",
    "LORA",
    "{{ 9 ** 9 }}",
)


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: a byte, a length, a stretch taken out, doubled or cut off."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + chance.choice((1, 2, 4, 8, 60)))
        kind = chance.randrange(6)
        if kind == 0:
            out[at:end] = chance.randbytes(end - at)
        elif kind == 1:
            out[at : at + 8] = struct.pack("<Q", chance.choice(NUMBERS) & (1 << 64) - 1)
        elif kind == 2:
            out[at : at + 4] = struct.pack("<I", chance.choice(NUMBERS) & (1 << 32) - 1)
        elif kind == 3:
            del out[at:end]
        elif kind == 4:
            out[at:at] = out[at:end] * chance.choice((1, 2, 50))
        elif chance.random() < 0.3:
            del out[at:]
    return bytes(out)


def mutate_value(value: Any, chance: random.Random) -> Any:
    """A JSON value with something in it replaced, removed, renamed or doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if (kind := chance.random()) < 0.7:
            return value | {key: mutate_value(value[key], chance)}
        rest = {name: item for name, item in value.items() if name != key}
        return (
            rest
            if kind < 0.85
            else rest | {str(chance.choice(VALUES)): value[key]}
            if kind < 0.95
            else value | {key + "2": value[key]}
        )
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [
            *value[:at],
            *([mutate_value(value[at], chance)] * chance.choice((0, 1, 1, 2))),
            *value[at + 1 :],
        ]
    if isinstance(value, str) and chance.random() < 0.4:
        return mutate_bytes(value.encode(errors="replace"), chance).decode(errors="replace")
    if isinstance(value, int | float) and chance.random() < 0.3:
        return value + chance.choice((-1, 1, 8))
    return chance.choice(VALUES)


def mutate_json(data: bytes, chance: random.Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, chance)
    return json.dumps(mutate_value(value, chance)).encode(errors="replace")


def mutate_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    return b"\n".join([*lines[:at], mutate_json(lines[at], chance), *lines[at + 1 :]])


def mutate_safetensors(data: bytes, chance: random.Random) -> bytes:
    """Another header before the same data."""
    if len(data) < 8:
        return mutate_bytes(data, chance)
    end = 8 + struct.unpack("<Q", data[:8])[0]
    raw = mutate_json(data[8:end], chance)
    length = chance.choice(NUMBERS) & (1 << 64) - 1 if chance.random() < 0.05 else len(raw)
    return struct.pack("<Q", length) + raw + data[end:]


def mutate_gguf(data: bytes, chance: random.Random) -> bytes:
    """Metadata with other values and types, tensors with other shapes, types and offsets, before the same data."""
    from phoenix_forge.errors import ForgeError
    from phoenix_forge.gguf.container import Field, encode_header, read_header

    with tempfile.NamedTemporaryFile(dir=_fast()) as file:
        file.write(data)
        file.flush()
        try:
            header = read_header(Path(file.name))
        except ForgeError:
            return mutate_bytes(data, chance)
    fields, tensors = dict(header.fields), list(header.tensors.values())
    for _ in range(chance.randint(1, 3)):
        if fields and chance.random() < 0.7:
            key = chance.choice(list(fields))
            kind = chance.choice(
                (
                    "string",
                    "uint32",
                    "[string]",
                    "[float32]",
                    "bool",
                    "[int32]",
                    "uint64",
                    "float32",
                )
            )
            found = fields.pop(key)
            if chance.random() < 0.8:
                value = found.value.tolist() if hasattr(found.value, "tolist") else found.value
                kind = kind if chance.random() < 0.5 else found.type
                fields[key] = Field(kind, _fitting(mutate_value(value, chance), kind))
        elif tensors:
            at = chance.randrange(len(tensors))
            info = tensors.pop(at)
            choice = chance.randrange(4)
            shape = (
                tuple(
                    chance.choice((*info.shape, 0, 1, 32, 1 << 40, (1 << 64) - 1))
                    for _ in info.shape
                )
                if choice == 0
                else info.shape
            )
            name = (
                chance.choice((info.name, "output.weight", "rope_freqs.weight", "../x", ""))
                if choice == 1
                else info.name
            )
            kind = (
                chance.choice(("F32", "F16", "Q4_0", "Q6_K", "IQ2_XXS", "I8", "F64", "MXFP4"))
                if choice == 2
                else info.type
            )
            offset = info.offset + chance.choice((-32, 32, 1)) if choice == 3 else info.offset
            tensors.insert(
                at, replace(info, name=name, shape=shape, type=kind, offset=max(0, offset))
            )
    return encode_header(fields, tensors) + data[header.start :]


def _fitting(value: Any, kind: str) -> Any:
    """The value as this type of metadata can hold it."""
    if kind.startswith("["):
        items = value if isinstance(value, list) else [value]
        return [_fitting(item, kind[1:-1]) for item in items]
    if kind == "string":
        return str(value)[:10_000].encode(errors="replace").decode()
    fits = isinstance(value, int | float) and abs(value) < 1 << 64  # neither NaN nor infinite
    number = value if fits else len(str(type(value)))
    if kind.startswith("float"):
        return float(number)
    bits = int(re.sub(r"\D", "", kind) or 1) - kind.startswith("i")
    return int(number) & (1 << bits) - 1


def _document_seeds(suffix: str) -> list[bytes]:
    return list(fuzz_seeds.seeds(suffix))


def _changes(suffix: str) -> Callable[[bytes, random.Random], bytes]:
    return fuzz_seeds.mutate_packed if suffix in fuzz_seeds.PACKED else fuzz_seeds.mutate_text


def _is_document(name: str) -> bool:
    return name.startswith("document ")


TARGETS = {
    "gguf header": Target(_ggufs, gguf_header, mutate_gguf),
    "gguf import": Target(lambda: _ggufs()[1:], gguf_import, mutate_gguf),
    "safetensors": Target(_safetensors, safetensors, mutate_safetensors),
    "model folder": Target(_model_folders, model_folder, mutate_json),
    "tokenizer": Target(lambda: [_base_files()["tokenizer.json"]], tokenizer, mutate_json),
    "modelfile": Target(_modelfiles, modelfile, mutate_bytes),
    "chat template": Target(_templates, chat_template, mutate_bytes),
    "examples": Target(_datasets, examples, mutate_lines),
    **{
        f"document {suffix}": Target(
            partial(_document_seeds, suffix), partial(document, suffix), _changes(suffix)
        )
        for suffix in fuzz_seeds.SUFFIXES
    },
}


# ---- running ----


def _fast() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _where(error: BaseException) -> str:
    """The line of Forge (or, where it raised nothing itself, the line of a library) that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next(
        (f for f in reversed(frames) if f"{os.sep}phoenix_forge{os.sep}" in f.filename), frames[-1]
    )
    return f"{Path(frame.filename).name}:{frame.lineno}"


class _Seen:
    """What one process met with: refusals by the line that raised them, and findings."""

    refused: dict[str, str] = {}  # noqa: RUF012 - one process, one record
    found: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def note(cls, error: BaseException) -> None:
        cls.refused.setdefault(_where(error), str(error)[:300])


def attempt(target: Target, data: bytes, folder: Path) -> str | None:
    """Runs one input. Returns a traceback where anything but a ForgeError came out."""
    from phoenix_forge.errors import ForgeError

    try:
        target.run(data, folder)
    except ForgeError as error:
        _Seen.note(error)
        if not error.fix or len(str(error)) > 5_000:
            return f"a refusal without a fix, or one of {len(str(error)):,} characters: {str(error)[:500]}"
    except (MemoryError, Exception) as error:  # noqa: BLE001 - all that must not happen
        return f"{type(error).__name__} at {_where(error)}\n{traceback.format_exc()[-3000:]}"
    except BaseException as error:  # a panic in Rust is none of Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return f"{type(error).__name__} at {_where(error)}\n{traceback.format_exc()[-3000:]}"
    return None


def seeded(name: str, count: int, seed: int, folder: Path) -> list[tuple[str, bytes]]:
    """`count` inputs without coverage's help, always the same; returns (what went wrong, input)."""
    target, chance = TARGETS[name], random.Random(seed)
    pool = target.seeds()
    found = []
    for data in [*pool, *(_several(chance.choice(pool), target, chance) for _ in range(count))]:
        problem = attempt(target, data, folder)
        if problem:
            found.append((problem, data))
    return found


def _several(data: bytes, target: Target, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = (target.mutate if chance.random() < 0.7 else mutate_bytes)(data, chance)
    return data


class _Record:
    """What one process did with its target, written down every second; `last` is the input at work."""

    def __init__(self, name: str, findings: Path) -> None:
        self.target, self.slug, self.findings = TARGETS[name], name.replace(" ", "-"), findings
        self.scratch = Path(tempfile.mkdtemp(dir=_fast()))
        self.last = findings / f"{self.slug}-last"
        self.inputs, self.started, self.written, self.slowest = 0, time.monotonic(), 0.0, 0.0

    def try_one(self, data: bytes) -> None:
        before = time.process_time()
        problem = attempt(self.target, data, self.scratch)
        taken = time.process_time() - before
        self.inputs += 1
        if taken > self.slowest:
            self.slowest = taken
            (self.findings / f"{self.slug}-slowest").write_bytes(data)
        if problem and (key := problem.splitlines()[0]) not in _Seen.found:
            _Seen.found[key] = problem
            (self.findings / f"{self.slug}-{len(_Seen.found)}").write_bytes(data)
            (self.findings / f"{self.slug}-{len(_Seen.found)}.txt").write_text(problem)
        if time.monotonic() - self.written > 1:
            self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        (self.findings / f"{self.slug}.json").write_text(
            json.dumps(
                {
                    "inputs": self.inputs,
                    "seconds": round(self.written - self.started, 1),
                    "slowest_seconds": round(self.slowest, 3),
                    "refusals": _Seen.refused,
                    "findings": _Seen.found,
                    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                },
                indent=1,
            )
        )


def guided(name: str, seconds: int, findings: Path) -> None:
    """Fuzzes one target in this process, which ends when libFuzzer is done."""
    import atheris

    with atheris.instrument_imports(include=["phoenix_forge", "jinja2"]):
        import phoenix_forge.chat.encode
        import phoenix_forge.evaluate.questions
        import phoenix_forge.examples.formats
        import phoenix_forge.gguf.import_
        import phoenix_forge.runtime.modelfile
        import phoenix_forge.weights.adapter  # noqa: F401
    record = _Record(name, findings)
    target, slug = record.target, record.slug
    corpus = findings / f"corpus-{slug}"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(target.seeds()):
        (corpus / f"seed-{i}").write_bytes(data)

    def mutator(data: bytes, limit: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(data, limit)
        return target.mutate(data, chance)[:limit]

    longest = 2 * max(map(len, target.seeds()))
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={seconds}",
            f"-timeout={SECONDS_AN_INPUT}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-max_len={max(4096, longest)}",
            "-seed=1",
            "-print_final_stats=1",
            f"-artifact_prefix={findings}/{slug}-",
        ],
        record.try_one,
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def blind(name: str, seconds: int, findings: Path) -> None:
    """Changes documents without regard to coverage: watching it takes eight times as long as reading them."""
    for data in TARGETS[name].seeds():  # what is loaded with the first document is not its time
        attempt(TARGETS[name], data, Path(tempfile.mkdtemp(dir=_fast())))
    record, chance = _Record(name, findings), random.Random(time.time_ns())
    resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, MEGABYTES << 20))
    seeds = record.target.seeds()
    for data in itertools.chain(
        seeds, iter(lambda: _several(chance.choice(seeds), record.target, chance), None)
    ):
        record.last.write_bytes(data)
        record.try_one(data)
        if time.monotonic() - record.started > seconds:
            break
    record.write()
    record.last.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument(
        "--findings", type=Path, help="where inputs are kept; default: a new folder"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    findings = options.findings or Path(tempfile.mkdtemp(prefix="fuzz-"))
    if options.worker:
        (blind if _is_document(names[0]) else guided)(names[0], options.seconds, findings)
        return 0
    if not all(map(_is_document, names)) and not find_spec("atheris"):
        parser.error("atheris is not installed: pip install atheris")
    findings.mkdir(parents=True, exist_ok=True)
    rows = {name: _row(name, options.seconds, findings) for name in names}
    print(
        f"{'target':14} {'inputs':>9} {'seconds':>8} {'coverage':>9} {'refusals':>9} {'slowest':>8} {'MB':>5} "
        "findings"
    )
    for name, row in rows.items():
        print(
            f"{name:14} {row['inputs']:>9,} {row['seconds']:>8.0f} {row['coverage']:>9,} {row['refusals']:>9} "
            f"{row['slowest_seconds']:>7.2f}s {row['peak_bytes'] / 1e6:>5.0f} {len(row['findings'])}"
        )
    total = {
        key: sum(row[key] for row in rows.values()) for key in ("inputs", "seconds", "refusals")
    }
    print(
        f"{'all':14} {total['inputs']:>9,} {total['seconds']:>8.0f} {'':>9} {total['refusals']:>9}"
    )
    known = json.loads(RESULT.read_text())["targets"] if RESULT.exists() else {}
    RESULT.write_text(
        json.dumps(
            {
                "machine": {
                    "processor": platform.processor() or platform.machine(),
                    "python": platform.python_version(),
                },
                "versions": {name: version(name) for name in LIBRARIES if find_spec(name)},
                "limits": {"seconds_an_input": SECONDS_AN_INPUT, "megabytes": MEGABYTES},
                # Tracebacks lie beside their inputs, and name this machine's folders.
                "targets": known
                | {name: row | {"findings": [*row["findings"]]} for name, row in rows.items()},
            },
            indent=1,
        )
        + "\n"
    )
    bad = [key for row in rows.values() for key in row["findings"]]
    print("\n".join([f"inputs are in {findings}", *bad]))
    return 1 if bad else 0


def _row(name: str, seconds: int, findings: Path) -> dict[str, Any]:
    """One target in a process of its own."""
    slug = name.replace(" ", "-")
    log = findings / f"{slug}.log"
    with open(log, "w") as out:
        done = subprocess.run(
            [
                sys.executable,
                __file__,
                name,
                "--worker",
                f"--seconds={seconds}",
                f"--findings={findings}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    text = log.read_text(errors="replace")
    row: dict[str, Any] = json.loads((findings / f"{slug}.json").read_text())
    if done.returncode:  # too slow, too large (libFuzzer ends it then), or a crash below Python
        row["findings"][f"{slug}: ended with code {done.returncode}, see {log.name}"] = text[-3000:]
    covered = re.findall(r"\bcov: (\d+)", text)
    return row | {"refusals": len(row["refusals"]), "coverage": int(covered[-1]) if covered else 0}


if __name__ == "__main__":
    sys.exit(main())
