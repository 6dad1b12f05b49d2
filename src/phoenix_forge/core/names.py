"""What names may be made of. They become parts of paths, commands and addresses, and have room for nothing else."""

import re

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
MODEL = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"
HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$"  # ORG/NAME
# NAME, OWNER/NAME or HOST[:PORT]/OWNER/NAME, each with or without a :TAG; see ollama/types/model in Ollama's source.
OLLAMA = rf"^([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{{1,5}})?/)?({_PART}/)?{_PART}(:{_PART})?$"
LONGEST = 80  # characters of each part of a name in Ollama
ADDED = (
    len("-forge-found-") + 12
)  # what a version's name has behind a tag (phoenix_forge.runtime.deployments)


def ollama_problem(name: str) -> str | None:
    """Why `name` cannot be a model's in Ollama, with room for its versions; None where it can."""
    if not re.fullmatch(OLLAMA.strip("^$"), name):
        return "it may be NAME, OWNER/NAME or HOST/OWNER/NAME, with or without :TAG, of letters, digits and . _ -"
    path, _, tag = name.rpartition(":") if name.rfind(":") > name.rfind("/") else (name, "", "")
    *before, model = path.split("/")
    if before and "." in before[-1]:
        return f"its owner {before[-1]!r} has a dot; a host needs an owner as well: HOST/OWNER/NAME"
    for part, most in (
        (model, LONGEST),
        *((part, LONGEST) for part in before[-1:]),
        (tag, LONGEST - ADDED),
    ):
        if len(part) > most:
            return f"its part {part!r} has {len(part)} characters, and Ollama has room for {most}; shorten it"
    if tag.lower() in ("cloud", "local") or tag.lower().endswith("-cloud"):
        return f"by the tag {tag!r} Ollama chooses where a model runs, here or on its maker's servers; take another"
    return None
