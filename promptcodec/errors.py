"""Every error that promptcodec raises on purpose, with the exit code of the command line.

A message is one line: what was given, why it cannot be used, what to do about it. The first line of
each docstring is the cause that docs/errors.md names, `remedy` what helps.
"""

import re


class PromptCodecError(Exception):
    """Any other error raised on purpose, or files that failed for different reasons."""

    exit_code = 1
    remedy = "see the line"


class UsageError(PromptCodecError, ValueError):
    """An argument or an option has a value that cannot be used."""

    exit_code = 2
    remedy = "see `promptcodec COMMAND --help`; the line names the option"


class ConfigError(UsageError):
    """A recipe or a config file has an unknown key or a contradictory value."""

    remedy = "correct the key that the line names"


class ShapeError(UsageError):
    """A tensor or array has a shape that the called function cannot take."""

    remedy = "bring it to the shape that the line names"


class PictureError(PromptCodecError, ValueError):
    """The input is missing, no picture, truncated, of 16 bits a channel, or too large."""

    exit_code = 3
    remedy = "name a whole picture; `--allow-8bit` or `--max-pixels` where these are meant"


class StreamError(PromptCodecError, ValueError):
    """The stream is missing, of another format, damaged, truncated, newer, or too large."""

    exit_code = 4
    remedy = (
        "fetch the file again; upgrade; `--allow-partial` for what is whole of it; `--max-pixels` "
        "for a large picture that you trust"
    )


class ModelMismatchError(PromptCodecError, ValueError):
    """A stream or an adapter belongs to another base codec or adapter than the loaded one."""

    exit_code = 5
    remedy = "pass the base and adapters that wrote it: `promptcodec info` shows their hashes"


class RateError(PromptCodecError, LookupError):
    """No adapter for the wanted rate is loaded, or a target is out of reach."""

    exit_code = 6
    remedy = "use a rate or a size that the line lists, or pass `--prompts`"


class CheckpointError(PromptCodecError, ValueError):
    """A checkpoint is missing, incomplete, not finite, of another architecture, or out of reach."""

    exit_code = 7
    remedy = "fetch it again, or name another by `--base`, `--prompts` or `--heads`"


class OutputError(PromptCodecError, OSError):
    """The output exists, or cannot be written; nothing of it was left behind."""

    exit_code = 8
    remedy = "`--force`, another name, another folder or another format"


class DataError(PromptCodecError, ValueError):
    """A folder or archive of pictures cannot be used, or a part of it."""

    exit_code = 9
    remedy = "name a folder with pictures; mend or remove those that the line names"


class DivergenceError(PromptCodecError, ValueError):
    """A training run diverges; its last good state was kept."""

    exit_code = 10
    remedy = "lower what the line names in the recipe, and add `--resume` where it says so"


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/{1,2}[^/]", re.IGNORECASE)  # `Path` drops a slash


def is_address(name: str) -> bool:
    """True for "https://host/photo.png" and the like."""
    return bool(_ADDRESS.match(name))


def unexpected(error: Exception) -> str:
    """Reason of a row or a shard that failed by a fault of this package, on one line."""
    text = " ".join(str(error).split())
    return f"unexpected, please report it: {type(error).__name__}: {text}"


def not_found(place: object, otherwise: str | None = None) -> str:
    """Message for a file or folder that is not there.

    Args:
        place: path of the file or folder.
        otherwise: message if the path is no address; None is that of a file.
    """
    name = str(place)
    if is_address(name):
        return f"{as_given(name)}: this is an address, and only files are read: download it first"
    return otherwise or f"{name}: no such file: check the name"


def as_given(name: str) -> str:
    """An address with the slash that `Path` drops."""
    return name if "://" in name else name.replace(":/", "://", 1)
