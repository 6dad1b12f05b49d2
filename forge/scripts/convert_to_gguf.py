"""Phase 4.2: the tuned model becomes a quantised GGUF. The same as `forge quantize`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from launch import run

if __name__ == "__main__":
    sys.exit(run("convert_to_gguf"))
