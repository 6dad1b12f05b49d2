"""Phase 3.1: trains the adapter. The same as `forge train`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("fine_tune"))
