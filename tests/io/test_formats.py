"""What is read from picture files: formats, depth, colours, orientation, metadata, damage."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from promptcodec.errors import PictureError
from promptcodec.io.formats import FORMATS, Reading, normalise
from promptcodec.io.images import load, to_pil
from promptcodec.io.metadata import MAX_EXIF, MAX_ICC, MAX_XMP

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (9, 13, 4), dtype=np.uint8)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_ICC = SRGB[:16] + b"GRAY" + SRGB[20:]  # only the header counts for keeping it
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def picture(mode: str) -> Image.Image:
    """13 x 9 px of noise in a mode."""
    rgba = Image.fromarray(NOISE)
    if mode == "P":
        return rgba.convert("RGB").quantize(16)
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


def file_bytes(image: Image.Image, kind: str, **options) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def exif_with(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """A TIFF block with a maker, an orientation, and bytes behind that only we know of."""
    width = {3: "H", 4: "I"}[kind]
    value = struct.pack(order + width, orientation).ljust(4, b"\0")
    entries = struct.pack(order + "HHI", 0x010F, 2, 4) + b"abc\0"
    entries += struct.pack(order + "HHI", 0x0112, kind, 1) + value
    magic = b"II*\0" if order == "<" else b"MM\0*"
    header = magic + struct.pack(order + "IH", 8, 2)
    return header + entries + struct.pack(order + "I", 0) + b"maker note"


# --- formats and modes -------------------------------------------------------------------------

LOSSLESS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB"),
    "QOI": ("RGB", "RGBA"),
    "GIF": ("1", "P"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
}
LOSSY = {"JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"), "AVIF": ("RGB", "RGBA")}
GREY_MODES = ("1", "L", "LA")


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind, modes in LOSSLESS.items() for mode in modes]
)
def test_lossless_formats_give_the_pixels_that_were_stored(kind, mode):
    image = picture(mode)
    options = {"WEBP": {"lossless": True, "exact": True}}.get(kind, {})
    loaded = load(file_bytes(image, kind, **options))

    assert loaded.grey == (mode in GREY_MODES)
    assert (loaded.alpha is not None) == mode.endswith("A")
    if mode.endswith("A"):
        assert np.array_equal(loaded.alpha, np.array(image.getchannel("A")))
        assert np.array_equal(loaded.rgb, np.array(image.convert("RGBA"))[:, :, :3])
    elif mode != "LAB":  # see the test of its own
        assert np.array_equal(loaded.rgb, np.array(image.convert("RGB")))


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind, modes in LOSSY.items() for mode in modes]
)
def test_lossy_formats_keep_their_kind_of_colour(kind, mode):
    smooth = picture(mode).resize((1, 1)).resize((13, 9)) if mode != "1" else picture("1")
    loaded = load(file_bytes(smooth, kind, quality=95))

    assert loaded.grey == (mode in GREY_MODES)
    assert (loaded.alpha is not None) == mode.endswith("A")
    if mode != "1":
        expected = np.array(smooth.convert("RGB")).astype(int)
        assert np.abs(loaded.rgb - expected).max() <= 4


def test_every_accepted_format_is_in_the_matrix():
    assert set(FORMATS) == set(LOSSLESS) | set(LOSSY)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (64, 3)])
def test_pil_pictures_of_any_mode_and_size(mode, size):
    image = Image.new("RGBA", size, (200, 100, 50, 255)).convert("RGB")
    image = {"La": image.convert("LA"), "RGBa": image.convert("RGBA")}.get(mode, image)
    loaded = load(image.convert(mode))
    assert loaded.rgb.shape == (size[1], size[0], 3)
    assert loaded.grey == (mode in ("1", "L", "LA", "La"))
    expected = {True: ("L", "LA"), False: ("RGB", "RGBA")}[loaded.grey][loaded.alpha is not None]
    assert to_pil(loaded).mode == expected
    if mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        assert (loaded.alpha == 255).all()  # opaque alpha is kept, so that the mode comes back


def test_lab_and_hsv_become_the_colour_they_stand_for():
    lab = Image.new("LAB", (2, 2), (255, 128, 128))  # white
    assert (load(lab).rgb >= 254).all()
    hsv = Image.new("RGB", (2, 2), (255, 0, 0)).convert("HSV")
    assert (load(hsv).rgb == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_alpha(kind):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    loaded = load(file_bytes(image, kind, transparency=1))
    assert loaded.alpha.tolist() == [[255, 0], [0, 255]]
    assert loaded.rgb[0, 0].tolist() == [255, 0, 0]


def test_partly_transparent_palette_entries():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert load(file_bytes(image, "PNG", transparency=b"\x80\x40")).alpha.tolist() == [[128, 64]]


@pytest.mark.parametrize(
    ("mode", "colour", "grey"), [("1", 255, True), ("L", 255, True), ("RGB", (9, 8, 7), False)]
)
def test_transparent_colour_becomes_alpha(mode, colour, grey):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), colour)
    loaded = load(file_bytes(image, "PNG", transparency=colour))
    assert loaded.alpha.tolist() == [[255, 0]]
    assert loaded.grey is grey


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind):
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_bytes(first, kind, save_all=True, append_images=[second], **options)
    assert (load(data).rgb == (255, 0, 0)).all()


# --- CMYK --------------------------------------------------------------------------------------


def cmyk_profile() -> bytes:
    """A tiny ICC profile: pure cyan is Lab (60, 70, 0), a pink that no naive conversion gives."""
    grid = []  # two grid points in each ink, the last varying fastest, as 8-bit Lab
    for corner in range(16):
        cyan, black = corner & 8, corner & 1
        lightness = 0 if black else (60 if cyan else 100)
        grid += [round(lightness * 2.55), 128 + (70 if cyan and not black else 0), 128]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix
    table += identity * 4 + bytes(grid) + identity * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)  # D50
    tags = {b"A2B0": table, b"wtpt": white}
    body, directory = b"", struct.pack(">I", len(tags))
    for name, data in tags.items():
        directory += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(directory) + len(body)
    header = struct.pack(">I4sI", size, b"none", 0x02400000) + b"prtrCMYKLab "
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + directory + body


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile_which_is_dropped(kind):
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    loaded = load(file_bytes(image, kind, icc_profile=cmyk_profile()))
    red, green, blue = loaded.rgb.reshape(-1, 3).mean(axis=0)
    assert red > 220 and green < 110 and 120 < blue < 180  # Lab (60, 70, 0) in sRGB
    assert loaded.icc is None and not loaded.grey


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("icc", [None, b"short", SRGB, cmyk_profile()[:300]])
def test_cmyk_without_a_usable_profile_is_converted_naively(kind, icc):
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    loaded = load(file_bytes(image, kind, **({"icc_profile": icc} if icc else {})))
    assert np.abs(loaded.rgb.astype(int) - (0, 255, 255)).max() <= 3
    assert loaded.icc is None


def test_cmyk_jpeg_without_ink_is_white_though_it_is_stored_inverted():
    data = file_bytes(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    assert (load(data).rgb == 255).all()


# --- orientation and metadata ------------------------------------------------------------------

# What a viewer shows for the stored rows "ab" and "cd" in each orientation.
UPRIGHT = {1: "ab cd", 2: "ba dc", 3: "dc ba", 4: "cd ab"}
UPRIGHT |= {5: "ac bd", 6: "ca db", 7: "db ca", 8: "bd ac"}
LEVELS = {"a": 10, "b": 90, "c": 170, "d": 250}


def lettered() -> Image.Image:
    """Rows "ab" and "cd" of 16 x 8 px blocks, so that a turn changes the size as well."""
    corners = np.array([[LEVELS["a"], LEVELS["b"]], [LEVELS["c"], LEVELS["d"]]], np.uint8)
    return Image.fromarray(corners.repeat(8, axis=0).repeat(16, axis=1)).convert("RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_and_reset(kind, orientation):
    exif = exif_with(orientation)
    loaded = load(file_bytes(lettered(), kind, exif=b"Exif\0\0" + exif))

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
    loaded = load(data)
    assert loaded.exif == exif_with(1, order, kind)
    assert loaded.width == 16


@pytest.mark.parametrize("exif", [None, exif_with(8)])
def test_xmp_is_kept_with_orientation_one(exif):
    data = file_bytes(lettered(), "WEBP", xmp=XMP, **({"exif": exif} if exif else {}))
    loaded = load(data)
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
        loaded = load(image)
    assert {loaded.width, loaded.height} == {16, 32}
    assert len(loaded.exif or b"") == len(exif)


def test_unknown_orientation_is_none():
    loaded = load(file_bytes(lettered(), "PNG", exif=exif_with(99)))
    assert loaded.exif == exif_with(99)
    assert loaded.width == 32


def test_a_given_picture_is_left_as_it_was():
    image = Image.open(io.BytesIO(file_bytes(lettered(), "TIFF", exif=exif_with(1))))
    image.load()
    before = dict(image.getexif())
    load(image)
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
    loaded = load(file_bytes(picture(mode), "PNG", icc_profile=icc))
    assert loaded.icc == (icc if kept else None)


@pytest.mark.parametrize(
    ("key", "kind", "bound"), [("exif", "EXIF", MAX_EXIF), ("xmp", "XMP", MAX_XMP)]
)
def test_metadata_over_its_bound_is_refused(key, kind, bound):
    image = picture("RGB")
    image.info[key] = b"x" * bound
    assert len(getattr(load(image), key)) == bound
    image.info[key] = b"x" * (bound + 1)
    with pytest.raises(PictureError, match=f"{bound + 1} bytes of {kind} and at most {bound}"):
        load(image)


def test_profile_over_its_bound_is_refused():
    image = picture("RGB")
    image.info["icc_profile"] = SRGB.ljust(MAX_ICC + 1, b"\0")
    with pytest.raises(PictureError, match="ICC profile and at most"):
        load(image)


# --- depth -------------------------------------------------------------------------------------


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
        match=rf"{bits} bits per channel and only 8 are coded; (pass --allow-8bit|convert)",
    ):
        load(data)
    with pytest.raises(PictureError, match="bits per channel"):
        load(io.BytesIO(data))


def test_the_hand_made_16_bit_files_are_ones_that_pillow_opens_as_rgb():
    for data in (png16(2), tiff16(), b"P6 1 1 65535\n" + bytes(6)):
        image = Image.open(io.BytesIO(data))
        image.load()
        assert image.mode == "RGB"


@pytest.mark.parametrize("data", [png16(2), tiff16(), b"P6 1 1 65535\n" + bytes(6)])
def test_an_undecoded_16_bit_pil_picture_is_refused(data):
    with pytest.raises(PictureError, match="16 bits per channel"):
        load(Image.open(io.BytesIO(data)))


def test_avif_of_ten_bits_is_refused_by_the_flag_in_its_header():
    data = file_bytes(picture("RGB"), "AVIF")
    flags = data.index(b"av1C") + 6
    deep = data[:flags] + bytes([data[flags] | 0x40]) + data[flags + 1 :]
    image = Image.open(io.BytesIO(data))  # Pillow cannot write ten bits: only the header is made up
    with pytest.raises(PictureError, match="10 bits per channel"):
        normalise(image, "x.avif", Reading(1000), head=deep)
    assert normalise(image, "x.avif", Reading(1000), head=data).image.mode == "RGB"


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "F"])
def test_deep_pil_modes_are_refused(mode):
    with pytest.raises(PictureError, match="bits per channel"):
        load(Image.new(mode, (2, 2)))


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
    loaded = load(data, allow_8bit=True)
    assert loaded.grey and loaded.rgb[..., 0].tolist() == UPPER
    assert load(Image.open(io.BytesIO(data)), allow_8bit=True).rgb[..., 0].tolist() == UPPER


def test_the_upper_8_of_16_bits_of_colour_are_taken_where_that_is_allowed():
    for data in (png16(2), tiff16(">"), tiff16("<"), b"P6 1 1 65535\n" + bytes(6)):
        loaded = load(data, allow_8bit=True)
        assert loaded.rgb.shape[2] == 3 and loaded.grey == (data == png16(0))
    assert load(tiff16(), allow_8bit=True).rgb.tolist() == [[[255, 255, 255]]]


def test_twelve_bits_of_ppm_are_stretched():
    data = b"P5 2 1 4095\n" + struct.pack(">2H", 4095, 2048)
    assert load(data, allow_8bit=True).rgb[0, :, 0].tolist() == [255, 128]


def test_one_transparent_level_of_sixteen_bits_becomes_alpha():
    loaded = load(png16_of(DEEP, transparency=0x1234), allow_8bit=True)
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
        loaded = load(source, allow_8bit=True)
        assert loaded.alpha is not None and loaded.alpha.tolist() == [[0, 255, 255, 0]]
        assert loaded.rgb.tolist() == [[[0x12, 0, 0], [0x12, 0, 0], [0x34, 0, 0x80], [0x12, 0, 0]]]
    loaded = load(keyed16(KEYED[:2], interlaced=True), allow_8bit=True)
    assert loaded.alpha is not None and loaded.alpha.tolist() == [[0, 255]]


def test_of_a_decoded_picture_the_upper_bits_of_the_transparent_colour_are_known():
    image = Image.open(io.BytesIO(keyed16(KEYED)))
    image.load()
    loaded = load(image)
    assert loaded.alpha is not None and loaded.alpha.tolist() == [[0, 0, 255, 0]]
    assert image.info["transparency"] == KEYED[0]


def test_a_damaged_picture_with_a_transparent_colour_is_refused():
    with pytest.raises(PictureError, match="damaged or truncated PNG"):
        load(keyed16(KEYED)[:-30], allow_8bit=True)


@pytest.mark.parametrize(("bits", "row"), [(2, 0b00011011), (4, 0x1A)])
def test_one_transparent_level_of_few_bits_becomes_alpha(bits, row):
    header = struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0)
    level = row & (2**bits - 1)  # the last of the row
    data = hand_made_png(header, bytes((0, row)), transparent=struct.pack(">H", level))
    loaded = load(data)
    assert loaded.grey and loaded.alpha is not None
    assert loaded.alpha.tolist() == [[255] * (8 // bits - 1) + [0]]


def test_grey_with_alpha_of_sixteen_bits_stays_grey():
    header = struct.pack(">IIBBBBB", 3, 1, 16, 4, 0, 0, 0)
    data = hand_made_png(
        header, b"\0" + struct.pack(">6H", 0, 0xFFFF, 0x12FF, 0x8000, 0xFFFF, 0x00FF)
    )
    for source in (data, Image.open(io.BytesIO(data))):
        loaded = load(source, allow_8bit=True)
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
    assert load(black_is_zero, allow_8bit=True).rgb[0, :, 0].tolist() == levels
    white_is_zero = grey_tiff(bits, row, 4, white=0)
    for source in (white_is_zero, Image.open(io.BytesIO(white_is_zero))):
        loaded = load(source, allow_8bit=True)
        assert loaded.grey and loaded.rgb[0, :, 0].tolist() == [255 - level for level in levels]


@pytest.mark.parametrize("source", [b"Pf 1 1 -1.0\n" + bytes(4), Image.new("F", (2, 2))])
def test_floats_have_no_upper_bits(source):
    with pytest.raises(PictureError, match=r"32 bits .* convert it to 8 bits first"):
        load(source, allow_8bit=True)


def test_sixteen_bits_keep_their_metadata_and_are_turned():
    data = png16_of(DEEP, exif=b"Exif\0\0" + exif_with(6), icc_profile=GREY_ICC)
    loaded = load(data, allow_8bit=True)
    assert (loaded.width, loaded.height) == (2, 4)
    assert (loaded.exif, loaded.icc) == (exif_with(1), GREY_ICC)


def test_strip_leaves_out_everything_but_the_orientation():
    data = file_bytes(
        lettered(), "WEBP", exif=exif_with(6), icc_profile=SRGB, xmp=XMP + bytes(MAX_XMP)
    )
    loaded = load(data, strip=True)
    assert (loaded.exif, loaded.icc, loaded.xmp) == (None, None, None)
    assert loaded.width == 16
    with pytest.raises(PictureError, match="bytes of XMP"):
        load(data)


def test_at_most_eight_bits_are_taken():
    for data in (b"P6 1 1 255\n\1\2\3", b"P6\n#65535\n1 1 255\n\1\2\3"):
        assert load(data).rgb.tolist() == [[[1, 2, 3]]]
    assert load(b"P5 2 1 15\n\x00\x0f").rgb[0, :, 0].tolist() == [0, 255]
    assert load(jpeg2000_with_depth(8)).rgb.shape == (9, 13, 3)


# --- size and damage ---------------------------------------------------------------------------


def test_the_size_is_checked_before_decoding(monkeypatch):
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body
    bomb += struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 4) + b"IDAT"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    with pytest.raises(PictureError, match=r"2147483647 x 2147483647 .* raise --max-pixels"):
        load(bomb)
    assert Image.MAX_IMAGE_PIXELS == 12345  # Pillow's limit is as it was


def test_max_pixels_is_inclusive_and_replaces_the_limit_of_pillow(monkeypatch):
    data = file_bytes(picture("RGB"), "PNG")
    with pytest.raises(PictureError, match="13 x 9 = 117 pixels and the limit is 116"):
        load(data, max_pixels=116)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(data, max_pixels=117).width == 13


WHOLE = {
    kind: file_bytes(picture("RGB").resize((40, 30)), kind)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "QOI", "AVIF", "JPEG2000")
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, on tags that it cannot read
@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_files_are_refused(kind):
    """A cut picture is refused, except for a cut behind the last pixel."""
    data = WHOLE[kind]
    whole = load(data).rgb
    step = max(1, len(data) // 150)
    positions = [*range(1, len(data), step), *range(max(1, len(data) - 12), len(data))]
    refused = 0
    for position in positions:
        try:
            loaded = load(data[:position])
        except PictureError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert position > len(data) // 2 and np.array_equal(loaded.rgb, whole), position
    assert refused > 0.8 * len(positions)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damaged_files_load_or_are_refused(kind, data):
    damaged = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        loaded = load(bytes(damaged), max_pixels=1 << 20)
    except PictureError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert loaded.rgb.dtype == np.uint8 and loaded.rgb.size <= 3 << 20


MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"MM\0*", b"BM", b"P6 ")
MAGICS += (b"RIFF\xff\0\0\0WEBPVP8 ", b"qoif", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x20ftypavif")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(magic=st.sampled_from((b"", *MAGICS)), tail=st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(magic, tail):
    try:
        load(magic + tail, max_pixels=1 << 20)
    except PictureError as error:
        assert str(error) and "\n" not in str(error)
