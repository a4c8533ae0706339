"""Classic codecs by the libraries that Pillow bundles or loads as plugins.

Each is a set of options and a sweep of qualities; both are recorded in the results.
"""

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import PIL
from PIL import AvifImagePlugin, Image, features

from promptcodec.io.save import encode_lossy


@dataclass(frozen=True)
class _PillowCodec:
    """A format of Pillow: its name there, and the name of its library."""

    name: ClassVar[str]
    format: ClassVar[str]
    library: ClassVar[str]

    def save_options(self) -> dict[str, Any]:
        """Arguments of `Image.save` beside the quality."""
        raise NotImplementedError

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a file."""
        return encode_lossy(picture, self.format, quality, self.save_options())

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a file, RGB."""
        with Image.open(io.BytesIO(data)) as picture:
            return picture.convert("RGB")

    def missing(self) -> str | None:
        """Why this codec cannot run here; None if it can."""
        return None

    def options(self) -> dict[str, object]:
        """Options and versions for the results."""
        version = features.version(self.library)
        return {"pillow": PIL.__version__, self.library: version, **asdict(self)}


@dataclass(frozen=True)
class Jpeg(_PillowCodec):
    """JPEG by libjpeg-turbo as Pillow bundles it.

    Attributes:
        optimize: whether to fit the Huffman tables to the picture.
        full_chroma: whether chroma is 4:4:4 rather than 4:2:0.
        progressive: whether coefficients are coded in several scans, which takes fewer bytes.
        qualities: settings, lowest to highest.
    """

    name: ClassVar[str] = "jpeg"
    format: ClassVar[str] = "JPEG"
    library: ClassVar[str] = "libjpeg_turbo"
    optimize: bool = True
    full_chroma: bool = False
    progressive: bool = False
    qualities: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def save_options(self) -> dict[str, Any]:
        """Arguments of `Image.save` beside the quality."""
        subsampling = "4:4:4" if self.full_chroma else "4:2:0"
        found = {"optimize": self.optimize, "subsampling": subsampling}
        return found | {"progressive": True} if self.progressive else found


@dataclass(frozen=True)
class WebP(_PillowCodec):
    """Lossy WebP by libwebp as Pillow bundles it.

    Attributes:
        method: effort, 0 to 6 (slowest, smallest).
        qualities: settings, lowest to highest.
    """

    name: ClassVar[str] = "webp"
    format: ClassVar[str] = "WEBP"
    library: ClassVar[str] = "webp"
    method: int = 6
    qualities: tuple[int, ...] = (1, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def save_options(self) -> dict[str, Any]:
        """Arguments of `Image.save` beside the quality."""
        return {"method": self.method}


@dataclass(frozen=True)
class Avif(_PillowCodec):
    """AVIF by libavif as Pillow bundles it; one thread, so that times can be compared.

    Attributes:
        speed: speed, 0 (slowest, smallest) to 10.
        subsampling: subsampling of chroma.
        tune: measure that the encoder serves, "psnr" or "ssim"; "default" serves eyes.
        qualities: settings, lowest to highest.
    """

    name: ClassVar[str] = "avif"
    format: ClassVar[str] = "AVIF"
    library: ClassVar[str] = "avif"
    speed: int = 6
    subsampling: str = "4:2:0"
    tune: str = "default"
    qualities: tuple[int, ...] = (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)

    def missing(self) -> str | None:
        """Why this Pillow lacks AVIF; None if it has it."""
        if features.check("avif"):
            return None
        return "this Pillow has no AVIF: install a wheel of Pillow 11.3 or later"

    def save_options(self) -> dict[str, Any]:
        """Arguments of `Image.save` beside the quality."""
        found = {"speed": self.speed, "subsampling": self.subsampling, "max_threads": 1}
        return found if self.tune == "default" else found | {"advanced": {"tune": self.tune}}

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a file, RGB."""
        with _set(AvifImagePlugin, "DEFAULT_MAX_THREADS", 1):
            return super().decompress(data)

    def options(self) -> dict[str, object]:
        """Options and versions for the results."""
        from PIL import _avif  # type: ignore[attr-defined]

        return super().options() | {"av1": _avif.codec_versions()}


@dataclass(frozen=True)
class JpegXl(_PillowCodec):
    """Lossy JPEG XL by libjxl, through a plugin of Pillow; one thread.

    Attributes:
        effort: effort, 1 to 9 (slowest, smallest).
        qualities: settings, lowest first; below 20 libjxl halves the picture, and files grow.
    """

    name: ClassVar[str] = "jxl"
    format: ClassVar[str] = "JXL"
    library: ClassVar[str] = "pillow_jxl"
    effort: int = 7
    qualities: tuple[int, ...] = (20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 95, 97)

    def missing(self) -> str | None:
        """Why JPEG XL cannot run; None if the plugin is installed."""
        if importlib.util.find_spec("pillow_jxl"):
            return None
        return "the JPEG XL plugin is not installed: pip install 'promptcodec[jxl]'"

    def options(self) -> dict[str, object]:
        """Options and versions for the results."""
        from importlib import metadata

        version = metadata.version("pillow-jxl-plugin")
        return {"pillow": PIL.__version__, "pillow-jxl-plugin": version, **asdict(self)}

    def save_options(self) -> dict[str, Any]:
        """Arguments of `Image.save` beside the quality."""
        import pillow_jxl  # type: ignore[import-not-found]  # noqa: F401  (registers the format)

        return {"effort": self.effort, "num_threads": 1}

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a file, RGB."""
        from pillow_jxl import JpegXLImagePlugin  # type: ignore[import-not-found]

        with _set(JpegXLImagePlugin, "DECODE_THREADS", 1):
            return super().decompress(data)


@contextmanager
def _set(module: Any, name: str, value: int) -> Iterator[None]:
    """Set an option of a plugin that `Image.open` has no argument for.

    Raises:
        AttributeError: the plugin has no such option; files would be read on every core.
    """
    earlier = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, earlier)
