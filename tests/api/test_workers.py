"""A codec elsewhere: copies, pickles, forked and spawned processes, torch's other defaults."""

import copy
import itertools
import multiprocessing
import os
import pickle
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from promptcodec.errors import RateError, UsageError
from promptcodec.models.adapters.checkpoint import write_adapter
from promptcodec.models.codec import TorchCodec

PIXELS = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def codec(tiny_checkpoint, tiny_ladder, tiny_heads) -> TorchCodec:
    return TorchCodec.load(tiny_checkpoint, tiny_ladder, heads=tiny_heads)


def work(codec: TorchCodec) -> tuple[Any, ...]:
    """A rate, one between two, a refinement, pixels, classes."""
    between = codec.encode(PIXELS, rate_index=2.5)
    streams = [codec.encode(PIXELS), between, codec.encode(PIXELS, effort=1, rate_index=4)]
    return *streams, codec.decode(between).tobytes(), codec.classify(between)


def again(codec: TorchCodec) -> TorchCodec:
    return pickle.loads(pickle.dumps(codec))


@pytest.fixture(scope="module")
def expected(codec) -> tuple[Any, ...]:
    return work(codec)


@pytest.mark.parametrize("duplicate", [again, copy.deepcopy, copy.copy])
def test_copies_code_alike(codec, expected, duplicate):
    other = duplicate(codec)
    assert type(other) is TorchCodec and other.rates == codec.rates
    assert other.model is not codec.model
    assert work(other) == expected


def test_a_copy_has_rates_of_its_own(tiny_checkpoint, tiny_ladder):
    first = TorchCodec.load(tiny_checkpoint, tiny_ladder / "rate-2")
    other = again(first)
    other.add_prompts(tiny_ladder / "rate-6")
    assert [rate.index for rate in other.rates] == [2, 6] != [rate.index for rate in first.rates]
    written = other.encode(PIXELS, rate_index=6)
    first.add_prompts(tiny_ladder / "rate-6")
    assert first.encode(PIXELS, rate_index=6) == written
    assert pickle.loads(pickle.dumps(other.ladder)).rates() == other.rates


def test_a_replaced_adapter_is_in_the_copy(tiny_checkpoint, tiny_ladder, tmp_path):
    first = TorchCodec.load(tiny_checkpoint, tiny_ladder / "rate-4")
    old = first.encode(PIXELS)
    adapter = first.at(4).network
    config = replace(next(iter(first.ladder.adapters.values())).config, lmbda=0.5)
    write_adapter(tmp_path / "other", adapter, config=config)
    first.add_prompts(tmp_path / "other")
    other = again(first)
    assert other.decode(old) == first.decode(old)
    assert other.encode(PIXELS) == first.encode(PIXELS) != old


def answer(codec: TorchCodec, queue: Any) -> None:
    queue.put(codec.encode(PIXELS))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes_code_alike(codec, expected):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        codec.encode(PIXELS)  # starts the threads that a fork does not copy
        queue = multiprocessing.get_context("fork").SimpleQueue()
        process = multiprocessing.get_context("fork").Process(
            target=answer, args=(codec, queue), daemon=True
        )
        process.start()
        process.join(30)
        alive = process.is_alive()
        process.kill()
    finally:
        torch.set_num_threads(threads)
    assert not alive and process.exitcode == 0
    assert queue.get() == expected[0]


def test_spawned_processes_code_alike(codec, expected):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(work, (codec,)) == expected


@contextmanager
def default_dtype(kind: torch.dtype):
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "meta": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS.values(), ids=SURROUNDINGS)
@pytest.mark.parametrize("make", ["load", "unpickle"])
def test_a_codec_made_anywhere_works(
    tiny_checkpoint, tiny_ladder, tiny_heads, codec, expected, surroundings, make
):
    data = pickle.dumps(codec)
    before = torch.get_default_dtype()
    with surroundings():
        if make == "load":
            other = TorchCodec.load(tiny_checkpoint, tiny_ladder, heads=tiny_heads)
        else:
            other = pickle.loads(data)
        other.head("classify")
    assert torch.get_default_dtype() == before
    assert work(other) == expected
    assert not any(value.is_inference() for value in other.model.state_dict().values())


@pytest.mark.parametrize("name", ["float64", "float16", "inference", "no_grad"])
def test_a_codec_works_anywhere(codec, tiny_checkpoint, tiny_ladder, tiny_heads, expected, name):
    fresh = TorchCodec.load(tiny_checkpoint, tiny_ladder, heads=tiny_heads)
    with SURROUNDINGS[name]():
        assert work(fresh) == expected
    assert work(fresh) == expected


RATES = {
    "array": np.array([2, 4.5]),
    "tensor": torch.tensor([2, 4.5]),
    "tuple": (2, 4.5),
    "generator": (rate for rate in (2, 4.5)),
    "map": map(float, ["2", "4.5"]),
    "scalars": [np.float32(2), torch.tensor(4.5)],
}


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_rates_of_a_batch(codec, rates):
    streams = codec.encode_batch((PIXELS for _ in range(2)), rate_index=rates)
    assert streams == codec.encode_batch([PIXELS, PIXELS], rate_index=[2.0, 4.5])


@pytest.mark.parametrize("rate", [np.float32(2), np.array(2), torch.tensor(2.0), torch.tensor(2)])
def test_one_rate_for_all(codec, rate):
    first, second = codec.encode_batch([PIXELS, PIXELS], rate_index=rate)
    assert first == second
    assert codec.encode(PIXELS, rate_index=rate) == codec.encode(PIXELS, rate_index=2)


@pytest.mark.parametrize(
    "rates", [[], [2], iter([2]), np.array([2, 4, 6]), itertools.repeat(2), torch.zeros(3)]
)
def test_another_number_of_rates(codec, rates):
    with pytest.raises(UsageError, match=r"2 pictures and .* rates: give one each"):
        codec.encode_batch([PIXELS, PIXELS], rate_index=rates)


@pytest.mark.parametrize("rate", [[1, 2], np.arange(9), (r for r in [2]), object(), torch.ones(2)])
def test_no_rate(codec, rate):
    with pytest.raises(RateError, match=r"rate index a .* is not installed") as caught:
        codec.encode(PIXELS, rate_index=rate)
    assert "\n" not in str(caught.value)
    with pytest.raises(RateError):
        codec.encode_batch([PIXELS], rate_index=[rate])


def test_one_item_is_no_batch(codec, tmp_path):
    stream = codec.encode(PIXELS)
    for call, item in (
        (codec.encode_batch, "photo.png"),
        (codec.encode_batch, tmp_path),
        (codec.decode_batch, stream),
        (codec.classify_batch, stream),
        (codec.decode_batch, 5),
    ):
        with pytest.raises(UsageError, match=r"need several (pictures|streams): pass a list"):
            call(item)
