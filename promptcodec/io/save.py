"""Picture files, written with their metadata."""

from __future__ import annotations

import contextlib
import io
from typing import Any, BinaryIO, cast

from PIL import Image

from promptcodec.errors import OutputError
from promptcodec.io.metadata import photograph_tags

# Format and options of Pillow for each suffix. The decoded picture is stored without further loss,
# except in JPEG, which has no lossless mode: there at high quality.
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0, "optimize": True}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0, "optimize": True}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}
OUTPUT_SUFFIXES = tuple(_WRITERS)
# Options of JPEG, WebP and AVIF as lossy codecs: small files at moderate effort.
_LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"optimize": True},
    "WEBP": {"method": 6},
    "AVIF": {"speed": 6},
}


def encode_file(image: Image.Image, suffix: str) -> bytes:
    """Bytes of the file of `write_file`."""
    output = io.BytesIO()
    write_file(image, suffix, output)
    return output.getvalue()


def encode_lossy(
    image: Image.Image, kind: str, quality: int, options: dict[str, Any] | None = None
) -> bytes:
    """The bytes of a picture file of a classic codec.

    Args:
        image: picture of mode L or RGB.
        kind: Pillow's name of the format, "JPEG" for instance.
        quality: quality setting of that format.
        options: further options of Pillow; without any, JPEG is optimised, WebP has method 6, and
            AVIF speed 6, whose bytes depend on the number of cores without `max_threads`.
    """
    output = io.BytesIO()
    image.save(output, kind, quality=quality, **(options or _LOSSY[kind]))
    return output.getvalue()


def write_file(image: Image.Image, suffix: str, file: BinaryIO) -> None:
    """Write a picture file with the ICC profile, EXIF and XMP from `image.info`.

    Args:
        image: picture of mode L, LA, RGB or RGBA, as from `to_pil`.
        suffix: one of `OUTPUT_SUFFIXES`, in any case. PNG, WebP and TIFF are lossless; JPEG has
            quality 95 without chroma subsampling.
        file: empty file, readable for TIFF.

    Raises:
        OutputError: the suffix is unknown, JPEG would need alpha or too much metadata, or the
            picture is too large for WebP.
        OSError: the file cannot be written, on a full disk for instance.
    """
    if suffix.lower() not in _WRITERS:
        raise OutputError(
            f"cannot write a picture as {suffix or 'a file without suffix'}; "
            f"use one of {', '.join(OUTPUT_SUFFIXES)}"
        )
    kind, options = _WRITERS[suffix.lower()]
    if kind == "JPEG" and image.mode in ("LA", "RGBA"):
        raise OutputError(f"{suffix} holds no alpha; use .png, .webp or .tif")
    # libtiff writes to the file itself, so that the result is not held in memory.
    sink = file if kind == "TIFF" else cast(BinaryIO, _Sink(file))
    try:
        image.save(sink, kind, **options, **_metadata_options(image, kind))
    except Exception as error:  # too large for the format, mostly; Pillow raises many types
        if isinstance(error, OSError) and error.errno:
            raise
        hint = "is the disk full? else use .png" if kind == "TIFF" else "use .png"
        raise OutputError(f"cannot write as {suffix} ({error}); {hint}") from error


class _Sink:
    """A file without a descriptor: Pillow's writes to a descriptor fail without a reason."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.seek, self.tell, self.flush = file.write, file.seek, file.tell, file.flush


def _metadata_options(image: Image.Image, kind: str) -> dict[str, Any]:
    """Options of Pillow for ICC profile, EXIF and XMP, which differ by format."""
    icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    if kind == "TIFF":  # XMP is a tag among those of EXIF
        tags = photograph_tags(_parsed_exif(exif))
        if xmp:
            tags[0x02BC] = xmp
        return {**options, "exif": tags}
    if exif:
        options["exif"] = exif
    if xmp and kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = text
    elif xmp:
        options["xmp"] = xmp
    return options


def _parsed_exif(exif: bytes | None) -> Image.Exif:
    tags = Image.Exif()
    with contextlib.suppress(Exception):  # pixels are written without damaged EXIF
        tags.load(exif or b"")
    return tags
