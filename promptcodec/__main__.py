"""`python -m promptcodec` is the command line."""

import sys

from promptcodec.cli import main

if __name__ == "__main__":
    sys.exit(main())
