"""Names that a model can have in Ollama, and how others are refused before anything is made."""

from __future__ import annotations

import pytest

from phoenix_forge.core.config import assemble
from phoenix_forge.core.names import ollama_problem
from phoenix_forge.errors import UsageError
from phoenix_forge.runtime.deployments import version_name


@pytest.mark.parametrize(
    "name",
    [
        "guardian",
        "me/guardian:7b",
        "box.lan:5000/me/guardian",
        "hf.co/me/guardian:Q8_0",
        "a" * 80,
        f"{'o' * 80}/{'m' * 80}:{'t' * 55}",
        "cloudy:my-clouds",
    ],
)
def test_what_ollama_takes(name: str) -> None:
    assert ollama_problem(name) is None
    longest = version_name(name, "found-" + "0" * 12)
    assert all(len(part) <= 80 for part in longest.rpartition(":")[0].split("/")[-2:])
    assert len(longest.rpartition(":")[2]) <= 80


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a" * 81, "has 81 characters, and Ollama has room for 80"),
        (f"{'o' * 81}/m", "room for 80"),
        (f"m:{'t' * 56}", "room for 55"),
        ("my.org/guardian", "'my.org' has a dot"),
        ("guardian:cloud", "where a model runs"),
        ("guardian:7B-Cloud", "where a model runs"),
        ("guardian:local", "where a model runs"),
        ("guard ian", "letters"),
        ("", "letters"),
        ("guardian\n", "letters"),
    ],
)
def test_what_it_does_not(name: str, words: str) -> None:
    assert words in str(ollama_problem(name))


@pytest.mark.parametrize("key", ["model.name", "deploy.name"])
def test_the_config_refuses_it_with_its_key(key: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{key} \(here\): .*has 81 characters, and Ollama has room for 80; sho"
    ):
        assemble([("here", {key: "a" * 81})], [])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"generation.temperature": 0.9, "generation.greedy": True}, True),
        ({"generation.greedy": True}, False),
        ({"generation.temperature": 0.0, "generation.greedy": True}, False),
        ({"generation.temperature": 0.9}, False),
    ],
)
def test_a_temperature_without_effect_is_told(settings: dict[str, object], told: bool) -> None:
    said = assemble([("here", settings)], []).without_effect
    assert (
        said is not None and "generation.temperature 0.9 (here) is without effect" in said
    ) == told
