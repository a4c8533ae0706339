"""`promptcodec` and `python -m promptcodec` are the command line."""

import gc
import sys

INTERRUPTED = 130  # 128 + SIGINT


def main() -> int:
    """Run the command line; Ctrl-C while it is still being imported ends it silently, too."""
    # Imports make many objects and next to no garbage: searches for it took a tenth of the time.
    gc.set_threshold(200_000)
    try:
        from promptcodec.cli.main import main

        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()  # nor is there a search at the end


if __name__ == "__main__":
    sys.exit(main())
