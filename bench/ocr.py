"""Scanned pages: character error rate, confidence and seconds a page of what Forge recognises in pictures of text.

Usage: python bench/ocr.py [--knowledge DIR] [--font FILE] [--font-zh FILE] [--pages 12]
Each page is A4 at 150 dpi, drawn from public text (XQuAD's paragraphs), leaning by up to one degree, with blur, noise
and JPEG at quality 80, in a PDF without a text layer. A page of a script that the models do not know has to be refused.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))
WIDE, HIGH, DPI = 1240, 1754, 150
MARGIN, SIZE, LEADING, LINES = 130, 22, 33, 44
LANGUAGES = ("en", "de", "zh")
FOREIGN = ("ru", "ar")  # of tests/corpus/languages; letters that the models do not have
LIBRARIES = ("rapidocr", "onnxruntime", "opencv-python-headless", "pypdfium2", "pillow", "numpy")


def wrapped(text: str, font: object) -> list[str]:
    """Lines that fit the page; a text without spaces is broken anywhere."""
    made = [""]
    for piece in re.findall(
        r"[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+\s*|\s+", text
    ):
        if font.getlength(made[-1] + piece.rstrip()) > WIDE - 2 * MARGIN:
            made.append("")
        made[-1] += piece
    return [line.strip() for line in made if line.strip()]


def pages(folder: Path, font: object, count: int, chance: random.Random) -> list[list[list[str]]]:
    """Page → paragraph → lines, from paragraphs of different articles."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))]
    paragraphs = [
        part for text in texts for part in text.split("\n\n") if len(part) > 100 and part[0] != "#"
    ]
    chance.shuffle(paragraphs)
    made: list[list[list[str]]] = []
    while len(made) < count and paragraphs:
        page: list[list[str]] = []
        while paragraphs and sum(map(len, page)) + len(page) < LINES - 12:
            page.append(wrapped(" ".join(paragraphs.pop().split()), font))
        made.append(page)
    return made


def scanned(page: list[list[str]], font: object, chance: random.Random) -> bytes:
    """A PDF of a page as a scanner gives it."""
    from PIL import Image, ImageDraw, ImageFilter

    paper = Image.new("L", (WIDE, HIGH), 250)
    pen = ImageDraw.Draw(paper)
    at = MARGIN
    for paragraph in page:
        for line in paragraph:
            pen.text((MARGIN, at), line, fill=20, font=font)
            at += LEADING
        at += LEADING // 2
    leaning = paper.rotate(chance.uniform(-1, 1), resample=Image.Resampling.BICUBIC, fillcolor=250)
    blurred = np.asarray(leaning.filter(ImageFilter.GaussianBlur(0.6)), dtype=float)
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 10, blurred.shape)
    made = io.BytesIO()
    Image.fromarray((blurred + noise).clip(0, 255).astype(np.uint8)).save(
        made, "PDF", resolution=DPI, quality=80
    )
    return made.getvalue()


def edits(a: str, b: str) -> int:
    """Levenshtein's distance, a row at a time."""
    other = np.array([ord(letter) for letter in b])
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for letter in a:
        replaced = row[:-1] + (other != ord(letter))
        row = np.concatenate([[row[0] + 1], np.minimum(row[1:] + 1, replaced)])
        row = np.minimum.accumulate(row - steps) + steps
    return int(row[-1])


def measured(
    language: str, drawn: list[list[list[str]]], font: object, chance: random.Random
) -> dict:
    from phoenix_forge.corpus.readers import Unreadable, extract

    spaced, solid, letters, confidences, left_out, refused = 0, 0, 0, [], 0, 0
    began = time.monotonic()
    for page in drawn:
        try:
            made = extract("page.pdf", scanned(page, font, chance))
        except Unreadable:
            refused += 1
            continue
        joint = "" if language == "zh" else " "
        right = " ".join(joint.join(paragraph) for paragraph in page)
        said = " ".join(made.replace("\\", "").split())
        spaced += edits(right, said)
        solid += edits(right.replace(" ", ""), said.replace(" ", ""))
        letters += len(right)
        note = made.notes[0]
        confidences.append(float(re.search(r"confidence (\d\.\d+)", note)[1]))
        left_out += int(found[1]) if (found := re.search(r"(\d+) uncertain", note)) else 0
    row = {
        "language": language,
        "pages": len(drawn),
        "characters": letters,
        "refused": refused,
        "character_error_rate": round(spaced / letters, 5) if letters else None,
        "without_spaces": round(solid / letters, 5) if letters else None,
        "confidence": round(fmean(confidences), 3) if confidences else None,
        "lines_left_out": left_out,
        "seconds_a_page": round((time.monotonic() - began) / len(drawn), 2),
    }
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def foreign(language: str) -> str:
    """Some text of a language, out of the tests' own."""
    return (HERE.parent / "tests/corpus/languages" / f"{language}.json").read_text(encoding="utf-8")


def main() -> None:
    from PIL import ImageFont

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--knowledge", type=Path, default=HERE.parent.parent / "shared/knowledge")
    parser.add_argument(
        "--font", default="DejaVuSerif.ttf", help="a font with Latin, Cyrillic and Arabic letters"
    )
    parser.add_argument(
        "--font-zh", help="a font with Chinese letters; without one Chinese is left out"
    )
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument(
        "--languages",
        type=lambda text: text.split(","),
        default=[*LANGUAGES, *FOREIGN],
        help="other rows of the results stay",
    )
    given = parser.parse_args()
    target = HERE / "results" / "ocr.json"
    rows = []
    for language in (name for name in LANGUAGES if name in given.languages):
        path = given.font_zh if language == "zh" else given.font
        if path:
            chance = random.Random(language)
            font = ImageFont.truetype(path, SIZE)
            drawn = pages(
                given.knowledge / f"xquad-{language}" / "documents", font, given.pages, chance
            )
            rows.append(measured(language, drawn, font, chance))
    for language in (name for name in FOREIGN if name in given.languages):
        font = ImageFont.truetype(given.font, SIZE)
        text = " ".join(re.findall(r"[^\W\d_a-zA-Z]{2,}", foreign(language)))[:1800]
        rows.append(
            measured(
                language, [[wrapped(text, font)]] if text else [], font, random.Random(language)
            )
        )
    kept = json.loads(target.read_text())["rows"] if target.exists() else []
    rows = [*(row for row in kept if row["language"] not in given.languages), *rows]
    result = {
        "page": f"A4 at {DPI} dpi, {SIZE} pixels, ±1°, blur 0.6, noise 10, JPEG 80",
        "rows": rows,
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in LIBRARIES},
    }
    target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
