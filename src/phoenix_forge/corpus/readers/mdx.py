"""MDX: Markdown with JSX in it. Imports, exports, comments and tags are hidden, the text within components is not.

https://mdxjs.com/docs/what-is-mdx/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain

from phoenix_forge.corpus.document import Cut
from phoenix_forge.corpus.readers import dialects, markdown, tags

# From a line that begins with one of the two words to the next blank line, where something is imported or exported.
STATEMENT = re.compile(
    r"^(?:import[ \t]+[\"'{*\w]|export[ \t]+(?:const|let|var|function|default|class|async|\{|\*))"
    r"[^\n]*(?:\n(?![ \t]*\r?$)[^\n]*)*\n?",
    re.MULTILINE,
)
SETTING = re.compile(r"\{props\.[\w.]+\}|\{\s*\}|\{[\"']\s[\"']\}")
# What a page of MDX has that no other Markdown has: an import, a comment in braces, a component on a line of its own.
IMPORT = re.compile(
    r"^import[ \t][^\n;]{1,300}?from[ \t]+[\"'][^\"'\n]{1,300}[\"'];?[ \t]*\r?$", re.MULTILINE
)
HEAD = 4000  # characters in which a page imports what it shows
COMMENT = re.compile(r"\{/\*.{0,1000}?\*/\}", re.DOTALL)
COMPONENT = re.compile(
    r"^[ \t]*<(?P<name>[A-Z][\w.]*)(?:\s[^<>\n]{0,500}?)?(?P<empty>/)?>[ \t]*\r?$", re.MULTILINE
)
read = markdown.read


def is_mdx(text: str, code: Callable[[int], bool]) -> bool:
    """Whether a file named as Markdown is MDX."""
    if "import " in text[:HEAD] and IMPORT.search(text, 0, HEAD):
        return True
    if "{/*" in text and any(not code(found.start()) for found in COMMENT.finditer(text)):
        return True
    return "<" in text and any(
        (found["empty"] or f"</{found['name']}>" in text) and not code(found.start())
        for found in COMPONENT.finditer(text)
    )


def hidden(text: str) -> list[Cut]:
    code = markdown.in_code(text, set_in=False)  # MDX has no such listings
    made = chain(
        markdown.comments(text),
        markdown.comments(text, "{/*", "*/}"),
        markdown.attributes(text),
        _statements(text),
        (Cut(*found.span()) for found in SETTING.finditer(text)),
    )
    return [
        *(each for each in made if not code(each.start)),
        *dialects.cuts(text, code),
        *tags.hidden(text, True, code),
    ]


def _statements(text: str) -> Iterator[Cut]:
    return (Cut(*found.span()) for found in STATEMENT.finditer(text))
