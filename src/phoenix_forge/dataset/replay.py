"""General questions that keep a model from forgetting what it could do before: written by hand, then made by rule.
Words, wordings and units are rows of general_tasks.json; what is drawn is code.

A task's answer is computed from what its question states, so that it is right by construction.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

GENERAL = Path(__file__).with_name("general.json")
HELD = Path(__file__).with_name("general_held.json")
GRAM = 12  # words in a row that no question may share with a held one
TRIES = 8  # draws of a task that may be repeats before its turn passes

Slots = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """Questions and answers are format strings over what `draw` returns; any question goes with any answer."""

    name: str
    questions: Sequence[str]
    answers: Sequence[str]
    draw: Callable[[Random], Slots]

    def make(self, random: Random) -> tuple[str, str]:
        slots = self.draw(random)
        return random.choice(self.questions).format(**slots), random.choice(self.answers).format(
            **slots
        )


TABLE = json.loads(Path(__file__).with_name("general_tasks.json").read_text(encoding="utf-8"))
WORDS, NAMES, CITIES = TABLE["words"], TABLE["names"], TABLE["cities"]
DAYS, ORDINALS = TABLE["days"], TABLE["ordinals"]
UNITS = TABLE["units"]  # unit, how many of the next one it holds, that one
NUMERALS = TABLE["numerals"]
TABLES = TABLE[
    "tables"
]  # SQL table → what is asked for, column of a condition, its smallest and largest value


def roman(number: int) -> str:
    numeral = ""
    for value, letters in NUMERALS:
        numeral += letters * (number // value)
        number %= value
    return numeral


def _listed(items: list[str]) -> str:
    return ", ".join(items)


def _sum(r: Random) -> Slots:
    a, b = r.randrange(11, 5000), r.randrange(11, 5000)
    return {"a": a, "b": b, "x": a + b}


def _difference(r: Random) -> Slots:
    b, x = r.randrange(11, 3000), r.randrange(1, 3000)
    return {"a": b + x, "b": b, "x": x}


def _product(r: Random) -> Slots:
    a, b = r.randrange(13, 200), r.randrange(3, 30)
    return {"a": a, "b": b, "x": a * b}


def _division(r: Random) -> Slots:
    b, x = r.randrange(3, 20), r.randrange(21, 200)
    rest = r.randrange(b)
    return {"a": b * x + rest, "b": b, "x": x, "rest": rest}


def _percent(r: Random) -> Slots:
    p, n = r.choice((5, 10, 15, 20, 25, 40, 60, 75, 80)), r.randrange(3, 150) * 20
    return {"p": p, "n": n, "x": p * n // 100}


def _larger(r: Random) -> Slots:
    """Decimals of different lengths too: 3.11 is less than 3.9."""
    whole = r.randrange(100)
    a, b = r.choice(
        (
            (f"{whole}.{r.randrange(1, 10)}", f"{whole}.{r.randrange(11, 100)}"),
            (str(r.randrange(100, 9999)), str(r.randrange(100, 9999))),
        )
    )
    if float(a) == float(b):
        return _larger(r)
    a, b = (a, b) if r.random() < 0.5 else (b, a)
    return {"a": a, "b": b, "x": max(a, b, key=float), "y": min(a, b, key=float)}


def _mean(r: Random) -> Slots:
    count, x = r.choice((3, 4, 5)), r.randrange(10, 90)
    around = [r.randrange(1, 10) for _ in range(count - 1)]
    numbers = [x + d if i % 2 else x - d for i, d in enumerate(around)]
    numbers.append(x * count - sum(numbers))
    return {"items": _listed([str(n) for n in numbers]), "x": x}


def _sorted_words(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(3, 7))
    return {"items": _listed(words), "x": _listed(sorted(words))}


def _sorted_numbers(r: Random) -> Slots:
    numbers = r.sample(range(1, 999), r.randrange(3, 7))
    return {
        "items": _listed([str(n) for n in numbers]),
        "x": _listed([str(n) for n in sorted(numbers)]),
        "y": _listed([str(n) for n in sorted(numbers, reverse=True)]),
    }


def _letters(r: Random) -> Slots:
    word = r.choice(WORDS)
    letter = r.choice(sorted(set(word)))
    return {"word": word, "letter": letter, "x": word.count(letter)}


def _length(r: Random) -> Slots:
    word = "".join(r.sample(WORDS, r.choice((1, 2))))
    return {"word": word, "x": len(word)}


def _word_count(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(3, 11))
    return {"text": " ".join(words), "x": len(words)}


def _nth_word(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(5, 8))
    at = r.randrange(5)
    return {"text": " ".join(words), "nth": ORDINALS[at], "x": words[at]}


def _reversed(r: Random) -> Slots:
    word = r.choice(WORDS)
    return {"word": word, "x": word[::-1]}


def _reversed_list(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(3, 6))
    return {"items": _listed(words), "x": _listed(words[::-1])}


def _case(r: Random) -> Slots:
    text = " ".join(r.sample(WORDS, r.randrange(2, 6)))
    how, changed = r.choice((("capital letters", text.upper()), ("title case", text.title())))
    return {"text": text, "how": how, "x": changed}


def _replaced(r: Random) -> Slots:
    words = r.sample(WORDS, 6)
    old, new = r.choice(words[:5]), words[5]
    return {
        "text": " ".join(words[:5]),
        "old": old,
        "new": new,
        "x": " ".join(new if word == old else word for word in words[:5]),
    }


def _distinct(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(3, 5))
    items = [*words, r.choice(words)]
    r.shuffle(items)
    return {"items": _listed(items), "x": _listed(list(dict.fromkeys(items)))}


def _person(r: Random) -> dict[str, str]:
    return {
        "name": r.choice(NAMES),
        "age": str(r.randrange(18, 90)),
        "city": r.choice(CITIES),
        "pet": r.choice(("cat", "dog", "parrot", "rabbit", "turtle")),
        "room": str(r.randrange(100, 600)),
    }


def _field(r: Random) -> Slots:
    person = _person(r)
    field = r.choice(list(person))
    return {
        "record": "; ".join(f"{key}: {value}" for key, value in person.items()),
        "field": field,
        "x": person[field],
    }


def _json_value(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(2, 5))
    data = {word: r.randrange(1, 1000) for word in words}
    key = r.choice(words)
    return {"json": json.dumps(data), "key": key, "x": data[key]}


def _as_json(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(2, 7))
    return {"items": _listed(words), "x": json.dumps(words)}


def _as_object(r: Random) -> Slots:
    person = _person(r)
    data = {"name": person["name"], "age": int(person["age"]), "city": person["city"]}
    return {**data, "x": json.dumps(data)}


def _as_bullets(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(2, 6))
    how, mark = r.choice((("a Markdown bullet list", "- "), ("a numbered list", "{}. ")))
    return {
        "items": _listed(words),
        "how": how,
        "x": "\n".join(mark.format(i) + word for i, word in enumerate(words, 1)),
    }


def _as_csv(r: Random) -> Slots:
    words = r.sample(WORDS, r.randrange(3, 7))
    return {"items": " ".join(words), "x": ",".join(words)}


def _as_table(r: Random) -> Slots:
    rows = [(name, r.randrange(18, 90)) for name in r.sample(NAMES, r.choice((2, 3)))]
    lines = ["| Name | Age |", "| --- | --- |", *(f"| {name} | {age} |" for name, age in rows)]
    return {"items": "; ".join(f"{name} is {age}" for name, age in rows), "x": "\n".join(lines)}


def _units(r: Random) -> Slots:
    big, factor, small = r.choice(UNITS)
    n = r.randrange(2, 400)
    return {"n": n, "big": big, "small": small, "x": n * factor}


def _weekday(r: Random) -> Slots:
    start, days = r.randrange(7), r.randrange(2, 60)
    return {"day": DAYS[start], "n": days, "x": DAYS[(start + days) % 7]}


def _time(r: Random) -> Slots:
    start, minutes = r.randrange(24 * 60), r.randrange(5, 300)
    end = (start + minutes) % (24 * 60)
    return {
        "time": f"{start // 60:02d}:{start % 60:02d}",
        "n": minutes,
        "x": f"{end // 60:02d}:{end % 60:02d}",
    }


def _change(r: Random) -> Slots:
    price, paid = r.randrange(105, 4900), r.choice((50, 100))
    rest = paid * 100 - price
    return {
        "name": r.choice(NAMES),
        "price": f"{price // 100}.{price % 100:02d}",
        "paid": paid,
        "x": f"{rest // 100}.{rest % 100:02d}",
    }


def _story(r: Random) -> Slots:
    boxes, each = r.randrange(3, 30), r.randrange(4, 30)
    gone = r.randrange(1, boxes * each)
    return {
        "name": r.choice(NAMES),
        "n": boxes,
        "each": each,
        "gone": gone,
        "all": boxes * each,
        "x": boxes * each - gone,
        "thing": r.choice(("pencils", "marbles", "stamps", "cards", "shells", "nails")),
    }


def _to_roman(r: Random) -> Slots:
    number = r.randrange(1, 3000)
    return {"n": number, "x": roman(number)}


def _binary(r: Random) -> Slots:
    number = r.randrange(2, 512)
    return {"n": number, "x": f"{number:b}"}


def _sequence(r: Random) -> Slots:
    start, step = r.randrange(1, 60), r.randrange(2, 30)
    adding = r.random() < 0.7
    grown = [start + i * step if adding else start * (step % 3 + 2) ** i for i in range(5)]
    return {"items": _listed([str(n) for n in grown[:4]]), "x": grown[4]}


def _divisible(r: Random) -> Slots:
    b = r.randrange(3, 13)
    a = b * r.randrange(12, 90) + r.choice((0, r.randrange(1, b)))
    return {"a": a, "b": b, "x": "Yes" if a % b == 0 else "No", "rest": a % b}


def _chain(r: Random) -> Slots:
    a, b, c = r.sample(NAMES, 3)
    more, most = r.choice(
        (("taller", "tallest"), ("older", "oldest"), ("faster", "fastest"), ("richer", "richest"))
    )
    return {"a": a, "b": b, "c": c, "more": more, "most": most}


def _python(r: Random) -> Slots:
    word, n, numbers = (
        r.choice(WORDS),
        r.randrange(3, 12),
        r.sample(range(1, 90), r.randrange(3, 6)),
    )
    code, value = r.choice(
        (
            (f"len('{word}')", len(word)),
            (f"'{word}'.upper()", word.upper()),
            (f"'{word}'[::-1]", word[::-1]),
            (f"sum({numbers})", sum(numbers)),
            (f"max({numbers})", max(numbers)),
            (f"sorted({numbers})", sorted(numbers)),
            (f"{numbers}[-1]", numbers[-1]),
            (f"{numbers}[:2]", numbers[:2]),
            (f"list(range({n}))", list(range(n))),
            (f"{n * 7} // {n - 1}", n * 7 // (n - 1)),
            (f"{n * 7} % {n - 1}", n * 7 % (n - 1)),
            (f"{n} ** 2", n**2),
            (f"'{word[0]}' in '{word}'", True),
            (f"{numbers[0]} in {numbers[1:]}", False),
            (f"[x * 2 for x in {numbers}]", [x * 2 for x in numbers]),
            (f"'{word}'[:3]", word[:3]),
        )
    )
    return {"code": code, "x": repr(value)}


def _sql(r: Random) -> Slots:
    table = r.choice(list(TABLES))
    wanted, column, low, high = TABLES[table]
    phrase, sign = r.choice(
        (("greater than", ">"), ("less than", "<"), ("at least", ">="), ("at most", "<="))
    )
    n = r.randrange(low, high)
    return {
        "table": table,
        "wanted": wanted,
        "column": column,
        "said": phrase,
        "n": n,
        "x": f"SELECT {wanted} FROM {table} WHERE {column} {sign} {n};",
    }


def _repeat(r: Random) -> Slots:
    word, n = r.choice(WORDS), r.randrange(2, 7)
    return {"word": word, "n": n, "x": _listed([word] * n)}


# A task's draw goes by the task's name, or by the one that its row names.
DRAWS = {
    draw.__name__[1:]: draw
    for draw in (
        _sum,
        _difference,
        _product,
        _division,
        _percent,
        _larger,
        _mean,
        _sorted_words,
        _sorted_numbers,
        _letters,
        _length,
        _word_count,
        _nth_word,
        _reversed,
        _reversed_list,
        _case,
        _replaced,
        _distinct,
        _field,
        _json_value,
        _as_json,
        _as_object,
        _as_bullets,
        _as_csv,
        _as_table,
        _units,
        _weekday,
        _time,
        _change,
        _story,
        _to_roman,
        _binary,
        _sequence,
        _divisible,
        _chain,
        _python,
        _sql,
        _repeat,
    )
}
TASKS = [
    Task(
        row["name"],
        row["questions"],
        row["answers"],
        DRAWS[row.get("draw", row["name"].replace(" ", "_"))],
    )
    for row in TABLE["tasks"]
]


def pairs(wanted: int, seed: int) -> Iterator[tuple[str, str]]:
    """Question and answer, `wanted` of them, none twice and none that the forgetting check asks.

    First those written by hand, in an order that the seed fixes, then tasks in turn.
    """
    guard = {_normal(question) for question in _held()}
    grams = {gram for question in guard for gram in _grams(question)}
    count = 0
    for question, answer in _candidates(seed):
        asked = _normal(question)
        if count == wanted:
            return
        if asked not in guard and not any(gram in grams for gram in _grams(asked)):
            guard.add(asked)
            count += 1
            yield question, answer


def hand_written() -> int:
    """How many of the pairs are written by hand: they come first."""
    return len(json.loads(GENERAL.read_text(encoding="utf-8")))


def _held() -> list[str]:
    return [entry["question"] for entry in json.loads(HELD.read_text(encoding="utf-8"))]


def _candidates(seed: int) -> Iterator[tuple[str, str]]:
    written = [
        (entry["question"], entry["answer"])
        for entry in json.loads(GENERAL.read_text(encoding="utf-8"))
    ]
    yield from sorted(
        written, key=lambda pair: hashlib.sha256(f"{seed}\0{pair[0]}".encode()).digest()
    )
    random = Random(f"replay {seed}")
    earlier: set[str] = set()
    while True:
        for task in TASKS:
            for _ in range(TRIES):
                question, answer = task.make(random)
                if question not in earlier:
                    earlier.add(question)
                    yield question, answer
                    break


def _normal(question: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]", question.lower()))


def _grams(asked: str) -> list[str]:
    words = re.findall(r"\w+", asked)
    return [" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
