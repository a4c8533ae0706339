"""Installed rates, the rates between them, and swapping while others decode."""

import threading
from dataclasses import replace

import pytest
import torch
from tiny import TINY

from promptcodec.bitstream import RATE_STEPS
from promptcodec.coding.adapter import AdapterConfig, RateAdapter
from promptcodec.coding.gains import Gains
from promptcodec.coding.ladder import Ladder
from promptcodec.config import BaseConfig
from promptcodec.errors import RateError
from promptcodec.models.adapters.interpolation import between
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts


def adapter(index: int, *, gain: int, seed: int = 0, width: int = 4) -> RateAdapter:
    torch.manual_seed(seed)
    prompts = LayerAdaptivePrompts(TINY, width=width, rank=2)
    for parameter in prompts.parameters():
        torch.nn.init.normal_(parameter)
    config = AdapterConfig(
        rate_index=index, lmbda=0.01 * 4.0**index, base_sha256="", width=width, rank=2
    )
    gains = Gains.constant(12, gain)
    return RateAdapter(config, prompts.requires_grad_(False), gains, bytes([index]) * 32)


class Networks:
    """What a ladder asks of an engine."""

    config = BaseConfig(codec=TINY, rate_index=6)
    between = staticmethod(between)


@pytest.fixture
def ladder() -> Ladder:
    return Ladder(Networks()).with_adapters(  # type: ignore[arg-type]
        [adapter(4, gain=300, seed=4), adapter(1, gain=-101, seed=1), adapter(2, gain=100, seed=2)]
    )


def test_an_installed_rate_is_its_adapter(ladder: Ladder) -> None:
    point = ladder.at(2 * RATE_STEPS)
    assert point.network is ladder.adapters[2].network
    assert point.hashes == (bytes([2]) * 32,) and point.lmbda == pytest.approx(0.16)
    assert list(ladder.adapters) == [1, 2, 4]


def test_between_two_rates(ladder: Ladder) -> None:
    point = ladder.at(3 * RATE_STEPS)  # half way from 2 to 4
    assert point.hashes == (bytes([2]) * 32, bytes([4]) * 32)
    assert point.gains.log_gains.tolist() == [200] * 12
    assert point.lmbda == pytest.approx(0.64)  # in a line of logarithms
    low, high = (ladder.adapters[i].network.state_dict() for i in (2, 4))
    for name, value in point.network.state_dict().items():
        torch.testing.assert_close(value, (low[name] + high[name]) / 2)
    assert ladder.at(3 * RATE_STEPS).network is point.network  # made once


@pytest.mark.parametrize(("steps", "gain"), [(1, -101), (2048, 0), (2047, -1), (4095, 100)])
def test_gains_between_are_rounded_in_integers(ladder: Ladder, steps: int, gain: int) -> None:
    # -101 + 201 * steps / 4096, rounded half up: -100.95, -0.5, -0.55, 99.95
    assert ladder.at(RATE_STEPS + steps).gains.log_gains[0] == gain


@pytest.mark.parametrize("rate", [0, RATE_STEPS - 1, 4 * RATE_STEPS + 1, 9 * RATE_STEPS])
def test_nothing_is_extrapolated(ladder: Ladder, rate: int) -> None:
    with pytest.raises(RateError, match="installed: 1, 2, 4"):
        ladder.at(rate)
    with pytest.raises(RateError, match="installed: none"):
        Ladder(ladder.engine).at(rate)


def test_widths_that_differ_have_nothing_between(ladder: Ladder) -> None:
    other = ladder.with_adapters([adapter(4, gain=0, width=8)])
    with pytest.raises(RateError, match="differ in width"):
        other.at(3 * RATE_STEPS)
    assert other.at(4 * RATE_STEPS).network.width == 8


def test_a_ladder_never_changes(ladder: Ladder) -> None:
    before = ladder.at(2 * RATE_STEPS)
    after = ladder.with_adapters([replace(ladder.adapters[2], sha256=b"x" * 32)])
    assert ladder.at(2 * RATE_STEPS) == before
    assert after.at(2 * RATE_STEPS).hashes == (b"x" * 32,)
    with pytest.raises(TypeError):
        ladder.adapters[2] = ladder.adapters[1]  # type: ignore[index]


def test_readers_see_whole_ladders_while_one_swaps(ladder: Ladder) -> None:
    current, done, wrong = [ladder], threading.Event(), []

    def read() -> None:
        while not done.is_set():
            point = current[0].at(3 * RATE_STEPS // 2)
            gains = set(point.gains.log_gains.tolist())
            if len(gains) != 1 or len(point.hashes) != 2:
                wrong.append(gains)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for turn in range(25):
        current[0] = current[0].with_adapters([adapter(2, gain=turn)])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
