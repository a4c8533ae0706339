"""What is read from picture files: formats, modes, colours, size, damage."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import SRGB, file_bytes, picture
from PIL import Image

from promptcodec.errors import PictureError
from promptcodec.io.formats import FORMATS
from promptcodec.io.load import load_picture
from promptcodec.io.pictures import to_pil

# --- formats and modes -------------------------------------------------------------------------

LOSSLESS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "DIB": ("1", "L", "P", "RGB"),
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
    loaded = load_picture(file_bytes(image, kind, **options))

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
    loaded = load_picture(file_bytes(smooth, kind, quality=95))

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
    loaded = load_picture(image.convert(mode))
    assert loaded.rgb.shape == (size[1], size[0], 3)
    assert loaded.grey == (mode in ("1", "L", "LA", "La"))
    expected = {True: ("L", "LA"), False: ("RGB", "RGBA")}[loaded.grey][loaded.alpha is not None]
    assert to_pil(loaded).mode == expected
    if mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        assert (loaded.alpha == 255).all()  # opaque alpha is kept, so that the mode comes back


def test_lab_and_hsv_become_the_colour_they_stand_for():
    lab = Image.new("LAB", (2, 2), (255, 128, 128))  # white
    assert (load_picture(lab).rgb >= 254).all()
    hsv = Image.new("RGB", (2, 2), (255, 0, 0)).convert("HSV")
    assert (load_picture(hsv).rgb == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_alpha(kind):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    loaded = load_picture(file_bytes(image, kind, transparency=1))
    assert loaded.alpha.tolist() == [[255, 0], [0, 255]]
    assert loaded.rgb[0, 0].tolist() == [255, 0, 0]


def test_partly_transparent_palette_entries():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert load_picture(file_bytes(image, "PNG", transparency=b"\x80\x40")).alpha.tolist() == [
        [128, 64]
    ]


@pytest.mark.parametrize(
    ("mode", "colour", "grey"), [("1", 255, True), ("L", 255, True), ("RGB", (9, 8, 7), False)]
)
def test_transparent_colour_becomes_alpha(mode, colour, grey):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), colour)
    loaded = load_picture(file_bytes(image, "PNG", transparency=colour))
    assert loaded.alpha.tolist() == [[255, 0]]
    assert loaded.grey is grey


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind):
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_bytes(first, kind, save_all=True, append_images=[second], **options)
    assert (load_picture(data).rgb == (255, 0, 0)).all()


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
    loaded = load_picture(file_bytes(image, kind, icc_profile=cmyk_profile()))
    red, green, blue = loaded.rgb.reshape(-1, 3).mean(axis=0)
    assert red > 220 and green < 110 and 120 < blue < 180  # Lab (60, 70, 0) in sRGB
    assert loaded.icc is None and not loaded.grey


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("icc", [None, b"short", SRGB, cmyk_profile()[:300]])
def test_cmyk_without_a_usable_profile_is_converted_naively(kind, icc):
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    loaded = load_picture(file_bytes(image, kind, **({"icc_profile": icc} if icc else {})))
    assert np.abs(loaded.rgb.astype(int) - (0, 255, 255)).max() <= 3
    assert loaded.icc is None


def test_cmyk_jpeg_without_ink_is_white_though_it_is_stored_inverted():
    data = file_bytes(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    assert (load_picture(data).rgb == 255).all()


# --- size and damage ---------------------------------------------------------------------------


def test_the_size_is_checked_before_decoding(monkeypatch):
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body
    bomb += struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 4) + b"IDAT"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    with pytest.raises(PictureError, match=r"2147483647 x 2147483647 .* raise --max-pixels"):
        load_picture(bomb)
    assert Image.MAX_IMAGE_PIXELS == 12345  # Pillow's limit is as it was


def test_max_pixels_is_inclusive_and_replaces_the_limit_of_pillow(monkeypatch):
    data = file_bytes(picture("RGB"), "PNG")
    with pytest.raises(PictureError, match="13 x 9 = 117 pixels and the limit is 116"):
        load_picture(data, max_pixels=116)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_picture(data, max_pixels=117).width == 13


WHOLE = {
    kind: file_bytes(picture("RGB").resize((40, 30)), kind)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "QOI", "AVIF", "JPEG2000")
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, on tags that it cannot read
@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_files_are_refused(kind):
    """A cut picture is refused, except for a cut behind the last pixel."""
    data = WHOLE[kind]
    whole = load_picture(data).rgb
    step = max(1, len(data) // 150)
    positions = [*range(1, len(data), step), *range(max(1, len(data) - 12), len(data))]
    refused = 0
    for position in positions:
        try:
            loaded = load_picture(data[:position])
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
        loaded = load_picture(bytes(damaged), max_pixels=1 << 20)
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
        load_picture(magic + tail, max_pixels=1 << 20)
    except PictureError as error:
        assert str(error) and "\n" not in str(error)
