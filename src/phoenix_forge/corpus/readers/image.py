"""Pictures (PNG, JPEG, TIFF, WebP, BMP): the text that is recognised in them, page by page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from phoenix_forge.corpus.document import Held
from phoenix_forge.corpus.readers import Unreadable, markdown, ocr, pdf
from phoenix_forge.corpus.readers.noted import Noted

PIXELS = 150_000_000  # an A0 poster at 200 dpi has 60 million
PAGES = 1000  # of a TIFF file
SMALL = 16  # pixels of a side; less holds no letter
read = markdown.read


def extract(data: bytes) -> str:
    """What stands in a picture as Markdown; Noted, since recognition is never certain.

    Raises Unreadable where the file is damaged or of another format, or nothing in it is legible.
    """
    import rapidocr  # noqa: F401  # named where it is missing: it brings Pillow along

    pages = [_page(pixels, number) for number, pixels in enumerate(_images(data))]
    alone = len(pages) == 1
    held = (Held("pages", len(pages), sum(bool(page.words) for page in pages)),)
    notes = tuple(
        page.note if alone else f"page {page.number + 1}: {page.note}"
        for page in pages
        if page.note
    )
    readable = [page for page in pages if page.words]
    if not notes:
        raise Unreadable("a picture without text", held=held)
    if not readable:
        raise Unreadable(
            notes[0], fix="scan it again, sharper, or give its text as a file of its own", held=held
        )
    return Noted(pdf.written(readable, {}), notes, held)


def _page(pixels: np.ndarray, number: int) -> pdf.Page:
    found = ocr.recognised(pixels)
    if found is None:
        return pdf.Page(number)
    return pdf.Page(number, words=found.words if found.is_legible else [], note=found.note())


def _images(data: bytes) -> Iterator[np.ndarray]:
    """The pictures of a file, blue, green and red; of one that moves the first."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > PIXELS:
                raise Unreadable(
                    f"{opened.width} × {opened.height} pixels: more than can be read",
                    fix="make the picture smaller",
                )
            for page in islice(
                ImageSequence.Iterator(opened), PAGES if opened.format == "TIFF" else 1
            ):
                if min(page.size) >= SMALL:
                    yield _pixels(page)
    except UnidentifiedImageError:
        raise Unreadable("damaged, or not a picture") from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        Image.DecompressionBombError,
    ) as error:  # what Pillow's decoders make of damaged files
        raise Unreadable(f"damaged: {type(error).__name__}") from None


def _pixels(page: Any) -> np.ndarray:
    """As it is to be seen: turned as the camera says, and on white where it is transparent."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(page)
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        values = np.asarray(upright, dtype=float)
        grey = (values / max(float(values.max()), 1.0) * 255).astype(np.uint8)
        return np.stack([grey] * 3, axis=2)
    colours = upright.convert("RGBA")
    paper = Image.new("RGBA", colours.size, "white")
    return np.ascontiguousarray(
        np.asarray(Image.alpha_composite(paper, colours).convert("RGB"))[:, :, ::-1]
    )
