"""Forge: a folder of documents becomes a language model that knows them and runs on your own machine.

`from phoenix_forge import Project` is the Python API; docs/python.md shows it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phoenix_forge.core.report import Event as Event
    from phoenix_forge.errors import ForgeError as ForgeError
    from phoenix_forge.project.project import Project as Project

__version__ = "0.1.0"
# Where each public name lies: loaded when it is asked for, so that importing the package costs nothing.
_PUBLIC = {
    "Project": "phoenix_forge.project.project",
    "Event": "phoenix_forge.core.report",
    "ForgeError": "phoenix_forge.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
