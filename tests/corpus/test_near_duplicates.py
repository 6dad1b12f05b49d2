from forge.corpus.near_duplicates import Duplicate, duplicates

BASE = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(80))


def test_exact_near_and_different():
    near = BASE.replace("wordaa", "other")
    changed_number = BASE.replace("wordaa", "port 8081")
    assert duplicates([BASE, "short text", BASE.upper() + "\n", "short text", near, changed_number]) == [
        Duplicate(2, 0, True),
        Duplicate(4, 0, False),
    ]


def test_half_the_same_is_not_a_duplicate():
    words = BASE.split()
    assert duplicates([BASE, " ".join(words[:40] + [w[::-1] for w in words[40:]])]) == []
