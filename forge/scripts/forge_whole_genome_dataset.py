"""Phase 2.1: the documents become the training dataset. The same as `forge dataset`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("forge_whole_genome_dataset"))
