"""Colour under an alpha of 0: what is visible goes on below it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from promptcodec.io.hidden import continue_colour
from promptcodec.io.load import load_picture

RNG = np.random.default_rng(5)


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 21), st.integers(1, 21), st.just(3))),
    st.integers(0, 2**32),
)
def test_visible_pixels_stay_and_hidden_ones_lie_between(rgb, seed):
    alpha = np.random.default_rng(seed).choice(np.array([0, 0, 1, 255], np.uint8), rgb.shape[:2])
    filled = continue_colour(rgb, alpha)
    seen = alpha > 0
    assert np.array_equal(filled[seen], rgb[seen])
    if seen.any() and not seen.all():
        low, high = rgb[seen].min(axis=0), rgb[seen].max(axis=0)
        assert (filled[~seen] >= low).all() and (filled[~seen] <= high).all()


def test_a_flat_object_becomes_a_flat_picture():
    rgb = np.zeros((40, 50, 3), np.uint8)
    alpha = np.zeros((40, 50), np.uint8)
    rgb[10:20, 15:30], alpha[10:20, 15:30] = (200, 30, 60), 255
    assert (continue_colour(rgb, alpha) == (200, 30, 60)).all()
    assert (rgb[0, 0] == 0).all()  # the source is left as it was


@pytest.mark.parametrize("alpha", [None, np.full((4, 5), 255, np.uint8), np.ones((4, 5), np.uint8)])
def test_what_hides_nothing_changes_nothing(alpha):
    rgb = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    assert continue_colour(rgb, alpha) is rgb


def test_nothing_visible_is_flat():
    rgb = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    assert (continue_colour(rgb, np.zeros((4, 5), np.uint8)) == 128).all()


def cutout() -> np.ndarray:
    y, x = np.mgrid[0:128, 0:128]
    rgba = np.stack([90 + x, 200 - y // 2, 120 + (x + y) // 4, 0 * x], axis=2).astype(np.uint8)
    rgba[..., 3] = np.where((x - 64) ** 2 + (y - 64) ** 2 < 45**2, 255, 0)
    return rgba


@pytest.mark.parametrize("options", [{}, {"tile_size": 64}])
def test_streams_do_not_depend_on_hidden_colour(tiny_codec, options):
    black, noise = cutout(), cutout()
    hidden = black[..., 3] == 0
    black[hidden, :3] = 0
    noise[hidden, :3] = RNG.integers(0, 256, (hidden.sum(), 3))
    assert tiny_codec.encode(black, **options) == tiny_codec.encode(noise, **options)
    decoded = np.asarray(tiny_codec.decode(tiny_codec.encode(black, **options)))
    assert np.array_equal(decoded[..., 3], black[..., 3])


def test_the_psnr_of_a_target_is_that_of_visible_pixels(tiny_codec):
    from promptcodec.coding.encoder import CodingPoint, prepare

    loaded = load_picture(cutout())
    prepared = prepare(tiny_codec.engine, loaded, tile_size=0, effort=0, max_pixels=1 << 20)
    rate = tiny_codec.ladder.position(None)
    candidate = prepared.encode_at(CodingPoint(tiny_codec.ladder.at(rate), rate))
    shown = np.asarray(tiny_codec.decode(candidate.stream())).astype(float)
    seen = loaded.alpha > 0
    error = np.square(shown[..., :3][seen] - loaded.rgb[seen]).mean()
    assert candidate.psnr() == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)
