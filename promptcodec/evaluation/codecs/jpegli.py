"""JPEG files by jpegli, whose quantisation adapts to the picture; any JPEG decoder reads them."""

import importlib.util
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Jpegli:
    """jpegli by pyjpegli, at the settings of its binding, for colour pictures.

    Attributes:
        qualities: settings, lowest to highest.
    """

    name: ClassVar[str] = "jpegli"
    qualities: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def missing(self) -> str | None:
        """Why it cannot run; None if its package is installed."""
        if importlib.util.find_spec("pyjpegli"):
            return None
        return "jpegli is not installed: pip install 'promptcodec[jpegli]'"

    def options(self) -> dict[str, object]:
        """Options and versions for the results."""
        from importlib import metadata

        return {"pyjpegli": metadata.version("pyjpegli"), **asdict(self)}

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a JPEG file."""
        import pyjpegli  # type: ignore[import-not-found]

        rgb = picture.convert("RGB")
        return pyjpegli.encode(rgb.tobytes(), rgb.width, rgb.height, quality=quality)

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a file, RGB, by jpegli's own decoder."""
        import pyjpegli  # type: ignore[import-not-found]

        pixels, width, height = pyjpegli.decode(data)
        return Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(height, width, 3))
