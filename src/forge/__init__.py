"""The name under which Forge was imported before: `forge.x` is the module `phoenix_forge.x`, the same object.

For one release, in a checkout: an editable installation puts src/ on the path; no wheel holds this, since another
distribution imports as `forge`.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import phoenix_forge

# What went to another room before the package got its name.
TO_EXAMPLES = (
    "example",
    "export",
    "formats",
    "preview",
    "report",
    "report_style",
    "scripts",
    "tokens",
    "validate",
)
MOVED = {f"phoenix_forge.dataset.{name}": f"phoenix_forge.examples.{name}" for name in TO_EXAMPLES}


class OldNames:
    """Finds and loads modules by their old names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "forge.__main__":  # what is run has to be a file
            return None
        new = f"phoenix_{name}" if name.startswith("forge.") else name
        new = MOVED.get(new, new)
        if new == name or find_spec(new) is None:
            return None
        return ModuleSpec(name, self, loader_state=new)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes an empty module, whose place the real one takes."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(module.__spec__.loader_state)  # type: ignore[union-attr]


warnings.warn(
    "the package `forge` is now `phoenix_forge`; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
sys.meta_path.insert(0, OldNames())
sys.modules[__name__] = phoenix_forge
