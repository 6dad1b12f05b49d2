"""Hashes of words and n-grams against the same thing done with strings."""

import re
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.corpus.grams import filtered, grams, identities, maybe, some_at_a_time, words

texts = st.lists(st.text(st.sampled_from("aAbBcéÉ_1 .,-\n\0Σİ—"), max_size=24), max_size=8)


def naive(text):
    return re.findall(r"[0-9a-z_\x80-\U0010ffff]+", text.replace("\0", " ").lower())


@given(texts)
def test_words_and_identities_agree_with_strings(many):
    found = words(many)
    assert np.bincount(found.text, minlength=len(many)).tolist() == [
        len(naive(text)) for text in many
    ]
    by_word = defaultdict(set)
    for word, value in zip(
        [w for text in many for w in naive(text)], found.hashes.tolist(), strict=True
    ):
        by_word[word].add(value)
    assert all(len(values) == 1 for values in by_word.values())
    assert len({min(values) for values in by_word.values()}) == len(by_word)
    whole = identities(found).tolist()
    for i, a in enumerate(many):
        for j, b in enumerate(many):
            assert (whole[i] == whole[j]) == (naive(a) == naive(b))


@given(texts)
def test_grams_agree_with_strings(many):
    values, text = grams(words(many), 3)
    expected = [
        (i, tuple(found[k : k + 3]))
        for i, found in enumerate(map(naive, many))
        for k in range(len(found) - 2)
    ]
    assert text.tolist() == [i for i, _ in expected]
    spelt = dict(zip(values.tolist(), (gram for _, gram in expected), strict=True))
    assert [spelt[value] for value in values.tolist()] == [gram for _, gram in expected]


@given(texts)
def test_hashed_some_at_a_time_texts_have_the_hashes_they_have_together(many):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phoenix_forge.corpus.grams.TOGETHER", 30)
        some = list(some_at_a_time(many))
    assert [text for own in some for text in own] == many
    assert all(sum(map(len, own[:-1])) <= 30 for own in some)
    assert (
        np.concatenate([identities(words(own)) for own in some]).tolist()
        == identities(words(many)).tolist()
    )


def test_the_same_hashes_on_every_machine():
    assert (
        identities(words(["What is the rank?", "What is the RANK", "a b", "b a", ""])).tolist()
        == GOLDEN
    )


GOLDEN = [14811867295942248339, 14811867295942248339, 10510540732881971407, 10467347140461271509, 0]


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=300),
    st.lists(st.integers(0, 2**64 - 1), max_size=50),
)
def test_a_filter_never_misses(held, others):
    own = np.array(held, np.uint64)
    assert maybe(filtered(own), own).all()
    assert not maybe(filtered(np.zeros(0, np.uint64)), np.array(others, np.uint64)).any()


def test_a_filter_is_seldom_wrong():
    random = np.random.default_rng(0).integers(0, 2**64, 4000, np.uint64)
    assert maybe(filtered(random[:2000]), random[2000:]).mean() < 0.3
