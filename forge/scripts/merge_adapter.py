"""Phase 4.1: base and adapter become one 16-bit model. The same as `forge merge`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("merge_adapter"))
