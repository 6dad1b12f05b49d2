"""General questions: enough of them, none twice, none of the held-out ones, every computed answer computed again."""

import json
import re
import sqlite3
from collections import Counter
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import islice
from random import Random

import pytest

from phoenix_forge.dataset.replay import GENERAL, GRAM, HELD, TASKS, pairs

WRITTEN = json.loads(GENERAL.read_text(encoding="utf-8"))
KEPT = json.loads(HELD.read_text(encoding="utf-8"))
DRAWS = 150
WHO = (
    r"\b(?:I am|I'm) (?:an? )?(?:AI|language model|assistant|bot)|"
    r"\b(?:Qwen|OpenAI|ChatGPT|GPT|Anthropic|Claude|Alibaba|Mistral|DeepSeek|Llama|Gemini)\b"
)


def normal(text):
    return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))


def grams(text):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)}


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def quoted(text):
    return re.findall(r'"([^"]*)"', text)


def after_colon(text):
    return text.rstrip(".").split(": ", 1)[1]


def items(question):
    """What a question lists: what stands between commas, from the last colon on if there is one."""
    return after_colon(question).split(", ")


def ends_in(answer, expected):
    """The answer says the expected thing, and last: a sentence around it must not say another."""
    stated = answer.removeprefix("```json\n").removeprefix("```sql\n").removesuffix("\n```")
    return (
        re.search(rf"(?:^|\W){re.escape(str(expected))}\.?`?$", stated.replace("`.", "`"))
        is not None
    )


def read_roman(numeral):
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[c] for c in numeral]
    ahead = [*values[1:], 0]
    return sum(-v if v < n else v for v, n in zip(values, ahead, strict=True))


def chain(question):
    """Names ordered from most to least, by the two statements."""
    said = re.findall(r"(\w+) is (?:taller|older|faster|richer) than (\w+)(?=[,.])", question)[:2]
    (a, b), (c, d) = said
    return [a, b, d] if b == c else [c, d, b]


def check_sum(q, a):
    assert ends_in(a, sum(numbers(q)))


def check_difference(q, a):
    high, low = max(numbers(q)), min(numbers(q))
    assert ends_in(a, high - low)


def check_product(q, a):
    x, y = numbers(q)
    assert ends_in(a, x * y)


def check_division(q, a):
    x, y = sorted(numbers(q), reverse=True)
    assert ends_in(a, f"{x // y} remainder {x % y}")


def check_percent(q, a):
    p, n = numbers(q)
    assert ends_in(a, Fraction(p * n, 100))


def check_larger(q, a):
    values = re.findall(r"\d+(?:\.\d+)?", q)
    high = max(values, key=Fraction)
    assert len({Fraction(v) for v in values}) == 2
    assert a in (high, f"{high} is larger than {min(values, key=Fraction)}.")


def check_mean(q, a):
    values = numbers(q)
    assert min(values) >= 0
    assert "-" not in q
    assert ends_in(a, Fraction(sum(values), len(values)))


def check_sorted_words(q, a):
    words = items(q)
    assert a.split(", ") == sorted(words)


def check_ascending(q, a):
    assert numbers(a) == sorted(numbers(q))


def check_descending(q, a):
    assert numbers(a) == sorted(numbers(q))[::-1]


def check_letters(q, a):
    letter, word = sorted(quoted(q), key=len)
    assert ends_in(a, Counter(word)[letter])


def check_length(q, a):
    assert len(quoted(q)[0]) in numbers(a)


def check_word_count(q, a):
    assert numbers(a) == [quoted(q)[0].count(" ") + 1]


def check_nth_word(q, a):
    at = next(
        i for i, nth in enumerate(("first", "second", "third", "fourth", "fifth")) if f" {nth}" in q
    )
    assert a == quoted(q)[0].split()[at]


def check_reversed(q, a):
    assert list(a) == list(reversed(quoted(q)[0]))


def check_reversed_list(q, a):
    assert a.split(", ") == list(reversed(items(q)))


def check_case(q, a):
    text = quoted(q)[0]
    words = text.split()
    expected = (
        " ".join(w[0].upper() + w[1:] for w in words) if "title case" in q else text.swapcase()
    )
    assert a == expected


def check_replaced(q, a):
    found = quoted(q)
    text = max(found, key=len)
    old, new = [w for w in found if w != text]
    assert a == re.sub(rf"\b{old}\b", new, text)
    assert old not in a.split()


def check_distinct(q, a):
    assert len(set(a.split(", "))) == len(a.split(", "))
    listed = items(q)
    assert sorted(a.split(", "), key=listed.index) == a.split(", ")
    assert set(a.split(", ")) == set(listed)


def check_field(q, a):
    record = dict(re.findall(r"(\w+): ([\w]+)(?=[;.]|$)", q))
    named = re.search(r"the (\w+) of this|is the (\w+)\?|extract the (\w+)\.", q)
    assert record[next(filter(None, named.groups()))] == a


def check_json_value(q, a):
    key = quoted(q)[0]
    data = json.loads(re.search(r"\{.*\}", q)[0])
    assert a == str(data[key])


def check_as_json(q, a):
    assert json.loads(a.replace("```json", "").replace("```", "")) == items(q)


def check_as_object(q, a):
    data = json.loads(a.replace("```json", "").replace("```", ""))
    assert list(data) == ["name", "age", "city"]
    assert [data["age"]] == numbers(q)
    assert all(re.search(rf"\b{data[k]}\b", q) for k in ("name", "city"))


def check_as_list(q, a):
    expected = [f"{i}. {x}" if "numbered" in q else f"- {x}" for i, x in enumerate(items(q), 1)]
    assert a.split("\n") == expected


def check_as_csv(q, a):
    assert a.split(",") == after_colon(q).split(" ")


def check_as_table(q, a):
    rows = re.findall(r"(\w+) is (\d+)", q)
    head, line, *body = [[c.strip() for c in row.strip("|").split("|")] for row in a.split("\n")]
    assert head == ["Name", "Age"]
    assert set(line) == {"---"}
    assert [tuple(row) for row in body] == rows


def check_units(q, a):
    per = {"kilometres metres": 1000, "metres centimetres": 100, "centimetres millimetres": 10, "kilograms grams": 1000,
           "tonnes kilograms": 1000, "litres millilitres": 1000, "hours minutes": 60, "minutes seconds": 60,
           "days hours": 24, "weeks days": 7, "feet inches": 12, "yards feet": 3, "dozens pieces": 12,
           "bytes bits": 8}  # fmt: skip
    big = re.search(r"\d+ (\w+)", q)[1]
    small = next(
        k.split()[1] for k in per if k.split()[0] == big and re.search(rf"\b{k.split()[1]}\b", q)
    )
    (n,) = numbers(q)
    assert numbers(a)[-1] == n * per[f"{big} {small}"]


def check_weekday(q, a):
    day = re.search(r"\b(?!Today)([A-Z]\w+day)\b", q)[1]
    start = next(date(2024, 1, d) for d in range(1, 8) if f"{date(2024, 1, d):%A}" == day)
    assert ends_in(a, f"{start + timedelta(days=numbers(q)[0]):%A}")


def check_time(q, a):
    start = datetime.strptime(re.search(r"\d\d:\d\d", q)[0], "%H:%M")
    minutes = int(re.search(r"(\d+) minutes", q)[1])
    assert ends_in(a, f"{start + timedelta(minutes=minutes):%H:%M}")


def check_change(q, a):
    price = Fraction(re.search(r"\d+\.\d\d", q)[0])
    paid = Fraction(re.search(r"(?:with a|gives) (\d+)", q)[1])
    assert Fraction(re.search(r"([\d.]+) euros\.?$", a)[1]) == paid - price > 0


def check_story(q, a):
    x, y, gone = numbers(q)
    assert ends_in(a, x * y - gone)
    assert x * y > gone


def check_to_roman(q, a):
    (n,) = numbers(q)
    assert n in [read_roman(word) for word in re.findall(r"\b[IVXLCDM]+\b", a)]


def check_from_roman(q, a):
    assert ends_in(a, read_roman(re.findall(r"\b[IVXLCDM]+\b", q)[0]))


def check_binary(q, a):
    (n,) = [n for n in numbers(q) if "base" not in q or n != 2 or q.count("2") > 1][:1]
    assert int(re.findall(r"[01]+\b", a.replace(" in binary.", ""))[-1], 2) == n


def check_sequence(q, a):
    w, x, y, z = numbers(q)
    expected = z + (z - y) if x - w == y - x == z - y else Fraction(z * z, y)
    assert ends_in(a, expected)


def check_divisible(q, a):
    x, y = sorted(numbers(q), reverse=True)
    assert a.startswith("No" if x % y else "Yes")
    assert numbers(a) in ([], [x % y])


def check_chain_yes(q, a):
    most, _, least = chain(q)
    asked = re.search(r"(?:Is|that) (\w+) (?:is )?(?:taller|older|faster|richer) than (\w+)\?", q)
    assert asked.groups() == (most, least)
    assert a.startswith("Yes")


def check_chain_no(q, a):
    most, _, least = chain(q)
    asked = re.search(r"(?:Is|Can) (\w+) (?:be )?(?:taller|older|faster|richer) than (\w+)\?", q)
    assert asked.groups() == (least, most)
    assert a.startswith("No")


def check_chain_most(q, a):
    assert a.split()[0] == chain(q)[0]


def check_python(q, a):
    code = re.search(r"`(.*)`", q)[1]
    value = a.removeprefix("It gives `").removesuffix("`.")
    assert value == repr(eval(code))


def check_sql(q, a):
    query = a.replace("```sql", "").replace("```", "")
    table = re.search(r"(?:all|table) (\w+)", q)[1]
    wanted = re.search(r"(?:for the|select) (\w+)", q)[1]
    column, said, n = re.search(r"(?:whose|where) (\w+) is ([a-z ]+) (\d+)", q).groups()
    n = int(n)
    keep = {"greater than": lambda v: v > n, "less than": lambda v: v < n, "at least": lambda v: v >= n,
            "at most": lambda v: v <= n}[said]  # fmt: skip
    with sqlite3.connect(":memory:") as base:
        base.execute(f"CREATE TABLE {table} ({wanted} TEXT, {column} INTEGER)")
        rows = [(f"r{v}", v) for v in (n - 1, n, n + 1)]
        base.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
        assert base.execute(query).fetchall() == [(name,) for name, v in rows if keep(v)]


def check_repeat(q, a):
    assert a.split(", ") == quoted(q) * numbers(q)[0]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_answers_are_right(task):
    check = globals()[f"check_{task.name.replace(' ', '_')}"]
    random = Random(task.name)
    asked = [task.make(random) for _ in range(DRAWS)]
    for question, answer in asked:
        check(question, answer)
    assert len({question for question, _ in asked}) > DRAWS // 2
    wrong = [
        (q, a)
        for (q, _), (_, a) in zip(asked, asked[1:] + asked[:1], strict=True)
        if a != dict(asked)[q]
    ]
    caught = 0
    for question, answer in wrong:
        try:
            check(question, answer)
        except (AssertionError, ValueError, KeyError, TypeError, IndexError, sqlite3.Error):
            caught += 1
    constant = task.name in ("chain yes", "chain no")
    assert constant or caught > 0.3 * len(wrong), "this check could not fail"


def test_written_pairs():
    assert len(WRITTEN) >= 500
    assert len({normal(pair["question"]) for pair in WRITTEN}) == len(WRITTEN)
    for pair in WRITTEN:
        assert set(pair) == {"question", "answer"}
        assert pair["question"].strip() == pair["question"]
        assert 1 <= len(re.findall(r"\w+|[^\w\s]", pair["answer"])) <= 120, pair
        assert not re.search(WHO, pair["answer"]), pair
        assert pair["answer"].count("```") % 2 == 0


def test_code_of_written_pairs_parses():
    for pair in WRITTEN:
        for language, code in re.findall(r"```(\w+)\n(.*?)\n```", pair["answer"], re.DOTALL):
            if language == "python":
                compile(code, pair["question"], "exec")
            if language == "json":
                json.loads(code)


def test_held_questions_are_apart():
    assert len(KEPT) == 60
    assert len({normal(entry["question"]) for entry in KEPT}) == 60
    asked = [question for question, _ in pairs(4000, 7)]
    taught, seen = {normal(q) for q in asked}, set().union(*(grams(q) for q in asked))
    for entry in KEPT:
        assert set(entry) == {"question", "answer", "distractors"}
        assert len({entry["answer"], *entry["distractors"]}) == 4
        assert normal(entry["question"]) not in taught
        assert not grams(entry["question"]) & seen


def test_a_held_question_is_never_given(tmp_path, monkeypatch):
    held = tmp_path / "held.json"
    held.write_text(json.dumps([{"question": WRITTEN[0]["question"].upper()}]))
    monkeypatch.setattr("phoenix_forge.dataset.replay.HELD", held)
    assert WRITTEN[0]["question"] not in [question for question, _ in pairs(len(WRITTEN), 1)]


def test_written_first_then_made_without_end():
    many = list(pairs(6000, 3))
    assert len(many) == 6000
    assert len({normal(question) for question, _ in many}) == 6000
    written = {(pair["question"], pair["answer"]) for pair in WRITTEN}
    assert set(many[: len(written)]) == written
    assert many[: len(written)] != [(pair["question"], pair["answer"]) for pair in WRITTEN]
    assert not set(many[len(written) :]) & written


@pytest.mark.parametrize("wanted", [0, 1, 10, 1000])
def test_the_same_every_time(wanted):
    first = list(pairs(wanted, 42))
    assert len(first) == wanted
    assert first == list(pairs(wanted, 42)) == list(islice(pairs(wanted + 5, 42), wanted))
    assert wanted < 10 or first != list(pairs(wanted, 43))
