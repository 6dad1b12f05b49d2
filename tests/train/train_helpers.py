"""A reporter that remembers, and examples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Recorder:
    """A reporter that remembers what was said; `at_step` is called in the middle of training, after each step."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self.at_step = at_step

    def stage(self, name: str, state: str, note: str = "") -> None: ...

    def info(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.said.append(f"warning: {message}")

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        self.steps.append(int(done))
        self.at_step(int(done))


def conversation(i: int) -> dict[str, Any]:
    turns = [
        {
            "role": "user",
            "content": f"What does bell number {i} do" + ", and the oil" * (i % 7) + "?",
        },
        {
            "role": "assistant",
            "content": f"Bell {i} rings" + " three times every minute" * (1 + i % 4) + ".",
        },
    ]
    if i % 5 == 0:
        turns += [
            {"role": "user", "content": "Who lit the lamp?"},
            {"role": "assistant", "content": "Maren Holt."},
        ]
    return {"messages": turns}


def bells_workspace(folder: Path, name: str, validation: float, train: str) -> Path:
    """A forge.yaml on the tiny base, and a document about twelve bells."""
    (folder / "docs").mkdir(parents=True)
    (folder / "forge.yaml").write_text(
        f"model: {{base: tiny, name: {name}}}\ncorpus: {{roots: [docs]}}\n"
        f"dataset: {{probes: 0, replay: 0.0, validation: {validation}}}\n"
        f"train: {{precision: fp32, rank: 4, {train}}}\n"
    )
    text = "\n\n".join(
        f"## Bell {i}\n\nBell {i} rings {i + 2} times. Its rope is {i} m long." for i in range(12)
    )
    (folder / "docs" / "bells.md").write_text(f"# Bells\n\n{text}\n")
    return folder


def write_examples(path: Path, examples: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(e) + "\n" for e in examples), encoding="utf-8")
    return path


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def turns(*pairs: tuple[str, str]) -> str:
    """One line of a dataset."""
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]})
