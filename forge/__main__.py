"""python -m forge: how torchrun starts it."""

import sys

from forge.cli.boundary import main

sys.exit(main())
