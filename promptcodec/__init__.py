"""A learned picture codec: one frozen base, many rates, readable by people and by machines.

`Codec` is loaded on first use, so that importing the package costs no import of torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptcodec.api import Codec

__version__ = "0.1.0"
__all__ = ["Codec", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Codec":
        from promptcodec.api import Codec

        globals()["Codec"] = Codec  # the next access does not come here
        return Codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "Codec"])
