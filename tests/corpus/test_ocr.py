"""Pictures of text, drawn here: read by the extra `ocr`, and named where it is missing or nothing can be read."""

import io
import sys

import numpy as np
import pytest
from corpus.office_files import read, reason

from phoenix_forge.corpus.readers import Unreadable, extract, ocr
from phoenix_forge.corpus.readers.noted import Noted

TEXT = ["The lamp of the tower is lit", "at dusk by one of two keepers."]


@pytest.fixture(scope="module")
def image():
    """Draws lines of text, from one place each."""
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `ocr` is not installed")
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(22)

    def drawn(lines, size=(420, 420)):
        paper = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(paper)
        for x, y, line in lines:
            pen.text((x, y), line, fill="black", font=font)
        return paper

    return drawn


def saved(picture, kind="PNG", **options):
    made = io.BytesIO()
    picture.save(made, kind, **options)
    return made.getvalue()


def page(image):
    return image([(30, 30, TEXT[0]), (30, 62, TEXT[1])])


def test_a_picture_is_its_text_with_its_confidence(image):
    made = extract("a.png", saved(page(image)))
    assert made == " ".join(TEXT) + "\n"
    assert isinstance(made, Noted)
    assert made.notes[0].startswith("text recognised from an image (OCR), confidence 0.9")


def test_a_picture_on_its_side_is_turned(image):
    assert read("a.webp", saved(page(image).rotate(90, expand=True), "WEBP", lossless=True)) == [
        " ".join(TEXT)
    ]


def test_columns_are_read_one_after_the_other_and_pages_in_their_order(image):
    left = ["The first pump runs at", "many turns a minute and", "fills the upper tank."]
    right = ["The second pump is older", "and quieter, so it runs", "while people sleep."]
    lines = [
        (x, 30 + 32 * i, line)
        for x, column in ((30, left), (420, right))
        for i, line in enumerate(column)
    ]
    first = image(lines, (760, 740))
    made = extract("a.tiff", saved(first, "TIFF", save_all=True, append_images=[page(image)]))
    assert made.split("\n\n") == [" ".join(left), " ".join(right), " ".join(TEXT) + "\n"]
    assert [note[:7] for note in made.notes] == ["page 1:", "page 2:"]


def test_a_scanned_page_of_a_pdf_is_read_in_its_place(image):
    pytest.importorskip("pypdfium2")
    made = extract("a.pdf", saved(page(image), "PDF", resolution=100))
    assert made == " ".join(TEXT) + "\n"
    assert made.notes[0].startswith("page 1: text recognised")


def test_what_is_uncertain_is_left_out_and_counted(monkeypatch):
    box = np.array([[0, 0], [200, 0], [200, 20], [0, 20]])
    lines = [
        (box, "A line that is read well.", 0.99),
        (np.add(box, [0, 40]), "Another one of these.", 0.97),
        (np.add(box, [0, 80]), "Thc 1inc", 0.62),
        (np.add(box, [0, 120]), "e # ,", 0.95),
    ]
    monkeypatch.setattr(ocr, "_lines", lambda image: lines)
    found = ocr.recognised(np.zeros((200, 300, 3), np.uint8))
    assert [word.text for word in found.words] == [
        "A line that is read well.",
        "Another one of these.",
    ]
    assert (
        found.note()
        == "text recognised from an image (OCR), confidence 0.98, 2 uncertain lines left out"
    )
    lines[:2] = [(box, "MockBa CTOлица", 0.85), (np.add(box, [0, 40]), "e #", 0.9)]
    assert "illegible" in ocr.recognised(np.zeros((200, 300, 3), np.uint8)).note()


def test_a_leaning_page_is_put_straight():
    lean = np.array([[0.0, 0.0], [1000.0, 30.0], [999.1, 60.0], [-0.9, 30.0]])
    first, second = ocr._placed([lean, np.add(lean, [-1.2, 40])])
    assert first.height < 25
    assert first.bottom > second.top


@pytest.mark.parametrize(
    ("data", "expected"), [(b"\x89PNG\r\n\x1a\n broken", "damaged"), (b"no picture", "damaged")]
)
def test_what_is_no_picture_is_named(image, data, expected):
    assert expected in reason("a.png", data)
    assert reason("a.png", saved(image([]))) == "a picture without text"


def test_without_the_extra_the_fix_is_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(Unreadable, match=r"reading \.jpg needs rapidocr") as caught:
        extract("a.jpg", b"\xff\xd8\xff")
    assert caught.value.fix == "pip install 'phoenix-forge[ocr]'"
