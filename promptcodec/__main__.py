"""`promptcodec` and `python -m promptcodec` are the command line."""

import sys

INTERRUPTED = 130  # 128 + SIGINT


def main() -> int:
    """Run the command line; Ctrl-C while it is still being imported ends it silently, too."""
    try:
        from promptcodec.cli.main import main

        return main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
