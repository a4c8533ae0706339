"""The alpha plane as PNG."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from picture_files import (
    RGB,
)
from PIL import Image

from promptcodec.errors import ShapeError, StreamError
from promptcodec.io.alpha import decode_alpha, encode_alpha

RNG = np.random.default_rng(3)


@settings(max_examples=60, deadline=None)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_alpha_is_lossless(alpha):
    height, width = alpha.shape
    data = encode_alpha(alpha)
    assert np.array_equal(decode_alpha(data, width=width, height=height), alpha)
    assert encode_alpha(np.asfortranarray(alpha)) == data


@pytest.mark.parametrize("level", [0, 255])
def test_alpha_of_one_level_is_small(level):
    alpha = np.full((512, 768), level, np.uint8)
    data = encode_alpha(alpha)
    assert len(data) < 300
    assert np.array_equal(decode_alpha(data, width=768, height=512), alpha)


def test_a_mask_of_black_and_white_is_lossless():
    alpha = RNG.choice(np.array([0, 255], np.uint8), (13, 11))
    data = encode_alpha(alpha)
    assert np.array_equal(decode_alpha(data, width=11, height=13), alpha)


@pytest.mark.parametrize(
    "alpha", [RGB, RGB[:, :, 0].astype(float), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)]
)
def test_other_arrays_are_no_alpha(alpha):
    with pytest.raises(ShapeError, match="need a non-empty uint8"):
        encode_alpha(alpha)


def alpha_file(kind: str = "PNG", mode: str = "L", size: tuple[int, int] = (7, 5)) -> bytes:
    output = io.BytesIO()
    Image.new(mode, size).save(output, kind)
    return output.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        *(alpha_file(kind) for kind in ("BMP", "TIFF")),
        *(alpha_file(mode=mode) for mode in ("RGB", "LA", "P", "I;16")),
        *(alpha_file(size=size) for size in ((5, 7), (7, 6))),
    ],
)
def test_other_files_are_no_alpha(data):
    with pytest.raises(StreamError, match="the alpha of this stream") as caught:
        decode_alpha(data, width=7, height=5)
    assert "\n" not in str(caught.value)


def test_the_size_of_alpha_is_compared_before_decoding(monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decode)
    with pytest.raises(StreamError, match="is 5 x 7 of mode L with 8 bits; need 7 x 5"):
        decode_alpha(alpha_file(size=(5, 7)), width=7, height=5)


@pytest.mark.parametrize("levels", [256, 2])
def test_any_damage_to_alpha_is_a_stream_error(levels):
    alpha = (RNG.integers(0, levels, (5, 7)) * (255 // (levels - 1))).astype(np.uint8)
    data = encode_alpha(alpha)
    damaged = [data[:size] for size in range(len(data))]
    for position in range(len(data)):
        flipped = (data[position] ^ (1 << bit) for bit in range(8))
        damaged += [data[:position] + bytes([byte]) + data[position + 1 :] for byte in flipped]
    for attempt in damaged:
        with pytest.raises(StreamError, match="the alpha of this stream"):
            decode_alpha(attempt, width=7, height=5)
