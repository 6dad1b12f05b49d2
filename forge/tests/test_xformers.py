"""Looks for xformers, which Forge does without. The same as `forge doctor --only xformers`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("test_xformers"))
