"""Scale tables: what FORMAT.md promises of them, and what they cost over the ideal."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from places import ROOT

from promptcodec.coding.entropy.tables import (
    NUM_SCALES,
    SCALE_STEP,
    TOTAL,
    gaussian_probabilities,
    gaussian_table,
    quantise_frequencies,
    scales,
    table_range,
)

FORMAT = ROOT / "FORMAT.md"
INDEXES = range(NUM_SCALES)


def entropy(probabilities: np.ndarray) -> float:
    p = probabilities[probabilities > 0]
    return float(-(p * np.log2(p)).sum())


def test_scales_are_log_spaced() -> None:
    assert scales()[0] == pytest.approx(0.11, rel=1e-12)
    assert scales()[-1] == pytest.approx(100.0, rel=1e-12)
    np.testing.assert_allclose(np.diff(np.log(scales())), SCALE_STEP, rtol=1e-9)


def test_ranges_are_those_of_the_specification() -> None:
    """They are part of the format: a rounding error on some machine must not move one."""
    block = re.search(r"```ranges\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert [table_range(i) for i in INDEXES] == [int(word) for word in block[1].split()]


def test_no_range_hangs_on_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [table_range(i) for i in INDEXES]
    for factor in (1 - 1e-14, 1 + 1e-14):  # far more than two exponentials can differ by
        moved = scales() * factor
        monkeypatch.setattr("promptcodec.coding.entropy.tables.scales", lambda moved=moved: moved)
        assert [table_range(i) for i in INDEXES] == expected
        monkeypatch.undo()


@pytest.mark.parametrize("index", INDEXES)
def test_table(index: int) -> None:
    table = gaussian_table(index)
    radius = table_range(index)
    assert table.dtype == np.uint32
    assert table.shape == (2 * radius + 2,)
    assert table.min() >= 1
    assert int(table.sum()) == TOTAL == 2**16
    assert table[-1] == 1  # an escape is as rare as a frequency can say


@pytest.mark.parametrize("index", INDEXES)
def test_table_is_symmetric(index: int) -> None:
    inside = gaussian_table(index)[:-1]
    np.testing.assert_array_equal(inside, inside[::-1])
    assert inside.argmax() == table_range(index)


@pytest.mark.parametrize("index", INDEXES)
def test_probabilities_are_those_of_a_rounded_gaussian(index: int) -> None:
    sigma, radius = float(scales()[index]), table_range(index)
    probabilities = gaussian_probabilities(sigma, radius)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert probabilities[-1] < 1e-5
    k = np.arange(-radius, radius + 1)
    assert (probabilities[:-1] * k).sum() == pytest.approx(0.0, abs=1e-12 * radius)
    if sigma > 1:  # Sheppard: rounding adds a twelfth to the variance
        variance = (probabilities[:-1] * k**2).sum()
        assert variance == pytest.approx(sigma**2 + 1 / 12, rel=1e-3)


@pytest.mark.parametrize("index", INDEXES)
def test_integer_table_costs_next_to_nothing(index: int) -> None:
    """Expected code length above the entropy: 2e-4 bits or 0.15 %, whichever is more."""
    p = gaussian_probabilities(float(scales()[index]), table_range(index))
    length = float(-(p * np.log2(gaussian_table(index) / TOTAL)).sum())
    ideal = entropy(p)
    assert ideal <= length <= ideal + max(2e-4, 1.5e-3 * ideal)


def test_a_gain_is_an_offset_of_the_index() -> None:
    """Twice the deviation is the table log(2) / step further, give or take a rounding."""
    steps = round(math.log(2) / SCALE_STEP)
    ratio = scales()[steps:] / scales()[:-steps]
    np.testing.assert_allclose(ratio, 2.0, rtol=SCALE_STEP / 2)


@pytest.mark.parametrize(
    "probabilities",
    [
        [*np.zeros(255).tolist(), 1.0],
        np.full(256, 1 / 256).tolist(),
        np.geomspace(1e-30, 1.0, 256).tolist(),
        [0.3, 0.7],
        [-1e-18, 0.5, 0.5],  # a difference of two distribution functions may be just below 0
    ],
)
def test_any_distribution_becomes_a_table(probabilities: list[float]) -> None:
    table = quantise_frequencies(np.array(probabilities))
    assert table.min() >= 1
    assert int(table.sum()) == TOTAL
    expected = np.maximum(probabilities, 0) / np.maximum(probabilities, 0).sum()
    assert np.abs(table / TOTAL - expected).max() <= 2 * len(table) / TOTAL


def test_a_table_of_too_many_symbols_is_refused() -> None:
    with pytest.raises(ValueError, match="65537 symbols do not fit"):
        quantise_frequencies(np.ones(TOTAL + 1))
