"""What Pillow refuses or drops and what a file announces: read, kept, or said to be left out."""

import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import GREY_ICC, RGB, SRGB, exif_with, file_bytes, picture, png_chunks
from PIL import Image

from promptcodec.errors import PictureError
from promptcodec.io.formats import upright_size
from promptcodec.io.load import load_picture
from promptcodec.io.metadata import MAX_ICC, MAX_XMP
from promptcodec.io.pictures import to_pil
from promptcodec.io.resolution import Resolution, resolution_of
from promptcodec.io.save import OUTPUT_SUFFIXES, encode_file, left_out

LARGE = 1_200_000


def with_profile(icc: bytes) -> bytes:
    return png_chunks(picture("RGB"), (b"iCCP", b"name\0\0" + zlib.compress(icc)))


def text(kind: bytes, key: bytes, content: bytes) -> bytes:
    packed = {b"tEXt": content, b"zTXt": b"\0" + zlib.compress(content)}
    packed[b"iTXt"] = b"\1\0\0\0" + zlib.compress(content)
    chunk = (kind, key + b"\0" + packed[kind])
    return png_chunks(picture("RGB"), chunk)


def behind_the_pixels(data: bytes) -> bytes:
    """The first chunk behind the header, moved to the end."""
    size = 12 + int.from_bytes(data[33:37], "big")
    return data[:33] + data[33 + size : -12] + data[33 : 33 + size] + data[-12:]


class TestPng:
    def test_a_large_profile_is_kept(self):
        data = with_profile(SRGB.ljust(LARGE, b"\0"))
        assert load_picture(data).icc == SRGB.ljust(LARGE, b"\0")
        assert upright_size(io.BytesIO(data)) == (13, 9)

    def test_a_profile_beyond_the_bound_is_called_so(self):
        data = with_profile(SRGB.ljust(MAX_ICC + 1, b"\0"))
        with pytest.raises(PictureError, match=f"{MAX_ICC + 1} bytes of ICC profile and at most"):
            load_picture(data)
        assert load_picture(data, strip=True).width == 13

    @pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
    @pytest.mark.parametrize("place", [bytes, behind_the_pixels])
    def test_large_text_is_left_out(self, kind, place):
        loaded = load_picture(place(text(kind, b"Comment", b"a" * LARGE)))
        assert np.array_equal(loaded.rgb, np.asarray(picture("RGB")))
        assert loaded.notes == ("text beside EXIF and XMP (comment, IPTC) is left out",)

    def test_many_texts_are_left_out(self):
        chunk = (b"zTXt", b"k\0\0" + zlib.compress(b"a" * 1_000_000))
        assert load_picture(png_chunks(picture("RGB"), *[chunk] * 70)).width == 13

    def test_a_packet_beyond_the_bound_is_called_so(self):
        data = text(b"iTXt", b"XML:com.adobe.xmp", b"a" * (MAX_XMP + 1))
        with pytest.raises(PictureError, match=f"{MAX_XMP + 1} bytes of XMP and at most"):
            load_picture(data)
        assert load_picture(data, strip=True).notes == ()

    def test_a_damaged_text_is_no_reason(self):
        data = png_chunks(picture("RGB"), (b"zTXt", b"k\0\0nonsense"))
        assert load_picture(data).width == 13


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (picture("RGB"), {"kind": "GIF", "comment": b"by me"}),
        (picture("RGB"), {"kind": "JPEG", "comment": b"by me"}),
        (picture("RGB"), {"kind": "JPEG"}),
    ],
)
def test_comments_are_noted(image, options):
    loaded = load_picture(file_bytes(image, **options))
    assert any("text" in note for note in loaded.notes) == ("comment" in options)


class TestFrames:
    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "AVIF", "MPO"])
    def test_further_ones_are_noted(self, kind):
        frames = [Image.new("RGB", (16, 8), (n * 80, 10, 200)) for n in range(3)]
        data = file_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
        loaded = load_picture(data)
        what = "pages" if kind == "TIFF" else "frames"
        assert (loaded.frames, loaded.notes) == (3, (f"of 3 {what} the first alone is used",))
        assert np.abs(loaded.rgb[4, 4].astype(int) - (0, 10, 200)).max() < 8

    def test_one_of_two_is_noted(self):
        frames = [Image.new("RGB", (16, 8), (n * 80, 10, 200)) for n in range(2)]
        loaded = load_picture(file_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        assert loaded.notes == ("of 2 frames the first alone is used",)

    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "AVIF", "JPEG"])
    def test_one_is_nothing_to_note(self, kind):
        loaded = load_picture(file_bytes(picture("RGB"), kind))
        assert (loaded.frames, loaded.notes) == (1, ())

    def test_pages_of_other_orientations(self):
        tags = Image.Exif()
        tags[0x0112] = 6
        pages = [Image.fromarray(RGB), Image.new("L", (40, 3))]
        data = file_bytes(pages[0], "TIFF", save_all=True, append_images=pages[1:], exif=tags)
        loaded = load_picture(data)
        assert (loaded.frames, loaded.width, loaded.height) == (2, 5, 7)
        assert np.array_equal(loaded.rgb, np.rot90(RGB, -1))


class TestResolution:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "MPO"])
    @pytest.mark.parametrize("dpi", [(300, 300), (72, 96), (1200, 600)])
    def test_it_is_read(self, kind, dpi):
        loaded = load_picture(file_bytes(picture("RGB"), kind, dpi=dpi))
        assert loaded.resolution is not None
        assert np.allclose(to_pil(loaded).info["dpi"], dpi, atol=0.03)

    @pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
    def test_it_is_written(self, suffix):
        loaded = load_picture(file_bytes(picture("RGB"), "PNG", dpi=(300, 150)))
        written = encode_file(to_pil(loaded), suffix)
        assert left_out(to_pil(loaded), suffix) == ()
        assert to_pil(load_picture(written)).info["dpi"] == (300, 150)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
    def test_none_stays_none(self, kind):
        exif = exif_with(1)
        data = file_bytes(picture("RGB"), kind, exif=b"Exif\0\0" + exif)
        assert load_picture(data).resolution is None

    def test_the_shape_of_a_pixel(self):
        chunk = (b"pHYs", struct.pack(">IIB", 2, 1, 0))
        loaded = load_picture(png_chunks(picture("RGB"), chunk))
        assert loaded.resolution == Resolution(2, 1, has_unit=False)
        assert load_picture(encode_file(to_pil(loaded), ".tif")).resolution == loaded.resolution
        assert left_out(to_pil(loaded), ".tif") == ()
        assert left_out(to_pil(loaded), ".jpg") == (".jpg is written without shape of the pixels",)

    @pytest.mark.parametrize("dpi", [(0, 0), (-1, 2), (float("nan"), 1), (1e30, 1), "x", None, ()])
    def test_nonsense_is_none(self, dpi):
        image = picture("RGB")
        image.info["dpi"] = dpi
        assert resolution_of(image) is None and load_picture(image).resolution is None

    def test_bytes_there_and_back(self):
        for each in (Resolution(1, 2), Resolution(3, 4, has_unit=False)):
            assert Resolution.from_bytes(each.to_bytes()) == each
        for data in (b"", bytes(9), bytes(8), Resolution(1, 2).to_bytes()[:8] + b"\2"):
            assert Resolution.from_bytes(data) is None


GAIN_MAP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-'
    b'ns#"><r:Description xmlns:c="http://ns.google.com/photos/1.0/container/" xmlns:i="http://ns.'
    b'google.com/photos/1.0/container/item/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" hdrgm:Version="1.0" dc:title="kept">'
    b'<c:Directory><r:Seq><r:li><c:Item i:Semantic="GainMap" i:Length="9"/></r:li></r:Seq>'
    b"</c:Directory></r:Description></r:RDF></x:xmpmeta>"
)
VIDEO = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:G="http://ns.google.com/photos/1.0/camera/" '
    b"G:MotionPhoto='1' G:MicroVideoOffset=\"1234\" G:BurstID='kept'/>"
)


class TestClaims:
    @pytest.mark.parametrize(
        ("xmp", "gone", "what"),
        [
            (GAIN_MAP, (b"Version", b"GainMap", b"Directory"), "gain map"),
            (VIDEO, (b"MotionPhoto=", b"MicroVideoOffset"), "video"),
        ],
    )
    @pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
    def test_what_is_gone_is_announced_no_more(self, xmp, gone, what, kind):
        image = picture("RGB")
        image.info["xmp"] = xmp
        loaded = load_picture(image if kind == "PNG" else file_bytes(image, kind, xmp=xmp))
        assert b"kept" in loaded.xmp and not any(word in loaded.xmp for word in gone)
        (note,) = loaded.notes
        assert what in note and "left out" in note

    def test_a_packet_that_cannot_be_cut_is_left_out(self):
        nested = GAIN_MAP.replace(b"<r:Seq>", b"<c:Directory/><c:Directory></c:Directory><r:Seq>")
        image = picture("RGB")
        image.info["xmp"] = nested
        loaded = load_picture(image)
        assert loaded.xmp is None and "gain map" in loaded.notes[0]

    def test_other_packets_keep_every_byte(self):
        plain = VIDEO.replace(b"camera/", b"other/")
        image = picture("RGB")
        image.info["xmp"] = plain
        assert load_picture(image).xmp == plain


def tiff(bands: int, photometric: int, *, extra=(), kind=1, bits=8, compression=1) -> bytes:
    """A TIFF of 2 x 2 px of any kind."""
    values = {256: [2], 257: [2], 258: [bits] * bands, 259: [compression], 262: [photometric]}
    values |= {273: [8], 277: [bands], 278: [2], 279: [4 * bands * bits // 8]}
    values |= {338: list(extra)} if extra else {}
    values |= {339: [kind] * bands} if kind != 1 else {}
    pixels = bytes(4 * bands * bits // 8)
    at = 8 + len(pixels) + 2 + 12 * len(values) + 4
    table, body = struct.pack("<H", len(values)), b""
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"<{len(numbers)}H", *numbers)
        if len(packed) > 4:
            body, packed = body + packed, struct.pack("<I", at + len(body))
        table += struct.pack("<HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + table + bytes(4) + body


class TestTiffKinds:
    def test_the_maker_of_these_files_makes_valid_ones(self):
        assert load_picture(tiff(3, 2)).rgb.shape == (2, 2, 3)

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (tiff(3, 2, kind=3, bits=32), "3 bands of 32 bits floating point (RGB, uncompressed)"),
            (tiff(5, 1, extra=(0,) * 4), "5 bands of 8 bits unsigned (grey with 4 further bands"),
            (tiff(5, 5, extra=(2,)), "5 bands of 8 bits unsigned (CMYK with alpha"),
            (tiff(1, 32803, bits=16), "(camera raw"),
            (tiff(3, 2, compression=34887), "compression 34887"),
            (tiff(3, 2, compression=50002), "compression 50002"),
        ],
    )
    def test_those_that_are_not_read_are_named(self, data, says):
        with pytest.raises(PictureError) as caught:
            load_picture(data)
        assert says in str(caught.value) and "convert" in str(caught.value)

    def test_grey_floats_are_called_so(self):
        with pytest.raises(PictureError, match="32 bits per channel of floating point"):
            load_picture(tiff(1, 1, kind=3, bits=32))


CAMERA = {0x9003: "2024:05:01 10:00:00", 0x8827: 100, 0x829A: (1, 50), 0x927C: b"maker\0note"}


class TestWriting:
    def camera(self) -> Image.Image:
        tags = Image.Exif()
        tags[0x010F] = "Cam"
        tags.get_ifd(0x8769).update(CAMERA)
        tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 1.5)})
        return Image.open(io.BytesIO(file_bytes(picture("RGB"), "JPEG", exif=tags)))

    @pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
    def test_folders_of_a_camera(self, suffix):
        image = to_pil(load_picture(self.camera()))
        with Image.open(io.BytesIO(encode_file(image, suffix))) as written:
            written.load()
            tags = written.getexif()
            assert tags[0x010F] == "Cam" and left_out(image, suffix) == ()
            assert tags.get_ifd(0x8769)[0x9003] == CAMERA[0x9003]
            assert tags.get_ifd(0x8825)[2] == (48.0, 8.0, 1.5)
            again = load_picture(encode_file(image, suffix)).rgb
            assert suffix[:3] == ".jp" or np.array_equal(again, np.asarray(image))

    def test_what_a_format_does_not_take_is_left_out_by_name(self):
        image = picture("RGB")
        image.info |= {"exif": b"Exif\0\0" + bytes(70_000), "xmp": b"x" * 70_000}
        names = (".jpg is written without EXIF", ".jpg is written without XMP")
        assert left_out(image, ".jpg") == names
        assert load_picture(encode_file(image, ".jpg")).width == 13
        for suffix in (".png", ".webp"):
            assert left_out(image, suffix) == ()

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_an_opaque_alpha_does_not_forbid_jpeg(self, mode):
        image = picture("RGB").convert(mode)
        image.info["icc_profile"] = GREY_ICC if mode == "LA" else SRGB
        loaded = load_picture(encode_file(image, ".jpg"))
        assert loaded.alpha is None and loaded.icc == image.info["icc_profile"]
        assert left_out(image, ".jpg") == (".jpg is written without alpha, opaque everywhere",)
        assert load_picture(encode_file(image, ".png")).alpha.all()
        image.putpixel((0, 0), (0,) * len(mode))
        assert left_out(image, ".webp") == left_out(image, ".png") == ()
