"""Results of coding beside bytes and pixels."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True)
class Rate:
    """One position of the ladder that a codec can write.

    Args:
        index: rate index; higher is larger and better.
        lmbda: rate-distortion weight of its training.
    """

    index: float
    lmbda: float


@dataclass(frozen=True)
class Encoded:
    """A stream and the figures of its encoding.

    Args:
        data: bytes of the file.
        rate_index: position on the ladder.
        gain_steps: shift of the gains of that position, in steps of the scale tables.
        bpp_estimate: ideal code length of y and z, and the bits of exact tiles, by the pixels of
            the picture, no header.
        header_bytes: bytes of the header, checksums included.
        passes: number of runs of g_a; more than one after a search for a target.
        target_met: whether the target is met; False if one byte is more than its tolerance.
        seconds: time of each part: "load", "g_a" (with hyperprior and context; the whole search
            for a target, the choice of a pack), "coding", "exact" (files of exact
            tiles and their choice), "pack" (of the file).
        engine: name of the engine, "onnx", "openvino" or "torch".
        exact_tiles: number of tiles that are coded without loss.
        frames: frames or pages of the source, of which the first is coded.
        notes: what the source has and the stream has not, each in a few words.
        pack: name of the pack whose adapters are used; None is the ladder.
    """

    data: bytes
    rate_index: float
    gain_steps: float
    bpp_estimate: float
    header_bytes: int
    passes: int
    target_met: bool
    seconds: dict[str, float] = field(compare=False)
    engine: str = field(compare=False)
    exact_tiles: int = 0
    frames: int = 1
    notes: tuple[str, ...] = ()
    pack: str | None = None


@dataclass(frozen=True)
class Decoded:
    """A picture and the time it took.

    Args:
        picture: mode L, LA, RGB or RGBA.
        seconds: time of each part: "scale_path", "coding", "context", "g_s", "exact",
            "picture".
        engine: name of the engine, "onnx", "openvino" or "torch".
        missing: names of the tiles and chunks missing in a partial stream; such tiles are grey.
    """

    picture: Image.Image
    seconds: dict[str, float] = field(compare=False)
    engine: str = field(compare=False)
    missing: tuple[str, ...] = ()


class Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now
