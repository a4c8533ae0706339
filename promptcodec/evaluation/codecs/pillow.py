"""Classic codecs by the libraries that Pillow bundles or takes in as plugins.

Each is a set of options and a sweep of qualities; all of them go into the results.
"""

import importlib.util
import io
from dataclasses import asdict, dataclass
from typing import ClassVar

import PIL
from PIL import Image, features


@dataclass(frozen=True)
class _PillowCodec:
    """What all of them share: Pillow reads the files back."""

    name: ClassVar[str]
    library: ClassVar[str]

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a file, RGB."""
        with Image.open(io.BytesIO(data)) as picture:
            return picture.convert("RGB")

    def missing(self) -> str | None:
        """What to do before this codec can run; None where it can."""
        return None

    def options(self) -> dict[str, object]:
        """Options and versions, for the record."""
        version = features.version(self.library)
        return {"pillow": PIL.__version__, self.library: version, **asdict(self)}


@dataclass(frozen=True)
class Jpeg(_PillowCodec):
    """JPEG by libjpeg-turbo as Pillow bundles it.

    Attributes:
        optimize: Huffman tables fitted to the picture; smaller at no loss.
        full_chroma: 4:4:4 in place of the usual 4:2:0.
        qualities: lowest to highest.
    """

    name: ClassVar[str] = "jpeg"
    library: ClassVar[str] = "libjpeg_turbo"
    optimize: bool = True
    full_chroma: bool = False
    qualities: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a .jpg file."""
        buffer = io.BytesIO()
        subsampling = "4:4:4" if self.full_chroma else "4:2:0"
        picture.save(
            buffer, "JPEG", quality=quality, optimize=self.optimize, subsampling=subsampling
        )
        return buffer.getvalue()


@dataclass(frozen=True)
class WebP(_PillowCodec):
    """Lossy WebP by libwebp as Pillow bundles it.

    Attributes:
        method: effort, 0 to 6 (slowest, smallest).
        qualities: lowest to highest.
    """

    name: ClassVar[str] = "webp"
    library: ClassVar[str] = "webp"
    method: int = 6
    qualities: tuple[int, ...] = (1, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a .webp file."""
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=self.method)
        return buffer.getvalue()


@dataclass(frozen=True)
class Avif(_PillowCodec):
    """AVIF by libavif as Pillow bundles it; one thread, so that times can be compared.

    Attributes:
        speed: 0 (slowest, smallest) to 10.
        subsampling: of chroma.
        qualities: lowest to highest.
    """

    name: ClassVar[str] = "avif"
    library: ClassVar[str] = "avif"
    speed: int = 6
    subsampling: str = "4:2:0"
    qualities: tuple[int, ...] = (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)

    def missing(self) -> str | None:
        """Pillow can be built without it."""
        if features.check("avif"):
            return None
        return "this Pillow has no AVIF: install a wheel of Pillow 11.3 or later"

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of an .avif file."""
        buffer = io.BytesIO()
        picture.save(
            buffer,
            "AVIF",
            quality=quality,
            speed=self.speed,
            subsampling=self.subsampling,
            max_threads=1,
        )
        return buffer.getvalue()


@dataclass(frozen=True)
class JpegXl(_PillowCodec):
    """Lossy JPEG XL by libjxl, through a plugin of Pillow; one thread.

    Attributes:
        effort: 1 to 9 (slowest, smallest).
        qualities: lowest to highest; below 20 libjxl halves the picture, and files grow again.
    """

    name: ClassVar[str] = "jxl"
    library: ClassVar[str] = "pillow_jxl"
    effort: int = 7
    qualities: tuple[int, ...] = (20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 95, 97)

    def missing(self) -> str | None:
        """The plugin is an extra of ours."""
        if importlib.util.find_spec("pillow_jxl"):
            return None
        return "the JPEG XL plugin is not installed: pip install 'promptcodec[jxl]'"

    def options(self) -> dict[str, object]:
        """Options and versions, for the record."""
        from importlib import metadata

        version = metadata.version("pillow-jxl-plugin")
        return {"pillow": PIL.__version__, "pillow-jxl-plugin": version, **asdict(self)}

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a .jxl file."""
        import pillow_jxl  # noqa: F401  (teaches Pillow the format)

        buffer = io.BytesIO()
        picture.save(buffer, "JXL", quality=quality, effort=self.effort, num_threads=1)
        return buffer.getvalue()

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a file, RGB."""
        import pillow_jxl  # noqa: F401

        return super().decompress(data)
