"""GGUF metadata from config.json and the tokenizer files, key for key as llama.cpp's converter and quantiser write it.

What differs from the oracle (converter, then quantiser, at phoenix_forge.gguf.recipe.LLAMA_CPP_TAG), and why:

| key | oracle | here |
|---|---|---|
| general.name | guessed from the folder or README unless given | the configured name, always |
| general.basename, finetune, version, organization | the folder's name cut at dashes | not written: guesses |
| general.size_label | a size in the folder's name wins over counting | the parameters, counted |
| general.license, tags, languages, base_model.* | from README.md of the folder | not written: the model card has them |
| tokenizer.chat_template with several named templates | all of them | the ones called default and tool_use |
| tokenizer.ggml.pre | hash of a fixed text's token ids, for known vocabularies | the pre-tokenizer's pattern |
| tokenizer.ggml.scores without tokenizer.model | -1000 each (Mistral), or refused | by the order of the merges |
| quantize.imatrix.* in types that no matrix changes | written | not written |
"""

from __future__ import annotations

from pathlib import Path

from phoenix_forge.catalog.quants import quant
from phoenix_forge.gguf.container import Field
from phoenix_forge.gguf.hyperparameters import hyperparameters, leading
from phoenix_forge.gguf.vocabulary import tokenizer_fields
from phoenix_forge.weights.base import ModelFolder, read_json

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION in ggml.h
_SAMPLING = {"top_k": "int32", "top_p": "float32", "min_p": "float32", "temperature": "float32"}


def metadata(base: ModelFolder, name: str, quant_name: str, parameters: int) -> dict[str, Field]:
    """All fields of a file of one type, in the order the quantiser leaves them in; `parameters` counts its values."""
    family, where = base.family, str(base.folder / "config.json")

    def prefixed(fields: dict[str, Field]) -> dict[str, Field]:
        return {f"{family.gguf}.{key}": value for key, value in fields.items()}

    fields = {"general.architecture": Field("string", family.gguf)}
    fields |= prefixed(leading(family, base.config, where))
    fields["general.type"] = Field("string", "model")
    fields |= _sampling(base.folder)
    fields["general.name"] = Field("string", name)
    fields["general.size_label"] = Field("string", size_label(parameters))
    fields |= prefixed(hyperparameters(family, base.config, where))
    fields |= tokenizer_fields(base)
    fields["general.quantization_version"] = Field("uint32", QUANTIZATION_VERSION)
    fields["general.file_type"] = Field("uint32", quant(quant_name).ftype)
    return fields


def size_label(parameters: int) -> str:
    """494M, 7.6B: at least two digits, as llama.cpp's naming convention has it."""
    scale, suffix = next(
        ((s, x) for s, x in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if parameters > s), (1e3, "K")
    )
    value = parameters * (
        1 / scale
    )  # multiplied as the oracle does: the last digit can depend on it
    digits = max(2 - len(str(round(value)).lstrip("0")), 0)
    return f"{value:.{digits}f}{suffix}"


def _sampling(folder: Path) -> dict[str, Field]:
    path = folder / "generation_config.json"
    generation = read_json(path) if path.exists() else {}
    return {
        f"general.sampling.{'temp' if key == 'temperature' else key}": Field(kind, generation[key])
        for key, kind in _SAMPLING.items()
        if generation.get(key) is not None
    }
