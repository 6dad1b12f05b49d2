"""setup_env.py: what it chooses, when it installs, and what it makes of environments that are broken or not its own.

The environments are real; what would be downloaded is written by a stand-in for pip.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = "torch==2.13.0\nTyping_Extensions==4.16.0\n"


@pytest.fixture
def setup_env(tmp_path, monkeypatch):
    """The script, with a checkout of its own and no GPU."""
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name, text in (
        ("constraints.txt", CONSTRAINTS),
        ("pyproject.toml", ""),
        ("setup_env.py", ""),
    ):
        (checkout / name).write_text(text)
    monkeypatch.setattr(module, "ROOT", checkout)
    monkeypatch.setattr(module, "IMPORTS", ("json",))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    if shutil.which("nvidia-smi"):
        fake_driver(tmp_path, "No devices were found", 6)
    return module


def fake_driver(folder, says, code=0):
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/nvidia-smi").write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    (folder / "bin/nvidia-smi").chmod(0o755)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A virtual environment with pip; tests take copies."""
    folder = tmp_path_factory.mktemp("venv") / "pristine"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def venv(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "ml env", symlinks=True))


class Installs:
    """pip and uv: they write the packages of `CONSTRAINTS`. `cuda` is what pip's torch was built for; `reachable`:
    whether uv finds PyTorch's builds. It stops before the installation number `killed`. `runtime`: address of a build
    of xllamacpp → the type of its device, None where the address does not answer."""

    def __init__(self, module, monkeypatch):
        self.module, self.cuda, self.reachable, self.killed = module, None, False, None
        self.runtime = {}
        self.calls = []
        monkeypatch.setattr(module, "pip", self.pip)
        monkeypatch.setattr(module, "uv", self.uv)

    def begin(self, *call):
        if self.killed == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append(call)

    def pip(self, venv, *wanted):
        self.begin("pip", *wanted)
        for name in (
            ["torch"]
            if "torch" in wanted
            else ["typing_extensions", "torch"]
            if "-e" in wanted
            else []
        ):
            if not list(self.module.site_packages(venv).glob(f"{name}-*.dist-info")):
                self.write(venv, name, self.cuda)
        if "xllamacpp" in wanted:
            address = wanted[wanted.index("--index-url") + 1] if "--index-url" in wanted else None
            device = self.runtime[address] if address else 0
            if device is None:
                return False
            self.llama(venv, device)
        return True

    def llama(self, venv, device):
        """xllamacpp with one device, and a description as it has one."""
        site = self.module.site_packages(venv)
        (site / "xllamacpp.py").write_text(
            "from types import SimpleNamespace\n"
            f"def get_device_info():\n    return [{{'type': SimpleNamespace(value={device})}}]\n"
        )
        (site / "xllamacpp-1.dist-info").mkdir(exist_ok=True)
        (site / "xllamacpp-1.dist-info/METADATA").write_text(
            "Name: xllamacpp\n\n"
            + "".join(
                f"    pip install xllamacpp --force-reinstall --index-url https://whl.example/{name}\n"
                for name in ("cu132", "cu128", "rocm-7.2.4")
            )
        )

    def uv(self, venv, accelerator, *more, **_):
        if "--dry-run" not in more:
            self.begin("uv", accelerator)
            self.write(venv, "torch", self.module.BUILDS[accelerator])
        return subprocess.CompletedProcess(
            [], 0 if self.reachable else 2, b"  cause: no route to https://whl.example/"
        )

    def write(self, venv, name, cuda):
        site = self.module.site_packages(venv)
        files = (
            {"torch/version.py": f"__version__ = '2.13.0+x'\ncuda: Optional[str] = {cuda!r}\n"}
            if name == "torch"
            else {"typing_extensions.py": "x = 1\n"}
        )
        info = next(iter(site.glob(f"{name}-*.dist-info")), site / f"{name}-1.dist-info")
        info.mkdir(exist_ok=True)
        for path, text in files.items():
            (site / path).parent.mkdir(exist_ok=True)
            (site / path).write_text(text)
        record = [f"{path},sha256=0,{len(text)}" for path, text in files.items()]
        (info / "RECORD").write_text("\n".join([*record, f"{info.name}/RECORD,,", ""]))


@pytest.fixture
def installs(setup_env, monkeypatch):
    return Installs(setup_env, monkeypatch)


# The choice


@pytest.mark.parametrize(
    ("says", "code", "chosen", "why"),
    [
        ("NVIDIA RTX A2000, 581.42, 8.6", 0, "cu130", "NVIDIA RTX A2000, driver 581"),
        ("NVIDIA H100, 80GB, 580.65.06, 9.0", 0, "cu130", "NVIDIA H100, 80GB, driver 580"),
        ("NVIDIA GeForce RTX 3060, 550.90.07, 8.6", 0, "cu126", "driver 550"),
        ("Tesla V100-SXM2-16GB, 580.95.05, 7.0", 0, "cu126", "compute capability 7.0"),
        ("Tesla K80, 470.256.02, 3.7", 0, "cpu", "too old"),
        ("No devices were found", 6, "cpu", "No devices were found"),
        (
            "NVIDIA-SMI has failed because it could not communicate with the driver",
            9,
            "cpu",
            "could not communicate",
        ),
        ("", 0, "cpu", "names no GPU"),
    ],
)
def test_the_driver_and_the_gpu_decide(setup_env, tmp_path, says, code, chosen, why):
    fake_driver(tmp_path, says, code)
    accelerator, reason = setup_env.choose("auto")
    assert accelerator == chosen
    assert why in reason


def test_without_a_driver_it_is_the_cpu_and_a_wish_is_followed(setup_env, tmp_path):
    if not shutil.which("nvidia-smi"):
        assert setup_env.choose("auto") == ("cpu", "no NVIDIA driver here (no nvidia-smi)")
    fake_driver(tmp_path, "NVIDIA RTX A2000, 581.42, 8.6")
    assert setup_env.choose("cu126") == ("cu126", "ACCEL=cu126")


# Installing


@pytest.mark.slow
def test_the_first_run_installs_and_the_second_only_looks(setup_env, installs, venv, capsys):
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert [call[1:] for call in installs.calls] == [("uv",), ("torch",), ("-e", setup_env.EXTRAS)]
    first = capsys.readouterr().out
    assert "accelerator cpu: " in first
    assert "out of reach (no route to the index)" in first
    assert f"ready: torch 2.13.0+x for the CPU; next: source {venv}/bin/activate" in first
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert len(installs.calls) == 3
    assert f"{venv} is ready (cpu: " in capsys.readouterr().out


def test_pytorch_comes_through_uv_where_its_builds_can_be_reached(
    setup_env, installs, venv, tmp_path, capsys
):
    fake_driver(tmp_path, "NVIDIA RTX A2000, 581.42, 8.6")
    installs.reachable = True
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert ("uv", "cu130") in installs.calls
    assert ("pip", "torch") not in installs.calls
    assert "about 3 GB" in capsys.readouterr().out
    assert setup_env.torch_build(venv) == ("2.13.0+x", "13.0")


@pytest.mark.parametrize(
    ("serves", "address", "device", "says"),
    [
        ("13.0", "cu128", 1, ""),
        ("13.2", "cu132", 1, ""),
        ("13.0", "cu128", None, "out of reach"),
        ("13.0", "cu128", 0, "finds none here"),
        ("12.2", None, None, "no build for a CUDA"),
    ],
)
def test_with_a_gpu_llama_cpp_comes_in_its_build_for_it(
    setup_env, installs, venv, tmp_path, capsys, serves, address, device, says
):
    fake_driver(tmp_path, f"NVIDIA RTX A2000, 581.42, 8.6\n| CUDA Version: {serves} |")
    installs.reachable, url = True, f"https://whl.example/{address}"
    installs.runtime = {url: device}
    installs.llama(venv, 0)
    assert setup_env.main(["--venv", str(venv)]) == 0
    asked = [
        call[call.index("--index-url") + 1] for call in installs.calls if "--index-url" in call
    ]
    assert asked == ([url] if address else [])
    assert setup_env.runs(venv, setup_env.ON_GPU) is (device == 1)
    said = capsys.readouterr().out
    assert says in said
    assert ("stays on the CPU" in said) is bool(says)


def test_another_accelerator_replaces_the_build_and_is_remembered(setup_env, installs, venv):
    installs.reachable = True
    for wanted, build in (("cu126", "12.6"), ("cpu", None), ("cu130", "13.0")):
        assert setup_env.main(["--venv", str(venv), "--accel", wanted]) == 0
        assert setup_env.torch_build(venv)[1] == build
    count = len(installs.calls)
    assert setup_env.main(["--venv", str(venv)]) == 0, "make test asks for no accelerator"
    assert len(installs.calls) == count


def test_a_wish_that_cannot_be_met_is_no_success(setup_env, installs, venv, capsys):
    assert setup_env.main(["--venv", str(venv), "--accel", "cu126"]) == 3
    said = capsys.readouterr()
    assert "ACCEL=cu126 was asked for, but torch 2.13.0+x was built for the CPU" in said.err
    assert "fix: make setup ACCEL=auto" in said.err
    assert not (venv / ".ready").exists()
    assert ("pip", "-e", setup_env.EXTRAS) not in installs.calls


def test_a_larger_build_than_needed_serves_and_is_told(setup_env, installs, venv, capsys):
    installs.cuda = "13.0"
    assert setup_env.main(["--venv", str(venv), "--accel", "cpu"]) == 0
    assert (
        "was built for CUDA 13.0, not for cpu: it runs, and larger than needed"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml", "setup_env.py"])
def test_changed_sources_install_again(setup_env, installs, venv, name):
    setup_env.main(["--venv", str(venv)])
    count = len(installs.calls)
    with open(setup_env.ROOT / name, "a") as handle:
        handle.write("\n")
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert len(installs.calls) > count


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_killed_anywhere_it_is_not_ready_and_the_next_run_finishes(
    setup_env, installs, venv, killed
):
    installs.killed = killed
    with pytest.raises(KeyboardInterrupt):
        setup_env.main(["--venv", str(venv)])
    assert not (venv / ".ready").exists()
    installs.killed = None
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert (venv / ".ready").exists()


@pytest.mark.parametrize("damage", ["file", "length", "record", "torch"])
def test_a_damaged_package_is_installed_again(setup_env, installs, venv, damage, capsys):
    setup_env.main(["--venv", str(venv)])
    site = setup_env.site_packages(venv)
    path = {
        "file": "typing_extensions.py",
        "length": "typing_extensions.py",
        "torch": "torch/version.py",
        "record": "typing_extensions-1.dist-info/RECORD",
    }[damage]
    if damage == "length":
        (site / path).write_text("")
    else:
        (site / path).unlink()
    capsys.readouterr()
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert (
        "torch" if damage == "torch" else "typing_extensions"
    ) + "-1 is damaged" in capsys.readouterr().out
    assert not setup_env.damaged(venv)
    assert (site / path).read_text()


def test_a_nightly_is_replaced_by_the_tested_version(setup_env, installs, venv):
    setup_env.main(["--venv", str(venv)])
    site = setup_env.site_packages(venv)
    text = "__version__ = '2.14.0.dev20261101+cu130'\ncuda: Optional[str] = '13.0'\n"
    (site / "torch/version.py").write_text(text)
    (site / "torch-1.dist-info/RECORD").write_text(f"torch/version.py,sha256=0,{len(text)}\n")
    installs.reachable = True
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert setup_env.torch_build(venv) == ("2.13.0+x", None)


def test_packages_that_are_not_pinned_are_their_owners(setup_env, installs, venv):
    site = setup_env.site_packages(venv)
    (site / "mine-1.dist-info").mkdir()
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert (site / "mine-1.dist-info").is_dir()


def test_what_cannot_be_imported_is_not_ready(setup_env, installs, venv, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "IMPORTS", ("json", "no_such_library"))
    assert setup_env.main(["--venv", str(venv)]) == 3
    assert "no_such_library was installed and cannot be imported" in capsys.readouterr().err
    assert not (venv / ".ready").exists()


def test_a_failing_pip_is_a_failure(setup_env, venv, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "pip", lambda *_: False)
    assert setup_env.main(["--venv", str(venv)]) == 3
    assert "pip could not install PyTorch" in capsys.readouterr().err
    assert not (venv / ".ready").exists()


# Environments that are broken, or something else


@pytest.mark.slow
def test_an_environment_whose_python_is_gone_is_made_anew(setup_env, installs, venv, capsys):
    setup_env.main(["--venv", str(venv)])
    for link in (venv / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/gone/python3")
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert "has no Python that runs: made anew" in capsys.readouterr().out
    assert setup_env.runs(venv, "import pip")


@pytest.mark.slow
def test_an_environment_without_pip_is_given_one_and_keeps_what_it_has(setup_env, installs, venv):
    site = setup_env.site_packages(venv)
    for path in site.glob("pip*"):
        shutil.rmtree(path)
    (site / "mine.py").touch()
    assert setup_env.main(["--venv", str(venv)]) == 0
    assert setup_env.runs(venv, "import pip")
    assert (site / "mine.py").exists()


def test_a_folder_of_something_else_is_left_alone(setup_env, installs, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.md").write_text("# One\n")
    assert setup_env.main(["--venv", str(tmp_path / "thesis")]) == 2
    assert "something else in it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.md"]
    assert not installs.calls


def test_an_old_python_is_refused_with_what_to_do(setup_env, installs, venv, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "LEAST_PYTHON", (3, 99))
    assert setup_env.main(["--venv", str(venv)]) == 3
    assert "make setup PYTHON=" in capsys.readouterr().err


def test_an_unknown_accelerator_is_a_usage_error(setup_env, venv):
    with pytest.raises(SystemExit) as ended:
        setup_env.main(["--venv", str(venv), "--accel", "cu999"])
    assert ended.value.code == 2


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make_hands_over_and_knows_the_home_folder():
    """In single quotes the shell leaves ~ to make."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "setup", "VENV=~/ml_env", "ACCEL=cu126"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": "/home/ada", "MAKEFLAGS": ""},
    )
    assert (
        done.stdout.splitlines()[-1].split(None, 1)[1]
        == "setup_env.py --venv '/home/ada/ml_env' --accel 'cu126'"
    )
