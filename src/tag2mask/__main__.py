"""``python -m tag2mask``: the same as the console script ``tag2mask``."""

from __future__ import annotations

import sys

from tag2mask.cli import main

if __name__ == "__main__":
    sys.exit(main())
