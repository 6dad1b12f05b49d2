"""What is installed without a checkout: an sdist is built, a wheel from it, and that wheel does init, run and serve."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path

import pytest

from phoenix_forge import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/phoenix_forge"
# What lies in a checkout beside the package, so that it could slip in.
BESIDE = (
    "src",
    "forge",
    "tests",
    "docs",
    "bench",
    "pyproject.toml",
    "setup_env.py",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)
BUILD = (
    "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
)
LEAST = 77  # the setuptools that pyproject.toml asks for

# A run that takes seconds.
SMALL = (
    "model.base=tiny",
    "model.name=small",
    "dataset.amplification=2",
    "dataset.probes=4",
    "dataset.identity=2",
    "dataset.replay=0",
    "train.precision=fp32",
    "train.rank=4",
    "train.max_length=256",
    "train.max_steps=2",
    "train.tokens_per_update=1024",
    "train.anchor=0",
    "quantize.types=[Q8_0]",
    "quantize.imatrix=none",
    "deploy.target=builtin",
    "deploy.num_ctx=512",
    "evaluate.count=4",
)

Command = Callable[..., subprocess.CompletedProcess]


def build(kind: str, tree: Path, target: Path) -> Path:
    """The one file that the build backend writes from a tree."""
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", target],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        backend = version("setuptools")
    except PackageNotFoundError:
        pytest.skip("setuptools, with which the package is built, is not here")
    if int(backend.split(".")[0]) < LEAST:
        pytest.skip(f"setuptools {backend} is older than the build asks for")
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "results")
    for name in BESIDE:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, folder / "tree" / name, ignore=unwanted)
        else:
            shutil.copy(place, folder / "tree" / name)
    return build("sdist", folder / "tree", folder / "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel of the unpacked sdist, as pip makes it of what an index holds."""
    folder = sdist.parents[1]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (tree,) = (folder / "unpacked").iterdir()
    return build("wheel", tree, folder / "wheel")


@pytest.fixture(scope="module")
def venv(wheel: Path) -> Path:
    """A new environment with the wheel in it, which finds this environment's libraries, and not what .pth files add."""
    if find_spec("pip") is None:
        pytest.skip("pip is not here")
    folder = wheel.parents[1] / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder,
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", "--no-compile", wheel], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    libraries = {get_path("purelib"), get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def installed(venv: Path) -> Command:
    """Runs a program of that environment: forge, where no other is named."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OLLAMA_HOST": "127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(venv.parent),
    }
    environment.pop("PYTHONPATH", None)

    def run(
        *arguments: str,
        cwd: Path,
        program: str = "forge",
        start: Callable = subprocess.run,
        **more: object,
    ):
        return start(
            [venv / "bin" / program, *arguments],
            cwd=cwd,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    return run


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {
        f"phoenix_forge/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "phoenix_forge/py.typed" in ours
    assert {name for name in names if ".dist-info/" not in name} == ours


def test_the_sdist_holds_what_the_wheel_is_made_of(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        parts = [Path(name).parts[1:] for name in archive.getnames()]
    rooms = {part[0] for part in parts if part}
    packages = {part[1] for part in parts if part[:1] == ("src",) and part[1:]}
    assert {"src", "pyproject.toml", "README.md", "LICENSE"} <= rooms
    assert not rooms & {"forge", "tests", "bench"}
    assert {name for name in packages if not name.endswith(".egg-info")} == {"phoenix_forge"}


def test_both_commands_are_there_and_know_that_no_checkout_is(
    installed: Command, venv: Path, tmp_path: Path
) -> None:
    for name in ("forge", "phoenix-forge"):
        told = installed("--version", cwd=tmp_path, program=name)
        assert (told.returncode, told.stderr) == (0, "")
        assert __version__ in told.stdout
    program = (
        "import json, phoenix_forge; from importlib.util import find_spec\n"
        "from phoenix_forge.core.checkout import CHECKOUT\n"
        "from phoenix_forge.doctor.finding import CUDA_GUIDE, SETUP\n"
        "print(json.dumps([phoenix_forge.__file__, CHECKOUT, CUDA_GUIDE, SETUP, find_spec('forge')]))"
    )
    done = installed("-c", program, cwd=tmp_path, program="python")
    file, checkout, guide, setup, old = json.loads(done.stdout)
    assert Path(file).is_relative_to(venv)
    assert checkout is None
    assert Path(guide).is_file()
    assert setup.startswith("pip install ")
    assert old is None


def test_documents_are_planned_for(installed: Command, docs: Path, tmp_path: Path) -> None:
    made = installed("init", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    planned = installed("plan", "--set", "model.base=tiny", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr


@pytest.mark.slow
def test_documents_become_a_model_that_answers(
    installed: Command, docs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="training is not installed")
    made = installed("init", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    flags = [word for setting in SMALL for word in ("--set", setting)]
    ran = installed("run", *flags, "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert list((tmp_path / "models/gguf").glob("small-*.gguf"))
    with installed(
        "serve",
        "--port",
        "0",
        "--threads",
        "1",
        "--gpu-layers",
        "0",
        *flags,
        cwd=tmp_path,
        start=subprocess.Popen,
    ) as server:
        try:
            told = next(line for line in server.stderr if "answers at" in line)
            address = re.search(r"http://127\.0\.0\.1:\d+/v1", told)[0]
            with urllib.request.urlopen(f"{address}/models", timeout=60) as reply:
                assert [model["id"] for model in json.load(reply)["data"]] == [
                    "small",
                    "small:closed-book",
                ]
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
