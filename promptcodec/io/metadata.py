"""Metadata of pictures: EXIF, XMP, ICC profile, resolution, and the orientation they contain.

One rule for the orientation: that of EXIF, or of TIFF, where there is such a tag, of whatever type;
else that of XMP. What is no orientation counts as 1. The coded picture is upright, and whatever
named an orientation says 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from promptcodec.errors import PictureError
from promptcodec.io.colour import told_colour
from promptcodec.io.exif import (
    ORIENTATION,
    UPRIGHT,
    as_orientation,
    exif_resolution,
    is_sideways,
    upright_exif,
)
from promptcodec.io.resolution import Resolution, resolution_of
from promptcodec.io.xmp import upright_xmp, without_claims, xmp_orientation

# Upper bounds in bytes. Cameras write some 10 kB of EXIF (64 KiB is the limit of JPEG), editors up
# to some 100 kB of XMP, and RGB profiles are rarely above 1 MB.
MAX_EXIF = 1 << 20
MAX_XMP = 1 << 20
MAX_ICC = 4 << 20

_LEAST_ICC = 128  # bytes of the header of a profile
# Description, maker, model, software, date, artist, copyright, and the folders Exif and GPS.
_FOLDERS = (0x8769, 0x8825)
_PHOTOGRAPH_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels; attributes as `Picture` has them."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    resolution: Resolution | None = None
    notes: tuple[str, ...] = ()


def read_metadata(
    image: Image.Image, head: bytes, *, orientation: int, grey: bool, name: str
) -> Metadata:
    """Metadata as it is true of the upright picture.

    Args:
        image: decoded picture.
        head: first bytes of its file.
        orientation: what it was turned by, 1 to 8.
        grey: the coded picture has one channel.
        name: name of the picture in messages.

    Raises:
        PictureError: more than is kept.
    """
    icc, note = _profile(image, head, grey=grey)
    exif = upright_exif(_bounded(exif_of(image), MAX_EXIF, "EXIF", name=name), orientation)
    xmp = upright_xmp(_bounded(xmp_of(image), MAX_XMP, "XMP", name=name), orientation)
    xmp, claimed = without_claims(xmp)
    resolution = resolution_of(image)
    if resolution is None:
        resolution = exif_resolution(exif)
    elif is_sideways(orientation):
        resolution = resolution.turned
    notes = [note] if note else []
    if claimed:
        notes.append(f"its {' and '.join(claimed)}, which XMP announces, is left out")
    if _has_text(image):
        notes.append("text beside EXIF and XMP (comment, IPTC) is left out")
    return Metadata(
        icc=_bounded(icc, MAX_ICC, "ICC profile", name=name) or None,
        exif=exif or None,
        xmp=xmp or None,
        resolution=resolution,
        notes=tuple(notes),
    )


def stored_resolution(chunks: Mapping[bytes, bytes]) -> Resolution | None:
    """Resolution of a stream by the contents of its chunks: its own chunk, else EXIF."""
    own = Resolution.from_bytes(chunks.get(b"reso", b""))
    return own or exif_resolution(chunks.get(b"EXIF"))


def _bounded(data: bytes, bound: int, kind: str, *, name: str) -> bytes:
    """Metadata that is short enough; else a `PictureError`."""
    if len(data) > bound:
        raise PictureError(
            f"{name}: has {len(data)} bytes of {kind} and at most {bound} are kept; "
            "pass --strip (in Python strip=True) to leave out EXIF, XMP and ICC profile, or remove "
            "it from the file, for example: exiftool -all= INPUT"
        )
    return data


def exif_of(image: Image.Image) -> bytes:
    """EXIF as a TIFF block without its prefix; empty for none."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        while exif.startswith(b"Exif\0\0"):
            exif = exif[6:]
        return exif
    try:  # TIFF, and old PNG with EXIF as text, have no block: one is written
        tags = photograph_tags(image.getexif())
        return tags.tobytes()[6:] if any(True for _ in tags) else b""
    except Exception:  # pixels are coded without unreadable tags
        return b""


def photograph_tags(tags: Image.Exif) -> Image.Exif:
    """The tags about the photograph, without those on how a TIFF file stores its pixels."""
    kept = Image.Exif()
    for tag in _PHOTOGRAPH_TAGS:
        if tag in tags:
            kept[tag] = tags[tag]
    for tag in _FOLDERS:
        if folder := dict(tags.get_ifd(tag)):
            kept.get_ifd(tag).update(folder)
    return kept


def xmp_of(image: Image.Image) -> bytes:
    """The XMP packet; empty for none."""
    xmp = image.info.get("xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""


def orientation_of(image: Image.Image) -> int:
    """Orientation, 1 to 8, by the rule of this module; 1 where there is none."""
    try:
        tags = image.getexif()
    except Exception:  # damaged EXIF has no orientation
        return 1
    if ORIENTATION in tags:
        return as_orientation(tags[ORIENTATION])
    return xmp_orientation(xmp_of(image))


def is_turned_by_pillow(image: Image.Image) -> bool:
    """Whether Pillow turns a picture when it is decoded, or has done so: TIFF alone."""
    if image.format != "TIFF":
        return False
    try:
        return image.getexif().get(ORIENTATION, 1) in UPRIGHT
    except Exception:
        return False


def _profile(image: Image.Image, head: bytes, *, grey: bool) -> tuple[bytes, str]:
    """The profile that describes the pixels as they now are, and what is ignored.

    Any other profile would mislead a viewer.
    """
    if image.mode in ("CMYK", "LAB"):  # now sRGB
        return b"", ""
    icc, note = image.info.get("icc_profile"), ""
    if icc and isinstance(icc, bytes):
        space = icc[16:20]
        if len(icc) >= _LEAST_ICC and space == (b"GRAY" if grey else b"RGB "):
            return icc, ""
        of = space.decode("ascii", "replace").strip() if len(icc) >= _LEAST_ICC else ""
        kind = f"of {of}" if of.isalnum() else "damaged"
        note = f"its ICC profile, {kind}, does not fit {'grey' if grey else 'RGB'} and is left out"
    told = told_colour(image, head, grey=grey)
    return told.profile or b"", told.note or ("" if told.profile else note)


def _has_text(image: Image.Image) -> bool:
    """Whether a file holds text that no stream has a place for."""
    if image.info.get("comment") or image.info.get("photoshop"):
        return True
    known = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1")
    texts = image.info.items() if image.format == "PNG" else ()
    return any(isinstance(value, str) and key not in known for key, value in texts)
