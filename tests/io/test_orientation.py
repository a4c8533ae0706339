"""One rule for the orientation, and metadata that is true of the turned picture."""

import io
import struct
import warnings

import numpy as np
import pytest
from picture_files import exif_with, file_bytes, lettered
from PIL import ExifTags, Image

from promptcodec.io.exif import exif_resolution
from promptcodec.io.formats import upright_size
from promptcodec.io.load import load_picture
from promptcodec.io.resolution import Resolution

UPRIGHT, TURNED = (32, 16), (16, 32)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-'
    'ns#"><r:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {}/></r:RDF></x:xmpmeta>'
)


def xmp(orientation: str = 'tiff:Orientation="6"') -> bytes:
    return XMP.format(orientation).encode()


def tiff(kind: int = 3, orientation: int = 6, **options) -> bytes:
    """A TIFF whose orientation has a type of its own."""
    exif = exif_with(orientation)
    data = file_bytes(lettered(), "TIFF", exif=b"Exif\0\0" + exif, **options)
    entry = struct.pack("<HHI", 0x0112, 3, 1) + struct.pack("<I", orientation)
    form = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    other = struct.pack("<HHI", 0x0112, kind, 1) + struct.pack(f"<{form}", orientation)
    assert data.count(entry) == 1
    return data.replace(entry, other.ljust(12, b"\0"))


def shown(data: bytes) -> tuple[int, int]:
    """Size that a viewer shows, by its header and by its pixels."""
    loaded = load_picture(data)
    assert upright_size(io.BytesIO(data)) == (loaded.width, loaded.height)
    return loaded.width, loaded.height


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
@pytest.mark.parametrize(
    "make",
    [tiff, lambda kind: file_bytes(lettered(), "JPEG", exif=b"Exif\0\0" + exif_with(6, kind=kind))],
)
def test_every_whole_number_is_an_orientation(make, kind):
    data = make(kind)
    assert shown(data) == TURNED
    tags = Image.Exif()
    tags.load(load_picture(data).exif)
    assert tags.get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_other_numbers_are_none_and_become_one(orientation):
    data = file_bytes(lettered(), "PNG", exif=exif_with(orientation))
    assert shown(data) == UPRIGHT
    assert load_picture(data).exif == exif_with(1)
    assert shown(tiff(orientation=orientation)) == UPRIGHT


def test_exif_decides_and_xmp_says_the_same_afterwards():
    upright = file_bytes(lettered(), "JPEG", exif=b"Exif\0\0" + exif_with(1), xmp=xmp())
    assert shown(upright) == UPRIGHT
    assert load_picture(upright).xmp == xmp('tiff:Orientation="1"')
    turned = file_bytes(
        lettered(), "JPEG", exif=b"Exif\0\0" + exif_with(6), xmp=xmp('tiff:Orientation="1"')
    )
    assert shown(turned) == TURNED


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_the_tag_of_a_tiff_decides_and_xmp_says_the_same_afterwards(compression):
    tags = Image.Exif()
    tags[0x0112], tags[0x02BC] = 1, xmp()
    data = file_bytes(lettered(), "TIFF", exif=tags, compression=compression)
    assert shown(data) == UPRIGHT
    assert b"6" not in load_picture(data).xmp.split(b"Orientation")[1]


@pytest.mark.parametrize(
    "spelling",
    ['tiff:Orientation="6"', "tiff:Orientation = '6'"],
)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_xmp_alone_turns_whatever_its_spelling(spelling, kind):
    tags = Image.Exif()
    tags[0x02BC] = xmp(spelling)
    options = {"exif": tags} if kind == "TIFF" else {"xmp": xmp(spelling)}
    data = file_bytes(lettered(), kind, **options)
    assert shown(data) == TURNED
    assert b"6" not in (load_picture(data).xmp or b"").partition(b"Orientation")[2]


def test_an_element_and_another_prefix():
    element = b'<d xmlns:t="http://ns.adobe.com/tiff/1.0/"><t:Orientation> 8 </t:Orientation></d>'
    data = file_bytes(lettered(), "JPEG", xmp=element)
    assert shown(data) == TURNED
    assert load_picture(data).xmp == element.replace(b"8", b"1")


def camera_exif(orientation: int) -> bytes:
    """EXIF as a camera writes it: sizes, resolution, a thumbnail."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Cam", orientation
    tags[0x011A], tags[0x011B], tags[0x0128] = 300.0, 150.0, 2
    tags.get_ifd(0x8769).update({0xA002: 32, 0xA003: 16})
    block = bytearray(tags.tobytes()[6:])
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, first)
    block += bytes(len(block) % 2)
    struct.pack_into(f"{order}I", block, first + 2 + 12 * count, len(block))
    jpeg = file_bytes(lettered(), "JPEG", quality=95)
    place = len(block) + 2 + 3 * 12 + 4
    block += struct.pack(f"{order}H", 3)
    block += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    block += struct.pack(f"{order}HHII", 0x0201, 4, 1, place)
    block += struct.pack(f"{order}HHII", 0x0202, 4, 1, len(jpeg)) + bytes(4)
    return bytes(block + jpeg)


def thumbnail(exif: bytes) -> tuple[Image.Image | None, int]:
    """Thumbnail of a block, and the orientation beside it."""
    tags = Image.Exif()
    tags.load(exif)
    folder = tags.get_ifd(ExifTags.IFD.IFD1)
    if not folder:
        return None, 1
    start, size = folder[0x0201], folder[0x0202]
    return Image.open(io.BytesIO(exif[start : start + size])), folder.get(0x0112, 1)


def test_sizes_resolution_and_thumbnail_turn_with_the_picture():
    data = file_bytes(lettered(), "JPEG", exif=b"Exif\0\0" + camera_exif(6))
    loaded = load_picture(data)
    tags = Image.Exif()
    tags.load(loaded.exif)
    folder = tags.get_ifd(0x8769)
    assert (folder[0xA002], folder[0xA003]) == TURNED
    assert (tags[0x011A], tags[0x011B]) == (150, 300)
    assert loaded.resolution == exif_resolution(loaded.exif) == Resolution(5906, 11811)
    image, orientation = thumbnail(loaded.exif)
    assert (image.size, orientation) == (TURNED, 1)
    corner = np.asarray(image.convert("L"))[2, 2]
    assert abs(int(corner) - int(loaded.rgb[2, 2, 0])) < 25
    assert len(loaded.exif) == len(camera_exif(6))


def test_an_upright_picture_keeps_every_byte():
    data = file_bytes(lettered(), "JPEG", exif=b"Exif\0\0" + camera_exif(1))
    assert load_picture(data).exif == camera_exif(1)


def test_a_thumbnail_that_cannot_be_turned_is_unlinked():
    exif = camera_exif(6)
    start = exif.rindex(b"\xff\xd8\xff")
    damaged = exif[:start] + bytes(len(exif) - start)
    loaded = load_picture(file_bytes(lettered(), "JPEG", exif=b"Exif\0\0" + damaged))
    assert thumbnail(loaded.exif) == (None, 1)


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_cut_blocks_do_not_keep_a_picture_from_loading(size):
    image = lettered()
    image.info["exif"] = b"Exif\0\0" + camera_exif(6)[:size]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, on truncated tags
        assert load_picture(image).width in TURNED
