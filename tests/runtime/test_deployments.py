"""Versions of a model in Ollama: forward, back, further names, and nothing lost in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import ollama as stand_in

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.runtime.deployments import Deployments, Version, require_same_file, version_name
from phoenix_forge.runtime.modelfile import build
from phoenix_forge.runtime.ollama import Ollama

MODELFILE = build(
    "m.gguf", QWEN2.go_template, QWEN2.stops, system="v", generation=GenerationConfig(), num_ctx=512
)


@pytest.fixture
def server() -> Iterator[stand_in.OllamaServer]:
    with stand_in.running() as running:
        yield running


class Space:
    """A workspace that deploys files of other contents to a server, with a fresh reading of the record each time."""

    def __init__(self, folder: Path, server: stand_in.OllamaServer) -> None:
        self.folder, self.server, self.client = folder, server, Ollama(server.url)

    @property
    def record(self) -> Deployments:
        return Deployments(self.client, self.folder / "state/deployments.json")

    def deploy(
        self, content: str, name: str = "guardian", record: Deployments | None = None
    ) -> Version:
        record = record or self.record
        gguf = self.folder / "m.gguf"
        gguf.write_bytes(b"GGUF" + content.encode())
        version = record.begin(name, hashlib.sha256(gguf.read_bytes()).hexdigest(), MODELFILE)
        record.server.create(version.name, gguf, MODELFILE, Silent(), sha256=version.sha256)
        record.go_live(name, version)
        return version

    def runs(self, name: str = "guardian") -> str:
        """The content that a name answers with, or nothing."""
        model = self.server.models.get(stand_in.full(name))
        return self.server.blobs[model["blob"]][4:].decode() if model else ""


@pytest.fixture
def space(tmp_path: Path, server: stand_in.OllamaServer) -> Space:
    return Space(tmp_path, server)


def test_version_names() -> None:
    assert (
        version_name("guardian", "12ab")
        == version_name("guardian:latest", "12ab")
        == "guardian:forge-12ab"
    )
    assert version_name("me/guardian:7b", "12ab") == "me/guardian:7b-forge-12ab"
    assert version_name("box:5000/me/guardian", "1") == "box:5000/me/guardian:forge-1"


def test_back_and_forward(space: Space) -> None:
    one = space.deploy("one")
    with pytest.raises(UsageError, match="no earlier version"):
        space.record.rollback("guardian")
    two = space.deploy("two")
    assert space.runs() == "two"
    back, before = space.record.rollback("guardian")
    assert (back.name, before and before.name, space.runs()) == (one.name, two.name, "one")
    assert space.record.live("guardian") == one.name
    forward, _ = space.record.rollback("guardian")
    assert (forward.name, space.runs()) == (two.name, "two")
    space.deploy("three")
    assert space.runs() == "three"
    assert one.name not in space.server.models  # two versions stay, and their files
    assert sorted(data[4:] for data in space.server.blobs.values()) == [b"three", b"two"]
    space.record.rollback("guardian")
    space.deploy("four")  # after a rollback to two: two is the one before
    assert (space.record.rollback("guardian")[0].name, space.runs()) == (two.name, "two")


def test_the_same_again_is_the_same_version_and_the_one_before_stays(space: Space) -> None:
    space.deploy("one")
    two = space.deploy("two")
    again = space.deploy("two")
    assert again == two
    assert space.record.rollback("guardian")[0].name != two.name
    assert space.runs() == "one"


def test_a_version_that_never_went_live_is_not_gone_back_to(space: Space) -> None:
    space.deploy("one")
    space.deploy("two")
    record = space.record
    gguf = space.folder / "bad.gguf"
    gguf.write_bytes(b"GGUFbad")
    bad = record.begin("guardian", hashlib.sha256(gguf.read_bytes()).hexdigest(), MODELFILE)
    record.server.create(bad.name, gguf, MODELFILE, Silent())
    assert [r["name"] for r in space.record.listed() if r["role"] == "not live"] == [bad.name]
    space.record.rollback("guardian")
    assert space.runs() == "one"
    space.record.rollback("guardian")
    assert space.runs() == "two"
    space.deploy("three")
    assert bad.name not in space.server.models


def test_what_was_there_before_forge_is_kept(space: Space) -> None:
    client, gguf = space.client, space.folder / "theirs.gguf"
    gguf.write_bytes(b"GGUFtheirs")
    client.create("guardian", gguf, replace(MODELFILE, system="theirs"), Silent())
    for content in ("one", "two", "three"):
        space.deploy(content)
    found = next(name for name in space.server.models if "forge-found-" in name)
    assert space.runs(found) == "theirs"
    deleted, kept = space.record.remove("guardian", force=False)
    assert kept == [found]
    assert "guardian:latest" in deleted
    assert list(space.server.models) == [found]
    assert space.record.listed() == []


def test_what_replaced_it_by_hand_is_kept_too(space: Space) -> None:
    space.deploy("one")
    gguf = space.folder / "theirs.gguf"
    gguf.write_bytes(b"GGUFtheirs")
    space.client.create("guardian", gguf, MODELFILE, Silent())
    assert space.record.live("guardian") is None
    space.record.rollback("guardian")
    assert space.runs() == "one"
    space.record.rollback("guardian")
    assert space.runs() == "theirs"


def test_aliases_follow(space: Space) -> None:
    with pytest.raises(UsageError, match="has not deployed guardian"):
        space.record.alias("guardian", "keeper", force=False)
    space.deploy("one")
    space.record.alias("guardian", "keeper", force=False)
    assert space.runs("keeper") == "one"
    space.deploy("two")
    assert space.runs("keeper") == "two"
    space.record.rollback("guardian")
    assert space.runs("keeper") == "one"
    space.deploy("else", name="other")
    for taken, words in (("other", "a model of its own"), ("guardian", "a model of its own")):
        with pytest.raises(UsageError, match=words):
            space.record.alias("guardian", taken, force=False)
    for bad, words in (
        ("a" * 81, "81 characters"),
        ("keeper:cloud", "where a model runs"),
        ("keep er", "letters"),
    ):
        with pytest.raises(UsageError, match=words):
            space.record.alias("guardian", bad, force=True)
    with pytest.raises(UsageError, match="own name"):
        space.record.alias("guardian", "guardian:latest", force=True)
    space.client.copy("other", "keeper")  # somebody made it another model
    assert [r["role"] for r in space.record.listed() if r["name"] == "keeper:latest"] == [
        "alias, changed"
    ]
    space.record.rollback("guardian")
    assert space.runs("keeper") == "else"
    assert space.record.remove("keeper", force=False) == (["keeper:latest"], [])
    assert not [r for r in space.record.listed() if r["role"].startswith("alias")]


def test_only_what_it_deployed_is_removed(space: Space) -> None:
    gguf = space.folder / "theirs.gguf"
    gguf.write_bytes(b"GGUFtheirs")
    space.client.create("theirs", gguf, MODELFILE, Silent())
    with pytest.raises(UsageError, match="did not deploy theirs") as caught:
        space.record.remove("theirs", force=False)
    assert "--force" in str(caught.value.fix)
    assert space.record.remove("theirs", force=True) == (["theirs:latest"], [])
    with pytest.raises(UsageError, match="has no theirs"):
        space.record.remove("theirs", force=True)


def test_the_list_says_what_the_server_no_longer_has(space: Space) -> None:
    one, two = space.deploy("one"), space.deploy("two")
    assert [(r["name"], r["role"], r["there"]) for r in space.record.listed()] == [
        ("guardian:latest", "model", True),
        (two.name, "live", True),
        (one.name, "previous", True),
    ]
    space.client.delete(one.name)
    assert [(r["role"], r["there"]) for r in space.record.listed()][2] == ("previous", False)
    with pytest.raises(UsageError, match="no earlier version"):
        space.record.rollback("guardian")


def test_names_are_the_same_in_any_case(space: Space) -> None:
    space.deploy("one", name="Guardian")
    two = space.deploy("two", name="Guardian")
    gguf = space.folder / "m.gguf"
    space.client.create("GUARDIAN", gguf, MODELFILE, Silent())  # Ollama keeps the name it has
    assert space.record.live("guardian".title()) == two.name
    space.record.rollback("Guardian")
    assert space.runs("Guardian") == "one"


def test_each_server_has_its_own_record(space: Space) -> None:
    space.deploy("one")
    with stand_in.running() as other:
        assert Deployments(Ollama(other.url), space.folder / "state/deployments.json").models == {}
        Space(space.folder, other).deploy("two")
    assert [r["role"] for r in space.record.listed()] == ["model", "live"]


class Killed(Exception): ...


def killed_after(space: Space, changes: int) -> Deployments:
    """A record whose process ends when it is about to change something on the server after so many `changes`."""
    client = Ollama(space.server.url)
    left = iter(range(changes))

    def mortal(act: Callable) -> Callable:
        def done(*given: object, **more: object) -> object:
            if next(left, None) is None:
                raise Killed
            return act(*given, **more)

        return done

    for deed in ("create", "copy", "delete"):
        setattr(client, deed, mortal(getattr(client, deed)))
    return Deployments(client, space.folder / "state/deployments.json")


@pytest.mark.parametrize("changes", range(5))
def test_killed_between_any_two_steps_nothing_is_lost(space: Space, changes: int) -> None:
    """Deploying the third version makes it, moves the name and an alias, and deletes the first."""
    space.deploy("one")
    space.deploy("two")
    space.record.alias("guardian", "keeper", force=False)
    record = killed_after(space, changes)
    try:
        space.deploy("three", record=record)
        assert changes == 4
    except Killed:
        assert changes < 4
    assert space.runs() in ("two", "three")
    if space.runs() == "two":
        assert space.record.rollback("guardian")[0].name in space.server.models
        assert space.runs() == "one"
        space.record.rollback("guardian")
    space.deploy("three")
    assert (space.runs(), space.runs("keeper")) == ("three", "three")
    assert (
        sum("forge-" in name for name in space.server.models) == 2
    )  # and nothing is left that no record names
    space.record.rollback("guardian")
    assert (space.runs(), space.runs("keeper")) == ("two", "two")


@pytest.mark.parametrize("changes", range(2))
def test_a_killed_rollback_is_done_by_the_next(space: Space, changes: int) -> None:
    space.deploy("one")
    space.deploy("two")
    record = killed_after(space, changes)
    if changes == 0:
        with pytest.raises(Killed):
            record.rollback("guardian")
        assert space.runs() == "two"
        record = space.record
    record.rollback("guardian")
    assert space.runs() == "one"


def test_a_damaged_record_is_named(space: Space) -> None:
    (space.folder / "state").mkdir()
    (space.folder / "state/deployments.json").write_text("{")
    with pytest.raises(UsageError, match=r"deployments\.json is not the record"):
        _ = space.record


def test_a_file_that_was_written_anew_is_told(tmp_path: Path) -> None:
    with stand_in.running(rewrites=True) as rewriting:
        space = Space(tmp_path, rewriting)
        version = space.deploy("one")
        other = require_same_file(Ollama(rewriting.url), version)
        assert other == hashlib.sha256(b"GGUFone\0").hexdigest() != version.sha256
        rewriting.show = lambda body: {"modelfile": "FROM elsewhere\n"}  # type: ignore[method-assign]
        with pytest.raises(StageFailed, match="names no file"):
            require_same_file(Ollama(rewriting.url), version)
