"""Builds, repairs or just confirms Forge's Python environment: what `make setup ACCEL=… VENV=…` runs.

Needs nothing but Python, since it runs before anything is installed. PyTorch comes in the build that suits the machine,
through uv, which knows where PyTorch's builds lie; where uv or that place is out of reach, pip's default build serves.
Everything else is pinned by constraints.txt. An environment counts as ready only after its libraries were imported.
"""

import argparse
import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
EXTRAS = ".[train,docs,dev]"
LEAST_PYTHON = (3, 11)
ENVIRONMENT = 3  # exit codes, as everywhere in Forge
USAGE = 2
# Accelerator → the CUDA that PyTorch's build brings.
BUILDS = {"cpu": None, "cu126": "12.6", "cu130": "13.0"}
# The first rows that a machine's driver and GPU satisfy: oldest driver, lowest compute capability. CUDA 13 needs driver
# 580 and has no kernels below 7.5; any build for CUDA 12 runs from driver 525 on (CUDA release notes, "CUDA Driver").
CHOICES = (("cu130", 580, 7.5), ("cu126", 525, 5.0))
PROBE_SECONDS = 20  # longest look whether PyTorch's builds can be reached
# Where xllamacpp's own description says that its builds for CUDA lie: the address, and the CUDA's major and minor.
RUNTIMES = re.compile(r"--index-url\s+(\S+/cu(\d\d)(\d))\b")
ON_GPU = "import sys, xllamacpp; sys.exit(all(d['type'].value == 0 for d in xllamacpp.get_device_info()))"
IMPORTS = ("torch", "transformers", "peft", "bitsandbytes", "xllamacpp", "phoenix_forge.cli.app")


class Stop(Exception):
    def __init__(self, code, problem, fix):
        super().__init__(problem)
        self.code, self.fix = code, fix


def say(text):
    print(f"setup: {text}", flush=True)  # noqa: T201


def choose(asked):
    """(accelerator, why): what was asked for, else what the NVIDIA driver can run."""
    if asked != "auto":
        return asked, f"ACCEL={asked}"
    if not shutil.which("nvidia-smi"):
        return "cpu", "no NVIDIA driver here (no nvidia-smi)"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "cpu", "nvidia-smi did not answer within 30 s"
    text = done.stdout.decode(errors="replace").strip()
    found = re.match(r"(.+), (\d+)\.[\d.]+, (\d+\.\d+)$", text.split("\n")[0].strip())
    if done.returncode or not found:
        return "cpu", f"nvidia-smi names no GPU: {text[:100]!r}"
    name, driver, capability = found[1], int(found[2]), float(found[3])
    where = f"{name}, driver {driver}, compute capability {capability}"
    for accelerator, least_driver, least_capability in CHOICES:
        if driver >= least_driver and capability >= least_capability:
            return accelerator, where
    return (
        "cpu",
        f"{where}: too old for any of {', '.join(row[0] for row in CHOICES)}; a newer driver may help",
    )


def site_packages(venv):
    return next(iter(venv.glob("lib/python3*/site-packages")), None)


def pins():
    """The pinned versions by name, in the spelling of .dist-info folders."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        re.sub(r"[-_.]+", "_", name).lower(): version
        for name, equals, version in (line.partition("==") for line in lines)
        if equals
    }


def damaged(venv):
    """The .dist-info folders of pinned packages that an interrupted installation, or a deletion, left without some
    file. What else lies in the environment is its owner's."""
    site, ours = site_packages(venv), pins()
    return (
        [
            info
            for info in site.glob("*.dist-info")
            if re.sub(r"[-_.]+", "_", info.name.split("-")[0]).lower() in ours
            and not whole(site, info)
        ]
        if site
        else []
    )


def whole(site, info):
    try:
        with open(info / "RECORD", newline="", encoding="utf-8") as handle:
            return all(
                (site / row[0]).stat().st_size == int(row[2])
                for row in csv.reader(handle)
                if len(row) == 3 and row[2]
            )
    except OSError:  # a file, or the record itself, is not there
        return False


def torch_build(venv):
    """(version, CUDA or None) of the PyTorch in an environment, read from its files; None where there is none."""
    site = site_packages(venv)
    try:
        text = (site / "torch/version.py").read_text(encoding="utf-8") if site else ""
    except OSError:
        return None
    version = re.search(r"^__version__ = '(.+)'", text, re.M)
    cuda = re.search(r"^cuda\b.*= '(.+)'", text, re.M)
    return (version[1], cuda and cuda[1]) if version else None


def state(asked, accelerator):
    """What an environment was made from; another state is set up again."""
    digest = hashlib.sha256()
    for name in ("constraints.txt", "pyproject.toml", "setup_env.py"):
        digest.update((ROOT / name).read_bytes())
    return {
        "asked": asked,
        "accelerator": accelerator,
        "sources": digest.hexdigest(),
        "checkout": str(ROOT),
    }


def recorded(venv):
    """The state in which an environment was last found ready, or {}."""
    try:
        return dict(json.loads((venv / ".ready").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def ready(venv, expected):
    version, _ = torch_build(venv) or ("", None)
    return (
        recorded(venv) == expected
        and version.split("+")[0] == pins()["torch"]
        and runs(venv, "import pip")
        and not damaged(venv)
    )


def runs(venv, program):
    python = venv / "bin/python"
    return (
        python.exists()
        and subprocess.run(
            [str(python), "-c", program],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
        == 0
    )


def make(venv):
    """A virtual environment with a Python and a pip that run; what is in one whose Python runs stays."""
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
        raise Stop(
            USAGE, f"{venv} is a folder with something else in it", "make setup VENV=another folder"
        )
    if runs(venv, ""):
        if not runs(venv, f"import sys; sys.exit(sys.version_info < {LEAST_PYTHON})"):
            raise Stop(
                ENVIRONMENT,
                f"{venv} has a Python older than {'.'.join(map(str, LEAST_PYTHON))}",
                f"rm -r {venv}, then make setup again",
            )
        if not (runs(venv, "import pip") or runs(venv, "import ensurepip; ensurepip.bootstrap()")):
            raise Stop(
                ENVIRONMENT,
                f"{venv} has no pip, and its Python brings none",
                f"rm -r {venv}, then make setup again",
            )
        return
    if venv.exists() and any(venv.iterdir()):
        say(f"{venv} has no Python that runs: made anew")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if made.returncode:
        raise Stop(
            ENVIRONMENT,
            f"{sys.executable} cannot make a virtual environment: "
            + made.stdout.decode(errors="replace").strip(),
            "sudo apt install python3-venv",
        )


def pip(venv, *wanted):
    command = [
        str(venv / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        str(ROOT / "constraints.txt"),
        *wanted,
    ]
    return subprocess.run(command, cwd=str(ROOT), check=False).returncode == 0


def uv(venv, accelerator, *more, **options):
    """uv's installation of PyTorch in one build; what it says is kept."""
    command = [
        str(venv / "bin/uv"),
        "pip",
        "install",
        "--python",
        str(venv / "bin/python"),
        "--torch-backend",
        accelerator,
        "-c",
        str(ROOT / "constraints.txt"),
        "--reinstall-package",
        "torch",
        *more,
        "torch",
    ]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )


def out_of_reach(venv, accelerator):
    """Why PyTorch's own builds cannot be had here, or None. Bounded, so that it costs an offline machine little."""
    if not pip(venv, "uv"):
        return "uv cannot be installed"
    hurry = dict(os.environ, UV_HTTP_RETRIES="1", UV_HTTP_CONNECT_TIMEOUT="5", UV_HTTP_TIMEOUT="10")
    try:
        tried = uv(venv, accelerator, "--dry-run", timeout=PROBE_SECONDS, env=hurry)
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS} s"
    if not tried.returncode:
        return None
    last = tried.stdout.decode(errors="replace").strip().splitlines()[-1:] or ["uv says nothing"]
    return re.sub(r"\S+://\S+", "the index", last[0].strip().replace("cause: ", "", 1))


def install_torch(venv, asked, accelerator):
    """PyTorch at its pinned version, in the build that was chosen where that can be had."""
    wanted = BUILDS[accelerator]
    found = torch_build(venv)
    if found and found[0].split("+")[0] == pins()["torch"] and found[1] == wanted:
        return
    problem = out_of_reach(venv, accelerator)
    if problem is None:
        say(
            f"PyTorch {pins()['torch']} for {accelerator}"
            + ("" if accelerator == "cpu" else ", with its CUDA libraries about 3 GB to download")
        )
        done = uv(venv, accelerator)
        if done.returncode:
            raise Stop(
                ENVIRONMENT,
                "uv could not install PyTorch:\n" + done.stdout.decode(errors="replace").strip(),
                "make setup again: what was downloaded is kept",
            )
    else:
        say(
            f"PyTorch's build for {accelerator} is out of reach ({problem}): pip's default build instead, which on "
            "Linux usually brings the CUDA libraries along (about 3 GB)"
        )
        if not pip(venv, "torch"):
            raise Stop(
                ENVIRONMENT,
                "pip could not install PyTorch",
                "look at pip's lines above, then make setup again",
            )
    version, cuda = torch_build(venv) or ("none", None)
    if cuda != wanted:
        came = f"torch {version} was built for {'CUDA ' + cuda if cuda else 'the CPU'}"
        if asked in BUILDS and wanted:
            raise Stop(
                ENVIRONMENT,
                f"ACCEL={asked} was asked for, but {came}",
                "make setup ACCEL=auto, or again where PyTorch's builds can be reached",
            )
        say(
            f"{came}, not for {accelerator}: it runs, "
            + ("and larger than needed" if cuda else "without the GPU")
        )


def served():
    """The newest CUDA that the driver serves, as (major, minor); (0, 0) where it does not say."""
    if not shutil.which("nvidia-smi"):
        return (0, 0)
    try:
        said = subprocess.run(
            ["nvidia-smi"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        return (0, 0)
    found = re.search(rb"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def runtime_index(venv):
    """The address of llama.cpp's newest build for a CUDA that the driver serves, or None: an older driver could not
    compile its kernels for GPUs that it brings none for."""
    site = site_packages(venv)
    texts = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in site.glob("xllamacpp-*.dist-info/METADATA")
    ]
    builds = {
        (int(major), int(minor)): url
        for text in texts
        for url, major, minor in RUNTIMES.findall(text)
    }
    newest = served()
    fitting = [cuda for cuda in builds if cuda <= newest]
    return builds[max(fitting)] if fitting else None


def install_runtime(venv, accelerator):
    """With a GPU, llama.cpp's build for it, which answers many times faster; where that cannot be had or does not run,
    the one for the CPU, with which everything works as well."""
    if accelerator == "cpu" or runs(venv, ON_GPU):
        return
    index = runtime_index(venv)
    if index is None:
        say(
            "llama.cpp stays on the CPU: it has no build for a CUDA that this driver serves; training uses the GPU"
        )
        return
    alone = ("--no-deps", "--force-reinstall", "--timeout", "10", "--retries", "1")
    say("llama.cpp for the GPU")
    if not pip(venv, *alone, "--index-url", index, "xllamacpp"):
        say(
            "llama.cpp stays on the CPU: its build for the GPU is out of reach (pip's lines above); "
            "forge doctor --only runtime_gpu says how to install it later"
        )
    elif not runs(venv, ON_GPU):
        say("llama.cpp stays on the CPU: its build for the GPU finds none here")
        if not pip(venv, *alone, "xllamacpp"):
            raise Stop(
                ENVIRONMENT,
                "pip could not install llama.cpp for the CPU again",
                "look at pip's lines above, then make setup again",
            )


def verify(venv):
    """The libraries are imported, each by name, in one process."""
    program = f"import importlib\nfor name in {IMPORTS!r}:\n    print(name); importlib.import_module(name)"
    done = subprocess.run(
        [str(venv / "bin/python"), "-c", program], capture_output=True, check=False
    )
    if done.returncode:
        last = done.stdout.decode().split()[-1:] or ["python"]
        why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [
            f"signal {-done.returncode}"
        ]
        raise Stop(
            ENVIRONMENT,
            f"{last[0]} was installed and cannot be imported: {why[0]}",
            "src/phoenix_forge/doctor/CUDA-ML-ENV-SETUP.md, “By symptom”",
        )


def build(venv, asked):
    asked = asked or recorded(venv).get("asked", "auto")
    accelerator, why = choose(asked)
    expected = state(asked, accelerator)
    if ready(venv, expected):
        say(f"{venv} is ready ({accelerator}: {why})")
        return
    say(f"{venv}, accelerator {accelerator}: {why}")
    make(venv)
    (venv / ".ready").unlink(missing_ok=True)
    for info in damaged(venv):
        say(f"{info.name.removesuffix('.dist-info')} is damaged: installed again")
        shutil.rmtree(info)  # without it the installers see the package as missing
    install_torch(venv, asked, accelerator)
    if not pip(venv, "-e", EXTRAS):
        raise Stop(
            ENVIRONMENT,
            "pip could not install Forge's libraries",
            "look at pip's lines above, then make setup again",
        )
    install_runtime(venv, accelerator)
    verify(venv)
    (venv / ".ready").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    version, cuda = torch_build(venv)
    say(
        f"ready: torch {version} for {'CUDA ' + cuda if cuda else 'the CPU'}; next: source {venv}/bin/activate"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="setup_env.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--venv", default=".venv", type=Path, help="folder of the environment (.venv)"
    )
    parser.add_argument(
        "--accel",
        choices=["auto", *BUILDS],
        help="PyTorch's build (default: as last time; the first time auto)",
    )
    given = parser.parse_args(arguments)
    try:
        if sys.version_info < LEAST_PYTHON:
            raise Stop(
                ENVIRONMENT,
                f"{sys.executable} is Python {sys.version.split()[0]}, Forge needs "
                f"{'.'.join(map(str, LEAST_PYTHON))} or newer",
                "make setup PYTHON=python3.12",
            )
        with open(ROOT / "constraints.txt", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two of them would write into one environment
            build(given.venv.expanduser(), given.accel)
    except Stop as stop:
        print(f"error: {stop}\nfix: {stop.fix}", file=sys.stderr)  # noqa: T201
        return stop.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
