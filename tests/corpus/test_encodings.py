"""Bytes → text: what is known of a file stays, whatever one byte of it is."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.config import CorpusConfig
from forge.core.fsio import sha256_json, write_json
from forge.corpus import exclusions
from forge.corpus.encodings import decode, utf16
from forge.corpus.load import decode as placed
from forge.corpus.load import load
from forge.corpus.readers import extract
from forge.corpus.walk import walk

ENGLISH = "The operator’s panel shows “Ready” — it’s hot at 40 °C. " * 3
GREEK = "Η αντλία λειτουργεί δέκα λεπτά κάθε μέρα. "
RUSSIAN = "Маяк на острове Скарн был построен в 1874 году инженером Идой Хольм после гибели кораблей."
CHINESE = "斯卡恩岛上的灯塔由工程师伊达霍尔姆建造，此前一个冬天里有十一艘船在礁石上沉没。它的灯在黄昏时点亮。"


@pytest.mark.parametrize(("data", "text", "note"), [
    (ENGLISH.encode() + b"Ren\xe9.", ENGLISH + "René.", "one byte was read as Windows-1252"),
    (GREEK.encode() + b"it\x92s", GREEK + "it’s", "one byte was"),
    (GREEK.encode() + b"10\xa0kg \x81", GREEK + "10\xa0kg \ufffd", "2 bytes were"),
    (GREEK.encode() + "’".encode()[:2] + b" cut", GREEK + "\ufffd cut", "one byte was"),
    (b"\xef\xbb\xbf" + GREEK.encode() + b"\xe9", GREEK + "é", "not UTF-8 (byte"),
    (b"Plain words of English, again and again. " * 9 + b"Caf\xe9.", "Plain words of English, again and again. " * 9
     + "Café.", "one byte was"),
    (RUSSIAN.encode("utf-16-le"), RUSSIAN, "UTF-16-LE"), (ENGLISH.encode("utf-16-be"), ENGLISH, "UTF-16-BE"),
    (RUSSIAN.encode("utf-16"), RUSSIAN, "UTF-16-LE with a byte order mark"), (GREEK.encode(), GREEK, "")])
def test_all_but_the_broken_byte_stays_what_it_is(data, text, note):
    made = decode(data)
    assert made.text == text
    assert note in made.note
    assert bool(note) == bool(made.note)


@pytest.mark.parametrize(("text", "name"), [(RUSSIAN, "cp1251"), (CHINESE, "gb18030")])
def test_another_encoding_is_still_found(text, name):
    pytest.importorskip("charset_normalizer")
    assert decode(text.encode(name)).text == text


@pytest.mark.parametrize("name", ["cp932", "euc_jp"])
def test_japanese_is_not_taken_for_chinese_or_korean(name):
    """Their characters share their bytes; only Japanese has kana. Each document alone is of some thirty letters."""
    documents = json.loads((Path(__file__).parent / "languages/ja.json").read_text("utf-8"))["documents"]
    for text in documents.values():
        assert decode(text.encode(name)).text == text


def test_a_file_is_believed_what_it_says_of_itself():
    assert decode("Grüße an alle in Österreich".encode("iso-8859-15"), "iso-8859-15").text.startswith("Grüße")
    assert decode("Grüße".encode("cp1252"), "no-such-name").text  # and is read whatever it says


def test_a_page_with_a_stray_byte_is_still_utf_8():
    pytest.importorskip("selectolax")
    page = f"<meta charset=utf-8><p>{GREEK}".encode() + b"\x92"
    assert extract("a.html", page) == f"{GREEK}’\n"


@pytest.mark.parametrize("data", [b"\x00\x01" * 50, b"PK\x03\x04" + b"\x00\x10" * 40, b"ab\x00", b"\x00" * 40, b""])
def test_what_is_no_text_is_not_utf_16(data):
    assert utf16(data) is None


@pytest.mark.parametrize(("data", "text"), [
    (b"One.\r\rTwo.\rThree", "One.\n\nTwo.\nThree"), (b"One.\r\nTwo.\r\n", "One.\r\nTwo.\r\n"),
    (b"One.\r\r\nTwo", "One.\r\r\nTwo"), (b"\r", "\n")])
def test_line_ends_of_old_macs_are_line_ends(data, text):
    made, offsets, notes = placed(data)
    assert (made, list(offsets), notes) == (text, list(range(len(data) + 1)), ())


@given(st.text(max_size=40), st.binary(max_size=6))
def test_any_bytes_are_text(text, rest):
    data = text.encode("utf-8", "replace") + rest
    made, offsets, notes = placed(data)
    made.encode()  # no half of a surrogate pair is left
    assert len(offsets) == len(made) + 1
    if not notes:
        assert int(offsets[-1]) == len(data)


def test_files_that_are_not_utf_8_by_name_or_text_are_read(tmp_path):
    (tmp_path / "docs").mkdir()
    with open(os.fsencode(tmp_path / "docs") + b"/caf\xe9.md", "wb") as handle:
        handle.write(b"# Cafe\n\nIt opens at nine.\n")
    (tmp_path / "docs" / "wide.txt").write_bytes(RUSSIAN.encode("utf-16-le"))
    (tmp_path / "docs" / "raw.bin").write_bytes(bytes(range(256)))
    found = walk(CorpusConfig(roots=["docs"]), tmp_path)
    assert [file.relative for file in found.files] == ["docs/caf\\xe9.md", "docs/wide.txt"]
    assert [(each.path, each.reason) for each in found.skipped] == [("docs/raw.bin", exclusions.UNKNOWN)]
    assert [load(file, "redact").document.text[:6] for file in found.files] == ["# Cafe", RUSSIAN[:6]]


def test_a_name_that_is_not_utf_8_can_be_written_down(tmp_path):
    value = {"docs/caf\udce9.md": 1}
    write_json(tmp_path / "a.json", value)
    assert b"caf\\udce9.md" in (tmp_path / "a.json").read_bytes()
    assert sha256_json(value) != sha256_json({"docs/caf\udcea.md": 1})
