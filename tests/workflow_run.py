"""docs/workflow.md as a program: its command blocks, and one run of them from top to bottom in a workspace of its own.

A block is fenced as bash or powershell and has an HTML comment on the line before it:

    <!-- test: run -->                      runs; it must exit with 0
    <!-- test: stand-in NAME -->            the same, and says which service is not the real one
    <!-- test: skip reason="…" -->          does not run, and why

with `expect="text"` (repeatable) for what stdout must contain, `stdin="text"`, and `may-fail="reason"`.
Each block is a shell of its own (bash -e -o pipefail) at the root of the workspace with the environment activated.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from stand_ins import hub, ollama, ollama_cli

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/workflow.md"
FENCE = re.compile(
    r"(?:^<!-- test: (?P<marker>.*?) -->\n)?^```(?P<language>bash|powershell)\n(?P<body>.*?)^```$",
    re.M | re.S,
)
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
TIMEOUT = 150  # seconds a block
REPOSITORY = "richfrem/Sanctuary-Qwen2-7B-v1.0-GGUF-Final"
TOKEN = "hf_" + "StandIn" * 5

FORGE_YAML = """\
profile: sanctuary
model:      {base: tiny}
corpus:     {roots: [documents]}
dataset:    {amplification: 2, probes: 4, identity: 2}
train:      {max_steps: 3, max_length: 256, tokens_per_update: 512, precision: fp32, rank: 4, targets: all-linear,
             recompute: false, save_steps: 2, log_steps: 1, optimizer: adamw}
generation: {max_tokens: 12}
deploy:     {num_ctx: 512}
paths:      {base: models/base/Qwen/Qwen2-7B-Instruct}   # the tiny base, where the workflow has its own
"""
DOCUMENTS = {
    "protocols/128.md": "# Protocol 128\n\nProtocol 128 is the learning loop. It has six steps.\n\n## The gate\n\n"
    "A person approves every change before it is sealed. Without it the loop starts again.\n",
    "doctrine.md": "# The Doctrine of Sovereign Resilience\n\nThe doctrine says that a model must run where its "
    "keepers are.\n\n- It works without a network.\n- It can be rebuilt from its documents.\n",
    "chronicle.md": "# Chronicle\n\n## Entry 1\n\nThe council met in spring and chose GUARDIAN-01 as its voice.\n\n"
    "## Entry 2\n\nThe first forge was lit in autumn; it took three nights to cool.\n",
}


@dataclass(frozen=True)
class Block:
    """`line`: where its fence opens. `kind`: run, stand-in, skip, or empty where the marker is missing."""

    line: int
    language: str
    body: str
    kind: str
    words: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def attribute(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)

    @property
    def expected(self) -> list[str]:
        return [value for key, value in self.attributes if key == "expect"]

    @property
    def commands(self) -> list[str]:
        """One logical line each: continuations joined, comments and surplus spaces gone."""
        joined = re.sub(r"\\\n\s*", "", self.body)
        lines = (re.sub(r"(^|\s)#.*$", "", line) for line in joined.splitlines())
        return [" ".join(line.split()) for line in lines if line.strip()]


def blocks(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        marker = match["marker"] or ""
        attributes = tuple(ATTRIBUTE.findall(marker))
        kind, *words = ATTRIBUTE.sub("", marker).split() or [""]
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(line, match["language"], match["body"], kind, tuple(words), attributes))
    return found


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass
class Run:
    """`outcomes` by the line of the block."""

    root: Path
    ollama: ollama.OllamaServer
    hub: hub.HubServer
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def published(self) -> dict[str, bytes]:
        """The files of the repository that the workflow uploads to."""
        repository = self.hub.repos.get(REPOSITORY)
        return repository.commits[-1][1] if repository else {}


def make_workspace(root: Path) -> None:
    """What a clone of the repository has, small documents, and settings that make every step take seconds."""
    # A copy, not a link: the workflow's manifest is written inside forge/.
    shutil.copytree(
        ROOT / "forge",
        root / "forge",
        ignore=shutil.ignore_patterns("__pycache__", "*.json.partial"),
    )
    (root / "forge/gguf_model_manifest.json").unlink(missing_ok=True)
    (root / "forge.yaml").write_text(FORGE_YAML)
    for name, text in DOCUMENTS.items():
        (root / "documents" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "documents" / name).write_text(text)
    (root / ".venv").symlink_to(sys.prefix)


def pulled_from_hub(run: Run) -> None:
    """What Ollama does at `ollama run hf.co/…` and its stand-in cannot: takes the GGUF that lies in the repository."""
    files = run.published
    data = next((data for name, data in files.items() if name.endswith("Q4_K_M.gguf")), None)
    if data is None:
        return  # the upload failed: that block tells why, and this one fails too
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    run.ollama.blobs[digest] = data
    run.ollama.models[f"hf.co/{REPOSITORY}:Q4_K_M"] = {
        "blob": digest,
        "digest": digest.removeprefix("sha256:"),
    }


def environment(run: Run, home: Path) -> dict[str, str]:
    """The variables of a fresh login, with the stand-ins in place of the services."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "HUGGING_FACE", "OLLAMA", "VIRTUAL_ENV", "PYTHON", "GIT_"))
    }
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OLLAMA_HOST": run.ollama.url,
        "HF_ENDPOINT": run.hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def execute(block: Block, run: Run, variables: dict[str, str]) -> Outcome:
    script = f"source ~/ml_env/bin/activate\n{block.body}"
    try:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=run.root,
            env=variables,
            text=True,
            input=block.attribute("stdin") or "",
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return Outcome(124, str(late.stdout), f"took more than {TIMEOUT} s\n{late.stderr}")
    return Outcome(done.returncode, done.stdout, done.stderr)


@cache
def workflow_run() -> Run:
    """Runs every block that is not skipped, in order; once for all test modules of a process."""
    stack = ExitStack()
    atexit.register(stack.close)
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forge-workflow-")))
    (home / "bin").mkdir()
    (home / "ml_env").symlink_to(sys.prefix)
    ollama_cli.install(home / "bin")
    servers = stack.enter_context(ollama.running()), stack.enter_context(hub.running(token=TOKEN))
    run = Run(home / "repos/Project_Sanctuary", *servers)
    make_workspace(run.root)
    variables = environment(run, home)
    for block in blocks(DOCUMENT.read_text(encoding="utf-8")):
        if block.kind == "skip":
            continue
        if (
            "hub" in block.words
        ):  # phase 0.4 wrote the placeholder; by now the reader has put a token in its place
            (run.root / ".env").write_text(f"HUGGING_FACE_TOKEN={TOKEN}\n")
        if "from-hub" in block.words:
            pulled_from_hub(run)
        run.outcomes[block.line] = execute(block, run, variables)
    return run
