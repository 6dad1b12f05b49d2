"""The llama.cpp runtime: answers, refusals, silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from phoenix_forge.core.proc import SPINS
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.runtime import llama
from phoenix_forge.runtime.llama import Model, check

HELLO = [{"role": "user", "content": "Hi"}]


def test_chat_streams_what_it_returns_and_greedy_repeats(tiny: Path) -> None:
    pieces: list[str] = []
    with Model(tiny, num_ctx=256) as model:
        answer = model.chat(HELLO, max_tokens=8, greedy=True, on_text=pieces.append)
        again = model.chat(HELLO, max_tokens=8, greedy=True)
    assert "".join(pieces) == answer.text == again.text != ""
    assert 0 < answer.tokens <= 8
    assert answer.stopped == (answer.tokens < 8)


def test_a_schema_is_kept_to_by_conversations_computed_together(tiny: Path) -> None:
    """A model of random weights writes JSON of the schema, or its beginning: nothing else can be chosen."""
    schema = {
        "type": "object",
        "properties": {"lit": {"type": "boolean"}, "lamps": {"enum": ["one", "two"]}},
        "required": ["lit", "lamps"],
        "additionalProperties": False,
    }
    with Model(tiny, num_ctx=256, parallel=2) as model, ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(
                lambda seed: model.chat(
                    HELLO, max_tokens=150, temperature=2.0, top_p=1.0, seed=seed, schema=schema
                ),
                range(6),
            )
        )
    for answer in answers:
        assert answer.stopped
        assert set(json.loads(answer.text)) == {"lit", "lamps"}
        assert answer.prompt_tokens > len(HELLO[0]["content"])


def test_seed_decides_the_sample(tiny: Path) -> None:
    with Model(tiny, num_ctx=256) as model:
        texts = [
            model.chat(HELLO, max_tokens=24, temperature=2.0, top_p=1.0, seed=s).text
            for s in (1, 1, 2, 3)
        ]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_conversation_longer_than_the_context_is_refused(tiny: Path) -> None:
    with Model(tiny, num_ctx=256) as model, pytest.raises(UsageError, match="context") as caught:
        model.chat([{"role": "user", "content": "word " * 300}])
    assert "num_ctx" in str(caught.value.fix)


def test_interruption_ends_the_generation_and_the_model_stays_usable(tiny: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with Model(tiny, num_ctx=256) as model:
        with pytest.raises(KeyboardInterrupt):
            model.chat(HELLO, max_tokens=200, on_text=interrupt)
        assert model.chat(HELLO, max_tokens=4, greedy=True).tokens > 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"", "not a GGUF"), (b"PK\x03\x04zip", "not a GGUF")],
)
def test_what_is_no_gguf_is_refused_before_loading(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        check(path)


@pytest.mark.parametrize("damage", ["tail cut off", "header only", "garbage after the magic"])
def test_damaged_gguf_is_explained(tmp_path: Path, tiny: Path, damage: str) -> None:
    whole, path = tiny.read_bytes(), tmp_path / "damaged.gguf"
    path.write_bytes(
        {
            "tail cut off": whole[:-5000],
            "header only": whole[:100],
            "garbage after the magic": b"GGUF" + bytes(range(256)) * 20,
        }[damage]
    )
    with pytest.raises(StageFailed, match=r"cannot load .*damaged\.gguf.*: \w+"):
        llama.require_loadable(path)
    with pytest.raises(UsageError, match=r"damaged\.gguf is (not a sound GGUF file|cut short)"):
        Model(path)


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        ("import os; os.abort()", r"crashes \(signal 6\)"),
        ("import time; time.sleep(60)", "did not finish loading"),
    ],
)
def test_a_file_that_crashes_or_hangs_the_library_is_an_error_here(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, trial: str, words: str
) -> None:
    monkeypatch.setattr(llama, "TRIAL", trial)
    monkeypatch.setattr(llama, "TRIAL_SECONDS", 1.0)
    tiny.touch()  # another modification time: not known as loadable
    with pytest.raises(StageFailed, match=words):
        Model(tiny)


def test_a_model_dropped_at_once_does_not_hang(tiny: Path) -> None:
    """Seven of ten tries hung before start() waited for the library's loop."""
    script = (
        "from pathlib import Path; from phoenix_forge.runtime.llama import Model\n"
        f"for _ in range(8): Model(Path({str(tiny)!r}), num_ctx=64).close()"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)


def test_nothing_reaches_stdout_or_stderr(tiny: Path) -> None:
    script = (
        "from pathlib import Path; from phoenix_forge.runtime.llama import Model\n"
        f"with Model(Path({str(tiny)!r}), num_ctx=64) as m:\n"
        "    m.chat([{'role': 'user', 'content': 'x'}], max_tokens=2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_layers_go_where_the_library_fits_them_unless_a_number_is_given(tiny: Path) -> None:
    """Its fitting gives up where n_gpu_layers is anything but -1."""
    fitted = llama.parameters(tiny, num_ctx=64, parallel=1, verbose=False)
    given = llama.parameters(tiny, num_ctx=64, parallel=1, verbose=False, gpu_layers=7)
    assert (fitted.fit_params, fitted.n_gpu_layers, given.fit_params, given.n_gpu_layers) == (
        True,
        -1,
        False,
        7,
    )


def test_free_memory_is_that_of_gpus_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = llama.library().ggml_backend_dev_type
    devices = [
        ("CPU", "Xeon", kinds.GGML_BACKEND_DEVICE_TYPE_CPU, 20),
        ("BLAS", "x", kinds.GGML_BACKEND_DEVICE_TYPE_ACCEL, 0),
        ("CUDA0", "H100", kinds.GGML_BACKEND_DEVICE_TYPE_GPU, 80),
        ("Vulkan0", "Iris", kinds.GGML_BACKEND_DEVICE_TYPE_IGPU, 8),
    ]
    seen = SimpleNamespace(
        ggml_backend_dev_type=kinds,
        get_device_info=lambda: [
            {"name": name, "description": what, "type": kind, "memory_free": free}
            for name, what, kind, free in devices
        ],
    )
    monkeypatch.setattr(llama, "library", lambda: seen)
    assert llama.gpu_memory() == {"CUDA0 (H100)": 80, "Vulkan0 (Iris)": 8}


@pytest.mark.parametrize(
    "begins",
    [
        "from phoenix_forge.runtime import llama; llama.library()",
        "from phoenix_forge.cli.boundary import guarded; guarded(lambda: 0)",
    ],
)
@pytest.mark.parametrize(
    ("given", "count"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
)
def test_threads_wait_briefly_unless_the_user_says_how(
    begins: str, given: dict[str, str], count: str | None
) -> None:
    """GNU OpenMP reads its settings once, before the first import of what uses it is over."""
    script = (
        "import os, sys; import phoenix_forge.runtime.llama\n"
        "assert not {'xllamacpp', 'torch'} & sys.modules.keys()\n"
        f"{begins}\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    )
    ours = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=ours | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(count)


@pytest.mark.real
def test_the_real_model_answers_and_stops(real: Path) -> None:
    with Model(real, num_ctx=256) as model:
        answer = model.chat(
            [{"role": "user", "content": "What is 2+2? Answer with the number only."}],
            max_tokens=8,
            greedy=True,
        )
    assert answer.stopped
    assert "4" in answer.text
