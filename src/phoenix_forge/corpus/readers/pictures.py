"""Pictures and other files that stand in a text as `data:` addresses: thousands of letters that say nothing.

https://www.rfc-editor.org/rfc/rfc2397
"""

from __future__ import annotations

import re

from phoenix_forge.corpus.document import Cut

# The payload, also where an editor has broken it into lines; shorter ones are examples that somebody may read.
PAYLOAD = re.compile(
    r"\bdata:[\w.+-]{1,40}/[\w.+-]{1,100}(?:;[\w.+-]{1,40}(?:=[\w.+-]{1,60})?){0,5},"
    r"(?P<payload>[\w+/=%.~-]{64,}(?:\r?\n[ \t]*[A-Za-z0-9+/]{40,}={0,2})*"
    r"(?:\r?\n[ \t]*[A-Za-z0-9+/]{1,39}={1,2}(?!\w))?)"
)


def hidden(text: str) -> list[Cut]:
    """Each payload, for which an ellipsis stands: what it was part of stays what it is."""
    return [Cut(*found.span("payload"), "…") for found in PAYLOAD.finditer(text)]
