"""Secrets found: Forge beside bc-detect-secrets, on planted files of many forms and encodings, and on look-alikes.

Usage: python bench/planted_secrets.py --peer DIR   (with bc-detect-secrets: pip install --target DIR bc-detect-secrets)

Four sets. `tokens` and `forms` are what Forge's tests plant, so its own figures there are no surprise; `theirs` are
strings made at random from the peer's own patterns, and `look-alikes` what documentation has in a secret's place. Forge
has found a secret where none of its eight characters in a row is left in the redacted text, the peer where it reports
the line. Each file goes through what each has for files, decoding included.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import re
import string
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

try:
    from re import _constants as codes
    from re import _parser as grammar
except ImportError:
    import sre_constants as codes  # type: ignore[no-redef]
    import sre_parse as grammar  # type: ignore[no-redef]

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "secrets.json"
ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "cp1252",
    "iso8859-15",
    "cp1251",
    "koi8-r",
    "gb18030",
    "shift_jis",
)
# A sentence in letters that an encoding has, so that it can be told.
AROUND = {
    "cp1251": "Ключ лежит в конце этой страницы, его никому не показывают.",
    "koi8-r": "Ключ лежит в конце этой страницы, его никому не показывают.",
    "gb18030": "密钥写在本页末尾，请不要给任何人看，也不要保存在别处。",
    "shift_jis": "鍵はこのページの最後に書いてあります。だれにも見せないでください。",
}
WESTERN = "Der Schlüssel steht am Ende dieser Seite; zeigen Sie ihn niemandem, auch später nicht: größte Vorsicht."
MADE = 4  # strings of each of the peer's patterns


class Planted(NamedTuple):
    """`secret` is what may not be left of `text`."""

    text: str
    secret: str


def tests() -> Any:
    sys.path.insert(0, str(HERE.parent / "tests" / "corpus"))
    import test_secrets

    return test_secrets


def theirs(chance: random.Random) -> Iterator[Planted]:
    """Strings that the peer's own patterns match, on a line of their own."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    for _, plugin in sorted(get_mapping_from_secret_type_to_class().items()):
        for pattern in getattr(plugin, "denylist", None) or ():
            for _ in range(MADE):
                made = "".join(_made(grammar.parse(pattern.pattern, pattern.flags), chance))
                match = pattern.search(made)
                if match and made.isprintable():
                    yield Planted(
                        f"see {made} here", next(filter(None, match.groups()[::-1]), match[0])
                    )


def _made(parsed: Any, chance: random.Random) -> Iterator[str]:
    """One string of a parsed pattern. What only looks ahead or behind is left to the match afterwards."""
    for code, value in parsed:
        if code is codes.LITERAL:
            yield chr(value)
        elif code is codes.IN:
            yield chance.choice(_letters(value))
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            least, most, inner = value
            for _ in range(chance.randint(least, min(most, least + 3))):
                yield from _made(inner, chance)
        elif code is codes.SUBPATTERN:
            yield from _made(value[-1], chance)
        elif code is codes.BRANCH:
            yield from _made(chance.choice(value[1]), chance)
        elif code is codes.ANY:
            yield chance.choice(string.ascii_letters + string.digits)


def _letters(members: Sequence[tuple[Any, Any]]) -> str:
    pattern = {
        codes.CATEGORY_DIGIT: string.digits,
        codes.CATEGORY_WORD: string.ascii_letters + string.digits,
        codes.CATEGORY_SPACE: " ",
    }
    found = ""
    for code, value in members:
        if code is codes.NEGATE:
            taken = _letters(members[1:])
            return "".join(c for c in string.ascii_letters + string.digits if c not in taken)
        found += {
            codes.LITERAL: lambda v: chr(v),
            codes.RANGE: lambda v: "".join(map(chr, range(v[0], v[1] + 1))),
            codes.CATEGORY: lambda v: pattern.get(v, "-"),
        }[code](value)
    return found


def by_forge(path: Path, planted: Planted) -> bool:
    """Whether nothing of the secret is left."""
    from phoenix_forge.corpus.load import load
    from phoenix_forge.corpus.walk import File

    document = load(File(path, path.name, path.name), "redact").document
    return document is not None and not tests().pieces(planted.secret) & tests().pieces(
        document.text
    )


def flagged(path: Path) -> bool:
    """Whether Forge takes anything of a file for a secret."""
    from phoenix_forge.corpus.load import load
    from phoenix_forge.corpus.walk import File

    return bool(load(File(path, path.name, path.name), "redact").findings)


def peers_lines(path: Path) -> set[int]:
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings

    with default_settings():
        return {found.line_number for found in scan_file(str(path))}


def by_peer(path: Path, planted: Planted) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    at = text.find(planted.secret)
    return at >= 0 and text.count("\n", 0, at) + 1 in peers_lines(path)


def measured(
    name: str, planted: Sequence[Planted], encodings: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Shares of planted secrets that are found."""
    files, forge, peer = 0, 0, 0
    for encoding in encodings:
        for number, one in enumerate(planted):
            path = folder / f"{name}-{encoding}-{number}.txt"
            whole = f"{AROUND.get(encoding, WESTERN)}\n\n{one.text}\n"
            path.write_bytes(whole.encode(encoding, errors="replace"))
            files, forge, peer = files + 1, forge + by_forge(path, one), peer + by_peer(path, one)
    row = {
        "set": name,
        "encodings": len(encodings),
        "files": files,
        "forge": round(forge / files, 3),
        "bc-detect-secrets": round(peer / files, 3),
    }
    print(json.dumps(row), flush=True)
    return row


def look_alikes(texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """Shares of harmless texts in which a secret is seen."""
    forge = peer = 0
    for number, text in enumerate(texts):
        path = folder / f"harmless-{number}.txt"
        path.write_text(f"{WESTERN}\n\n{text}\n")
        forge, peer = forge + flagged(path), peer + bool(peers_lines(path))
    row = {
        "set": "look-alikes (false alarms)",
        "encodings": 1,
        "files": len(texts),
        "forge": round(forge / len(texts), 3),
        "bc-detect-secrets": round(peer / len(texts), 3),
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, required=True)
    given = parser.parse_args()
    sys.path.append(str(given.peer))
    own = tests()
    kinds = [
        Planted(f"see {before}{secret}{after} there", secret)
        for kind, before, secret, after in own.PLANTED
        if kind not in ("e-mail address", "bank account", "card number")
    ]
    forms = [Planted(*pair) for pair in own.WRITTEN.values()]
    harmless = next(
        mark.args[1]
        for mark in own.test_blanks_are_left_alone.pytestmark
        if mark.name == "parametrize"
    )
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        rows = [
            measured("tokens", kinds, ("utf-8",), folder),
            measured("tokens", kinds, ENCODINGS, folder),
            measured("forms", forms, ("utf-8",), folder),
            measured("theirs", list(theirs(random.Random(0))), ("utf-8",), folder),
            look_alikes(harmless, folder),
        ]
    RESULT.write_text(
        json.dumps(
            {
                "rows": rows,
                "machine": {
                    "cpu": platform.processor() or platform.machine(),
                    "python": platform.python_version(),
                },
                "versions": {
                    "bc-detect-secrets": re.search(
                        r"\d[\d.]*", next(given.peer.glob("bc_detect_secrets*")).name
                    )[0],
                    "hypothesis": version("hypothesis"),
                },
            },
            indent=2,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
