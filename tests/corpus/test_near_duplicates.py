"""Which texts repeat earlier ones."""

from random import Random

from phoenix_forge.corpus.near_duplicates import COLUMNS, Duplicate, duplicates, sketches

BASE = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(80))


def found(texts):
    return duplicates(sketches(texts), texts.__getitem__)


def test_exact_near_and_different():
    near = BASE.replace("wordaa", "other")
    changed_number = BASE.replace("wordaa", "port 8081")
    assert found([BASE, "short text", BASE.upper() + "\n", "short text", near, changed_number]) == [
        Duplicate(2, 0, True),
        Duplicate(4, 0, False),
    ]


def test_half_the_same_is_not_a_duplicate():
    words = BASE.split()
    assert found([BASE, " ".join(words[:40] + [w[::-1] for w in words[40:]])]) == []


def test_only_candidates_are_read():
    texts = [BASE, *(f"{BASE[::-1]} {i}" * (i + 1) for i in range(3)), BASE]
    asked = []
    duplicates(sketches(texts), lambda i: asked.append(i) or texts[i])
    assert {0, 4} <= set(asked) <= {0, 1, 2, 3, 4}


def test_a_sketch_is_of_its_text_alone():
    texts = [BASE, "short", BASE[::-1]]
    together = sketches(texts)
    assert together.shape == (3, COLUMNS)
    assert not together[1].any()
    assert all((together[i] == sketches([text])[0]).all() for i, text in enumerate(texts))


def test_planted_near_duplicates_are_all_found():
    """Every pair above the similarity is found: the bands would miss one in about 10,000."""
    random = Random(5)
    vocabulary = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)]
    originals = [random.choices(vocabulary, k=120) for _ in range(150)]
    copies = []
    for text in originals:
        copy = list(text)
        for at in random.sample(range(0, 120, 8), 2):  # two words apart: six of 118 shingles differ
            copy[at] = "changed"
        copies.append(copy)
    result = found([" ".join(text) for text in [*originals, *copies]])
    assert [(d.index - 150, d.of) for d in result] == [(i, i) for i in range(150)]
