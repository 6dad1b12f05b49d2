"""Writes the frozen questions as instruction, input and output. The same as `forge evaluate --test-set`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("forge_test_set"))
