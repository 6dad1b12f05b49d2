"""What this machine and this environment can do for Forge: one check a line, each with what was found and a fix.

A check asks the thing itself (multiplies on the GPU, quantises a tensor, generates from a GGUF, asks the Hub who the
token is) instead of reading version numbers only. Heavy libraries load inside the checks.
"""

from phoenix_forge.doctor.table import CHECKS, critical_failed, examine, mend

__all__ = [
    "CHECKS",
    "critical_failed",
    "examine",
    "mend",
]
