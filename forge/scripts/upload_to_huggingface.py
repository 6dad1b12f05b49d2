"""Phase 6.1: uploads the chosen artifacts to the Hub. The same as `forge publish`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("upload_to_huggingface"))
