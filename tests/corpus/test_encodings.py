"""Bytes → text: what is known of a file stays, whatever one byte of it is."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core.config import CorpusConfig
from phoenix_forge.core.fsio import sha256_json, write_json
from phoenix_forge.corpus import exclusions
from phoenix_forge.corpus.encodings import decode, utf16
from phoenix_forge.corpus.load import decode as placed
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.readers import extract
from phoenix_forge.corpus.walk import walk

ENGLISH = "The operator’s panel shows “Ready” — it’s hot at 40 °C. " * 3
GREEK = "Η αντλία λειτουργεί δέκα λεπτά κάθε μέρα. "
RUSSIAN = (
    "Маяк на острове Скарн был построен в 1874 году инженером Идой Хольм после гибели кораблей."
)
CHINESE = "斯卡恩岛上的灯塔由工程师伊达霍尔姆建造，此前一个冬天里有十一艘船在礁石上沉没。它的灯在黄昏时点亮。"


@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        (ENGLISH.encode() + b"Ren\xe9.", ENGLISH + "René.", "one byte was read as Windows-1252"),
        (GREEK.encode() + b"it\x92s", GREEK + "it’s", "one byte was"),
        (GREEK.encode() + b"10\xa0kg \x81", GREEK + "10\xa0kg \ufffd", "2 bytes were"),
        (GREEK.encode() + "’".encode()[:2] + b" cut", GREEK + "\ufffd cut", "one byte was"),
        (b"\xef\xbb\xbf" + GREEK.encode() + b"\xe9", GREEK + "é", "not UTF-8 (byte"),
        (
            b"Plain words of English, again and again. " * 9 + b"Caf\xe9.",
            "Plain words of English, again and again. " * 9 + "Café.",
            "read as cp1252",
        ),
        (RUSSIAN.encode("utf-16-le"), RUSSIAN, "UTF-16-LE"),
        (ENGLISH.encode("utf-16-be"), ENGLISH, "UTF-16-BE"),
        (RUSSIAN.encode("utf-16"), RUSSIAN, "UTF-16-LE with a byte order mark"),
        (GREEK.encode(), GREEK, ""),
    ],
)
def test_all_but_the_broken_byte_stays_what_it_is(data, text, note):
    made = decode(data)
    assert made.text == text
    assert note in made.note
    assert bool(note) == bool(made.note)


WRITTEN = [  # the language, what is written in it, and the encodings that such files are in
    (
        "fr",
        "L’hôtel était fermé : où dormir ? Le garçon, déçu, mangea là une crêpe à la crème.",
        "cp1252 mac-roman",
    ),
    (
        "es",
        "El niño soñó con la montaña; mañana será otro día, pensó. ¿Qué pasó después?",
        "cp1252 cp850",
    ),
    (
        "pl",
        "Każdy człowiek ma prawo do wolności; żadną miarą nie można go więzić bez wyroku sądu.",
        "cp1250 iso8859-2",
    ),
    ("cs", "Všichni lidé se rodí svobodní a sobě rovní co do důstojnosti a práv.", "cp1250 cp852"),
    (
        "tr",
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar; akıl ve vicdana sahiptirler.",
        "cp1254",
    ),
    (
        "lt",
        "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir sąžinė.",
        "cp1257",
    ),
    ("el", GREEK * 2, "cp1253 iso8859-7"),
    ("ru", RUSSIAN, "cp1251 koi8-r cp866 iso8859-5 mac-cyrillic"),
    (
        "en",
        "It’s a “fine” day, he said; don’t go to the keeper’s house before it’s dark.",
        "cp1252 mac-roman",
    ),
    ("vi", "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.", "cp1258"),
    ("he", "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם.", "cp1255"),
    ("ar", "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.", "cp1256 iso8859-6"),
    ("zh", CHINESE, "gb18030"),
    ("zh-hant", "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心。", "big5"),
    ("ja", "灯台は霧の中で霧笛を三十秒ごとに鳴らす。", "cp932 euc_jp iso2022_jp"),
    ("ko", "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", "cp949"),
]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        pytest.param(text, encoding, id=f"{language}-{encoding}")
        for language, text, names in WRITTEN
        for encoding in names.split()
    ],
)
def test_a_sentence_tells_its_encoding(text, encoding):
    assert decode(_written(text, encoding)).text == text


def _written(text: str, encoding: str) -> bytes:
    """Vietnamese of Windows has tones by themselves."""
    if encoding != "cp1258":
        return text.encode(encoding)
    tones = "\u0300\u0301\u0303\u0309\u0323"
    parts = [unicodedata.normalize("NFD", letter) for letter in text]
    return "".join(
        unicodedata.normalize("NFC", "".join(sign for sign in part if sign not in tones))
        + "".join(sign for sign in part if sign in tones)
        for part in parts
    ).encode(encoding)


def test_a_few_letters_tell_little_and_are_read_as_most_are():
    assert decode(b"Caf\xe9 \x93Zur Post\x94").text == "Café “Zur Post”"


@pytest.mark.parametrize("name", ["cp932", "euc_jp"])
def test_japanese_is_not_taken_for_chinese_or_korean(name):
    """Their characters share their bytes. Each document alone is of some thirty letters."""
    documents = json.loads((Path(__file__).parent / "languages/ja.json").read_text("utf-8"))[
        "documents"
    ]
    for text in documents.values():
        assert decode(text.encode(name)).text == text


def test_a_file_is_believed_what_it_says_of_itself():
    assert decode(
        "Grüße an alle in Österreich".encode("iso-8859-15"), "iso-8859-15"
    ).text.startswith("Grüße")
    assert decode("Grüße".encode("cp1252"), "no-such-name").text  # and is read whatever it says


def test_a_page_with_a_stray_byte_is_still_utf_8():
    pytest.importorskip("selectolax")
    page = f"<meta charset=utf-8><p>{GREEK}".encode() + b"\x92"
    assert extract("a.html", page) == f"{GREEK}’\n"


@pytest.mark.parametrize(
    "data", [b"\x00\x01" * 50, b"PK\x03\x04" + b"\x00\x10" * 40, b"ab\x00", b"\x00" * 40, b""]
)
def test_what_is_no_text_is_not_utf_16(data):
    assert utf16(data) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"One.\r\rTwo.\rThree", "One.\n\nTwo.\nThree"),
        (b"One.\r\nTwo.\r\n", "One.\r\nTwo.\r\n"),
        (b"One.\r\r\nTwo", "One.\r\r\nTwo"),
        (b"\r", "\n"),
    ],
)
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
    assert [(each.path, each.reason) for each in found.skipped] == [
        ("docs/raw.bin", exclusions.UNKNOWN)
    ]
    assert [load(file, "redact").document.text[:6] for file in found.files] == [
        "# Cafe",
        RUSSIAN[:6],
    ]


def test_a_name_that_is_not_utf_8_can_be_written_down(tmp_path):
    value = {"docs/caf\udce9.md": 1}
    write_json(tmp_path / "a.json", value)
    assert b"caf\\udce9.md" in (tmp_path / "a.json").read_bytes()
    assert sha256_json(value) != sha256_json({"docs/caf\udcea.md": 1})
