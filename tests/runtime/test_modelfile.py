"""The Modelfile: written text reads back the same, and Ollama's grammar is kept to."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.catalog.families import QWEN2
from forge.core.config import GenerationConfig
from forge.errors import UsageError
from forge.runtime.modelfile import PARAMETERS, ROLES, Modelfile, build, lossy, parse, write

texts = st.text().filter(lambda t: '"""' not in t)
numbers = {int: st.integers(), float: st.floats(allow_nan=False, allow_infinity=False), str: texts}
parameters = st.sampled_from(sorted(PARAMETERS)).flatmap(
    lambda name: st.tuples(st.just(name), numbers.get(PARAMETERS[name], st.booleans())))
words = st.from_regex(r"[\w./:-]+", fullmatch=True).filter(str.isprintable)
modelfiles = st.builds(
    Modelfile, from_=words, template=st.none() | texts, system=st.none() | texts, adapter=st.none() | words,
    parameters=st.lists(parameters).map(tuple), license=st.lists(texts).map(tuple),
    messages=st.lists(st.tuples(st.sampled_from(ROLES), texts)).map(tuple), requires=st.none() | words)


@given(modelfiles)
def test_written_text_reads_back_the_same(m: Modelfile) -> None:
    assert parse(write(m)) == m


@given(st.text(alphabet='FROMPARTE "\n#\tsx1', max_size=60) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):  # any other exception is a bug
        assert parse(text).from_ is not None


def test_the_built_file_holds_everything_ollama_would_guess() -> None:
    m = build("models/gguf/x-Q4_K_M.gguf", QWEN2, system='You are "Guardian".\nBe brief.',
              generation=GenerationConfig(), num_ctx=4096)
    assert write(m) == (
        "FROM ./models/gguf/x-Q4_K_M.gguf\n"
        f'TEMPLATE """{QWEN2.go_template}"""\n'
        'SYSTEM """You are "Guardian".\nBe brief."""\n'
        "PARAMETER num_ctx 4096\nPARAMETER temperature 0.7\nPARAMETER top_p 0.9\n"
        'PARAMETER stop """<|im_end|>"""\nPARAMETER stop """<|endoftext|>"""\n')
    assert m.options() == {"num_ctx": 4096, "temperature": 0.7, "top_p": 0.9, "stop": ["<|im_end|>", "<|endoftext|>"]}


def test_forms_that_ollama_reads() -> None:
    m = parse('# a comment\r\nfrom ./a b.gguf\r\n\nParameter stop "<|im_end|>"\nPARAMETER num_ctx 2048\n'
              'SYSTEM one line\nMESSAGE user Hello: you\nMESSAGE assistant """two\nlines"""\nLICENSE """MIT"""\n'
              'TEMPLATE "{{ .Prompt }}\nend"\nREQUIRES 0.17.1')
    assert m == Modelfile("./a b.gguf", template="{{ .Prompt }}\nend", system="one line",
                          parameters=(("stop", "<|im_end|>"), ("num_ctx", 2048)), license=("MIT",),
                          messages=(("user", "Hello: you"), ("assistant", "two\nlines")), requires="0.17.1")


@pytest.mark.parametrize(("text", "line", "words"), [
    ("FROM x\nNONSENSE y", 2, "unknown instruction"),
    ('FROM x\n\nSYSTEM """never\nclosed', 3, "never closed"),
    ("FROM x\nPARAMETER temprature 1", 2, "unknown parameter"),
    ("FROM x\nPARAMETER num_ctx many", 2, "cannot be 'many'"),
    ("FROM x\nPARAMETER stop", 2, "not an instruction"),
    ('FROM x\nSYSTEM """a\nb"""\nMESSAGE robot hi', 4, "role 'robot'"),
    ("FROM x\nFROM y", 2, "second FROM"),
    ("FROM", 1, "not an instruction"),
])
def test_errors_name_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(UsageError, match=f"line {line}: .*{words}"):
        parse(text)


def test_a_file_without_from_is_refused() -> None:
    with pytest.raises(UsageError, match="no FROM"):
        parse("SYSTEM hi\n")


def test_what_the_grammar_cannot_hold_is_refused_or_named() -> None:
    with pytest.raises(UsageError, match="cannot express"):
        write(Modelfile("x", system='use """ here'))
    with pytest.raises(UsageError, match="FROM cannot hold"):
        write(Modelfile("x\ny"))
    with pytest.raises(UsageError, match="no parameter"):
        write(Modelfile("x", parameters=(("tempo", 1),)))
    assert lossy(Modelfile("x", system="a\u00a0b", messages=(("user", "family \U0001F469\u200d\U0001F466"),))) == [
        "SYSTEM: `ollama create -f` drops U+00A0", "MESSAGE user: `ollama create -f` drops U+200D"]
    assert lossy(Modelfile("x", system="tabs\tand\nlines, ümläuts, 漢字")) == []
