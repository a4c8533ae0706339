"""Every error that promptcodec raises on purpose, with the exit code of the command line.

A message is one line: what was given, why it cannot be used, what to do about it.
"""


class PromptCodecError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class UsageError(PromptCodecError, ValueError):
    """An argument or an option has a value that cannot be used."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe or a config file has an unknown key or a contradictory value."""


class ShapeError(UsageError):
    """A tensor or array has a shape that the called function cannot take."""


class PictureError(PromptCodecError, ValueError):
    """The input is no picture, or one of a kind that is refused (16 bit, too large)."""

    exit_code = 3


class StreamError(PromptCodecError, ValueError):
    """The bytes are no promptcodec stream, or a damaged, truncated or newer one."""

    exit_code = 4


class ModelMismatchError(PromptCodecError, ValueError):
    """The stream was written with another base codec or adapter than the loaded one."""

    exit_code = 5


class RateError(PromptCodecError, LookupError):
    """No adapter for the wanted rate is loaded."""

    exit_code = 6


class CheckpointError(PromptCodecError, ValueError):
    """A checkpoint is missing, incomplete, not finite, or not of the stated architecture."""

    exit_code = 7


class OutputError(PromptCodecError, OSError):
    """The output cannot be written; nothing of it was left behind."""

    exit_code = 8


class DataError(PromptCodecError, ValueError):
    """A folder or archive of training or evaluation pictures cannot be used."""

    exit_code = 9
