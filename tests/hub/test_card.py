"""The model card: valid front matter, what was recorded, and nothing about the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import DatasetCard, HfApi, ModelCard
from stand_ins import hub as stand_in

from phoenix_forge.errors import UsageError
from phoenix_forge.hub.card import (
    Facts,
    Quant,
    model_card_yaml,
    readme,
    readme_dataset,
    readme_lora,
)
from phoenix_forge.hub.licenses import LICENSES, LISTED, require_compatible

FACTS = Facts(
    name="mine",
    repo="me/mine",
    base="Qwen/Qwen2-7B-Instruct",
    license="apache-2.0",
    system="You are ```G```.",
    num_ctx=4096,
    base_license="apache-2.0",
    files=[
        Quant(
            "mine-Q4_K_M.gguf",
            "Q4_K_M",
            4_680_000_000,
            "ab" * 32,
            4.914,
            {"choice_accuracy": 0.5, "choice_low": 0.4, "choice_high": 0.61, "nats_per_token": 2.5},
        ),
        Quant("mine-Q8_0.gguf", "Q8_0", 8_000_000_000, "cd" * 32, 8.5),
    ],
    dataset={"documents": 790, "coverage": 0.9991, "trained_tokens": 7_500_000, "unknown": 1},
    training={"rank": 64, "final loss": 0.15, "odd|name": "a\nb"},
    manifests=[
        {
            "stage": "quantize",
            "started": "2026-01-02T03:04:05",
            "versions": {"forge": "0.1", "gguf": "0.19"},
            "outputs": {
                "gguf": {"path": "/home/someone/models/mine-Q4_K_M.gguf", "sha256": "ef" * 32}
            },
        }
    ],
)


def test_front_matter_is_what_the_hub_reads() -> None:
    data = ModelCard(readme(FACTS)).data
    assert (data.base_model, data.license, data.pipeline_tag) == (
        "Qwen/Qwen2-7B-Instruct",
        "apache-2.0",
        "text-generation",
    )
    assert data.to_dict()["base_model_relation"] == "quantized"
    assert "gguf" in data.tags
    assert ModelCard(readme_lora(FACTS)).data.to_dict()["base_model_relation"] == "adapter"
    assert yaml.safe_load(model_card_yaml(FACTS, "finetune"))["base_model_relation"] == "finetune"


def test_the_card_says_how_to_run_it_and_what_it_is_made_of() -> None:
    text = readme(FACTS)
    for words in (
        "ollama run hf.co/me/mine:Q4_K_M",
        "ollama run hf.co/me/mine:Q8_0",
        "llama-server -hf me/mine:Q4_K_M -c 4096",
        "| file | type | size | bits a weight | choice accuracy | nats a token | SHA-256 |",
        f"| `mine-Q4_K_M.gguf` | Q4_K_M | 4.7 GB | 4.91 | 50.0% (40.0% to 61.0%) | 2.5 | `{'ab' * 32}` |",
        f"| `mine-Q8_0.gguf` | Q8_0 | 8.0 GB | 8.50 | – | – | `{'cd' * 32}` |",
        "| documents | 790 |",
        "| share of the documents trained on | 99.9% |",
        "| odd\\|name | a b |",
        "is under apache-2.0.",
        "forge 0.1, gguf 0.19",
        "````\nYou are ```G```.\n````",
    ):
        assert words in text
    assert "at commit `abc`" in readme(replace(FACTS, revision="abc"))
    assert "unknown" not in text
    assert "/home/someone" not in text
    assert "The repository is private" not in text
    assert "id_ed25519.pub" in readme(replace(FACTS, private=True))


def test_the_merged_models_card_is_for_transformers() -> None:
    text = readme(FACTS, "finetune")
    assert ModelCard(text).data.to_dict() | {
        "library_name": "transformers",
        "base_model_relation": "finetune",
    } == (ModelCard(text).data.to_dict())
    code = text.partition("```python\n")[2].partition("```")[0]
    compile(code, "card", "exec")
    assert 'AutoModelForCausalLM.from_pretrained("me/mine"' in code
    assert "ollama" not in text


def test_a_datasets_card_names_its_files_and_why_the_probes_are_not_there() -> None:
    data = DatasetCard(text := readme_dataset(FACTS, {"train": "train.jsonl"})).data.to_dict()
    assert data["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "train.jsonl"}]}
    ]
    assert data["license"] == "apache-2.0"
    assert "closed-book questions" in text


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        replace(FACTS, base="local/x", license="llama3.1"),
        replace(FACTS, license="qwen-research"),
        replace(FACTS, license="My Own", base="ollama/qwen2-7b"),
        replace(FACTS, license="unknown"),
    ],
)
def test_the_hub_takes_every_cards_front_matter(server, facts) -> None:
    """As huggingface_hub asks the Hub before a commit; the stand-in knows the same licences."""
    for text in (
        readme(facts),
        readme(facts, "finetune"),
        readme_lora(facts),
        readme_dataset(facts, {"train": "a"}),
    ):
        HfApi(endpoint=server.url)._validate_yaml(text, token="hf_test")


# -- licences
@pytest.mark.parametrize(
    ("under", "chosen"),
    [
        ("apache-2.0", "mit"),
        ("mit", "llama3"),
        ("cc0-1.0", "other"),
        ("llama3.1", "llama3.1"),
        ("gemma", "gemma"),
        ("qwen-research", "qwen-research"),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
        ("gpl-3.0", "gpl-3.0"),
    ],
)
def test_licences_that_agree(under, chosen) -> None:
    for told in require_compatible("org/base", under, chosen, private=False):
        assert "asks for" in told


@pytest.mark.parametrize(
    ("under", "chosen"),
    [
        ("llama3.1", "apache-2.0"),
        ("gemma", "mit"),
        ("qwen-research", "apache-2.0"),
        ("cc-by-nc-4.0", "cc-by-4.0"),
        ("cc-by-nc-sa-4.0", "cc-by-nc-4.0"),
        ("gpl-3.0", "mit"),
        ("llama3", "llama3.1"),
        ("mrl-0.1", "other"),
    ],
)
def test_licences_that_contradict_are_refused_by_name(under, chosen) -> None:
    with pytest.raises(
        UsageError, match=f"publish.license is {chosen}, but org/base is under {under}"
    ) as caught:
        require_compatible("org/base", under, chosen, private=True)
    assert caught.value.fix == f"--set publish.license={under}"


def test_what_may_not_be_adapted_stays_private() -> None:
    with pytest.raises(UsageError, match="may not be shared"):
        require_compatible("org/base", "cc-by-nd-4.0", "cc-by-nd-4.0", private=False)
    assert (
        "with nobody"
        in require_compatible("org/base", "cc-by-nd-4.0", "cc-by-nd-4.0", private=True)[0]
    )


def test_an_unknown_licence_is_for_the_user_to_read() -> None:
    assert (
        "not known to Forge"
        in require_compatible("org/base", "strange-1.0", "mit", private=False)[0]
    )
    (told,) = require_compatible("org/base", "llama3.2", "llama3.2", private=False)
    assert "LICENSE" in told
    assert "Built with Llama" in told


def test_every_listed_licence_is_the_hubs() -> None:
    listed = {name for name, row in LICENSES.items() if row.listed} | LISTED
    assert listed <= set(stand_in.LICENSES.split())


def test_a_base_that_is_not_on_the_hub_is_not_linked() -> None:
    for base in ("local/model", "forge/tiny", "ollama/qwen2-7b"):
        assert "base_model:" not in readme(Facts("n", None, base, "other", None, 1024))


def test_the_adapters_card_loads_from_the_repository() -> None:
    assert 'PeftModel.from_pretrained(base, "me/mine")' in readme_lora(FACTS)


def test_the_card_says_where_tools_go_for_a_model_that_has_a_place_for_them() -> None:
    assert "tools" not in readme(FACTS)
    assert "Requests with tools go to `forge serve`" in readme(replace(FACTS, tools=True))
