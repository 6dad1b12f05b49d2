"""The seed's six YAML files mean the same settings whether they are the seed's own or the shipped copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.core.config import assemble, dotted, profile_layer, read_yaml
from phoenix_forge.errors import UsageError
from phoenix_forge.workflow.old_config import FILES, kind_of, read_all, translate

SEED = Path(__file__).parents[3] / "shared/seed/config"
SHIPPED = Path(__file__).parents[2] / "forge/config"
NAME = "Sanctuary-Qwen2-7B-v1.0"
ADAPTER = {"paths.adapter": f"models/{NAME}-adapter", "model.name": NAME}
MERGED = {"paths.merged": f"models/merged/{NAME}-merged"}
MEANING: dict[str, dict[str, Any]] = {
    "training_config.yaml": ADAPTER
    | {
        "model.base": "Qwen/Qwen2-7B-Instruct",
        "paths.dataset": "dataset_package/sanctuary_whole_genome_data.jsonl",
        "paths.validation": "dataset_package/sanctuary_whole_genome_data_val.jsonl",
        "train.max_length": 256,
        "train.precision": "fp16",
        "train.method": "auto",
        "train.rank": 16,
        "train.alpha": 32,
        "train.dropout": 0.1,
        "train.targets": ["q_proj", "v_proj", "up_proj", "down_proj"],
        "paths.checkpoints": f"outputs/checkpoints/{NAME}",
        "train.epochs": 3,
        "train.micro_batch": 1,
        "train.tokens_per_update": 2048,
        "train.optimizer": "paged_adamw_8bit",
        "train.log_steps": 25,
        "train.learning_rate": 2e-4,
        "train.max_grad_norm": 0.3,
        "train.warmup": 0.03,
        "train.schedule": "cosine",
        "train.save_steps": 200,
        "train.keep_checkpoints": 3,
        "train.recompute": True,
        "train.seed": 42,
        "train.report_to": "none",
    },
    "inference_config.yaml": ADAPTER
    | MERGED
    | {
        "model.base": "Qwen/Qwen2-7B-Instruct",
        "generation.max_tokens": 512,
        "generation.temperature": 0.7,
        "generation.top_p": 0.9,
        "generation.greedy": False,
    },
    "evaluation_config.yaml": MERGED,
    "merge_config.yaml": ADAPTER
    | MERGED
    | {"model.base": "Qwen/Qwen2-7B-Instruct", "merge.enabled": True},
    "gguf_config.yaml": MERGED
    | {"paths.gguf_dir": "models/gguf", "model.name": NAME, "deploy.name": "Sanctuary-Guardian-01"},
    "upload_config.yaml": {
        "paths.gguf": f"models/gguf/{NAME}-Q4_K_M.gguf",
        "paths.modelfile": "Modelfile",
        "paths.readme": "huggingface/README.md",
        "paths.readme_lora": "huggingface/README_LORA.md",
        "paths.model_card": "huggingface/model_card.yaml",
        "publish.repo": "richfrem/Sanctuary-Qwen2-7B-v1.0-GGUF-Final",
        "publish.private": False,
        "publish.create": True,
        "paths.publish_log": "upload_to_huggingface.log",
    },
}


@pytest.fixture(params=["seed", "shipped"])
def folder(request: pytest.FixtureRequest) -> Path:
    if request.param == "seed" and not SEED.exists():
        pytest.skip("the seed's configs are not beside this checkout")
    return SEED if request.param == "seed" else SHIPPED


def typed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as the config holds them."""
    config = dotted(assemble([("file", settings)], []).config.model_dump())
    return {key: config[key] for key in settings}


@pytest.mark.parametrize("name", FILES)
def test_each_file_means_what_it_says(folder, name):
    settings, _ = translate(folder / name, read_yaml(folder / name))
    assert typed(settings) == MEANING[name]


def test_the_table_is_of_all_six():
    assert set(MEANING) == set(FILES)


def test_together_they_are_the_sanctuary_profile(folder):
    layers, notices = read_all(folder)
    assert [Path(origin).name for origin, _ in layers] == list(FILES)
    together = assemble([profile_layer("sanctuary"), *layers], notices)
    alone = assemble([profile_layer("sanctuary")], []).config
    for section in ("model", "train", "merge", "generation", "deploy", "publish", "dataset"):
        ours, theirs = getattr(alone, section), getattr(together.config, section)
        assert ours == theirs, section
    assert together.config.lora_alpha == 32


def test_translated_names_are_told():
    path = SHIPPED / "training_config.yaml"
    _, notices = translate(
        path,
        {
            "model": {"base_model_name": "a/b"},
            "training": {
                "output_dir": "o",
                "warmup_ratio": 0.1,
                "evaluation_strategy": "no",
                "gradient_accumulation_steps": 4,
            },
            "max_seq_length": 128,
        },
    )
    for old, new in (
        ("warmup_ratio", "train.warmup"),
        ("max_seq_length", "train.max_length"),
        ("gradient_accumulation_steps", "train.tokens_per_update (512)"),
    ):
        assert any(old in notice and new in notice for notice in notices)
    assert any("evaluation_strategy is not used" in notice for notice in notices)


@pytest.mark.parametrize("place", ["top", "training"])
def test_the_shouted_names_of_the_troubleshooting(place):
    shouted = {"MICRO_BATCH_SIZE": 2, "GRADIENT_ACCUMULATION_STEPS": 16}
    tree: dict[str, Any] = {
        "model": {"base_model_name": "a/b"},
        "max_seq_length": 256,
        "training": {
            "output_dir": "o",
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 8,
        },
    }
    (tree if place == "top" else tree["training"]).update(shouted)
    settings, _ = translate(Path("training_config.yaml"), tree)
    assert settings["train.micro_batch"] == 2
    assert settings["train.tokens_per_update"] == 2 * 16 * 256


def test_shouted_names_alone_are_a_training_config():
    settings, _ = translate(Path("t.yaml"), {"MICRO_BATCH_SIZE": 2})
    assert settings == {"train.micro_batch": 2}


@pytest.mark.parametrize("name", FILES)
def test_an_unknown_key_in_any_of_them(name):
    tree = read_yaml(SHIPPED / name)
    tree["frobnicate"] = 1
    with pytest.raises(UsageError, match=f"{name}: frobnicate: no such setting") as caught:
        translate(SHIPPED / name, tree)
    assert caught.value.fix


def test_a_near_miss_gets_a_suggestion():
    tree = read_yaml(SHIPPED / "training_config.yaml")
    tree["training"]["num_train_epoch"] = 3
    with pytest.raises(UsageError, match=r"did you mean training\.num_train_epochs\?"):
        translate(SHIPPED / "training_config.yaml", tree)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.learning_rate", "fast"),
        ("training.max_steps", "many"),
        ("model.final_adapter_path", None),
        ("torch_dtype", ["x"]),
        ("training.gradient_accumulation_steps", "8"),
        ("max_seq_length", "long"),
        ("training.optim", ["adamw"]),
        ("training.num_train_epochs", -1),
    ],
)
def test_an_impossible_value(key, value):
    flat = dotted(read_yaml(SHIPPED / "training_config.yaml")) | {key: value}
    tree: dict[str, Any] = {}
    for k, v in flat.items():
        *section, last = k.split(".")
        (tree.setdefault(section[0], {}) if section else tree)[last] = v
    with pytest.raises(UsageError) as caught:
        assemble(
            [("training_config.yaml", translate(SHIPPED / "training_config.yaml", tree)[0])], []
        )
    assert caught.value.fix


def test_a_forge_yaml_is_none_of_them():
    assert kind_of(dotted({"model": {"base": "tiny"}, "train": {"rank": 4}})) is None
    for name in ("quick", "sanctuary"):
        assert kind_of(profile_layer(name)[1]) is None
    with pytest.raises(UsageError):
        translate(Path("forge.yaml"), {"train": {"rank": 4}})


def test_a_base_in_a_folder_of_ones_own_stays_a_folder():
    tree = {"model": {"base_path": "elsewhere/Qwen2", "adapter_path": "models/x-adapter"}}
    assert translate(Path("i.yaml"), tree)[0]["model.base"] == "elsewhere/Qwen2"
