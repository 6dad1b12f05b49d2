"""Base and adapter to GGUF files, by the way that the base's family goes: one pass, or llama.cpp's own converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phoenix_forge.core.report import Reporter
from phoenix_forge.gguf.converted import quantize_converted
from phoenix_forge.gguf.imatrix import Matrix
from phoenix_forge.gguf.write import quantize
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.merge import Frozen


def make(
    base_folder: Path,
    adapter_folder: Path | None,
    targets: dict[str, Path],
    *,
    name: str,
    threads: int | None = None,
    matrix: Matrix | None = None,
    frozen: Frozen | None = None,
    report: Reporter,
) -> list[dict[str, Any]]:
    """As phoenix_forge.gguf.write.quantize; a converted family's files know no importance matrix."""
    if open_base(base_folder).family.converted:
        return quantize_converted(
            base_folder, adapter_folder, targets, name=name, frozen=frozen, report=report
        )
    return quantize(
        base_folder,
        adapter_folder,
        targets,
        name=name,
        threads=threads,
        matrix=matrix,
        frozen=frozen,
        report=report,
    )
