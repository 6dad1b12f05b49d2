"""fp16's loss scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class LossScale:
    """fp16's gradients would vanish: losses are multiplied by `value`. It halves when a gradient overflows (that step
    is left out) and doubles after 2,000 good steps. For other types it stays 1."""

    value: float
    good: int = 0

    @staticmethod
    def of(precision: str, device: str) -> LossScale:
        return LossScale(65536.0 if precision == "fp16" and device == "cuda" else 1.0)

    def usable(self, grads: Sequence[Tensor]) -> bool:
        """Takes the scale out of the gradients; False where they overflowed."""
        if self.value == 1.0:
            return True
        for grad in grads:
            grad.div_(self.value)
        if not all(bool(g.isfinite().all()) for g in grads):
            self.value, self.good = max(1.0, self.value / 2), 0
            return False
        self.good += 1
        if self.good == 2000:
            self.value, self.good = self.value * 2, 0
        return True
