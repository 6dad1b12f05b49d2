"""What every test may use: a tiny base, a few documents, a workspace, the command itself, and the real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from phoenix_forge.weights.tiny import build_tiny

# How long an example takes tells about the machine, not about Forge.
settings.register_profile("forge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forge")
REAL_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
# Read once: some tests give themselves a cache of their own.
_NAMED = os.environ.get("FORGE_TEST_MODEL")
_CACHE = Path(os.environ.get("FORGE_CACHE", Path.home() / ".cache/forge"))
REAL_PLACES = (
    [Path(_NAMED)]
    if _NAMED
    else [
        _CACHE / f"gguf/{REAL_SHA256}.gguf",
        Path.home() / ".cache/forge/test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    ]
)

DOCUMENTS = {
    "lighthouse.md": "# Lighthouse\n\nThe lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt.\n\n## Fog\n\n"
    "When fog comes in, the bell rings three times every minute.\n\n- The bell is bronze.\n"
    "- It was cast in Tarvik.\n",
    "ferry.md": "# The ferry\n\nThe ferry *Selkie* leaves at seven and returns at nine.\n\n## Fares\n\n"
    "A crossing costs four crowns; children travel free.\n",
    "notes/keeper.md": "# Keeper's notes\n\nOil is counted on the first of the month. Größe, naïve and 東京 are "
    "spelled as they are.\n\n```python\nprint('oil')\n```\n",
    "tide.py": '"""Tides at Harbour Nine."""\n\n\ndef height(hour: int) -> float:\n    """Height of the water in '
    'metres, hours after midnight."""\n    return 2.0 + 1.5 * (hour % 12) / 12\n',
}
# Small enough that a whole run takes seconds, most of them spent importing torch.
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"base": "tiny", "name": "small"},
    "corpus": {"roots": ["docs"]},
    "dataset": {"amplification": 2, "probes": 4, "identity": 2, "replay": 0.0},
    "train": {
        "precision": "fp32",
        "rank": 4,
        "max_length": 256,
        "tokens_per_update": 1024,
        "max_steps": 2,
        "anchor": 0,
    },
    "deploy": {"target": "builtin", "num_ctx": 512},
    "generation": {"max_tokens": 8, "greedy": True},
}


def write_documents(folder: Path) -> Path:
    for name, text in DOCUMENTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model folder that nobody changes."""
    folder = tmp_path_factory.mktemp("base")
    build_tiny(
        folder, [text * 5 for text in DOCUMENTS.values()], hidden=64, ffn=128, layers=2, vocab=600
    )
    return folder


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of documents."""
    return write_documents(tmp_path / "docs")


@pytest.fixture(scope="session")
def make_workspace() -> Callable[..., Path]:
    """Makes a workspace at a path: documents in docs/ and a forge.yaml; keywords change single settings a section."""

    def make(folder: Path, **sections: dict[str, Any]) -> Path:
        write_documents(folder / "docs")
        tree = {
            name: SETTINGS.get(name, {}) | sections.get(name, {}) for name in SETTINGS | sections
        }
        (folder / "forge.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def workspace(tmp_path: Path, make_workspace: Callable[..., Path]) -> Callable[..., Path]:
    """make_workspace in this test's own folder."""

    def make(**sections: dict[str, Any]) -> Path:
        return make_workspace(tmp_path / "work", **sections)

    return make


@dataclass(frozen=True)
class Ran:
    """What became of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict:
        """The one JSON object on stdout; an error if there is anything else."""
        lines = self.stdout.splitlines()
        assert len(lines) == 1, f"stdout has {len(lines)} lines:\n{self.stdout}\n{self.stderr}"
        return json.loads(lines[0])


@pytest.fixture(scope="session")
def run_forge() -> Callable[..., Ran]:
    """Runs `forge` with arguments as a process of its own, with nobody at the keyboard and no token around."""

    def run(
        *arguments: str | Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        stdin: str = "",
        timeout: float = 300,
    ) -> Ran:
        ours = {
            name: value
            for name, value in os.environ.items()
            if name not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_TOKEN")
        }
        ours |= {
            "OMP_NUM_THREADS": "1",
            "OLLAMA_HOST": "127.0.0.1:9",
            "HF_HUB_OFFLINE": "1",
            "HF_TOKEN_PATH": os.devnull,
        } | (env or {})
        program = "import sys; sys.argv[0] = 'forge'; from phoenix_forge.cli.boundary import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=cwd,
            env=ours,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The real 0.5B model as GGUF."""
    found = next((path for path in REAL_PLACES if path.is_file()), None)
    if found is None:
        pytest.skip(f"the real model is at none of {', '.join(map(str, REAL_PLACES))}")
    return found
