"""python -m phoenix_forge: how torchrun starts it."""

import os
import sys

# `-m` without `-P` looks for modules in the working directory first, where the documents are: a json.py among them.
# pathlib would be one of those.
_HERE = os.getcwd()  # noqa: PTH109
_PLACE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if not sys.flags.safe_path and sys.path[:1] == [_HERE] and _HERE != _PLACE:
    del sys.path[0]

from phoenix_forge.cli.boundary import main  # noqa: E402 - not before the path is as it should be

sys.exit(main())
