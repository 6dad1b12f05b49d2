"""Numbers of people: found where they are asked for, in several countries' forms; look-alikes stay."""

from __future__ import annotations

import re

import pytest

from phoenix_forge.core.config import Config
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.secrets import scan
from phoenix_forge.corpus.walk import walk

pytest.importorskip("phonenumbers")
pytest.importorskip("stdnum")

PLANTED = [  # what may not be left of a text, and the text
    ("+1 415-555-2671", "Ask for Maren, +1 415-555-2671, before noon."),
    (
        "(415) 555-2671",
        "The office is open on weekdays; ask for Maren, (415) 555-2671, before noon.",
    ),
    ("07700 900123", "Her mobile: 07700 900123"),
    ("+49 30 12345678", "Maren, +49 30 12345678"),
    ("030/1234 567-8", "Sie erreichen uns unter Tel.: 030/1234 567-8 in der Woche."),
    (
        "01 42 68 53 00",
        "Le bureau du port est ouvert en semaine ; demandez Maren, 01 42 68 53 00, avant midi.",
    ),
    ("13812345678", "工作日上午可以致电办公室，联系电话：13812345678，不需要预约。"),
    ("138 1234 5678", "港口办公室工作日开放，请找玛伦，138 1234 5678，最好在上午联系她。"),
    ("DE89 3704 0044 0532 0130 00", "Pay to DE89 3704 0044 0532 0130 00 BIC COBADEFF"),
    ("FR1420041010050500013M02606", "Virement : FR1420041010050500013M02606"),
    ("4539 5787 6362 1486", "Paid with 4539 5787 6362 1486."),
    ("4539578763621486", "Carte bancaire 4539578763621486"),
    ("11010519491231002X", "身份证号码 11010519491231002X，请不要公开。"),
    ("2 55 08 14 168 025 38", "L'assuré a le numéro 2 55 08 14 168 025 38."),
    ("86 095 742 719", "Steuer-ID: 86 095 742 719"),
    ("536-22-1234", "SSN: 536-22-1234"),
]
LOOK_ALIKES = [
    "Order 4155552671 was shipped.",
    "ISBN 978-3-16-148410-0",
    "2024-10-12 10:20:30",
    "at 1700000000123 ms",
    "sha1 a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
    "192.168.100.200",
    "EAN 4006381333931",
    "01 02 03 04 05",
    "1 000 000 000 EUR",
    "3.14159265358979",
    "48.858370, 2.294481",
    "Part AB12 3456 7890 1234",
    "tel 12345",
    "4111 1111 1111 1111",
    "Kundennummer 0301234567",
    "订单号 202411281234567890",
    "DE88 3704 0044 0532 0130 00",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "1234 5678 9012 3456",
    "version 2026.10.11549",
]


@pytest.mark.parametrize(("number", "text"), PLANTED)
def test_what_is_planted_is_found_whole_and_only_where_asked_for(number: str, text: str) -> None:
    (found,) = scan(text, personal=True)
    assert text[found.start : found.end] == number
    assert found.kind in ("telephone number", "bank account", "card number", "personal number")
    assert not [
        other for other in scan(text) if other.kind in ("telephone number", "personal number")
    ]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alikes_stay(text: str) -> None:
    assert scan(text, personal=True) == []


def test_a_document_is_redacted_like_secrets_are(tmp_path) -> None:
    planted = [PLANTED[i] for i in (0, 2, 3, 8, 10, 12, 14)]  # known in a text of any language
    (tmp_path / "people.md").write_text("\n".join(text for _, text in planted), encoding="utf-8")
    (file,) = walk(Config().corpus, tmp_path).files
    document = load(file, "redact", personal=True).document
    assert document is not None
    assert len(
        re.findall(
            r"\[REDACTED (?:telephone|personal|card) number\]|\[REDACTED bank account\]",
            document.text,
        )
    ) == len(planted)
    assert not any(number in document.text for number, _ in planted)
    assert load(file, "drop", personal=True).document is None
