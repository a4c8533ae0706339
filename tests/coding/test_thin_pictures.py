"""Pictures that are thinner than a tile: tiles follow the work, not the pixels."""

import numpy as np
import pytest

from promptcodec import bitstream
from promptcodec.coding import encoder
from promptcodec.coding.encoder import prepare
from promptcodec.io.pictures import Picture


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        ((1, 1 << 16), 1),  # 64 x 65536 once it is padded
        ((1, (1 << 16) + 1), 129),
        (((1 << 16) + 1, 1), 129),
        ((2048, 2048), 1),
        ((2047, 2049), 1),  # beyond the limit once it is padded, and not thin
        ((2049, 2049), 25),
    ],
)
def test_tiles_by_default(tiny_codec, size, tiles):
    picture = Picture(np.zeros((*size, 3), np.uint8))
    prepared = prepare(
        tiny_codec.engine, picture, tile_size=None, effort=0, max_pixels=bitstream.MAX_PIXELS
    )
    assert len(prepared.tiling) == tiles


def test_a_thin_picture_of_many_tiles(tiny_codec, monkeypatch):
    monkeypatch.setattr(encoder, "ONE_TILE_PIXELS", 64 * 600)
    row = np.linspace(0, 255, 1500).astype(np.uint8)[None, :, None].repeat(3, axis=2)
    data = tiny_codec.encode(row, graphics="never")
    assert len(bitstream.parse(data).tiles) == 3
    assert tiny_codec.decode(data).size == (1500, 1)
