"""Text recognition (OCR) by RapidOCR, whose models lie in its wheel: what stands in a picture, line by line.

PP-OCRv6 small knows Chinese, Japanese and the languages in Latin letters. Of another script it makes few signs, or
signs that it is not sure of: by these its lines are known, and left out.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np

from phoenix_forge.corpus.readers.layout import Word

EXTRA = "pip install 'phoenix-forge[ocr]'"
SURE = 0.8  # of a line, from which it is taken; what is printed and read rightly has 0.95 and more
LEGIBLE = 0.9  # of a page, on average
SPARSE = 0.25  # signs a line has for each of its heights, at least: letters that the model does not know are gaps
MARGIN = 0.15  # of a line's height that its box has above the letters, and below
SIDE = 2000  # pixels of a picture's longer side; the library makes larger ones smaller
UPRIGHT = 1.5  # times as high as wide: a line that stands on its end
KEPT = {
    "Global.text_score": 0.0,
    "Global.use_cls": False,
    "Global.log_level": "critical",
    "Global.max_side_len": SIDE,
    # One thread: the same bytes give the same text, and documents are read in parallel as it is.
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """`words` are whole lines, by place in pixels, y up; `confidence` is their mean, weighted by length.

    `left_out` lines of the picture were too uncertain to be taken.
    """

    words: list[Word]
    confidence: float
    left_out: int

    @property
    def is_legible(self) -> bool:
        return bool(self.words) and self.confidence >= LEGIBLE and self.left_out <= len(self.words)

    def note(self) -> str:
        """How sure the recognition was, as a clause."""
        if not self.is_legible:
            return "text that is illegible, or in a script that is neither Latin, Chinese nor Japanese; not read"
        rest = (
            f", {self.left_out} uncertain line{'s' if self.left_out > 1 else ''} left out"
            if self.left_out
            else ""
        )
        return f"text recognised from an image (OCR), confidence {self.confidence:.2f}{rest}"


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))


def recognised(image: np.ndarray) -> Recognised | None:
    """What stands in a picture, (height, width, 3) in the order blue, green, red; None where nothing does.

    A picture that lies on its side, or on its head, is turned first.
    """
    found = _lines(image)
    if not found:
        return None
    tall = sum(_is_tall(box) for box, _, _ in found) * 2 > len(found)
    sure = _certainty(found) >= LEGIBLE * sum(len(text) for _, text, _ in found)
    for turns in (1, 3) if tall else () if sure else (2,):
        turned = _lines(np.ascontiguousarray(np.rot90(image, turns)))
        found = max(found, turned, key=_certainty)
    words = _placed([box for box, _, _ in found])
    kept: list[Word] = []
    scores: list[tuple[float, int]] = []
    for word, (_, text, score) in zip(words, found, strict=True):
        signs = len("".join(text.split()))
        if score >= SURE and signs >= SPARSE * (word.right - word.left) / max(word.height, 1.0):
            word.text, word.order = text, len(kept)
            kept.append(word)
            scores.append((score, signs))
    total = sum(signs for _, signs in scores)
    return Recognised(
        kept,
        sum(score * signs for score, signs in scores) / total if total else 0.0,
        len(found) - len(kept),
    )


@lru_cache(maxsize=1)
def _engine() -> Any:
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(1)
    return RapidOCR(params=KEPT)


def _lines(image: np.ndarray) -> list[tuple[np.ndarray, str, float]]:
    """Four corners (x, y down), text and confidence of each line."""
    made = _engine()(image)
    if made.txts is None or made.boxes is None:
        return []
    return [
        (np.asarray(box, dtype=float), " ".join(text.split()), float(score))
        for box, text, score in zip(made.boxes, made.txts, made.scores, strict=True)
        if text.strip()
    ]


def _certainty(lines: list[tuple[np.ndarray, str, float]]) -> float:
    return sum(len(text) * score for _, text, score in lines if score >= SURE)


def _is_tall(box: np.ndarray) -> bool:
    width, height = np.ptp(box, axis=0)
    return bool(height > UPRIGHT * width)


def _placed(boxes: list[np.ndarray]) -> list[Word]:
    """Lines by place, as if the page lay straight: the longer a line is, the better it says how the page leans."""
    longest = sorted(boxes, key=lambda box: -math.dist(box[0], box[1]))[: max(3, len(boxes) // 2)]
    lean = median(math.atan2(box[1][1] - box[0][1], box[1][0] - box[0][0]) for box in longest)
    turn = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
    words = []
    for box in boxes:
        level = box @ turn
        (left, top), (right, bottom) = level.min(axis=0), level.max(axis=0)
        inset = MARGIN * (bottom - top)
        words.append(
            Word("", float(left), float(right), float(-top - inset), float(-bottom + inset))
        )
    return words
