"""The number of CPU threads: what a measurement decides, and when one is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from phoenix_forge.errors import UsageError
from phoenix_forge.runtime import llama, threads
from phoenix_forge.runtime.threads import Speed, fastest, measure, measured


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ([], (4, 4)),
        ([Speed(4, 100, 20)], (4, 4)),
        ([Speed(4, 100, 20), Speed(8, 150, 15), Speed(2, 60, 30)], (2, 8)),
        ([Speed(4, 100, 20), Speed(8, 104, 20.9)], (4, 4)),  # not worth it
        ([Speed(8, 150, 30)], (4, 4)),  # nothing to compare with
    ],
)
def test_the_fastest_is_taken_where_it_is_clearly_so(
    speeds: list[Speed], chosen: tuple[int, int]
) -> None:
    assert fastest(speeds, usual=4) == chosen


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[int]]:
    """Two physical of four cores, nothing else at work; gives the candidates of each measurement that was made."""
    made: list[Sequence[int]] = []

    def stand_in(_: Path, candidates: Sequence[int]) -> list[Speed]:
        made.append(candidates)
        return [Speed(2, 100, 20), Speed(4, 150, 10), Speed(1, 50, 12)]

    monkeypatch.setenv("FORGE_CACHE", str(tmp_path))
    monkeypatch.setattr(threads, "measure", stand_in)
    monkeypatch.setattr(llama, "usable_cores", lambda: 4)
    monkeypatch.setattr(llama, "threads", lambda: 2)
    monkeypatch.setattr("psutil.cpu_percent", lambda _: 3.0)
    return made


def test_a_size_of_file_is_measured_once_and_remembered(
    quiet_machine: list[Sequence[int]], tiny: Path, tmp_path: Path
) -> None:
    assert [measured(tiny), measured(tiny)] == [(2, 4)] * 2
    assert quiet_machine == [[2, 4, 1]]
    (remembered,) = (tmp_path / "threads").iterdir()
    remembered.write_text("[[2, 1")  # cut off: measured again
    assert measured(tiny) == (2, 4)
    larger = tmp_path / "larger.gguf"
    larger.write_bytes(tiny.read_bytes() + bytes(tiny.stat().st_size))
    measured(larger)
    assert len(quiet_machine) == 3


def test_a_busy_machine_is_not_measured_and_asked_again_next_time(
    quiet_machine: list[Sequence[int]], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.cpu_percent", lambda _: 80.0)
    assert measured(tiny) == (2, 2)
    assert quiet_machine == []
    monkeypatch.setattr("psutil.cpu_percent", lambda _: 3.0)
    assert measured(tiny) == (2, 4)


def test_one_core_needs_no_measurement(
    quiet_machine: list[Sequence[int]], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "usable_cores", lambda: 1)
    monkeypatch.setattr(llama, "threads", lambda: 1)
    assert measured(tiny) == (1, 1)
    assert quiet_machine == []


def test_what_is_no_gguf_is_refused_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the GGUF"):
        measured(tmp_path / "none.gguf")


def test_the_library_says_how_fast_it_was(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SECONDS", 60.0)
    (speed,) = measure(tiny, [1])
    assert speed.threads == 1
    assert speed.prompt > 0
    assert speed.answer > 0


@pytest.mark.parametrize("script", ["import time; time.sleep(60)", "import os; os.abort()"])
def test_a_measurement_without_an_end_or_that_crashes_finds_nothing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(threads, "SECONDS", 1.0)
    monkeypatch.setattr(threads, "MEASURE", script)
    assert measure(tiny, [2, 1]) == []
