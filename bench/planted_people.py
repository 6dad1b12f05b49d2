"""Personal numbers found: Forge's `dataset.personal_data` on planted data in eight languages and on look-alikes.

Telephone numbers are drawn at random from each country's own plan and written as people write them; accounts, cards and
national numbers have right checksums. Each stands in a sentence of its language. One counts as found where none of its
digits in a row of five is left; a look-alike is a false alarm where anything of it was taken.
Usage: python bench/planted_people.py [--peer DIR]   (with presidio: pip install --target DIR presidio-analyzer)
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import phonenumbers
from stdnum import luhn
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.fr import nir

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "people.json"
EACH = 12  # of a kind and language
# Country, a sentence that names the number, and one that does not.
LANGUAGES = {
    "en": (
        "US",
        "You can reach the office by phone at {} on weekdays before noon.",
        "The office of the harbour is open on weekdays; ask for Maren, {}, before noon.",
    ),
    "de": (
        "DE",
        "Sie erreichen das Büro werktags am Vormittag unter der Telefonnummer {} ohne Anmeldung.",
        "Das Hafenbüro ist werktags besetzt; fragen Sie bitte nach Maren, {}, am besten vormittags.",
    ),
    "fr": (
        "FR",
        "Vous pouvez joindre le bureau en semaine par téléphone : {} avant midi, sans rendez-vous.",
        "Le bureau du port est ouvert en semaine ; demandez Maren, {}, de préférence avant midi.",
    ),
    "zh": (
        "CN",
        "工作日上午可以致电办公室，联系电话：{}，不需要预约。",
        "港口办公室工作日开放，请找玛伦，{}，最好在上午联系她。",
    ),
    "es": (
        "ES",
        "Puede llamar a la oficina los días laborables al teléfono {} antes del mediodía.",
        "La oficina del puerto abre los días laborables; pregunte por Maren, {}, antes del mediodía.",
    ),
    "it": (
        "IT",
        "L'ufficio risponde nei giorni feriali al telefono {} prima di mezzogiorno.",
        "L'ufficio del porto è aperto nei giorni feriali; chiedete di Maren, {}, prima di mezzogiorno.",
    ),
    "nl": (
        "NL",
        "U kunt het kantoor op werkdagen bellen, telefoon {} voor twaalf uur.",
        "Het havenkantoor is op werkdagen open; vraag naar Maren, {}, liefst voor twaalf uur.",
    ),
    "ru": (
        "RU",
        "Позвонить в контору можно по будням, телефон {} до полудня, без записи.",
        "Портовая контора открыта по будням; спросите Марен, {}, лучше до полудня.",
    ),
}
LENGTHS = {
    "GB": "NWBK{14}",
    "DE": "{18}",
    "FR": "2004101005{13}",
    "NL": "ABNA{10}",
    "ES": "{20}",
    "IT": "X0542811101{12}",
}
LOOK_ALIKES = [
    "Order 4155552671 was shipped on 2024-10-12.",
    "ISBN 978-3-16-148410-0",
    "ISBN-10: 3-16-148410-X",
    "ISSN 2049-3630",
    "2024-10-12 10:20:30",
    "2024/10/12 08:15",
    "12.10.2024 13:45:00",
    "at 1700000000123 ms",
    "epoch 1732790400",
    "sha1 a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
    "commit 4938864 of 1234567",
    "md5 9e107d9d372bb6826bd81d3542a419d6",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "version 10.15.7.20",
    "release 2026.10.11549",
    "build 20260415123456",
    "192.168.100.200",
    "10.0.0.255:8080",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "00:1A:2B:3C:4D:5E",
    "EAN 4006381333931",
    "GTIN 00012345600012",
    "UPC 036000291452",
    "SKU 100-2000-30000",
    "Part AB12 3456 7890 1234",
    "serial DE12 ABCD EFGH 3456",
    "key GB00 TEST 1234 5678 9012 34",
    "Invoice 2024-001234-99",
    "PO 4500123456",
    "ticket #1234567890",
    "issue 12345678",
    "10 20 30 40 50 60 70",
    "01 02 03 04 05",
    "1 000 000 000 EUR",
    "$1,234,567.89",
    "3.14159265358979",
    "6.02214076e23",
    "48.858370, 2.294481",
    "lat 52.5200066 lon 13.4049540",
    "RFC 2119, RFC 8174 and RFC 9110",
    "pages 100-2000 and 3000-4000",
    "EPSG:4326 5070 3857",
    "0x1234567890abcdef",
    "width 1920 1080 1280 720",
    "1,2,3,4,5,6,7,8,9,10",
    "tel 12345",
    "DOI 10.1000/182345678",
    "arXiv:2407.07431",
    "PMID 31452104",
    "CAS 7732-18-5",
    "account 1234567890",
    "customer 100200300400",
    "4111 1111 1111 1111",
    "id 5105105105105100",
    "1234 5678 9012 3456",
    "A4 210 297 105 148",
    "Luftdruck 1013 1015 1012 1009 hPa",
    "Bestellung 30 123 456 78 vom Mai",
    "Kundennummer 0301234567",
    "numéro de commande 0142685300",
    "版本 13812345678901",
    "订单号 202411281234567890",
    "邮编 100080 100081 100082",
    "sum 99999999999",
    "0.1234567 0.7654321",
]


class Planted(NamedTuple):
    kind: str
    language: str
    text: str
    number: str


def telephone(chance: random.Random, region: str) -> phonenumbers.PhoneNumber:
    """A number that the country's plan allows, at random."""
    kind = chance.choice(
        [phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE]
    )
    sample = phonenumbers.national_significant_number(
        phonenumbers.example_number_for_type(region, kind)
    )
    code = phonenumbers.country_code_for_region(region)
    while True:
        made = phonenumbers.parse(
            f"+{code}{sample[:-5]}{''.join(chance.choices('0123456789', k=5))}"
        )
        if phonenumbers.is_valid_number(made):
            return made


def account(chance: random.Random, country: str) -> str:
    """By ISO 13616; python-stdnum also knows some countries' own checksums, so several are tried."""
    from stdnum import iban

    while True:
        own = re.sub(
            r"\{(\d+)\}",
            lambda m: "".join(chance.choices("0123456789", k=int(m[1]))),
            LENGTHS[country],
        )
        rest = 98 - int("".join(str(int(c, 36)) for c in own + country + "00")) % 97
        if iban.is_valid(made := f"{country}{rest:02}{own}"):
            return made


def card(chance: random.Random) -> str:
    start = chance.choice(["4", "51", "55", "2221"])
    digits = start + "".join(chance.choices("0123456789", k=15 - len(start)))
    return digits + luhn.calc_check_digit(digits)


def national(chance: random.Random) -> Iterator[tuple[str, str, str]]:
    digits = lambda n: "".join(chance.choices("0123456789", k=n))  # noqa: E731
    born = f"19{chance.randint(50, 99)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    ahead = "110105" + born + digits(3)
    yield (
        "zh",
        "身份证号码 {}，请不要公开。",
        next(filter(ric.is_valid, (ahead + last for last in "0123456789X"))),
    )
    insured = f"{chance.choice('12')}{digits(2)}{chance.randint(1, 12):02}75{digits(3)}{digits(3)}"
    yield (
        "fr",
        "L'assuré a le numéro {} depuis longtemps.",
        insured + nir.calc_check_digits(insured),
    )
    while not idnr.is_valid(found := str(chance.randint(10**10, 10**11 - 1))):
        pass
    yield "de", "Die Steuer-ID {} steht oben auf dem Bescheid.", found


def fours(text: str, mark: str = " ") -> str:
    return mark.join(text[i : i + 4] for i in range(0, len(text), 4))


def planted(chance: random.Random) -> Iterator[Planted]:
    forms = {
        "telephone, +49 …": (phonenumbers.PhoneNumberFormat.INTERNATIONAL, 2),
        "telephone, +49… in one": (phonenumbers.PhoneNumberFormat.E164, 2),
        "telephone, national, named": (phonenumbers.PhoneNumberFormat.NATIONAL, 1),
        "telephone, national, unnamed": (phonenumbers.PhoneNumberFormat.NATIONAL, 2),
    }
    for language, (region, *sentences) in LANGUAGES.items():
        for _ in range(EACH):
            for kind, (form, sentence) in forms.items():
                shown = phonenumbers.format_number(telephone(chance, region), form)
                yield Planted(kind, language, sentences[sentence - 1].format(shown), shown)
            shown = re.sub(
                r"\D",
                "",
                phonenumbers.format_number(
                    telephone(chance, region), phonenumbers.PhoneNumberFormat.NATIONAL
                ),
            )
            yield Planted(
                "telephone, digits alone, named", language, sentences[0].format(shown), shown
            )
            number = card(chance)
            yield Planted(
                "card, in fours", language, sentences[1].format(fours(number)), fours(number)
            )
            yield Planted(
                "card, named", language, f"Visa card {number}; {sentences[1].format('7')}", number
            )
    for country in LENGTHS:
        for i in range(EACH):
            number = account(chance, country)
            shown = fours(number) if i % 2 else number
            yield Planted(
                "IBAN", country, f"{shown} BIC COBADEFF, {LANGUAGES['de'][2].format('7')}", shown
            )
    for _ in range(EACH):
        for language, sentence, number in national(chance):
            yield Planted("national number", language, sentence.format(number), number)


def by_forge(text: str) -> list[tuple[int, int]]:
    from phoenix_forge.corpus.secrets import scan

    return [(found.start, found.end) for found in scan(text, personal=True)]


def presidio() -> Callable[[str], list[tuple[int, int]]]:
    """Its own recognisers of the same kinds, without a language model, which names alone need."""
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        IbanRecognizer,
        PhoneRecognizer,
    )

    recognisers = [PhoneRecognizer(), IbanRecognizer(), CreditCardRecognizer()]

    def find(text: str) -> list[tuple[int, int]]:
        return [
            (found.start, found.end)
            for one in recognisers
            for found in one.analyze(text, one.supported_entities, None) or ()
        ]

    return find


def is_gone(one: Planted, spans: list[tuple[int, int]]) -> bool:
    left = list(one.text)
    for start, end in spans:
        left[start:end] = "\0" * (end - start)
    rest, digits = re.sub(r"[^\d\0]", "", "".join(left)), re.sub(r"\D", "", one.number)
    return not any(digits[i : i + 5] in rest for i in range(len(digits) - 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path)
    given = parser.parse_args()
    finders = {"Forge": by_forge}
    if given.peer:
        sys.path.append(str(given.peer))
        finders["presidio"] = presidio()
    rows: dict[str, dict[str, list[int]]] = {}
    missed = []
    for one in planted(random.Random(7)):
        row = rows.setdefault(one.kind, {name: [0, 0] for name in finders})
        for name, find in finders.items():
            gone = is_gone(one, find(one.text))
            row[name][0] += gone
            row[name][1] += 1
            if name == "Forge" and not gone:
                missed.append([one.kind, one.language, one.number])
    alarms = {name: [text for text in LOOK_ALIKES if find(text)] for name, find in finders.items()}
    for kind, row in rows.items():
        print(
            f"{kind:34}",
            "  ".join(f"{name} {found}/{total}" for name, (found, total) in row.items()),
        )
    for name, texts in alarms.items():
        print(f"{name}: {len(texts)} of {len(LOOK_ALIKES)} look-alikes taken: {texts}")
    print("missed:", missed)
    RESULT.write_text(
        json.dumps(
            {
                "libraries": {name: version(name) for name in ("phonenumbers", "python-stdnum")},
                "found": rows,
                "look_alikes": len(LOOK_ALIKES),
                "false_alarms": alarms,
                "missed": missed,
            },
            ensure_ascii=False,
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
