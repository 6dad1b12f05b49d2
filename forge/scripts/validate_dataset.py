"""Phase 2.2: checks a JSONL dataset. The same as `forge validate FILE`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("validate_dataset"))
