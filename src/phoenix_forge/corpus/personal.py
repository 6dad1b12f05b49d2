"""Telephone numbers, bank accounts, payment cards and national numbers of people: what is known by its own form.

Only where dataset.personal_data asks for it. Plans of numbers and checksums are phonenumbers' (Google's libphonenumber)
and python-stdnum's. Names, street addresses and birthdays have no form; nothing here finds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from phoenix_forge.corpus import prose
from phoenix_forge.corpus.named_secrets import Span
from phoenix_forge.errors import EnvironmentProblem

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

# Where numbers without a country's code may belong to, by the language of the text, most speakers first.
REGIONS = {
    "en": ("US", "GB", "IN", "AU"),
    "de": ("DE", "AT", "CH"),
    "fr": ("FR", "BE", "CH", "CA"),
    "zh": ("CN", "TW", "HK"),
    "es": ("ES", "MX", "AR", "CO"),
    "it": ("IT", "CH"),
    "pt": ("BR", "PT"),
    "nl": ("NL", "BE"),
    "pl": ("PL",),
    "ru": ("RU", "UA"),
    "ja": ("JP",),
    "ko": ("KR",),
    "sv": ("SE",),
    "da": ("DK",),
    "cs": ("CZ",),
    "tr": ("TR",),
    "uk": ("UA",),
}
EVERYWHERE = tuple(dict.fromkeys(region for regions in REGIONS.values() for region in regions))
# Seven digits and more with what people put between them; nothing that goes on with letters, or as a version or a date.
_NUMBER = re.compile(
    r"(?<![\w.,/:#=-])(?:\+|\(\+?|（)?\d(?:[  \u2009().（）/‑–-]{0,3}\d){6,16}(?![\w/:=-]|[.,]\d)"
)
_ASIDE = 32  # characters before a number in which its name stands
_AROUND = 400  # characters on each side that tell its language
_NAMED = re.compile(
    r"(?:\b(?:tel|phone|telephone|mobile|mobil|handy|fax|telefax|cell|whatsapp|hotline|call|ruf|anruf|"
    r"telefon|téléphone|portable|appel|teléfono|telefono|móvil|celular|cellulare|telefone|telefoon|"
    r"тел|телефон|моб)\w{0,8}|电话|電話|手机|手機|传真|傳真|致电|來電|携帯|전화|휴대)[^\d\n]{0,20}\Z",
    re.IGNORECASE,
)
_CARD = re.compile(
    r"(?<![\w.-])(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|62\d\d|35\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d\d([ -]?)\d{6}\2\d{5})(?![\w-]|\.\d)"
)
_CARD_NAME = re.compile(
    r"(?:card|visa|master|amex|karte|carte|tarjeta|cartão|carta|kaart|карт|卡|カード|카드)\D{0,40}"
    r"\Z",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
)


class National(NamedTuple):
    """A number that a state gives to a person: its form, the module of python-stdnum that knows its checksum, and what
    has to stand before it where the checksum is weak."""

    form: re.Pattern[str]
    module: str
    named: re.Pattern[str] | None = None


NATIONAL = (
    National(re.compile(r"(?<![\w-])[1-9]\d{16}[\dX](?![\w-])"), "cn.ric"),
    National(
        re.compile(r"(?<![\w-])[12] ?\d\d ?[0-1]\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d(?![\w-])"),
        "fr.nir",
    ),
    National(
        re.compile(r"(?<![\w-])[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z](?![\w-])"), "it.codicefiscale"
    ),
    National(
        re.compile(r"(?<![\w-])[1-9]\d ?\d{3} ?\d{3} ?\d{3}(?![\w-])"),
        "de.idnr",
        re.compile(
            r"(?:steuer|idnr|identifikationsnummer|tax id|tin)[^\n\d]{0,24}\Z", re.IGNORECASE
        ),
    ),
    National(
        re.compile(r"(?<![\w-])\d{3}-\d\d-\d{4}(?![\w-])"),
        "us.ssn",
        re.compile(r"(?:ssn|social security)[^\n\d]{0,24}\Z", re.IGNORECASE),
    ),
)


def require() -> None:
    """Raises EnvironmentProblem where the libraries are missing."""
    try:
        import phonenumbers  # noqa: F401
        import stdnum  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(
            f"dataset.personal_data needs {error.name}", fix="pip install 'phoenix-forge[personal]'"
        ) from None


def phones(text: str) -> Iterator[Span]:
    """Numbers that are given out: with a country's code; behind a word for telephone; or grouped as the country of the
    language around them groups them."""

    @cache
    def spoken(stretch: int) -> tuple[str, ...]:
        return REGIONS.get(
            prose.language(text[max(0, (stretch - 1) * _AROUND) : (stretch + 1) * _AROUND]), ()
        )

    for match in _NUMBER.finditer(text):
        raw, before = match[0], text[max(0, match.start() - _ASIDE) : match.start()]
        if "+" in raw or raw.startswith("00"):
            valid = _valid(re.sub(r"^[(（]?(?:\+|00)", "+", raw), None) is not None
        elif _NAMED.search(before):
            valid = any(_valid(raw, region) for region in EVERYWHERE)
        else:
            valid = not raw.isdigit() and any(
                _grouped_as(_valid(raw, region), raw) for region in spoken(match.start() // _AROUND)
            )
        if valid:
            yield match.span()


def _valid(raw: str, region: str | None) -> PhoneNumber | None:
    import phonenumbers

    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _grouped_as(number: PhoneNumber | None, raw: str) -> bool:
    import phonenumbers

    if number is None:
        return False
    usual = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    groups = re.findall(r"\d+", raw)
    return len(groups) > 1 and groups == re.findall(r"\d+", usual)


def accounts(text: str) -> Iterator[Span]:
    """IBANs of the countries that have them, by structure and checksum."""
    from stdnum import iban

    for match in _ACCOUNT.finditer(text):
        ends = [
            match.start() + len(match[0]),
            *(
                match.start() + at
                for at in reversed([m.start() for m in re.finditer(" ", match[0])])
            ),
        ]
        end = next((end for end in ends if iban.is_valid(text[match.start() : end])), None)
        if end:
            yield match.start(), end


def cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards, by issuer and checksum: in groups, or behind a word for card. The numbers that payment
    services publish for tests repeat their digits, and stay."""
    from stdnum import luhn

    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        grouped = len(digits) < len(match[0])
        before = text[max(0, match.start() - 2 * _ASIDE) : match.start()]
        if (
            len(set(digits)) > 4
            and luhn.is_valid(digits)
            and (grouped or _CARD_NAME.search(before))
        ):
            yield match.span()


def people(text: str) -> Iterator[Span]:
    """Identity, tax and insurance numbers."""
    for kind in NATIONAL:
        checked = import_module(f"stdnum.{kind.module}")
        for match in kind.form.finditer(text):
            named = kind.named is None or kind.named.search(
                text[max(0, match.start() - _ASIDE) : match.start()]
            )
            if named and checked.is_valid(match[0]):
                yield match.span()


# In this order a place goes to the first: a card's number may look like a telephone number.
FINDERS: tuple[tuple[str, Callable[[str], Iterator[Span]]], ...] = (
    ("bank account", accounts),
    ("card number", cards),
    ("personal number", people),
    ("telephone number", phones),
)
