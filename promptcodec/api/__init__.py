"""Public class of the codec: choice of its engine, exchange with the Hub."""

from promptcodec.api.codec import Codec

__all__ = ["Codec"]
