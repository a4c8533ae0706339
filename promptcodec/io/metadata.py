"""Metadata of pictures: EXIF, XMP, ICC profile, and the orientation that they contain."""

from __future__ import annotations

import re
import struct

from PIL import Image

from promptcodec.errors import PictureError

# Upper bounds in bytes. Cameras write some 10 kB of EXIF (64 KiB is the limit of JPEG), editors up
# to some 100 kB of XMP, and RGB profiles are rarely above 1 MB.
MAX_EXIF = 1 << 20
MAX_XMP = 1 << 20
MAX_ICC = 4 << 20

_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Description, maker, model, software, date, artist, copyright, and the folders Exif and GPS.
_TAG_FOLDERS = (0x8769, 0x8825)
_PHOTOGRAPH_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, *_TAG_FOLDERS)


def bounded(data: bytes | None, bound: int, kind: str, *, name: str) -> bytes | None:
    """The data if it is within a bound; None if it is empty.

    Raises:
        PictureError: the data is longer than `bound` bytes.
    """
    if data and len(data) > bound:
        raise PictureError(
            f"{name}: has {len(data)} bytes of {kind} and at most {bound} are kept; "
            "remove it first, for example: exiftool -all= INPUT"
        )
    return data or None


def exif_of(image: Image.Image) -> bytes:
    """EXIF as a TIFF block without its prefix; empty for none."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        while exif.startswith(b"Exif\0\0"):
            exif = exif[6:]
        return exif
    try:  # TIFF, and old PNG with EXIF as text, have no block: one is written
        tags = photograph_tags(image.getexif())
        return tags.tobytes()[6:] if tags else b""
    except Exception:  # pixels are coded without unreadable tags
        return b""


def photograph_tags(tags: Image.Exif) -> Image.Exif:
    """The tags about the photograph, without those on how a TIFF file stores its pixels."""
    kept = Image.Exif()
    for tag in _PHOTOGRAPH_TAGS:
        if tag in tags:
            kept[tag] = dict(tags.get_ifd(tag)) if tag in _TAG_FOLDERS else tags[tag]
    return kept


def xmp_of(image: Image.Image) -> bytes:
    """The XMP packet; empty for none."""
    xmp = image.info.get("xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF has no orientation
        return 1
    return value if value in UPRIGHT else 1


def upright_exif(exif: bytes) -> bytes:
    """Set orientation to 1; all other bytes, thumbnail and maker notes included, are unchanged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 10:
        return exif
    patched = bytearray(exif)
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return exif
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
        if tag == _ORIENTATION and kind in (3, 4):  # SHORT, LONG
            struct.pack_into(order + ("H" if kind == 3 else "I"), patched, entry + 8, 1)
    return bytes(patched)


def upright_xmp(xmp: bytes) -> bytes:
    """Set orientation to 1; all other bytes are unchanged."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", xmp)
