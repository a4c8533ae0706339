"""Orientation, EXIF, XMP and ICC profiles of picture files."""

import io
import warnings

import numpy as np
import pytest
from picture_files import (
    GREY_ICC,
    LEVELS,
    SRGB,
    XMP,
    exif_with,
    file_bytes,
    lettered,
    picture,
)
from PIL import Image

from promptcodec.errors import PictureError
from promptcodec.io.load import load_picture
from promptcodec.io.metadata import MAX_EXIF, MAX_ICC, MAX_XMP

# What a viewer shows for the stored rows "ab" and "cd" in each orientation.
UPRIGHT = {1: "ab cd", 2: "ba dc", 3: "dc ba", 4: "cd ab"}
UPRIGHT |= {5: "ac bd", 6: "ca db", 7: "db ca", 8: "bd ac"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_and_reset(kind, orientation):
    exif = exif_with(orientation)
    loaded = load_picture(file_bytes(lettered(), kind, exif=b"Exif\0\0" + exif))

    rows = [[LEVELS[letter] for letter in row] for row in UPRIGHT[orientation].split()]
    assert (loaded.height, loaded.width) == ((16, 32) if orientation < 5 else (32, 16))
    corners = loaded.rgb[:: loaded.height - 1, :: loaded.width - 1, 0].astype(int)
    assert np.abs(corners - rows).max() <= 6

    tags = Image.Exif()
    tags.load(loaded.exif)
    assert tags[0x010F] == "abc"
    assert tags.get(0x0112, 1) == 1
    if kind in ("JPEG", "PNG", "WEBP"):  # the others have no block of their own to keep
        assert loaded.exif == exif_with(1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_reset_changes_only_the_orientation(order, kind):
    data = file_bytes(lettered(), "PNG", exif=exif_with(6, order, kind))
    loaded = load_picture(data)
    assert loaded.exif == exif_with(1, order, kind)
    assert loaded.width == 16


@pytest.mark.parametrize("exif", [None, exif_with(8)])
def test_xmp_is_kept_with_orientation_one(exif):
    data = file_bytes(lettered(), "WEBP", xmp=XMP, **({"exif": exif} if exif else {}))
    loaded = load_picture(data)
    assert loaded.width == 16  # EXIF decides if there is any, else XMP
    assert loaded.xmp == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize(
    "exif",
    [b"", b"I", b"II*\0", b"nonsense", exif_with(6)[:9], b"II*\0\xff\xff\xff\xff\0\0", b"\0" * 40]
    + [exif_with(6)[:size] for size in range(10, 60, 7)],
)
def test_damaged_exif_does_not_keep_a_picture_from_loading(exif):
    image = lettered()
    image.info["exif"] = b"Exif\0\0" + exif
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, on truncated tags
        loaded = load_picture(image)
    assert {loaded.width, loaded.height} == {16, 32}
    assert len(loaded.exif or b"") == len(exif)


def test_a_given_picture_is_left_as_it_was():
    image = Image.open(io.BytesIO(file_bytes(lettered(), "TIFF", exif=exif_with(1))))
    image.load()
    before = dict(image.getexif())
    load_picture(image)
    assert dict(image.getexif()) == before and image.mode == "RGB"


@pytest.mark.parametrize(
    ("mode", "icc", "kept"),
    [
        ("RGB", SRGB, True),
        ("P", SRGB, True),
        ("RGBA", SRGB, True),
        ("L", GREY_ICC, True),
        ("LA", GREY_ICC, True),
        ("L", SRGB, False),
        ("RGB", GREY_ICC, False),
        ("RGB", b"too short", False),
    ],
)
def test_profile_is_kept_where_it_describes_the_pixels(mode, icc, kept):
    loaded = load_picture(file_bytes(picture(mode), "PNG", icc_profile=icc))
    assert loaded.icc == (icc if kept else None)


@pytest.mark.parametrize(
    ("key", "kind", "bound"), [("exif", "EXIF", MAX_EXIF), ("xmp", "XMP", MAX_XMP)]
)
def test_metadata_over_its_bound_is_refused(key, kind, bound):
    image = picture("RGB")
    image.info[key] = b"x" * bound
    assert len(getattr(load_picture(image), key)) == bound
    image.info[key] = b"x" * (bound + 1)
    with pytest.raises(PictureError, match=f"{bound + 1} bytes of {kind} and at most {bound}"):
        load_picture(image)


def test_profile_over_its_bound_is_refused():
    image = picture("RGB")
    image.info["icc_profile"] = SRGB.ljust(MAX_ICC + 1, b"\0")
    with pytest.raises(PictureError, match="ICC profile and at most"):
        load_picture(image)


def test_strip_leaves_out_everything_but_the_orientation():
    data = file_bytes(
        lettered(), "WEBP", exif=exif_with(6), icc_profile=SRGB, xmp=XMP + bytes(MAX_XMP)
    )
    loaded = load_picture(data, strip=True)
    assert (loaded.exif, loaded.icc, loaded.xmp) == (None, None, None)
    assert loaded.width == 16
    with pytest.raises(PictureError, match="bytes of XMP"):
        load_picture(data)
