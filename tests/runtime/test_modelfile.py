"""The Modelfile: written text reads back the same, and Ollama's grammar is kept to."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.errors import UsageError
from phoenix_forge.runtime.modelfile import (
    DEPRECATED,
    LARGEST,
    PARAMETERS,
    ROLES,
    Modelfile,
    build,
    lossy,
    parse,
    write,
)

texts = st.text().filter(lambda t: '"""' not in t)
numbers = {
    "_integer": st.integers(-(2**63), 2**63 - 1),
    "_boolean": st.booleans(),
    "str": texts,
    "_real": st.floats(allow_nan=False, allow_infinity=False, width=32).filter(
        lambda v: abs(v) < LARGEST
    ),
}
parameters = st.sampled_from(sorted(PARAMETERS)).flatmap(
    lambda name: st.tuples(st.just(name), numbers[PARAMETERS[name].__name__])
)
words = st.from_regex(r"[\w./:-]+", fullmatch=True).filter(str.isprintable)
versions = st.from_regex(r"v?(0|[1-9][0-9]?)(\.(0|[1-9][0-9]?)){0,2}", fullmatch=True)
modelfiles = st.builds(
    Modelfile,
    from_=words,
    more=st.lists(words, max_size=2).map(tuple),
    template=st.none() | texts,
    system=st.none() | texts,
    adapter=st.none() | words,
    parameters=st.lists(parameters).map(tuple),
    license=st.lists(texts).map(tuple),
    messages=st.lists(st.tuples(st.sampled_from(ROLES), texts)).map(tuple),
    requires=st.none() | versions,
    renderer=st.none() | words,
    parser=st.none() | words,
    draft=st.none() | words,
)


@given(modelfiles)
def test_written_text_reads_back_the_same(m: Modelfile) -> None:
    assert parse(write(m)) == m


@given(st.text(alphabet='FROMPARTE "\n#\tsx1', max_size=60) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):  # any other exception is a bug
        assert parse(text).from_ is not None


def test_the_built_file_holds_everything_ollama_would_guess() -> None:
    m = build(
        "models/gguf/x-Q4_K_M.gguf",
        QWEN2.go_template,
        QWEN2.stops,
        system='You are "Guardian".\nBe brief.',
        generation=GenerationConfig(),
        num_ctx=4096,
    )
    assert write(m) == (
        "FROM ./models/gguf/x-Q4_K_M.gguf\n"
        f'TEMPLATE """{QWEN2.go_template}"""\n'
        'SYSTEM """You are "Guardian".\nBe brief."""\n'
        'PARSER """passthrough"""\n'
        "PARAMETER num_ctx 4096\nPARAMETER temperature 0.7\nPARAMETER top_p 0.9\nPARAMETER repeat_penalty 1.0\n"
        'PARAMETER stop """<|im_end|>"""\nPARAMETER stop """<|endoftext|>"""\n'
    )
    assert m.options() == {
        "num_ctx": 4096,
        "temperature": 0.7,
        "top_p": 0.9,
        "repeat_penalty": 1.0,
        "stop": ["<|im_end|>", "<|endoftext|>"],
    }


def test_forms_that_ollama_reads() -> None:
    m = parse(
        '# a comment\r\nfrom ./a b.gguf\r\n\nParameter stop "<|im_end|>"\nPARAMETER num_ctx 2048\n'
        'SYSTEM one line\nMESSAGE user Hello: you\nMESSAGE assistant """two\nlines"""\nLICENSE """MIT"""\n'
        'TEMPLATE "{{ .Prompt }}\nend"\nREQUIRES 0.17.1'
    )
    assert m == Modelfile(
        "./a b.gguf",
        template="{{ .Prompt }}\nend",
        system="one line",
        parameters=(("stop", "<|im_end|>"), ("num_ctx", 2048)),
        license=("MIT",),
        messages=(("user", "Hello: you"), ("assistant", "two\nlines")),
        requires="0.17.1",
    )


def test_every_instruction_of_the_grammar() -> None:
    """Those that Ollama's parser knows (parser/parser.go, isValidCommand); what it reads over is read over."""
    text = (
        "FROM ./m.gguf\nFROM ./mmproj.gguf\nADAPTER ./lora.gguf\nTEMPLATE {{ .Messages }}\nSYSTEM one\n"
        "SYSTEM two\nPARAMETER use_mmap T\nPARAMETER mirostat 1\nMESSAGE user hi\nLICENSE MIT\nLICENSE CC0\n"
        "REQUIRES v0.17.1\nRENDERER qwen3\nPARSER passthrough\nDRAFT ./draft.gguf\n"
    )
    assert "mirostat" in DEPRECATED
    assert parse(text) == Modelfile(
        "./m.gguf",
        ("./mmproj.gguf",),
        "{{ .Messages }}",
        "two",
        (("use_mmap", True),),
        ("MIT", "CC0"),
        (("user", "hi"),),
        "./lora.gguf",
        "v0.17.1",
        "qwen3",
        "passthrough",
        "./draft.gguf",
    )
    assert parse("FROM x\rSYSTEM a\rLICENSE b") == Modelfile("x", system="a", license=("b",))
    assert parse('FROM x\nSYSTEM """a\r\nb\rc"""').system == "a\r\nb\rc"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("FROM x\nNONSENSE y", 2, "unknown instruction"),
        ('FROM x\n\nSYSTEM """never\nclosed', 3, "never closed"),
        ("FROM x\nPARAMETER temprature 1", 2, "unknown parameter"),
        ("FROM x\nPARAMETER num_ctx many", 2, "cannot be 'many'"),
        ("FROM x\nPARAMETER stop", 2, "not an instruction"),
        ('FROM x\nSYSTEM """a\nb"""\nMESSAGE robot hi', 4, "role 'robot'"),
        ("FROM x\nDRAFT y\nDRAFT z", 3, "second DRAFT"),
        ("FROM", 1, "not an instruction"),
        ("FROM x\nREQUIRES newest", 2, "no version"),
        ("FROM x\r\nPARAMETER num_ctx 1_024", 2, "cannot be '1_024'"),
        ("FROM x\rPARAMETER temperature 1e39", 2, "cannot be '1e39'"),
        ("FROM x\nPARAMETER use_mmap yes", 2, "cannot be 'yes'"),
        ("FROM x\nPARAMETER  num_ctx 5", 2, "not an instruction"),
        ("FROM x\nPARAMETER seed 9223372036854775808", 2, "cannot be"),
    ],
)
def test_errors_name_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(UsageError, match=f"line {line}: .*{words}"):
        parse(text)


def test_a_file_without_from_is_refused() -> None:
    with pytest.raises(UsageError, match="no FROM"):
        parse("SYSTEM hi\n")


def test_what_the_grammar_cannot_hold_is_refused_or_named() -> None:
    quoting = Modelfile("x", system='use """ here')
    assert parse(write(quoting)).system == "use ''' here"
    assert "cannot express" in lossy(quoting)[0]
    with pytest.raises(UsageError, match="FROM cannot hold"):
        write(Modelfile("x\ny"))
    with pytest.raises(UsageError, match="no parameter"):
        write(Modelfile("x", parameters=(("tempo", 1),)))
    for name, value in (
        ("seed", 2**63),
        ("temperature", 1e39),
        ("temperature", float("nan")),
        ("num_ctx", 1.5),
    ):
        with pytest.raises(UsageError, match=f"{name} cannot be"):
            write(Modelfile("x", parameters=((name, value),)))
    with pytest.raises(UsageError, match="REQUIRES cannot be 'new'"):
        write(Modelfile("x", requires="new"))
    assert lossy(
        Modelfile("x", system="a\u00a0b", messages=(("user", "family \U0001f469\u200d\U0001f466"),))
    ) == [
        "SYSTEM: `ollama create -f` drops U+00A0",
        "MESSAGE user: `ollama create -f` drops U+200D",
    ]
    assert lossy(Modelfile("x", system="tabs\tand\nlines, ümläuts, 漢字")) == []
