"""Exceptions as one line and an exit code."""

import errno
import sys

from promptcodec.cli.console import FULL_DISK, abandon
from promptcodec.errors import OutputError, PromptCodecError, UsageError

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
OUT_OF_MEMORY = 71  # EX_OSERR
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE

# Extras that bring a package.
EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "timm", "peft", "accelerate", "onnx"), "train"),
    "openvino": "openvino",
    "pyarrow": "corpus",
    "ray": "ray",
    **dict.fromkeys(("scipy", "matplotlib", "pytorch_msssim"), "eval"),
}
# Exit codes of other exceptions: code, Python's exception, cause, remedy.
OTHER_EXITS = (
    (INTERNAL_ERROR, "", "a bug", "please report it with the output under `-v`"),
    (OUT_OF_MEMORY, "`MemoryError`", "not enough memory", "a smaller picture, a larger machine"),
    (
        INTERRUPTED,
        "`KeyboardInterrupt`",
        "interrupted (Ctrl-C; SIGTERM while files are written)",
        "the same command goes on",
    ),
    (BROKEN_PIPE, "`BrokenPipeError`", "the reader of standard output went away", "none needed"),
)


def describe(error: Exception) -> tuple[str, int]:
    """Message and exit code for any exception."""
    if isinstance(error, PromptCodecError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return (
            f"this needs {error.name}: pip install 'promptcodec[{EXTRAS[error.name]}]'",
            UsageError.exit_code,
        )
    if _is_out_of_memory(error):
        return "not enough memory: take a smaller picture or a larger machine", OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # a log, a cache, a help text
        abandon(sys.stdout)
        return FULL_DISK, OutputError.exit_code
    message = f"{type(error).__name__}: {error}"
    return f"unexpected, please report it with the output under -v: {message}", INTERNAL_ERROR


def _is_out_of_memory(error: Exception) -> bool:
    """True for lack of memory, which torch on the CPU reports as a RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )
