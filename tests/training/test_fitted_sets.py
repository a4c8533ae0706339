"""A rate's own tables of z: as many sets as held-out tiles ask for, and valid ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from promptcodec.coding.encoder import ONE_TILE_PIXELS
from promptcodec.coding.entropy.tables import TOTAL
from promptcodec.coding.entropy.z_tables import ZTables
from promptcodec.errors import UsageError
from promptcodec.models.codec import TorchCodec
from promptcodec.training import z_sets
from promptcodec.training.z_sets import choose_sets, fit_sets, hyper_latents, set_bits

BASE = np.full((2, 256), TOTAL // 256, np.uint32)


def drawn(rng: np.random.Generator, middle: int, width: int) -> np.ndarray:
    """z_hat of a tile around a value."""
    values = rng.normal(middle, width, (2, 6, 8))
    return np.rint(values).clip(-128, 127).astype(np.int16)


def two_kinds(count: int, *, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [drawn(rng, *((0, 1) if n % 3 else (40, 6))) for n in range(count)]


def test_two_kinds_of_tiles_get_two_sets() -> None:
    tiles, others = two_kinds(60, seed=1), two_kinds(30, seed=2)
    found = choose_sets(tiles, BASE, most=4)
    assert len(found.bits) == 5 and len(found.sets) >= 2
    assert found.bits.index(min(found.bits)) >= 2
    one, two = (fit_sets(tiles, BASE, count=count) for count in (1, 2))
    assert set_bits(two, others) < 0.9 * set_bits(one, others)
    assert set_bits(one, others) < 0.7 * sum(ZTables(BASE).bits(tile) for tile in others)
    tops = sorted(int(each.frequencies[0].argmax()) - 128 for each in two)
    assert abs(tops[0]) <= 1 and abs(tops[1] - 40) <= 6
    for each in (*one, *two):
        assert each.frequencies.min() >= 1 and each.frequencies.dtype == np.uint32
        assert (each.frequencies.sum(axis=1) == TOTAL).all()


def test_a_fit_is_always_the_same() -> None:
    tiles = two_kinds(30, seed=3)
    for one, two in zip(*(fit_sets(tiles, BASE, count=3) for _ in range(2)), strict=True):
        assert np.array_equal(one.frequencies, two.frequencies)


def test_rounds_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = two_kinds(60, seed=1)
    whole = set_bits(fit_sets(tiles, BASE, count=4), tiles)
    monkeypatch.setattr(z_sets, "ROUNDS", 1)
    assert whole < 0.99 * set_bits(fit_sets(tiles, BASE, count=4), tiles)


def test_sets_that_serve_no_tile_are_dropped() -> None:
    tile = np.zeros((2, 1, 1), np.int16)
    assert len(fit_sets([tile] * 8, BASE, count=4)) == 1


def test_more_sets_are_chosen_only_where_they_pay() -> None:
    rng = np.random.default_rng(4)
    alike = [drawn(rng, 0, 2) for _ in range(60)]
    assert len(choose_sets(alike, BASE, most=4).sets) == 1
    own = fit_sets(alike, BASE, count=1)[0].frequencies
    few = [drawn(rng, 0, 2) for _ in range(4)]
    found = choose_sets(few, own, most=4)  # a base that fits better than so few tiles do
    assert found.sets == () and found.bits[0] == min(found.bits)
    assert choose_sets(two_kinds(60, seed=1), BASE, most=1).bits[1:] != ()
    assert len(choose_sets(two_kinds(60, seed=1), BASE, most=1).sets) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_tiles_are_not_fitted(count: int) -> None:
    found = choose_sets(two_kinds(count, seed=1), BASE, most=4)
    assert found.sets == () and found.bits == ()


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_number_that_cannot_be(count: int) -> None:
    with pytest.raises(UsageError, match="need 1 to 4"):
        fit_sets(two_kinds(2 if count == 3 else 9, seed=1), BASE, count=count)


def test_what_is_fitted_is_what_coding_sees(tiny_codec: TorchCodec) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (70, 130, 3), np.uint8)
    picture = torch.from_numpy(pixels).permute(2, 0, 1)
    (z,) = hyper_latents(tiny_codec.model, [picture], adapter=None)
    coded = tiny_codec.decode_latents(tiny_codec.encode(pixels)).z_hat[0]
    assert z.dtype == np.int16 and np.array_equal(z, coded)


def test_the_adapter_counts(tiny_checkpoint: Path, tiny_ladder: Path) -> None:
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    pixels = np.random.default_rng(6).integers(0, 256, (70, 130, 3), np.uint8)
    picture = torch.from_numpy(pixels).permute(2, 0, 1)
    (z,) = hyper_latents(codec.model, [picture], adapter=codec.at(2).network)
    coded = codec.decode_latents(codec.encode(pixels, rate_index=2)).z_hat[0]
    assert np.array_equal(z, coded)


def test_of_a_large_picture_one_tile_counts(tiny_codec: TorchCodec) -> None:
    side = int(ONE_TILE_PIXELS**0.5)
    large = torch.zeros(3, side + 64, side, dtype=torch.uint8)
    (z,) = hyper_latents(tiny_codec.model, [large], adapter=None)
    assert z.shape[1:] == (8, 8)
