"""`python -m midge`."""

import sys

from midge.cli import main

if __name__ == "__main__":
    sys.exit(main())
