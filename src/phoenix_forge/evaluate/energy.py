"""Energy that a piece of work took, where the machine tells it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")  # Intel's and AMD's RAPL counters of whole processors, in µJ


class Energy:
    """Counts from its making on. Processors by Linux's powercap files, which often only root may read; NVIDIA GPUs by
    NVML, where nvidia-ml-py is installed."""

    def __init__(self) -> None:
        self._counters = [
            folder / "energy_uj" for folder in POWERCAP.glob("intel-rapl:?") if _readable(folder)
        ]
        self._gpus = _gpus()
        self._began = self._now()

    def joules(self) -> float | None:
        """Since the beginning; None where nothing can be read. What other programs took meanwhile is in it."""
        if not self._counters and not self._gpus:
            return None
        return sum(
            max(0.0, now - before) for now, before in zip(self._now(), self._began, strict=True)
        )

    def _now(self) -> list[float]:
        read = [int(path.read_text()) / 1e6 for path in self._counters]
        return read + [
            nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3 for nvml, gpu in self._gpus
        ]


def _readable(folder: Path) -> bool:
    try:
        int((folder / "energy_uj").read_text())
    except (OSError, ValueError):
        return False
    return True


def _gpus() -> list[tuple[Any, Any]]:
    try:
        import pynvml
    except ImportError:
        return []
    found = []
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for i in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(i)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
            found.append((pynvml, gpu))
    return found
