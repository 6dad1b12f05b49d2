"""Phase 5.1: writes the Modelfile for Ollama. The same as `forge modelfile`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("create_modelfile"))
