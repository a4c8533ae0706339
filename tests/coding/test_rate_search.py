"""Targets of size and quality: the search on curves, and through the codec."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from places import ASSETS

from promptcodec.api import Codec
from promptcodec.coding.rate_search import MAX_PASSES, Goal, TargetUnreachable, search_rate
from promptcodec.coding.settings import Target
from promptcodec.errors import RateError, UsageError


@dataclass(frozen=True)
class Curve:
    """A made-up picture: bytes over positions and gains."""

    position: float
    gain: int = 0
    bend: float = 0.0

    @property
    def measure(self) -> float:
        size = 4000.0 * math.exp(0.35 * self.position + self.bend * self.position**2)
        return math.log(round(size * math.exp(0.12 * self.gain / 256)))

    def with_gain(self, gain: int) -> "Curve":
        return Curve(self.position, gain, self.bend)


def find(encode_at: Any, goal: Goal) -> tuple[Any, int]:
    return search_rate(encode_at, lambda c: c.measure, goal=goal, low=0.0, high=7.0, start=4.0)


@pytest.mark.parametrize("bend", [0.0, 0.02, -0.015])
@pytest.mark.parametrize("size", [4010, 5000, 9000, 17000, 40000])
@pytest.mark.parametrize("strict", [False, True])
def test_sizes_are_met_in_few_passes(size: int, strict: bool, bend: float) -> None:
    if size > 4000 * math.exp(0.35 * 7 + bend * 49):
        pytest.skip("beyond this curve")
    goal = Goal.size(size, strict=strict)
    trial, passes = find(lambda p: Curve(p, bend=bend), goal)
    found = math.exp(trial.measure)
    assert abs(found / size - 1) <= 0.01 and passes <= MAX_PASSES
    assert not strict or round(found) <= size


@pytest.mark.parametrize("size", [100, 3000, 90000])
def test_what_cannot_be_reached_says_the_range(size: int) -> None:
    with pytest.raises(TargetUnreachable) as error:
        find(Curve, Goal.size(size, strict=False))
    assert math.exp(error.value.lowest) == pytest.approx(4000)
    assert math.exp(error.value.highest) == pytest.approx(46353, abs=1)


def test_the_ends_of_the_range_are_reached() -> None:
    for size in (3300, 4000, 46353, 55000):  # and a little beyond, by the gain
        trial, _ = find(Curve, Goal.size(size, strict=False))
        assert math.exp(trial.measure) == pytest.approx(size, rel=0.01)


@dataclass(frozen=True)
class Steps:
    """A picture so small that its sizes are few, whatever the gain."""

    position: float

    @property
    def measure(self) -> float:
        return math.log(75 if self.position >= 4 else 55)

    def with_gain(self, gain: int) -> "Steps":
        return self


def test_coarse_sizes_give_the_nearest_that_is_allowed() -> None:
    for size, strict, expected in ((70, True, 55), (74, True, 55), (66, False, 75)):
        goal = Goal.size(size, strict=strict)
        trial, passes = find(Steps, goal)
        if strict:
            assert round(math.exp(trial.measure)) == expected
        assert not goal.met_by(trial) and passes <= MAX_PASSES


def test_a_flat_picture_ends_the_search() -> None:
    @dataclass(frozen=True)
    class Flat:
        measure: float = math.log(60)

        def with_gain(self, gain: int) -> "Flat":
            return Flat()

    calls = []

    def run(position: float) -> Flat:
        calls.append(position)
        return Flat()

    with pytest.raises(TargetUnreachable):
        find(run, Goal.size(90, strict=False))
    assert len(calls) <= MAX_PASSES + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no target given"),
        ({"bpp": 1.0, "psnr": 30.0}, "target_bpp and target_psnr given"),
        ({"bpp": 0.0}, "target_bpp is 0.0; need a positive number"),
        ({"size": float("nan")}, "target_bytes is nan"),
        ({"psnr": math.inf}, "target_psnr is inf"),
        ({"psnr": 30.0, "strict": True}, "strict is for"),
    ],
)
def test_targets_that_make_no_sense(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Target(**arguments)


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path) -> Codec:
    return Codec.load(tiny_checkpoint, tiny_ladder)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (192, 256, 3), dtype=np.uint8)


def test_the_codec_meets_sizes(codec: Codec, picture: np.ndarray) -> None:
    low, high = (len(codec.encode(picture, rate_index=index)) for index in (2, 6))
    size = (low + high) // 2
    encoded = codec.encode_detailed(picture, target_bytes=size)
    assert abs(len(encoded.data) / size - 1) <= 0.01 and encoded.passes <= MAX_PASSES
    assert codec.decode(encoded.data).size == (256, 192)
    again = codec.encode(picture, rate_index=encoded.rate_index, gain_steps=encoded.gain_steps)
    assert again == encoded.data  # what was found can be asked for
    bpp = 8 * size / (192 * 256)
    assert len(codec.encode(picture, target_bpp=bpp, strict=True)) <= size
    with pytest.raises(RateError, match=rf"takes {low:,} to {high:,} bytes"):
        codec.encode(picture, target_bytes=high * 3)


def test_the_bundled_codec_meets_a_quality() -> None:
    codec = Codec.load()  # an untrained one has no quality to choose from
    with Image.open(ASSETS / "coffee.png") as whole:
        picture = np.asarray(whole.convert("RGB").crop((100, 100, 260, 230)))
    for wanted in (29.0, 36.5):
        encoded = codec.encode_detailed(picture, target_psnr=wanted)
        shown = np.asarray(codec.decode(encoded.data), dtype=np.float64)
        found = 10 * math.log10(255**2 / np.mean((shown - picture) ** 2))
        assert found == pytest.approx(wanted, abs=0.05) and encoded.passes <= MAX_PASSES


@pytest.mark.parametrize("shape", [(90, 70), (1, 1, 3)])
def test_grey_and_tiny_pictures(codec: Codec, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)
    first = codec.encode_detailed(picture, rate_index=4)
    encoded = codec.encode_detailed(picture, target_bytes=len(first.data))
    assert encoded.target_met and codec.decode(encoded.data).size == (shape[1], shape[0])
    if len(shape) == 2:
        shown = np.asarray(codec.decode(first.data), dtype=np.float64)
        assert shown.ndim == 2
        psnr = 10 * math.log10(255**2 / np.mean((shown - picture) ** 2))
        met = codec.encode_detailed(picture, target_psnr=psnr)
        shown = np.asarray(codec.decode(met.data), dtype=np.float64)
        found = 10 * math.log10(255**2 / np.mean((shown - picture) ** 2))
        assert found == pytest.approx(psnr, abs=0.05)


def test_a_target_chooses_the_rate_alone(codec: Codec, picture: np.ndarray) -> None:
    for extra in ({"rate_index": 4}, {"gain_steps": 1.0}, {"effort": 3}):
        with pytest.raises(UsageError, match="leave out rate_index"):
            codec.encode(picture, target_bytes=5000, **extra)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no target given"):
        codec.encode(picture, strict=True)
