"""Checks the llama.cpp runtime and the quantiser. The same as `forge doctor --only runtime --only quantiser`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("test_llama_cpp"))
