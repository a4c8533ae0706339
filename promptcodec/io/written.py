"""Metadata as each format of Pillow takes it; what it does not take never blocks the pixels.

Whether a format takes something is found out by writing a picture of one pixel with it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from promptcodec.io.exif import exif_resolution
from promptcodec.io.metadata import photograph_tags
from promptcodec.io.resolution import Resolution
from promptcodec.io.tiff_folders import FOLDERS, writable

_XMP_TAG = 0x02BC
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128


class Written(NamedTuple):
    """Metadata for one format.

    Args:
        options: arguments of `Image.save`.
        left_out: names of what the format does not take.
        folders: folders of EXIF that are added to a TIFF afterwards, by tag.
    """

    options: dict[str, Any]
    left_out: tuple[str, ...]
    folders: dict[int, dict[int, Any]]


def metadata_options(image: Image.Image, kind: str) -> Written:
    """ICC profile, EXIF, XMP and resolution of `image.info` for a format.

    Args:
        image: picture of mode L, LA, RGB or RGBA.
        kind: "PNG", "WEBP", "JPEG" or "TIFF".
    """
    icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    mode = image.mode.removesuffix("A") if kind == "JPEG" else image.mode
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    folders: dict[int, dict[int, Any]] = {}

    def add(name: str, options: dict[str, Any]) -> None:
        if _is_taken(mode, kind, kept | options):
            kept.update(options)
        else:
            left_out.append(name)

    if icc:
        add("ICC profile", {"icc_profile": icc})
    if kind == "TIFF":
        tags, folders, names = _tiff_tags(mode, exif)
        left_out += names
        kept["exif"] = tags
        if xmp:  # a tag among those of EXIF
            tags[_XMP_TAG] = xmp
            if not _is_taken(mode, kind, kept):
                del tags[_XMP_TAG]
                left_out.append("XMP")
    elif exif:
        add("EXIF", {"exif": exif})
    if xmp and kind == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        kept["pnginfo"] = text
    elif xmp and kind != "TIFF":
        add("XMP", {"xmp": xmp})
    options = _resolution(image, kind, kept)
    if options is None:
        left_out.append("resolution" if "dpi" in image.info else "shape of the pixels")
    else:
        add("resolution", options)
    return Written(kept, tuple(left_out), folders)


def _resolution(image: Image.Image, kind: str, kept: dict[str, Any]) -> dict[str, Any] | None:
    """Options for the resolution, empty for none; None where the format has no place for it."""
    dpi, aspect = image.info.get("dpi"), image.info.get("aspect")
    if dpi is not None:
        if kind != "WEBP":
            return {"dpi": dpi}
        return _in_exif(kept.get("exif"), dpi)
    if aspect is None:
        return {}
    if kind != "TIFF":
        return None
    return {"x_resolution": aspect[0], "y_resolution": aspect[1], "resolution_unit": 1}


def _in_exif(exif: bytes | None, dpi: tuple[float, float]) -> dict[str, Any] | None:
    """A resolution as EXIF where there is none yet; None where other EXIF has no place for it."""
    if exif:
        same = exif_resolution(exif.removeprefix(b"Exif\0\0")) == Resolution.of_dpi(*dpi)
        return {} if same else None
    tags = Image.Exif()
    tags[_X_RESOLUTION], tags[_Y_RESOLUTION], tags[_RESOLUTION_UNIT] = *dpi, 2
    return {"exif": tags.tobytes()}


def _is_taken(mode: str, kind: str, options: dict[str, Any]) -> bool:
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # Pillow raises many types
        warnings.simplefilter("ignore")
        Image.new(mode, (1, 1)).save(io.BytesIO(), kind, **options)
        return True
    return False


def _tiff_tags(
    mode: str, exif: bytes | None
) -> tuple[Image.Exif, dict[int, dict[int, Any]], list[str]]:
    """Tags and folders of an EXIF block that a TIFF takes, and names of the others."""
    given = Image.Exif()
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # damaged EXIF has no tags
        warnings.simplefilter("ignore")
        given.load(exif or b"")
        given = photograph_tags(given)
    tags, folders, names = Image.Exif(), {}, []
    for tag, value in given.items():
        if tag in FOLDERS:
            continue
        tags[tag] = value
        if not _is_taken(mode, "TIFF", {"exif": tags}):
            del tags[tag]
            names.append(f"EXIF tag 0x{tag:04X}")
    for folder, title in FOLDERS.items():
        kept, others = writable(title, given.get_ifd(folder))
        folders |= {folder: kept} if kept else {}
        names += others
    return tags, folders, names
