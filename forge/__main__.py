"""python -m forge: how torchrun starts it."""

import os
import sys

# `-m` without `-P` looks for modules in the working directory first, where the documents are: a json.py among them.
# pathlib would be one of those.
_HERE = os.getcwd()  # noqa: PTH109
if not sys.flags.safe_path and sys.path[:1] == [_HERE] and not __file__.startswith(os.path.join(_HERE, "")):  # noqa: PTH118
    del sys.path[0]

from forge.cli.boundary import main  # noqa: E402 - not before the path is as it should be

sys.exit(main())
