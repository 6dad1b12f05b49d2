"""What a base's licence says about the licence of a model made from it.

This reads identifiers, not contracts: it catches a contradiction, and is no legal advice. Identifiers are the Hub's
("Licenses" in its documentation); where a repository says `other`, its license_name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from phoenix_forge.errors import UsageError


@dataclass(frozen=True)
class License:
    """`allows` are the identifiers that a model made from the base may be published under (None: any); `asks` what its
    terms want beside that; `listed`: whether the Hub knows the identifier, else it goes under `other`."""

    allows: frozenset[str] | None
    asks: str = ""
    listed: bool = True


def _free(names: str) -> Iterable[tuple[str, License]]:
    return ((name, License(None)) for name in names.split())


def _kept(names: str, asks: str = "", listed: bool = True) -> Iterable[tuple[str, License]]:
    """Licences whose terms go on to everything that is made from the base."""
    return ((name, License(frozenset({name}), asks, listed)) for name in names.split())


_COPY = "a copy of the licence beside the weights (--files LICENSE)"
_NOTICE = f"{_COPY}, and a NOTICE file with its attribution (--files NOTICE)"
_BUILT = f'{_NOTICE}, "Built with {{0}}" shown with the model, and a name that begins with "{{1}}"'
_NONCOMMERCIAL = frozenset(
    f"cc-by-nc-{rest}" for rest in ("2.0", "3.0", "4.0", "sa-2.0", "sa-3.0", "sa-4.0")
)

LICENSES: dict[str, License] = dict(
    [
        *_free(
            "apache-2.0 mit isc bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear zlib bsl-1.0 afl-3.0 artistic-2.0 "
            "ms-pl ecl-2.0 ncsa postgresql wtfpl unlicense cc0-1.0 pddl cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 odc-by "
            "etalab-2.0 cdla-permissive-1.0 cdla-permissive-2.0"
        ),
        *_kept(
            "gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 lgpl-lr osl-3.0 eupl-1.1 cc-by-sa-3.0 cc-by-sa-4.0 "
            "odbl cdla-sharing-1.0 mpl-2.0 epl-1.0 epl-2.0"
        ),
        *_kept(
            "openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 "
            "bigcode-openrail-m",
            "its restrictions of use in the terms of whoever gets the model",
        ),
        *_kept("llama2", _NOTICE),
        *_kept("llama3", _BUILT.format("Meta Llama 3", "Llama 3")),
        *_kept("llama3.1 llama3.2 llama3.3 llama4", _BUILT.format("Llama", "Llama")),
        *_kept(
            "gemma",
            f"{_COPY}, its restrictions of use in your terms, and a note that the files were modified",
        ),
        *_kept("qwen tongyi-qianwen qwen-research tongyi-qianwen-research", _NOTICE, listed=False),
        *_kept("mnpl-0.1 mrl-0.1", _COPY, listed=False),
        *(
            (name, License(frozenset({name}) if "-sa-" in name else _NONCOMMERCIAL))
            for name in sorted(_NONCOMMERCIAL)
        ),
        *(
            (name, License(frozenset()))
            for name in ("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0")
        ),
    ]
)
# Further identifiers that the Hub knows and that say nothing here.
LISTED = frozenset(
    {"c-uda", "cc", "gfdl", "lppl-1.3c", "ofl-1.1", "deepfloyd-if-license", "unknown", "other"}
)


def require_compatible(base: str, under: str, chosen: str, private: bool) -> list[str]:
    """Refuses a licence that contradicts that of the base (`under`); returns what the user should be told.

    A base whose licence is not known here is no refusal: its terms are for the user to read.
    """
    known = LICENSES.get(under)
    if known is None:
        return [
            f"the licence of {base} ({under}) is not known to Forge: read its terms; you publish under {chosen}"
        ]
    if known.allows == frozenset():
        if not private:
            raise UsageError(
                f"{base} is under {under}: what is made from it may not be shared",
                fix="keep it to yourself (--private), or tune another base: --set model.base=…",
            )
        return [f"{base} is under {under}: share this repository with nobody"]
    if known.allows is not None and chosen not in known.allows:
        raise UsageError(
            f"publish.license is {chosen}, but {base} is under {under}, and what is made from it keeps "
            "those terms",
            fix=f"--set publish.license={under}",
        )
    return [f"the licence of {base} ({under}) asks for {known.asks}"] if known.asks else []


def front_matter(license: str, base: str | None = None) -> dict[str, str]:
    """The card's keys for a licence; one that the Hub does not list goes under `other`, with a name and a link to the
    text in the base's repository."""
    known = LICENSES.get(license)
    if license in LISTED or (known and known.listed):
        return {"license": license}
    link = {"license_link": f"https://huggingface.co/{base}/blob/main/LICENSE"} if base else {}
    return {
        "license": "other",
        "license_name": re.sub(r"[^a-z0-9.-]+", "-", license.lower()).strip("-"),
        **link,
    }
