"""forge tools link, and the four commands that it lays: typed by path, as guides do, beside the workspace."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from phoenix_forge.core.report import Silent
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.write import quantize
from phoenix_forge.runtime.llama import Model

ROOT = Path(__file__).resolve().parents[2]
LAID = [
    "build/bin/llama-cli",
    "build/bin/llama-server",
    "build/bin/llama-quantize",
    "convert_hf_to_gguf.py",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(scope="module")
def place(tmp_path_factory, run_forge, tiny_base):
    """A workspace with a base in it, and the tools linked beside it."""
    work = tmp_path_factory.mktemp("repos") / "work"
    work.mkdir()
    (work / "base").symlink_to(tiny_base)
    ran = run_forge("tools", "link", "../llama.cpp", "--json", cwd=work)
    assert ran.code == 0, ran.stderr
    assert ran.json == {"folder": "../llama.cpp", "tools": dict.fromkeys(LAID, "linked")}
    return work


def typed(place, *words, stdin=""):
    return subprocess.run(
        [str(word) for word in words],
        cwd=place,
        env=ENVIRONMENT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def gguf(place):
    """The base as BF16."""
    done = typed(
        place,
        "../llama.cpp/convert_hf_to_gguf.py",
        "base",
        "--outfile",
        "model.gguf",
        "--outtype",
        "bf16",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return place / "model.gguf"


# The commands


@pytest.mark.parametrize("tool", LAID)
def test_each_tells_its_version_and_its_flags(place, tool):
    version = typed(place, f"../llama.cpp/{tool}", "--version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("version: Forge ")
    assert "llama.cpp" in version.stdout


@pytest.mark.parametrize(("outtype", "kind"), [("auto", "BF16"), ("f16", "F16"), ("q8_0", "Q8_0")])
def test_the_converter_writes_what_forge_writes(place, tiny_base, tmp_path, outtype, kind):
    """Run by another Python, as `python convert_hf_to_gguf.py`, it hands over to Forge's."""
    out = tmp_path / "out.gguf"
    done = typed(
        place,
        "python3",
        "-S",
        "../llama.cpp/convert_hf_to_gguf.py",
        "base",
        "--outfile",
        out,
        "--outtype",
        outtype,
        "--model-name",
        "small",
    )
    assert done.returncode == 0, done.stderr
    quantize(tiny_base, None, {kind: tmp_path / "expected.gguf"}, name="small", report=Silent())
    assert digest(out) == digest(tmp_path / "expected.gguf")


def test_the_converter_names_the_file_by_folder_and_type(place, tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "mine")
    assert (
        typed(place, "../llama.cpp/convert_hf_to_gguf.py", folder, "--outtype", "f32").returncode
        == 0
    )
    assert read_header(folder / "mine-F32.gguf").get("general.name") == "mine"


def test_the_quantiser_writes_the_bytes_of_forge_quantize(place, gguf, tiny_base, tmp_path):
    out = tmp_path / "deep" / "out.gguf"
    done = typed(place, "../llama.cpp/build/bin/llama-quantize", gguf.name, out, "q4_k_m", "1")
    assert done.returncode == 0, done.stderr
    name = read_header(gguf).get("general.name")
    quantize(tiny_base, None, {"Q4_K_M": tmp_path / "expected.gguf"}, name=name, report=Silent())
    assert digest(out) == digest(tmp_path / "expected.gguf")
    assert [path.name for path in out.parent.iterdir()] == ["out.gguf"], "nothing is left beside it"


def test_a_quantised_file_is_not_quantised_again(place, gguf, tmp_path):
    quantize(place / "base", None, {"Q8_0": tmp_path / "q8.gguf"}, name="x", report=Silent())
    done = typed(
        place,
        "../llama.cpp/build/bin/llama-quantize",
        tmp_path / "q8.gguf",
        tmp_path / "q4.gguf",
        "Q4_0",
    )
    assert done.returncode == 2
    assert "quantised already" in done.stderr
    assert not (tmp_path / "q4.gguf").exists()


def test_the_cli_answers_as_the_workflow_asks(place, gguf):
    done = typed(
        place,
        "../llama.cpp/build/bin/llama-cli",
        "-m",
        gguf.name,
        "-p",
        "What is Protocol 128?",
        "-n",
        20,
        "--temp",
        "0.7",
        "-s",
        "3",
    )
    assert done.returncode == 0, done.stderr
    with Model(gguf) as model:
        answer = model.chat(
            [{"role": "user", "content": "What is Protocol 128?"}],
            max_tokens=20,
            temperature=0.7,
            seed=3,
        )
    assert done.stdout == f"{answer.text}\n"


def test_without_a_prompt_the_cli_holds_a_conversation(place, gguf):
    done = typed(
        place,
        "../llama.cpp/build/bin/llama-cli",
        "-m",
        gguf.name,
        "-n",
        "3",
        stdin="hello\n/exit\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_server_serves(place, gguf):
    command = [
        "../llama.cpp/build/bin/llama-server",
        "-m",
        gguf.name,
        "--port",
        "0",
        "-c",
        "256",
        "-a",
        "small",
    ]
    with subprocess.Popen(
        command, cwd=place, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as server:
        line = next(line for line in server.stderr if "answers at" in line)
        address = line.split("answers at ")[1].split("/v1")[0]
        with urllib.request.urlopen(f"{address}/v1/models", timeout=30) as answer:
            assert json.load(answer)["data"][0]["id"] == "small"
        server.send_signal(signal.SIGTERM)
        server.stderr.read()
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["llama-cli", "-m", "model.gguf", "--mirostat", "2"],
            ["--mirostat", "-m", "-p", "-n", "--temp", "--version"],
        ),
        (["llama-cli"], ["-m/--model"]),
        (["llama-cli", "-m", "gone.gguf", "-p", "x"], ["gone.gguf"]),
        (["llama-cli", "-m", "model.gguf", "-n", "many"], ["-n", "many"]),
        (["llama-server", "-m", "model.gguf", "--host", "0.0.0.0"], ["API key"]),
        (["llama-quantize", "model.gguf", "out.gguf", "Q9_X"], ["Q9_X", "Q4_K_M"]),
        (["llama-quantize", "gone.gguf", "out.gguf", "Q4_0"], ["gone.gguf"]),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_there_is(place, gguf, words, says):
    done = typed(place, f"../llama.cpp/build/bin/{words[0]}", *words[1:])
    assert done.returncode == 2, done
    assert done.stderr.startswith("error: ")
    assert "fix: " in done.stderr
    assert all(word in done.stderr for word in says), done.stderr
    assert not (place / "out.gguf").exists()


# Linking


def test_linking_again_changes_nothing(place, run_forge):
    before = {name: (place.parent / "llama.cpp" / name).stat().st_mtime_ns for name in LAID}
    ran = run_forge("tools", "link", "../llama.cpp", cwd=place)
    assert ran.code == 0
    assert ran.stdout.splitlines() == [f"../llama.cpp/{name}: unchanged" for name in LAID]
    assert before == {name: (place.parent / "llama.cpp" / name).stat().st_mtime_ns for name in LAID}


def test_what_forge_did_not_write_is_left_alone(tmp_path, run_forge):
    own = tmp_path / "build/bin/llama-cli"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"\x7fELF their own")
    (tmp_path / "build/bin/llama-server").symlink_to("gone")
    (tmp_path / "build/bin/llama-quantize").mkdir()
    ran = run_forge("tools", "link", ".", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert ran.json["tools"] == {**dict.fromkeys(LAID[:3], "left alone"), LAID[3]: "linked"}
    assert own.read_bytes() == b"\x7fELF their own"
    assert not (tmp_path / "build/bin/gone").exists()


def test_a_checkout_is_left_alone(tmp_path, run_forge):
    (tmp_path / "CMakeLists.txt").touch()
    (tmp_path / LAID[3]).write_text("# llama.cpp's own\n")
    unbuilt = run_forge("tools", "link", ".", cwd=tmp_path)
    assert unbuilt.code == 2
    assert "llama-cli" in unbuilt.stderr
    assert "cmake" in unbuilt.stderr
    assert not (tmp_path / "build").exists()
    for name in LAID[:3]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x7fELF")
    built = run_forge("tools", "link", ".", "--json", cwd=tmp_path)
    assert built.json["tools"] == dict.fromkeys(LAID, "left alone")
    assert (tmp_path / LAID[3]).read_text() == "# llama.cpp's own\n"


def test_the_laid_commands_name_an_environment_with_any_path(tmp_path, monkeypatch):
    """Spaces, quotes and dollars in the path of the environment."""
    from phoenix_forge.workflow.llama_cpp_shims import link

    python = tmp_path / "it's a $HOME" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    link(tmp_path / "llama.cpp")
    for name in LAID:
        done = typed(tmp_path, tmp_path / "llama.cpp" / name, "-p", "two words", "")
        assert (
            done.stdout
            == f"-P|-m|phoenix_forge.workflow.llama_tools|{Path(name).name}|-p|two words||"
        ), done.stderr


def test_help(run_forge, tmp_path):
    ran = run_forge("tools", "link", "--help", cwd=tmp_path)
    assert ran.code == 0
    assert ran.stdout.startswith("Usage: forge tools link ")
