"""A reporter that keeps what it is told."""

from phoenix_forge.core.report import Silent


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    warn = info
