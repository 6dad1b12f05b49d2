"""The one config: what is refused and how it is told, which layer wins, and where each value came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core.config import (
    KNOWN,
    SECTIONS,
    Config,
    assemble,
    dotted,
    nested,
    parse_overrides,
    profile_layer,
    read_yaml,
    schema,
)
from phoenix_forge.errors import UsageError


def refused(**layers: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        assemble(list(layers.items()), [])
    assert caught.value.fix
    return caught.value.message


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.learning_rat", "train.learning_rate"),
        ("rank", "train.rank"),
        ("trian.rank", "train"),
        ("model.bass", "model.base"),
        ("quantize.type", "quantize.types"),
        ("evaluate.gate.contains", "evaluate.gate"),
        ("seed", "dataset.seed or train.seed"),
    ],
)
def test_an_unknown_setting_comes_with_a_suggestion(key, meant):
    said = refused(file={key: "1"})
    shown = key if key.split(".")[0] in SECTIONS else key.split(".")[0]
    assert f"{shown} (file): no such setting; did you mean {meant}" in said


def test_nonsense_gets_no_suggestion():
    assert refused(file={"xyzzy": 1}).endswith("xyzzy (file): no such setting")


def test_all_problems_at_once_each_with_its_key_and_origin():
    said = refused(
        **{
            "forge.yaml": {"train.rank": 0, "dataset.replay": 2.0, "train.targets": 5, "tain.x": 1},
            "--set": {"model.name": "a/b", "quantize.types": []},
        }
    )
    for part in (
        "6 problems",
        "train.rank (forge.yaml): ",
        "found 0",
        "dataset.replay (forge.yaml): ",
        "found 2.0",
        "train.targets (forge.yaml): ",
        "tain (forge.yaml): no such setting",
        "model.name (--set): ",
        "quantize.types (--set): ",
    ):
        assert part in said
    assert len(said.splitlines()) == 7, "one line a setting"


@pytest.mark.parametrize(
    "setting",
    [
        {"model.name": ""},
        {"model.name": "../up"},
        {"model.name": "-x"},
        {"corpus.max_bytes": 0},
        {"train.epochs": 0},
        {"dataset.teacher": "somebody"},
        {"dataset.secrets": "keep"},
        {"train.max_length": 15},
        {"train.precision": "int8"},
        {"train.learning_rate": -1},
        {"train.learning_rate": "fast"},
        {"generation.top_p": 0},
        {"publish.repo": "no-slash"},
        {"deploy.target": "moon"},
        {"profile": "slow"},
        {"train": 5},
        {"corpus.roots": "docs"},
        {"train.warmup": 1.5},
    ],
)
def test_impossible_values(setting):
    (key,) = setting
    assert f"{key} (file): " in refused(file=setting)


def test_a_section_that_is_only_a_heading_changes_nothing():
    loaded = assemble(
        [("profile", {"train.rank": 8}), ("file", {"train": None, "corpus": None})], []
    )
    assert loaded.config.train.rank == 8
    assert loaded.config.corpus == Config().corpus


def test_set_is_read_as_yaml():
    assert parse_overrides(
        ["a.b=1", "a.c=[x, y]", "a.d=", "a.e=null", "a.f=x=y", " g =true", "h={i: 2}"]
    ) == {"a.b": 1, "a.c": ["x", "y"], "a.d": "", "a.e": None, "a.f": "x=y", "g": True, "h.i": 2}


@pytest.mark.parametrize("pair", ["train.rank", "deploy.system=a: b: c", "x=[1"])
def test_a_broken_set(pair):
    with pytest.raises(UsageError) as caught:
        parse_overrides([pair])
    assert "--set" in caught.value.message
    assert caught.value.fix


def test_numbers_in_exponent_notation_are_numbers():
    # YAML 1.1 reads 2e-4 as text.
    assert (
        assemble(
            [("--set", parse_overrides(["train.learning_rate=2e-4"]))], []
        ).config.train.learning_rate
        == 2e-4
    )


def test_the_last_layer_wins_and_is_named():
    loaded = assemble(
        [
            ("profile", {"train.rank": 8, "train.epochs": 2}),
            ("file", {"train.rank": 16}),
            ("--set", {"train.seed": 1}),
        ],
        [],
    )
    train = loaded.config.train
    assert (train.rank, train.epochs, train.seed) == (16, 2, 1)
    assert {k: loaded.origins[k] for k in ("train.rank", "train.epochs", "train.seed")} == {
        "train.rank": "file",
        "train.epochs": "profile",
        "train.seed": "--set",
    }
    assert "train.alpha" not in loaded.origins


def test_another_model_name_drops_the_paths_of_the_old_one():
    low = {"model.name": "old", "paths.adapter": "models/old-adapter", "paths.gguf": "old.gguf"}
    loaded = assemble(
        [("low", low), ("high", {"model.name": "new", "paths.gguf": "mine.gguf"})], []
    )
    assert loaded.config.paths.adapter is None
    assert loaded.config.paths.gguf == "mine.gguf"
    assert loaded.origins["paths.gguf"] == "high"
    assert "paths.adapter" not in loaded.origins
    same = assemble([("low", low), ("high", {"model.name": "old"})], [])
    assert same.config.paths.adapter == "models/old-adapter"


@pytest.mark.parametrize("name", ["quick", "sanctuary"])
def test_the_shipped_profiles(name):
    origin, settings = profile_layer(name)
    config = assemble([(origin, settings)], []).config
    assert origin == f"profile {name}"
    assert config.model.base == {"quick": "qwen3-0.6b", "sanctuary": "Qwen/Qwen2-7B-Instruct"}[name]
    assert all(key in KNOWN for key in settings)


def test_the_config_cannot_be_changed_behind_anybodys_back():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.rank = 3


@pytest.mark.parametrize("text", ["a: [1", "- a\n- b", "just text", "a: \t- b", "\x00"])
def test_a_broken_file(tmp_path: Path, text):
    path = tmp_path / "forge.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(path) in caught.value.message


def test_a_file_that_is_none(tmp_path: Path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(UsageError) as caught:
            read_yaml(path)
        assert str(path) in caught.value.message
    (tmp_path / "latin.yaml").write_bytes("name: Größe".encode("latin-1"))
    with pytest.raises(UsageError, match="not valid YAML"):
        read_yaml(tmp_path / "latin.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_the_schema_names_every_setting_and_accepts_what_is_shipped():
    tree = json.loads(json.dumps(schema()))
    assert tree["$schema"].startswith("https://json-schema.org/")
    assert tree["additionalProperties"] is False
    named = {
        key: tree["$defs"][part["$ref"].rpartition("/")[2]]["properties"] if "$ref" in part else {}
        for key, part in tree["properties"].items()
    }
    for key in KNOWN:
        section, _, rest = key.partition(".")
        assert section in named
        assert not rest or rest.partition(".")[0] in named[section]
    undescribed = [
        f"{s}.{k}"
        for s, keys in named.items()
        for k, v in keys.items()
        if not v.get("type") and not v.keys() & {"anyOf", "enum", "$ref", "const"}
    ]
    assert not undescribed


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.recursive(
            st.integers() | st.lists(st.integers(), max_size=2),
            lambda below: st.dictionaries(
                st.text("abc", min_size=1, max_size=3), below, min_size=1, max_size=3
            ),
            max_leaves=8,
        ),
    )
)
def test_dotted_and_nested_are_inverses(tree):
    assert nested(dotted(tree)) == tree
    assert yaml.safe_load(yaml.safe_dump(nested(dotted(tree)))) == tree
