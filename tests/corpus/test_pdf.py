"""PDF files written here, in a font whose widths are known: columns, tables, running lines, and what cannot be read."""

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.readers import Unreadable, extract, ocr, structure
from phoenix_forge.corpus.readers import pdf as pdf_reader
from phoenix_forge.corpus.readers.layout import Line, Table, Word, arranged
from phoenix_forge.corpus.readers.noted import Noted

pytest.importorskip("pypdfium2")


@pytest.fixture(autouse=True)
def without_recognition(monkeypatch):
    """As without the extra `ocr`, whose own tests are elsewhere: a file must not read otherwise where it is there."""
    monkeypatch.setattr(ocr, "is_installed", lambda: False)


SIZE = 10
ADVANCE = 0.6  # of the size, for each letter of Courier
FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>"


def assembled(objects):
    out, places = b"%PDF-1.4\n", []
    for i, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (
            i,
            content if isinstance(content, bytes) else content.encode("latin-1"),
        )
    table = b"".join(b"%010d 00000 n \n" % at for at in places)
    return (
        b"%sxref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (out, len(objects) + 1, table, len(objects) + 1, len(out))
    )


def pdf(*pages, fonts=(FONT,), rotate=0, extra=()):
    """Pages of (x, y, text), or (x, y, text, matrix); of `bytes`, where a page is drawn by its own operators."""
    named = " ".join(f"/F{i} {3 + i} 0 R" for i in range(len(fonts)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", *fonts, *extra]
    objects.insert(2, "null")
    kids = []
    for drawn in pages:
        if not isinstance(drawn, bytes):
            drawn = "\n".join(written(*line) for line in drawn).encode("cp1252")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Rotate {rotate} /Resources << /Font << "
            f"{named.replace('/F0 3', '/F0 4').replace('/F1 4', '/F1 5')} >> >> "
            f"/Contents {len(objects)} 0 R >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    return assembled(objects)


def written(x, y, text, matrix="1 0 0 1"):
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /F0 {SIZE} Tf {matrix} {x} {y} Tm ({escaped}) Tj ET"


def column(x, top, lines, leading=12):
    return [(x, top - leading * i, line) for i, line in enumerate(lines)]


def interleaved(*columns):
    """As a program draws that goes down the page line by line."""
    return sorted((line for each in columns for line in each), key=lambda line: (-line[1], line[0]))


def read(data):
    return extract("a.pdf", data).strip().split("\n\n")


LEFT = [
    "The first pump runs at 1450 turns",
    "a minute and fills the upper tank",
    "in forty minutes of each morning,",
    "as long as the valve stays open.",
]
RIGHT = [
    "The second pump runs at 2900 turns",
    "a minute and fills the lower tank",
    "in ninety minutes of each night,",
    "as long as the gate stays closed.",
]
ELSE = [
    "Water that stands too long in a tank",
    "grows warm, so whoever opens the gate",
    "lets the whole of it run out before",
    "any more is drawn from the river.",
]
TITLE = (60, 700, "A comparison of the two pumps of the station, and of what each of them fills")
AFTER = (60, 500, "Both pumps were tested again in May, and neither of them had lost any water.")


@pytest.mark.parametrize("shift", [0, 3, 5, 6, 9])
@pytest.mark.parametrize("gutter", [10, 14, 40])
@pytest.mark.parametrize(
    "drawn", [interleaved, lambda *columns: [line for each in columns for line in each]]
)
def test_two_columns_below_a_title(shift, gutter, drawn):
    left, right = [*LEFT[:3] * 3, LEFT[3]], [*RIGHT[:3] * 3, RIGHT[3]]
    width = max(map(len, LEFT)) * ADVANCE * SIZE
    lines = drawn(column(60, 670, left), column(60 + width + gutter, 670 - shift, right))
    assert read(pdf([TITLE, *lines, AFTER])) == [
        TITLE[2],
        " ".join(left),
        " ".join(right),
        AFTER[2],
    ]


def test_a_longer_column_goes_on_below_the_other():
    more = [*LEFT, "It was bought in 1987 and has been", "repaired twice since then."]
    assert read(pdf(interleaved(column(60, 670, more), column(320, 670, RIGHT))))[-1] == " ".join(
        RIGHT
    )
    more = [*RIGHT, "It was bought in 1987 and has been", "repaired twice since then."]
    made = read(pdf(interleaved(column(60, 670, LEFT), column(320, 670, more))))
    assert made == [" ".join(LEFT), " ".join(more)]


def test_words_that_are_drawn_over_themselves_are_read_once():
    bold = [
        line for x, y, text in column(60, 700, LEFT) for line in ((x, y, text), (x + 0.4, y, text))
    ]
    assert read(pdf(bold)) == [" ".join(LEFT)]
    assert read(pdf([(60, 700, "the pump the pump the pump")])) == ["the pump the pump the pump"]


def test_a_letter_of_a_font_of_drawings_is_a_bullet():
    drawings = FONT.replace("/Courier", "/Wingdings")
    lines = [written(80, 700 - 12 * i, line) for i, line in enumerate(LEFT)]
    marks = [written(60, 700 - 12 * i, "h").replace("/F0", "/F1") for i in range(len(LEFT))]
    drawn = "\n".join(piece for pair in zip(marks, lines, strict=True) for piece in pair).encode()
    assert read(pdf(drawn, fonts=(FONT, drawings))) == ["\n".join(f"- {line}" for line in LEFT)]


def test_three_columns():
    columns = [[line[i : i + 1] + line[1:24] for line in LEFT] for i in (0,)] + [
        [line[:24] for line in RIGHT]
    ] * 2
    drawn = interleaved(*(column(40 + 180 * i, 600, lines) for i, lines in enumerate(columns)))
    made = " ".join(read(pdf(drawn)))
    assert made == " ".join(line.strip() for lines in columns for line in lines)


def test_lines_set_to_one_width_are_one_column():
    lines, drawn = [*LEFT, *RIGHT, *ELSE], []
    for i, text in enumerate(lines):
        words = text.split()
        space = (260 - sum(map(len, words)) * 6) / (len(words) - 1)
        x = 60.0
        for word in words:
            drawn.append((round(x, 2), 700 - 12 * i, word))
            x += len(word) * 6 + space
    assert " ".join(read(pdf(drawn))) == " ".join(lines)


PUMPS = [
    ["Pump", "Turns", "Fills"],
    ["P1", "1450", "upper tank"],
    ["P2", "2900", "lower tank"],
    ["P3", "", "pond"],
]


def tabled(rows, xs=(60, 160, 260), top=500, leading=14):
    return [
        (x, top - leading * i, cell)
        for i, row in enumerate(rows)
        for x, cell in zip(xs, row, strict=True)
        if cell
    ]


def rule(y):
    return f"55 {y} 500 0.5 re f\n"


def rows_of(data):
    made = extract("a.pdf", data)
    return [block.rows for block in structure("a.pdf", made).blocks if block.kind == "table"]


@pytest.mark.parametrize("leading", [12, 14, 30])
@pytest.mark.parametrize("order", [list, lambda cells: sorted(cells)])
def test_a_tables_cells_stay_with_their_row(leading, order):
    assert rows_of(pdf(order(tabled(PUMPS, leading=leading)))) == [tuple(map(tuple, PUMPS))]


def test_a_cell_of_several_lines():
    lines = [
        ("Name", "Meaning"),
        ("head", "The height to which a pump lifts the"),
        ("", "water, in metres."),
        ("flow", "How much water it lifts in a minute."),
        ("npsh", "What it needs at its inlet, so that it"),
        ("", "does not run dry."),
    ]
    assert rows_of(pdf(tabled(lines, (60, 160)))) == [
        (
            ("Name", "Meaning"),
            ("head", "The height to which a pump lifts the water, in metres."),
            ("flow", "How much water it lifts in a minute."),
            ("npsh", "What it needs at its inlet, so that it does not run dry."),
        )
    ]


def test_cells_of_text_in_all_columns_stay_with_their_row():
    """Where lines are drawn between them; without, nothing tells such a table from two columns."""
    rows = [
        ("What the keeper has to do", "What happens then to the pump"),
        (
            "Open the valve by hand, but|not before the gate is shut.",
            "The water comes in, and|the needle moves.",
        ),
        (
            "Turn the key once to the left.",
            "The pump starts, unless the|oil is too cold, and|the lamp goes on.",
        ),
        ("Wait for a minute and a half.", "The lamp goes out again."),
    ]
    cells, drawn, y = [], [], 700
    for left, right in rows:
        cells += column(60, y, left.split("|")) + column(300, y, right.split("|"))
        y -= 12 * max(left.count("|"), right.count("|")) + 20
        drawn.append(rule(y + 14))
    text = "\n".join(written(*line) for line in interleaved(cells))
    for lines in (
        drawn,
        [line.replace("500 0.5", "240 0.5") + line.replace("55 ", "295 ") for line in drawn],
    ):
        data = pdf("\n".join([text, *lines]).encode())
        assert rows_of(data) == [tuple((a.replace("|", " "), b.replace("|", " ")) for a, b in rows)]
    assert rows_of(pdf(text.encode())) == []


def test_paragraphs_of_two_columns_are_no_rows():
    left = [*column(60, 700, LEFT), *column(60, 640, LEFT), *column(60, 580, LEFT)]
    right = [*column(320, 700, RIGHT), *column(320, 646, RIGHT), *column(320, 584, RIGHT)]
    assert read(pdf(interleaved(left, right))) == [" ".join(LEFT)] * 3 + [" ".join(RIGHT)] * 3


def test_a_cell_across_columns_and_a_table_without_a_header():
    spanning = [
        ["", "Turns of each pump", ""],
        ["Day", "P1", "P2"],
        *([f"{i}. May", str(1450 + i), str(2900 + i)] for i in range(1, 7)),
    ]
    cells = rows_of(pdf(tabled(spanning, (60, 160, 220))))[0]
    assert cells[-1] == ("6. May", "1456", "2906")
    assert ("Day", "P1", "P2") in cells
    numbers = [[str(i), str(i * i), str(i**3)] for i in range(1, 5)]
    assert rows_of(pdf(tabled(numbers))) == [(("", "", ""), *map(tuple, numbers))]


def test_a_page_with_columns_and_a_table():
    lines = interleaved(column(60, 670, LEFT), column(320, 670, RIGHT))
    caption = (
        60,
        560,
        "Table 1. The pumps of the station and what they fill, as they were found in May.",
    )
    after = (60, 400, "The third pump has never been measured, since it stands in the pond itself.")
    made = read(pdf([TITLE, *lines, caption, *tabled(PUMPS), after]))
    assert made[:4] == [TITLE[2], " ".join(LEFT), " ".join(RIGHT), caption[2]]
    assert made[4].split("\n")[2] == "| P1 | 1450 | upper tank |"
    assert made[5:] == [after[2]]


def test_a_table_within_a_column():
    prose = column(330, 700, (RIGHT + [line.lower() for line in LEFT]) * 2, leading=12)
    table = tabled(PUMPS, (60, 120, 180), 620, 15)
    data = pdf(interleaved(column(60, 700, LEFT), table, prose))
    assert rows_of(data) == [tuple(map(tuple, PUMPS))]
    made = read(data)
    assert made[0] == " ".join(LEFT)
    assert "".join(made[2:]).startswith(" ".join(RIGHT))


@pytest.mark.parametrize(("mark", "kind"), [("•", "- "), ("1.", "1. "), ("(a)", "(a) ")])
def test_marks_of_a_list_are_no_column(mark, kind):
    lines = [
        (x, y, text)
        for y, item in ((700, "Open the valve."), (686, "Start the pump."), (672, "Wait."))
        for x, text in ((60, mark), (60 + 6 * len(mark) + 18, item))
    ]
    assert "".join(read(pdf(lines))).count(f"{kind}Open the valve.") == 1
    assert rows_of(pdf(lines)) == []


def test_lists_side_by_side_are_read_one_after_the_other():
    left, right = ["• Low cost", "• Long life", "• No oil"], ["• Loud", "• Heavy", "• Slow start"]
    assert read(pdf(interleaved(column(60, 700, left), column(300, 700, right)))) == [
        "\n".join(item.replace("•", "-") for item in left + right)
    ]


def test_a_turned_page_is_read_as_it_is_shown():
    turned = [(y, 600 - x, text, "0 -1 1 0") for x, y, text in tabled(PUMPS)]
    assert rows_of(
        pdf(
            [(x, y, t, "0 1 -1 0") for (x, y, t) in [(800 - y, x, t) for x, y, t in tabled(PUMPS)]],
            rotate=90,
        )
    ) == [tuple(map(tuple, PUMPS))]
    assert rows_of(pdf(turned, rotate=270)) == [tuple(map(tuple, PUMPS))]


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ("0 1 -1 0", lambda x, y: (600 - y, x)),
        ("0 -1 1 0", lambda x, y: (y, 600 - x)),
        ("-1 0 0 -1", lambda x, y: (500 - x, 700 - y)),
    ],
)
def test_a_page_whose_text_is_turned_is_read_as_it_stands(matrix, turned):
    drawn = [(*turned(x, y), text, matrix) for x, y, text in tabled(PUMPS)]
    assert rows_of(pdf(drawn)) == [tuple(map(tuple, PUMPS))]


def test_names_of_columns_stand_with_their_numbers():
    """Names are wider than the numbers below, which end together at the right."""
    names, ends = ["Loops", "Trees", "Traces", "Flushes"], [160, 200, 245, 290]
    head = [(end - 6 * len(name) + 8, 600, name) for name, end in zip(names, ends, strict=True)]
    rows = [
        ("cube", "25", "27", "29", "3"),
        ("morph", "5", "8", "-", "-"),
        ("nbody", "8", "16", "18", "5"),
        ("sieve", "3", "6", "8", "-"),
    ]
    cells = [(60, 586 - 12 * i, row[0]) for i, row in enumerate(rows)] + [
        (end - 6 * len(cell), 586 - 12 * i, cell)
        for i, row in enumerate(rows)
        for cell, end in zip(row[1:], ends, strict=True)
    ]
    assert rows_of(pdf(head + cells)) == [(("", *names), *rows)]


def test_letters_far_apart_are_not_one_word():
    """Without a space between, as some programs draw a row of numbers."""

    def row(y, *numbers):
        places = "".join(f"({number}) -5000 " for number in numbers)
        return f"BT /F0 10 Tf 60 {y} Td [{places}] TJ ET"

    drawn = "\n".join(
        [row(600, "11", "12", "13"), row(586, "2", "0", "0"), row(572, "31", "32", "33")]
    ).encode()
    assert rows_of(pdf(drawn)) == [
        (("", "", ""), ("11", "12", "13"), ("2", "0", "0"), ("31", "32", "33"))
    ]


def test_a_short_line_before_a_paragraph_is_a_paragraph():
    assert read(pdf(column(60, 700, ["1. Start", *LEFT]))) == ["1. Start", " ".join(LEFT)]


@pytest.mark.parametrize("x", [40, 560])
def test_numbers_of_lines_are_no_text(x):
    lines = column(80, 700, [*LEFT, *[line.lower() for line in RIGHT]])
    numbers = column(x, 700, [*map(str, range(3, 10)), "32S"])
    assert " ".join(read(pdf(interleaved(numbers, lines)))) == " ".join(
        text for _, _, text in lines
    )


def test_numbers_of_a_tables_rows_stay():
    cells = tabled([(str(i), f"pump {i}", f"{i * 97 % 13}") for i in range(1, 12)])
    assert rows_of(pdf(cells))[0][1] == ("1", "pump 1", "6")


def test_text_at_an_angle_does_not_part_the_lines():
    stamp = (20, 300, "arXiv 2611.00001 28 Nov 2026", "0 1 -1 0")
    lines = column(60, 670, LEFT)
    assert read(pdf([stamp, *lines])) == [" ".join(LEFT), stamp[2]]


def test_running_lines_and_page_numbers_go():
    pages, told = [], []
    for i, letter in enumerate("ABCDEF"):
        head = "The station" if i % 2 else "Pumps and tanks"
        number = (60 if i % 2 else 500, 30, str(i + 9))
        told.append(f"Chapter {letter} tells of its pump and of 9 valves.")
        pages.append([(60, 770, head), (60, 700, told[-1]), number])
    assert read(pdf(*pages)) == told


def test_a_chapters_head_with_the_number_of_its_page_goes():
    chapters = ["Pumps", "Pumps", "Tanks", "Valves", "Valves", "Valves"]
    pages = [
        [
            (60, 770, f"Chapter of {name}"),
            (500, 770, str(i + 1)),
            (60, 700, f"Words of page {letter} are kept."),
        ]
        for i, (name, letter) in enumerate(zip(chapters, "ABCDEF", strict=True))
    ]
    assert read(pdf(*pages)) == [f"Words of page {letter} are kept." for letter in "ABCDEF"]


@pytest.mark.parametrize("number", ["{}", "- {} -", "Page {} of 2", "{}/2"])
def test_numbers_of_two_pages_go_and_other_numbers_stay(number):
    pages = [
        [*column(60, 700, LEFT), (60, 600, "42"), (300, 30, number.format(i + 1))] for i in range(2)
    ]
    assert read(pdf(*pages)) == [" ".join(LEFT), "42"] * 2


def test_ligatures_and_hyphens():
    font = (
        "<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding << /Type /Encoding /BaseEncoding "
        "/WinAnsiEncoding /Differences [1 /fi 2 /fl /ff] >> >>"
    )
    lines = column(
        60,
        700,
        [
            "The \x01rst o\x03er of a well-known \x02oor pump was con-",
            "\x01rmed in May, and the well-",
            "known one was not.",
        ],
    )
    assert read(pdf(lines, fonts=(font,))) == [
        "The first offer of a well-known floor pump was confirmed in May, and the well-known one was not."
    ]


# -- what cannot be read -----------------------------------------------------------------------------------------------

CODES = sorted(set("".join(LEFT)))
UNNAMED = (  # a font of shapes that have numbers only
    "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 600 700] /FontMatrix [0.001 0 0 0.001 0 0] /FirstChar 1 "
    f"/LastChar {len(CODES)} /Widths [{'600 ' * len(CODES)}] /Encoding << /Type /Encoding /Differences [1 "
    + " ".join(f"/g{i}" for i in range(len(CODES)))
    + "] >> /CharProcs << "
    + " ".join(f"/g{i} 6 0 R" for i in range(len(CODES)))
    + " >> >>"
)
SHAPE = "<< /Length 39 >>\nstream\n600 0 0 0 500 700 d1 0 0 500 700 re f  \nendstream"


def by_code(codes):
    """A font of shapes with numbers only, which have the codes given."""
    named = " ".join(f"{code} /g{i}" for i, code in enumerate(codes))
    return (
        UNNAMED.partition("/FirstChar")[0]
        + f"/FirstChar 1 /LastChar 126 /Widths [{'600 ' * 126}] /Encoding << "
        f"/Type /Encoding /Differences [{named}] >> /CharProcs << "
        + " ".join(f"/g{i} 6 0 R" for i in range(len(codes)))
        + " >> >>"
    )


@pytest.mark.parametrize(
    ("shift", "readable"), [(0, True), (1, False), (3, False), (4, False), (-3, False)]
)
def test_codes_that_are_letters_all_the_same_are_read(shift, readable):
    codes = sorted({ord(letter) + shift * letter.isalnum() for line in LEFT for letter in line})
    coded = [
        "".join(chr(ord(letter) + shift * letter.isalnum()) for letter in line) for line in LEFT
    ]
    drawn = "\n".join(
        f"BT /F1 10 Tf 60 {700 - 12 * i} Td <{line.encode('latin-1').hex()}> Tj ET"
        for i, line in enumerate(coded)
    ).encode()
    data = pdf(drawn, fonts=(FONT, by_code(codes)), extra=(SHAPE,))
    assert reason(data) is None if readable else "in a font" in reason(data)
    assert not readable or read(data) == [" ".join(LEFT)]


def unnamed(lines):
    drawn = "\n".join(
        f"BT /F1 10 Tf 60 {700 - 12 * i} Td <"
        + "".join(f"{CODES.index(c) + 1:02x}" for c in line)
        + "> Tj ET"
        for i, line in enumerate(lines)
    )
    return drawn.encode()


def mixed(*pages):
    return pdf(*pages, fonts=(FONT, UNNAMED), extra=(SHAPE,))


def test_pages_in_a_font_without_a_character_map_are_named_and_not_read():
    clear = column(60, 700, RIGHT)
    made = extract("a.pdf", mixed(clear, unnamed(LEFT), unnamed(LEFT), clear, unnamed(LEFT)))
    assert isinstance(made, Noted)
    assert made.split("\n\n") == [" ".join(RIGHT), " ".join(RIGHT) + "\n"]
    assert made.notes == (
        "pages 2-3, 5: text in a font that does not say which letters its shapes are; not read; "
        "fix: pip install 'phoenix-forge[ocr]'",
    )
    assert pickle.loads(pickle.dumps(made)).notes == made.notes
    assert extract("a.pdf", mixed(clear)).notes == ()


def test_a_file_without_a_readable_page_says_why():
    with pytest.raises(Unreadable, match="page 1: text in a font") as caught:
        extract("a.pdf", mixed(unnamed(LEFT)))
    assert caught.value.fix == "pip install 'phoenix-forge[ocr]'"


def test_letters_that_no_script_writes_are_noticed():
    wrong = ["²³T¶cy¤ ¶c²T ¤³yc¶T ³c¤y¶a ²¶T¤e ¤¶r³c"] * 6
    with pytest.raises(Unreadable, match="text in a font"):
        extract("a.pdf", pdf(column(60, 700, wrong)))
    units = ["At 20 °C a flow of 5 µm²/s needs 3 m³ for 10 £ or 12 € a day © Forge®"] * 6
    assert "20 °C" in extract("a.pdf", pdf(column(60, 700, units)))
    few = [*RIGHT, "²³T¶cy¤"]
    assert "²³T¶cy¤" in extract("a.pdf", pdf(column(60, 700, few * 3)))


def test_a_page_that_is_an_image_is_named():
    image = b"q 300 0 0 300 60 300 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q"
    made = extract("a.pdf", pdf(column(60, 700, LEFT), image, b""))
    assert made.notes == (
        "page 2: an image without text; not read; fix: pip install 'phoenix-forge[ocr]'",
    )
    with pytest.raises(Unreadable, match="no text layer"):
        extract("a.pdf", pdf(image))


WHOLE = mixed(
    [TITLE, *interleaved(column(60, 670, LEFT), column(320, 670, RIGHT)), *tabled(PUMPS)],
    unnamed(LEFT),
)


def reason(data):
    """Why a file is not read; None where it is, and then its blocks are the whole of its text."""
    try:
        made = extract("a.pdf", data)
    except Unreadable as problem:
        return problem.message
    assert made.strip()
    assert (
        "".join(made[block.start : block.end] for block in structure("a.pdf", made).blocks) == made
    )
    return None


@pytest.mark.parametrize("part", [0.02, 0.2, 0.5, 0.8, 0.95, 0.99])
def test_a_truncated_file_is_read_or_refused(part):
    data = WHOLE[: int(len(WHOLE) * part)]
    refused = reason(data)
    assert refused is None or any(
        word in refused for word in ("damaged", "no text layer", "page 1", "pages")
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40))
def test_a_corrupted_file_is_read_or_refused(seed, count):
    chance = random.Random(seed)
    data = bytearray(WHOLE)
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.choice(b"0 19/<>[]()Rfx\n\xff\x00")
    assert reason(bytes(data)) != ""


places = st.tuples(
    st.floats(0, 600, allow_nan=False),
    st.floats(0, 800, allow_nan=False),
    st.integers(1, 12),
    st.sampled_from([6, 10, 10, 10, 24]),
)


@settings(max_examples=200, deadline=None)
@given(found=st.lists(places, max_size=40), grid=st.booleans())
def test_no_word_is_lost_or_read_twice(found, grid):
    words = []
    for i, (x, y, length, size) in enumerate(found):
        x, y = (x // 150 * 150, y // 40 * 12) if grid else (x, y)
        words.append(Word(f"w{i}" + "x" * length, x, x + 5 * length, y + size, y, i))
    told = []
    for part in arranged(words, 0):
        told += (
            part.text.split()
            if isinstance(part, Line)
            else [
                word for row in part.cells for cell in row for line in cell for word in line.split()
            ]
        )
        assert isinstance(part, Line | Table)
    touching = sorted("".join(told))
    assert touching == sorted("".join(word.text for word in words))


def test_lines_of_a_script_without_spaces_are_joined_without_one():
    parts = [
        Line(text, 0, 50, 400, 700 - 20 * i, 688 - 20 * i, 400, 1)
        for i, text in enumerate(
            [
                "斯卡恩岛上的灯塔由工程师",
                "建造，此前有十一艘船沉没",
                "of the lamp and",
                "the keeper",
            ]
        )
    ]
    assert pdf_reader._blocks(parts, {}) == [
        "斯卡恩岛上的灯塔由工程师建造，此前有十一艘船沉没 of the lamp and the keeper"
    ]
