"""Lossless WebP files of exact tiles, and others that are refused before Pillow sees them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import PictureError, ShapeError, StreamError
from promptcodec.io import alpha, exact
from promptcodec.io.exact import LONGEST_SIDE, decode_exact, encode_exact

RGB = np.random.default_rng(3).integers(0, 256, (37, 50, 3), dtype=np.uint8)


def decode(data: bytes) -> np.ndarray:
    return decode_exact(data, width=50, height=37)


@pytest.mark.parametrize("size", [(1, 1), (37, 50), (64, 3)])
def test_every_level_comes_back(size):
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for pixels in (rgb, rgb[::-1], np.full_like(rgb, 7)):
        data = encode_exact(pixels)
        assert np.array_equal(decode_exact(data, width=size[1], height=size[0]), pixels)


def other(**options) -> bytes:
    output = io.BytesIO()
    image = Image.fromarray(RGB)
    if options.pop("alpha", False):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(output, "WEBP", **options)
    return output.getvalue()


def with_sizes(after: bytes, *, chunk: int = 0) -> bytes:
    """A file with bytes after its chunk that its first size counts, and another size of it."""
    data = encode_exact(RGB) + after
    (own,) = struct.unpack_from("<I", data, 16)
    sizes = struct.pack("<I", len(data) - 8), struct.pack("<I", own + chunk)
    return data[:4] + sizes[0] + data[8:16] + sizes[1] + data[20:]


def with_fields(fields: int) -> bytes:
    data = encode_exact(RGB)
    (own,) = struct.unpack_from("<I", data, 21)
    return data[:21] + struct.pack("<I", own ^ fields) + data[25:]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes, too few"),
        (encode_exact(RGB)[:24], "24 bytes, too few"),
        (b"RIFX" + encode_exact(RGB)[4:], "no lossless WebP"),
        (other(quality=90), "no lossless WebP"),
        (other(lossless=True, alpha=True), "with alpha"),
        (other(lossless=True, exif=b"Exif\0\0II*\0"), "no lossless WebP"),
        (other(save_all=True, append_images=[Image.new("RGB", (50, 37))]), "no lossless WebP"),
        (encode_exact(RGB) + b"\0\0", "another length"),
        (encode_exact(RGB)[:-2], "another length"),
        (with_sizes(b"EXIF\2\0\0\0ab"), "another length"),
        (with_sizes(b"", chunk=-2), "another length"),
        (encode_exact(RGB)[:20] + b"\x2e" + encode_exact(RGB)[21:], "no lossless WebP"),
        (encode_exact(RGB[:36]), "of 50x37 px is a WebP file of 50x36 px"),
        (encode_exact(RGB[:, :49]), "of 50x37 px is a WebP file of 49x37 px"),
        (with_fields(1), "is a WebP file of 49x37 px"),
        (with_fields(1 << 28), "with alpha or of another version"),
        (with_fields(1 << 31), "with alpha or of another version"),
    ],
)
def test_other_files_never_reach_pillow(data, says, monkeypatch):
    def reached(*arguments):
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(exact, "open_header", reached)
    with pytest.raises(StreamError, match=says) as error:
        decode(data)
    assert "\n" not in str(error.value)


def test_a_damaged_bit_stream_is_refused():
    data, refused = encode_exact(RGB), 0
    for at in range(25, 200):
        damaged = data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]
        try:
            assert decode(damaged).shape == RGB.shape
        except StreamError as error:
            assert "cannot be decoded" in str(error)
            refused += 1
    assert refused


def test_lack_of_memory_is_no_damage(monkeypatch):
    def full(*arguments):
        raise MemoryError

    for module in (exact, alpha):
        monkeypatch.setattr(module, "open_header", full)
    with pytest.raises(MemoryError):
        decode(encode_exact(RGB))
    with pytest.raises(MemoryError):
        alpha.decode_alpha(alpha.encode_alpha(RGB[:, :, 0]), width=50, height=37)


def test_the_longest_side():
    row = np.zeros((1, LONGEST_SIDE + 1, 3), np.uint8)
    with pytest.raises(ShapeError, match="16384x1 px are no WebP: cut into smaller tiles"):
        encode_exact(row)
    data = encode_exact(row[:, 1:])
    assert decode_exact(data, width=LONGEST_SIDE, height=1).shape == (1, LONGEST_SIDE, 3)


def test_a_pillow_without_webp(monkeypatch):
    monkeypatch.setattr(exact.features, "check", lambda name: name != "webp")
    with pytest.raises(PictureError, match="no WebP for exact tiles: leave graphics at 'never'"):
        encode_exact(RGB)
