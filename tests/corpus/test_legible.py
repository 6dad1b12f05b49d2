"""What nobody can read is left out and told; language, code and data of any kind stay."""

import base64
import hashlib
import json
import random

import numpy as np
import pytest

from phoenix_forge.corpus.legible import ENCODING, FONT, gated, hidden, unreadable
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.walk import File

NOISE = random.Random(5).randbytes(6000)
RUSSIAN = "Маяк на острове зажигают в сумерках, и смотритель записывает это в журнал. " * 12
CHINESE = "灯塔在黄昏时点亮，守塔人把它写进日志。船只从北方驶来，带着鱼和盐。" * 20
ENGLISH = (
    "The lamp of Harbour Nine is lit at dusk, and the keeper writes it into the log of the island. "
    * 12
)


def western(data):
    """Bytes as an editor shows them that takes them for Windows-1252."""
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


def dump(data):
    rows = (data[at : at + 16] for at in range(0, len(data), 16))
    return "\n".join(f"{i * 16:08x}  {row.hex(' ')}  |{'.' * 16}|" for i, row in enumerate(rows))


MINIFIED = (
    '!function(e,t){"use strict";var n=e.a(t),r=function(e){return e&&e.b?e.c:t.d(e)};for(var i=0;i<n.length;'
    "i++){r(n[i]);if(!n[i].x){break}}e.exports=r}(this,function(e){return e.f(1,2)});" * 4
)
DRAWING = (
    "M8 0C3.58 0 0 3.58 0 8c0 3.54 2.29 6.53 5.47 7.59.4.07.55-.17.55-.38 0-.19-.01-.82-.01-1.49-2.01.37z"
    * 8
)
RUBBISH = {
    "base64 or hashes": base64.b64encode(NOISE).decode(),
    "base64 in lines": base64.encodebytes(NOISE).decode(),
    "hex": NOISE.hex(),
    "hashes": "\n".join(hashlib.sha1(bytes([i])).hexdigest() for i in range(40)),
    "sums": "\n".join(
        f"{hashlib.sha256(bytes([i])).hexdigest()}  a-long-name-of-file-{i}.tar.gz"
        for i in range(40)
    ),
    "a hex dump": dump(NOISE),
    "an array of bytes": ", ".join(f"0x{byte:02x}" for byte in NOISE) + ",",
    "an escaped string": "".join(f"\\x{byte:02x}" for byte in NOISE),
    "minified": MINIFIED,
    "path data": f'<path d="{DRAWING}"/>',
    "utf-8 as 1252": western(RUSSIAN.encode()),
    "1251 as 1252": western(RUSSIAN.encode("cp1251")),
    "utf-8 as 1251": RUSSIAN.encode().decode("cp1251", "replace"),
    "gbk as 1252": western(CHINESE.encode("gb18030")),
    "cid": "".join(f"(cid:{ord(letter)})" for letter in ENGLISH),
    "broken font": ENGLISH.translate(str.maketrans("aeinor", "¶³²¤§¨")),
    "private use": "".join(chr(0xE000 + ord(letter)) for letter in ENGLISH),
}
READABLE = {
    "russian": RUSSIAN,
    "chinese": CHINESE,
    "arabic": "تُضاء منارة الميناء عند الغسق ويكتب الحارس ذلك في السجل. " * 20,
    "thai": "ประภาคารจะจุดไฟตอนพลบค่ำและผู้ดูแลจดลงในสมุดบันทึก" * 20,
    "hindi": "बंदरगाह का दीप शाम को जलाया जाता है और रखवाला उसे लिखता है। " * 20,
    "vietnamese": "Ngọn hải đăng được thắp sáng lúc hoàng hôn, người gác ghi điều đó vào nhật ký. "
    * 12,
    "greek, accents": "Ο φάρος ανάβει το σούρουπο. Él habló: «¡Qué más da!», à été dès Noël. " * 12,
    "a table of values": ", ".join(f"0x{i * 7 % 256:02x}" for i in range(256)),
    "hash in a log": "\n".join(
        f"{hashlib.sha1(bytes([i])).hexdigest()} Lamp {i} gets a new wick" for i in range(40)
    ),
    "numbers": "\n".join(
        " ".join(str((i * 7919 + j * 104729) % 90 + 10) for j in range(16)) for i in range(60)
    ),
    "dense JSON": json.dumps(
        [{"x": i, "y": 2 * i, "name": "lamp"} for i in range(200)], separators=(",", ":")
    ),
    "SQL dump": "INSERT INTO lamps VALUES "
    + ",".join(f"({i},'Nine','1871-05-{i}',NULL)" for i in range(99))
    + ";",
    "LaTeX": r"\frac{a_{1}}{b_{2}}=\sum_{i=0}^{n}\binom{n}{i}x^{i}(1-x)^{n-i};\quad" * 20,
    "links": "\n".join(
        f"- [Lamp {i}](https://example.org/a/long/path/to/the/lamp/{i}/index.html)"
        for i in range(60)
    ),
    "molecule": "\n".join(f"{'CHSC'[i % 4]}  -0.{i}72 1.{i}03 -{i}.5" for i in range(80)),
    "chess": "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq e3 0 1\n" * 20,
    "boxes": "┌────────┬────────┐\n│Lamp    │Keeper  │\n├────────┼────────┤\n│Nine    │Maren   │\n"
    * 20,
    "entities": '<outline text="Lamp" _note="First.&#10;&#10;- one&#10;- two&#10;&lt;b&gt;bold&lt;/b&gt;(y)"/>'
    * 20,
    "genes": "ATGGCCATTGTAATGGGCCGCTGAAAGGGTGCCCGATAG" * 40,
    "long names": "getTheLampOfTheHarbourAndLightItAtDuskWithAMatch " * 40,
    "English in mojibake": ENGLISH.replace("lamp", "lampâ€™s"),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_between_paragraphs_is_left_out_alone(kind):
    text = f"{ENGLISH}\n\n{RUBBISH[kind]}\n\n{RUSSIAN}\n"
    stretches = unreadable(text)
    lost = sum(stretch.end - stretch.start for stretch in stretches)
    assert lost > 0.9 * len(RUBBISH[kind])
    read = gated(text, np.arange(len(text) + 1), text)
    assert not read.fault
    assert read.text.startswith(ENGLISH)
    assert read.text.endswith(RUSSIAN + "\n")
    assert [note.endswith("; not taught") for note in read.notes] == [True]


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_file_of_rubbish_is_no_document(kind):
    text = RUBBISH[kind]
    assert "cannot be read: " in gated(text, np.arange(len(text) + 1), text).fault


@pytest.mark.parametrize("kind", READABLE)
def test_what_can_be_read_stays(kind):
    assert unreadable(READABLE[kind]) == []


def test_kinds_are_told_apart():
    told = {kind: unreadable(text)[0].kind for kind, text in RUBBISH.items()}
    assert told["hex"] == told["hashes"] == told["base64 in lines"] == "base64 or hashes"
    assert told["utf-8 as 1252"] == told["utf-8 as 1251"] == ENCODING
    assert told["broken font"] == told["cid"] == FONT


def test_notes_name_the_lines_of_the_file(tmp_path):
    text = f"# Lamp\n<!-- seen\nby nobody -->\n\n{ENGLISH}\n\n{RUBBISH['a hex dump']}\n\nÄnde.\n"
    path = tmp_path / "a.md"
    path.write_text(text, encoding="utf-8")
    made = load(File(path, "a.md", "a.md"), "redact")
    rows = len(NOISE) // 16
    assert made.document is not None
    assert made.document.notes == (f"lines 7-{7 + rows - 1}: a hex dump (29.2 kB); not taught",)
    assert made.document.text.endswith("…\n\nÄnde.\n")
    data = path.read_bytes()
    at = made.document.text.index("Ände")
    start, end = made.document.span(at, at + 5)
    assert data[start:end].decode() == "Ände."


def test_a_format_that_hides_most_of_a_file_says_so():
    shown = "Lamp. " * 50
    assert hidden(shown, shown) == ()
    (note,) = hidden(shown, shown + "secret comment " * 100)
    assert note.startswith("87 % of the file's letters")
