"""Picture files of more than 8 bits a channel, or fewer."""

import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import (
    GREY_ICC,
    exif_with,
    file_bytes,
    picture,
)
from PIL import Image

from promptcodec.errors import PictureError
from promptcodec.io.formats import ReadOptions, normalise
from promptcodec.io.load import load_picture
from promptcodec.io.pictures import to_pil


def hand_made_png(header: bytes, rows: bytes, *, transparent: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    data = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def png16(colour_type: int, width: int = 3, height: int = 2) -> bytes:
    """A 16-bit PNG, which Pillow cannot write but for grey."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return hand_made_png(header, (b"\0" + bytes(2 * channels * width)) * height)


def tiff16(order: str = "<") -> bytes:
    """A 16-bit RGB TIFF of one white pixel."""
    fields = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2)]
    fields += [(273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6), (284, 3, 1, 1)]
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(fields))
    for tag, kind, count, value in fields:
        form = "HHIHxx" if kind == 3 and count == 1 else "HHII"
        data += struct.pack(order + form, tag, kind, count, value)
    return data + bytes(4) + struct.pack(order + "3H", 16, 16, 16) + b"\xff" * 6


def jpeg2000_with_depth(bits: int) -> bytes:
    data = bytearray(file_bytes(picture("RGB"), "JPEG2000"))
    size = data.index(b"\xff\x4f\xff\x51")
    data[size + 42 : size + 51 : 3] = bytes([bits - 1]) * 3
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "bits"),
    [(png16(colour), 16) for colour in (0, 2, 4, 6)]
    + [(tiff16("<"), 16), (tiff16(">"), 16)]
    + [
        (b"P6 1 1 65535\n" + bytes(6), 16),
        (b"P6\n# a comment\n1 1 # 255\n1023\n" + bytes(6), 10),
        (b"P3 1 1 4095\n1 2 3\n", 12),
        (b"P5 1 1 65535\n" + bytes(2), 16),
        (b"Pf 1 1 -1.0\n" + bytes(4), 32),
        (jpeg2000_with_depth(16), 16),
        (jpeg2000_with_depth(12), 12),
    ],
)
def test_more_than_eight_bits_are_refused(data, bits):
    with pytest.raises(
        PictureError,
        match=rf"{bits} bits per channel( of floating point)? and only 8 are coded; "
        "(pass --allow-8bit|convert)",
    ):
        load_picture(data)
    with pytest.raises(PictureError, match="bits per channel"):
        load_picture(io.BytesIO(data))


def test_the_hand_made_16_bit_files_are_ones_that_pillow_opens_as_rgb():
    for data in (png16(2), tiff16(), b"P6 1 1 65535\n" + bytes(6)):
        image = Image.open(io.BytesIO(data))
        image.load()
        assert image.mode == "RGB"


@pytest.mark.parametrize("data", [png16(2), tiff16(), b"P6 1 1 65535\n" + bytes(6)])
def test_an_undecoded_16_bit_pil_picture_is_refused(data):
    with pytest.raises(PictureError, match="16 bits per channel"):
        load_picture(Image.open(io.BytesIO(data)))


def test_avif_of_ten_bits_is_refused_by_the_flag_in_its_header():
    data = file_bytes(picture("RGB"), "AVIF")
    flags = data.index(b"av1C") + 6
    deep = data[:flags] + bytes([data[flags] | 0x40]) + data[flags + 1 :]
    image = Image.open(io.BytesIO(data))  # Pillow cannot write ten bits: only the header is made up
    with pytest.raises(PictureError, match="10 bits per channel"):
        normalise(image, "x.avif", ReadOptions(1000), head=deep)
    assert not normalise(image, "x.avif", ReadOptions(1000), head=data).grey


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "F"])
def test_deep_pil_modes_are_refused(mode):
    with pytest.raises(PictureError, match="bits per channel"):
        load_picture(Image.new(mode, (2, 2)))


DEEP = np.array([[0, 255, 256, 0x1234], [0x12FF, 0x8000, 0xFEFF, 0xFFFF]], np.uint16)
UPPER = (DEEP >> 8).tolist()


def png16_of(levels: np.ndarray, **options) -> bytes:
    return file_bytes(Image.fromarray(levels), "PNG", **options)


@pytest.mark.parametrize(
    "data",
    [
        png16_of(DEEP),
        file_bytes(Image.fromarray(DEEP), "TIFF"),
        file_bytes(Image.fromarray(DEEP), "JPEG2000", irreversible=False),
        b"P5 4 2 65535\n" + DEEP.astype(">u2").tobytes(),
    ],
)
def test_the_upper_8_of_16_bits_of_grey_are_taken_where_that_is_allowed(data):
    loaded = load_picture(data, allow_8bit=True)
    assert loaded.grey and loaded.rgb[..., 0].tolist() == UPPER
    assert load_picture(Image.open(io.BytesIO(data)), allow_8bit=True).rgb[..., 0].tolist() == UPPER


def test_the_upper_8_of_16_bits_of_colour_are_taken_where_that_is_allowed():
    for data in (png16(2), tiff16(">"), tiff16("<"), b"P6 1 1 65535\n" + bytes(6)):
        loaded = load_picture(data, allow_8bit=True)
        assert loaded.rgb.shape[2] == 3 and loaded.grey == (data == png16(0))
    assert load_picture(tiff16(), allow_8bit=True).rgb.tolist() == [[[255, 255, 255]]]


def test_twelve_bits_of_ppm_are_stretched():
    data = b"P5 2 1 4095\n" + struct.pack(">2H", 4095, 2048)
    assert load_picture(data, allow_8bit=True).rgb[0, :, 0].tolist() == [255, 128]


def test_one_transparent_level_of_sixteen_bits_becomes_alpha():
    loaded = load_picture(png16_of(DEEP, transparency=0x1234), allow_8bit=True)
    assert loaded.alpha is not None
    assert loaded.alpha.tolist() == [[255, 255, 255, 0], [255, 255, 255, 255]]


def keyed16(colours: list[tuple[int, int, int]], *, interlaced: bool = False) -> bytes:
    """A 16-bit RGB PNG of one row whose first colour is transparent."""
    pixels = [struct.pack(">3H", *colour) for colour in colours]
    rows = b"\0" + b"\0".join(pixels) if interlaced else b"\0" + b"".join(pixels)
    header = struct.pack(">IIBBBBB", len(colours), 1, 16, 2, 0, 0, int(interlaced))
    return hand_made_png(header, rows, transparent=pixels[0])


KEYED = [(0x1234, 0, 0x80), (0x1235, 0, 0x80), (0x3400, 0, 0x8000), (0x1234, 0, 0x80)]


def test_one_transparent_colour_of_sixteen_bits_becomes_alpha_and_its_neighbours_do_not():
    data = keyed16(KEYED)
    for source in (data, Image.open(io.BytesIO(data))):
        loaded = load_picture(source, allow_8bit=True)
        assert loaded.alpha is not None and loaded.alpha.tolist() == [[0, 255, 255, 0]]
        assert loaded.rgb.tolist() == [[[0x12, 0, 0], [0x12, 0, 0], [0x34, 0, 0x80], [0x12, 0, 0]]]
    loaded = load_picture(keyed16(KEYED[:2], interlaced=True), allow_8bit=True)
    assert loaded.alpha is not None and loaded.alpha.tolist() == [[0, 255]]


def test_of_a_decoded_picture_the_upper_bits_of_the_transparent_colour_are_known():
    image = Image.open(io.BytesIO(keyed16(KEYED)))
    image.load()
    loaded = load_picture(image)
    assert loaded.alpha is not None and loaded.alpha.tolist() == [[0, 0, 255, 0]]
    assert image.info["transparency"] == KEYED[0]


def test_a_damaged_picture_with_a_transparent_colour_is_refused():
    with pytest.raises(PictureError, match="damaged or truncated PNG"):
        load_picture(keyed16(KEYED)[:-30], allow_8bit=True)


@pytest.mark.parametrize(("bits", "row"), [(2, 0b00011011), (4, 0x1A)])
def test_one_transparent_level_of_few_bits_becomes_alpha(bits, row):
    header = struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0)
    level = row & (2**bits - 1)  # the last of the row
    data = hand_made_png(header, bytes((0, row)), transparent=struct.pack(">H", level))
    loaded = load_picture(data)
    assert loaded.grey and loaded.alpha is not None
    assert loaded.alpha.tolist() == [[255] * (8 // bits - 1) + [0]]


def test_grey_with_alpha_of_sixteen_bits_stays_grey():
    header = struct.pack(">IIBBBBB", 3, 1, 16, 4, 0, 0, 0)
    data = hand_made_png(
        header, b"\0" + struct.pack(">6H", 0, 0xFFFF, 0x12FF, 0x8000, 0xFFFF, 0x00FF)
    )
    for source in (data, Image.open(io.BytesIO(data))):
        loaded = load_picture(source, allow_8bit=True)
        assert loaded.grey and to_pil(loaded).mode == "LA"
        assert loaded.rgb[0, :, 0].tolist() == [0, 0x12, 0xFF]
        assert loaded.alpha is not None and loaded.alpha.tolist() == [[0xFF, 0x80, 0]]


def grey_tiff(bits: int, row: bytes, width: int, *, white: int) -> bytes:
    """A TIFF of one row; `white` is its photometric interpretation, 0 where white is zero."""
    fields = [(256, width), (257, 1), (258, bits), (259, 1), (262, white)]
    fields += [(273, 122), (277, 1), (278, 1), (279, len(row))]
    entries = b"".join(struct.pack("<HHIHxx", tag, 3, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4) + row


@pytest.mark.parametrize(
    ("bits", "row", "levels"),
    [
        (16, struct.pack("<4H", 0, 0x00FF, 0x1234, 0xFFFF), [0, 0, 0x12, 0xFF]),
        (8, bytes((0, 1, 0x12, 0xFF)), [0, 1, 0x12, 0xFF]),
        (4, b"\x01\x2f", [0, 17, 34, 255]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (1, b"\x50", [0, 255, 0, 255]),
    ],
)
def test_tiff_whose_white_is_zero(bits, row, levels):
    black_is_zero = grey_tiff(bits, row, 4, white=1)
    assert load_picture(black_is_zero, allow_8bit=True).rgb[0, :, 0].tolist() == levels
    white_is_zero = grey_tiff(bits, row, 4, white=0)
    for source in (white_is_zero, Image.open(io.BytesIO(white_is_zero))):
        loaded = load_picture(source, allow_8bit=True)
        assert loaded.grey and loaded.rgb[0, :, 0].tolist() == [255 - level for level in levels]


@pytest.mark.parametrize("source", [b"Pf 1 1 -1.0\n" + bytes(4), Image.new("F", (2, 2))])
def test_floats_have_no_upper_bits(source):
    with pytest.raises(PictureError, match=r"32 bits .* convert it to 8 bits first"):
        load_picture(source, allow_8bit=True)


def test_sixteen_bits_keep_their_metadata_and_are_turned():
    data = png16_of(DEEP, exif=b"Exif\0\0" + exif_with(6), icc_profile=GREY_ICC)
    loaded = load_picture(data, allow_8bit=True)
    assert (loaded.width, loaded.height) == (2, 4)
    assert (loaded.exif, loaded.icc) == (exif_with(1), GREY_ICC)


def test_at_most_eight_bits_are_taken():
    for data in (b"P6 1 1 255\n\1\2\3", b"P6\n#65535\n1 1 255\n\1\2\3"):
        assert load_picture(data).rgb.tolist() == [[[1, 2, 3]]]
    assert load_picture(b"P5 2 1 15\n\x00\x0f").rgb[0, :, 0].tolist() == [0, 255]
    assert load_picture(jpeg2000_with_depth(8)).rgb.shape == (9, 13, 3)
