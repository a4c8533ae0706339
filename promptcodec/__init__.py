"""A learned picture codec: one frozen base, many rates, readable by people and by machines.

A name is imported when it is first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptcodec.api import Codec
    from promptcodec.coding.predict import Label
    from promptcodec.coding.results import Decoded, Encoded, Rate
    from promptcodec.coding.settings import DecodeSettings, EncodeSettings
    from promptcodec.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        DivergenceError,
        ModelMismatchError,
        OutputError,
        PictureError,
        PromptCodecError,
        RateError,
        ShapeError,
        StreamError,
        UsageError,
    )

__version__ = "0.1.0"
__all__ = [
    "CheckpointError",
    "Codec",
    "ConfigError",
    "DataError",
    "DecodeSettings",
    "Decoded",
    "DivergenceError",
    "EncodeSettings",
    "Encoded",
    "Label",
    "ModelMismatchError",
    "OutputError",
    "PictureError",
    "PromptCodecError",
    "Rate",
    "RateError",
    "ShapeError",
    "StreamError",
    "UsageError",
    "__version__",
]

_MODULES = {
    "Codec": "api",
    "Decoded": "coding.results",
    "DecodeSettings": "coding.settings",
    "Encoded": "coding.results",
    "EncodeSettings": "coding.settings",
    "Label": "coding.predict",
    "Rate": "coding.results",
}  # where a name lives; errors are the others


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
