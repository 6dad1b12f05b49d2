"""ROUGE gives what rouge_score 0.1.2 gives for the same texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.rouge import TYPES, rouge

KINDS = ("rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum")
# Prediction, reference, and what RougeScorer(KINDS).score(reference, prediction) said, F rounded to twelve places. With
# use_stemmer=True it said the same but for the fourth: 0.5 for rouge1, rougeL and rougeLsum. The seed's evaluate.py
# called rouge.compute(predictions=…, references=…) of Hugging Face's evaluate, which does not stem.
GOLDEN = (
    (
        "The lamp of Harbour Nine is lit at dusk by Maren Holt.",
        "Maren Holt, the keeper, lights the lamp of Harbour Nine at dusk.",
        (0.75, 0.545454545455, 0.3, 0.583333333333, 0.583333333333),
    ),
    (
        "The bell rings three times every minute.\nIt was cast in Tarvik.\nThe bell is bronze.",
        "The bell is bronze.\nIt was cast in Tarvik, and rings when fog comes.",
        (0.666666666667, 0.5, 0.384615384615, 0.466666666667, 0.666666666667),
    ),
    (
        "Größe, naïve and 東京: v1.2 costs $3.50.",
        "naïve Größe costs 3.5 in 東京",
        (0.666666666667, 0.375, 0.0, 0.444444444444, 0.444444444444),
    ),
    (
        "Merging merges merged models' weights.",
        "The merge of the model's weight.",
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    ("", "Nothing was said.", (0.0, 0.0, 0.0, 0.0, 0.0)),
    (
        "the the the cat cat\nsat the the",
        "the cat the\nthe sat cat cat",
        (0.8, 0.461538461538, 0.0, 0.666666666667, 0.666666666667),
    ),
)
# Few words, so that many repeat: then it matters which of several longest subsequences is taken.
TEXT = st.lists(st.sampled_from(["a", "b", "c", "d,", "É", "\n"]), max_size=20).map(" ".join)


@pytest.mark.parametrize(("prediction", "reference", "expected"), GOLDEN)
def test_scores_are_those_of_rouge_score(
    prediction: str, reference: str, expected: tuple[float, ...]
):
    assert rouge([prediction], [reference], KINDS) == pytest.approx(
        dict(zip(KINDS, expected, strict=True)), abs=1e-11
    )


def test_several_pairs_give_their_mean():
    predictions, references, expected = zip(*GOLDEN, strict=True)
    means = {kind: sum(row[i] for row in expected) / len(GOLDEN) for i, kind in enumerate(KINDS)}
    assert rouge(predictions, references, KINDS) == pytest.approx(means, abs=1e-11)
    assert tuple(rouge(predictions, references)) == TYPES


@given(TEXT, TEXT)
def test_any_pair_scores_as_in_rouge_score(prediction: str, reference: str):
    scorer = pytest.importorskip(
        "rouge_score.rouge_scorer", reason="rouge-score is not installed"
    ).RougeScorer(KINDS)
    theirs = {kind: score.fmeasure for kind, score in scorer.score(reference, prediction).items()}
    assert rouge([prediction], [reference], KINDS) == pytest.approx(theirs)


@given(TEXT, TEXT)
def test_scores_are_shares_that_do_not_depend_on_the_side(one: str, other: str):
    there, back = rouge([one], [other], KINDS), rouge([other], [one], KINDS)
    assert all(0 <= value <= 1 for value in there.values())
    for kind in ("rouge1", "rouge2", "rouge3", "rougeL"):  # a union of lines is of the reference's
        assert there[kind] == back[kind]
    assert there["rougeL"] <= there["rouge1"]
    assert there["rougeLsum"] <= there["rouge1"]


@given(TEXT.filter(lambda text: any(c in text for c in "abcd")))
def test_a_text_scores_one_with_itself(text: str):
    assert set(rouge([text], [text], ["rouge1", "rougeL", "rougeLsum"]).values()) == {1.0}


@pytest.mark.parametrize("kind", ["rouge0", "rouge12", "rougeW", "bleu", ""])
def test_an_unknown_kind_is_named(kind: str):
    with pytest.raises(UsageError, match=f"'{kind}' is no kind of ROUGE"):
        rouge(["a"], ["a"], [kind])


def test_pairs_have_to_pair():
    with pytest.raises(ValueError, match="longer"):
        rouge(["a"], ["a", "b"])
