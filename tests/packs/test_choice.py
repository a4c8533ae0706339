"""Choice of a pack from a sample: which squares are drawn, what they stand for, who wins."""

from pathlib import Path

import numpy as np
import pytest

from promptcodec import Codec, bitstream
from promptcodec.bitstream import MAX_PIXELS
from promptcodec.coding import pack_choice
from promptcodec.coding.encoder import CodingPoint, PreparedPicture, prepare
from promptcodec.coding.graphics import ExactSearch
from promptcodec.coding.pack_choice import likely
from promptcodec.io.load import load_picture

RATE = 4 * bitstream.RATE_STEPS


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path) -> Codec:
    return Codec.load(tiny_checkpoint, tiny_ladder, packs=[])


def prepared_of(codec: Codec, pixels: np.ndarray, *, tile_size: int = 0) -> PreparedPicture:
    return prepare(
        codec.engine,
        load_picture(pixels, max_pixels=MAX_PIXELS),
        tile_size=tile_size,
        effort=0,
        max_pixels=MAX_PIXELS,
    )


def noise(height: int, width: int, *, levels: int = 60) -> np.ndarray:
    values = np.random.default_rng(height * width).integers(0, levels, (height, width, 3))
    return values.astype(np.uint8)


def cost(squares: list[PreparedPicture], weights: list[float], codec: Codec) -> float:
    point = CodingPoint(codec.ladder.at(RATE), RATE)
    return pack_choice._cost(squares, weights, point, lmbda=point.lmbda)


@pytest.mark.parametrize(
    ("height", "width", "count", "side"),
    [
        (40, 33, 1, (40, 33)),
        (1, 500, 1, (1, 64)),
        (64, 2000, 4, (64, 64)),
        (256, 256, 2, (64, 64)),
        (512, 768, 12, (64, 64)),
        (800, 768, 5, (128, 128)),
        (1000, 1536, 12, (128, 128)),
        (3000, 2000, 16, (128, 128)),
    ],
)
def test_size_of_a_sample(
    codec: Codec, height: int, width: int, count: int, side: tuple[int, int]
) -> None:
    prepared = prepared_of(codec, noise(height, width), tile_size=512 if height > 2000 else 0)
    squares, weights = pack_choice._sample(prepared, None)
    assert len(squares) == len(weights) == count
    assert {(each.picture.height, each.picture.width) for each in squares} == {side}


def test_squares_cover_a_picture() -> None:
    seen = np.zeros((150, 200), int)
    for box in pack_choice._squares(150, 200, 64, 64):
        assert (box.height, box.width) == (64, 64)
        seen[box.top : box.bottom, box.left : box.right] += 1
    assert seen.min() == 1


def test_a_sample_stands_for_the_picture(codec: Codec) -> None:
    """Left noise of twelve levels, right of sixty: both are drawn, each for its share."""
    pixels = noise(1024, 1024)
    pixels[:, :512] //= 5
    squares, weights = pack_choice._sample(prepared_of(codec, pixels), None)
    left = [int(each.picture.rgb.max()) < 12 for each in squares]
    assert 0 < sum(left) < len(left) / 3  # a sixth of the activity
    few, many = (
        np.mean([w for w, own in zip(weights, left, strict=True) if own is a])
        for a in (False, True)
    )
    assert many / few == pytest.approx(5.0, rel=0.1)
    everything = [
        prepared_of(codec, pixels[box.top : box.bottom, box.left : box.right])
        for box in pack_choice._squares(1024, 1024, 128, 128)
    ]
    whole = cost(everything, [1.0] * len(everything), codec)
    found = cost(squares, weights, codec)
    assert found == pytest.approx(whole, rel=0.25)


def test_what_may_be_exact_is_left_out(codec: Codec) -> None:
    pixels = noise(512, 512)
    pixels[:, 256:] = np.where(np.arange(512)[:, None, None] // 40 % 2, 200, 20)
    prepared = prepared_of(codec, pixels)
    search = ExactSearch.of(prepared, tile_size=None, effort=0)
    assert search.flat == (1, 3)
    squares, _ = pack_choice._sample(prepared, search)
    assert all(int(each.picture.rgb.max()) < 60 for each in squares)
    pixels[:, :256] = pixels[:, 256:]
    search = ExactSearch.of(prepared_of(codec, pixels), tile_size=None, effort=0)
    assert len(search.flat) == 4
    assert pack_choice._sample(search.prepared, search) == ([], [])
    points = [CodingPoint(codec.ladder.at(RATE), RATE)] * 2
    assert likely(search.prepared, points, search=search) == 0


def test_the_cost_of_a_square(codec: Codec) -> None:
    """Bits and error of the square as it is coded, as often as it stands for others."""
    point = CodingPoint(codec.ladder.at(RATE), RATE)
    square = prepared_of(codec, noise(60, 50))
    candidate = square.encode_at(point)
    expected = candidate.bits() + 0.3 * sum(candidate.errors()) / 3
    assert pack_choice._cost([square], [7.0], point, lmbda=0.3) == pytest.approx(7.0 * expected)


def test_all_are_compared_by_one_weight(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [CodingPoint(codec.ladder.at(RATE), RATE, gain) for gain in (0, 900)]
    assert points[0].lmbda != points[1].lmbda
    seen: list[float] = []
    monkeypatch.setattr(pack_choice, "_cost", lambda *_, lmbda: seen.append(lmbda) or 1.0)
    likely(prepared_of(codec, noise(70, 70)), points, search=None)
    assert seen == [points[0].lmbda] * 2


def test_what_is_hidden_does_not_count(codec: Codec) -> None:
    pixels = np.dstack([noise(200, 400), np.zeros((200, 400), np.uint8)])
    pixels[:, 300:, :3] //= 4
    pixels[:, 300:, 3] = 255
    prepared = prepared_of(codec, pixels, tile_size=128)
    squares, _ = pack_choice._sample(prepared, None)
    seen = [np.asarray(each.picture.alpha) for each in squares]
    assert all(alpha[:, -1].all() for alpha in seen)


@pytest.mark.parametrize(
    ("costs", "expected"), [((100, 98.5, 120), 0), ((100, 97.5, 99), 1), ((100, 97, 96), 2)]
)
def test_a_pack_has_to_save_something(
    codec: Codec, monkeypatch: pytest.MonkeyPatch, costs: tuple[float, ...], expected: int
) -> None:
    points = [CodingPoint(codec.ladder.at(RATE), RATE, gain) for gain in range(3)]
    monkeypatch.setattr(pack_choice, "_cost", lambda *own, lmbda: costs[own[2].gain])
    assert likely(prepared_of(codec, noise(70, 70)), points, search=None) == expected
    assert likely(prepared_of(codec, noise(70, 70)), points[2:], search=None) == 0


@pytest.mark.parametrize("mode", ["grey", "alpha", "tiled"])
def test_kinds_of_pictures(codec: Codec, mode: str) -> None:
    """The point itself is what it is compared with, once coarser: that costs bits or error."""
    pixels = noise(200, 300)
    if mode == "grey":
        pixels = pixels[..., 0]
    elif mode == "alpha":
        pixels = np.dstack([pixels, np.where(np.arange(300) > 100, 255, 0)[None].repeat(200, 0)])
        pixels = pixels.astype(np.uint8)
    prepared = prepared_of(codec, pixels, tile_size=128 if mode == "tiled" else 0)
    point = CodingPoint(codec.ladder.at(RATE), RATE)
    squares, weights = pack_choice._sample(prepared, None)
    cheap = pack_choice._cost(squares, weights, point, lmbda=point.lmbda)
    assert 0 < cheap < pack_choice._cost(squares, weights, point, lmbda=4 * point.lmbda)
    if mode == "alpha":
        hidden = prepared_of(codec, np.dstack([pixels[..., :3], np.zeros((200, 300), np.uint8)]))
        squares, weights = pack_choice._sample(hidden, None)
        costs = [pack_choice._cost(squares, weights, point, lmbda=own) for own in (1.0, 9.0)]
        assert costs[0] == costs[1]  # nothing that is seen can be wrong
