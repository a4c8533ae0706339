"""Picture files, written with their metadata."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

from PIL import Image

from promptcodec.errors import OutputError
from promptcodec.io.tiff_folders import append_folders
from promptcodec.io.written import metadata_options

# Format and options of Pillow for each suffix. The decoded picture is stored without further loss,
# except in JPEG, which has no lossless mode: there at high quality.
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),  # of photographs no larger than at 6, in half the time
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0, "optimize": True}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0, "optimize": True}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}
OUTPUT_SUFFIXES = tuple(_WRITERS)
# How JPEG, WebP and AVIF are written where loss is meant: small files at moderate effort.
_LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"optimize": True},
    "WEBP": {"method": 6},
    "AVIF": {"speed": 6, "max_threads": 1},  # the bytes follow the number of threads
}


def encode_file(image: Image.Image, suffix: str) -> bytes:
    """Bytes of the file that `write_file` writes."""
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
            AVIF speed 6 and one thread.
    """
    output = io.BytesIO()
    image.save(output, kind, quality=quality, **(options or _LOSSY[kind]))
    return output.getvalue()


def write_file(image: Image.Image, suffix: str, file: BinaryIO) -> None:
    """Write a picture file with the ICC profile, EXIF, XMP and resolution from `image.info`.

    What the format cannot hold of them is left out; `left_out` names it. An alpha of 255
    everywhere is left out of JPEG.

    Args:
        image: picture of mode L, LA, RGB or RGBA, as from `to_pil`.
        suffix: one of `OUTPUT_SUFFIXES`, in any case. PNG, WebP and TIFF are lossless; JPEG has
            quality 95 without chroma subsampling.
        file: empty file, readable for TIFF.

    Raises:
        OutputError: the suffix is unknown, JPEG would need alpha, or the picture is too large for
            WebP.
        OSError: the file cannot be written, on a full disk for instance.
    """
    kind, options = _writer(suffix)
    if kind == "JPEG" and image.mode in ("LA", "RGBA"):
        if not is_opaque(image):
            raise OutputError(f"{suffix} holds no alpha; use .png, .webp or .tif")
        info, image = image.info, image.convert(image.mode[:-1])
        image.info = info
    # libtiff writes to the file itself, so that the result is not held in memory.
    sink = file if kind == "TIFF" else cast(BinaryIO, _Sink(file))
    metadata = metadata_options(image, kind)
    try:
        image.save(sink, kind, **options, **metadata.options)
        if metadata.folders:
            append_folders(file, metadata.folders)
    except Exception as error:  # too large for the format, mostly; Pillow raises many types
        if isinstance(error, OSError) and error.errno:
            raise
        hint = "is the disk full? else use .png" if kind == "TIFF" else "use .png"
        raise OutputError(f"cannot write as {suffix} ({error}); {hint}") from error


def left_out(image: Image.Image, suffix: str) -> tuple[str, ...]:
    """What `write_file` leaves out of a file, each in a few words.

    Raises:
        OutputError: an unknown suffix.
    """
    kind, _ = _writer(suffix)
    names = metadata_options(image, kind).left_out
    # libwebp writes no alpha that is opaque.
    if kind in ("JPEG", "WEBP") and image.mode in ("LA", "RGBA") and is_opaque(image):
        names = ("alpha, opaque everywhere", *names)
    return tuple(f"{suffix} is written without {name}" for name in names)


def is_opaque(image: Image.Image) -> bool:
    """Whether the alpha of a picture with one is 255 everywhere."""
    return image.getchannel("A").getextrema() == (255, 255)


def _writer(suffix: str) -> tuple[str, dict[str, Any]]:
    if suffix.lower() not in _WRITERS:
        raise OutputError(
            f"cannot write a picture as {suffix or 'a file without suffix'}; "
            f"use one of {', '.join(OUTPUT_SUFFIXES)}"
        )
    return _WRITERS[suffix.lower()]


class _Sink:
    """A file without a descriptor: Pillow's writes to a descriptor fail without a reason."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.seek, self.tell, self.flush = file.write, file.seek, file.tell, file.flush
