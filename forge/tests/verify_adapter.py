"""Phases 3.2 and 4.1b: asks the adapter, the merged model or another form of it. The same as `forge ask`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("verify_adapter"))
