"""Many pictures at once: the same pictures, in order, whatever sizes and rates are mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from promptcodec.coding import batch
from promptcodec.errors import ModelMismatchError, RateError, StreamError, UsageError
from promptcodec.models.codec import TorchCodec

SIZES = ((70, 90), (128, 64), (90, 70), (65, 66), (1, 1), (128, 128))
RATES = (2, 3, 3, 2.5, 2, 3)


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path) -> TorchCodec:
    return TorchCodec.load(tiny_checkpoint, tiny_ladder)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def calls(codec: TorchCodec, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes that g_a and g_s are called with from now on."""
    sizes: list[int] = []
    for part in (codec.model.g_a, codec.model.g_s):
        forward = part.forward

        def spy(x: torch.Tensor, *rest: object, forward: object = forward) -> object:
            sizes.append(len(x))
            return forward(x, *rest)  # type: ignore[operator]

        monkeypatch.setattr(part, "forward", spy)
    return sizes


def test_a_batch_gives_what_single_pictures_give(
    codec: TorchCodec, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    single = [codec.encode(p, rate_index=r) for p, r in zip(pictures, RATES, strict=True)]
    shown = [np.asarray(codec.decode(stream)) for stream in single]
    sizes = calls(codec, monkeypatch)
    streams = codec.encode_batch(pictures, rate_index=RATES)
    assert sizes == [1, 1, 2, 1, 1]  # by padded size and rate
    for one, of_batch in zip(single, streams, strict=True):
        assert len(of_batch) == pytest.approx(len(one), abs=3)
        assert of_batch[:28] == one[:28]  # header: size, hashes, rate
    decoded = codec.decode_batch(single)
    for one, of_batch in zip(shown, decoded, strict=True):
        assert np.abs(one.astype(int) - np.asarray(of_batch)).max() <= 1


def test_a_pass_is_bounded(
    codec: TorchCodec, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PASS_PIXELS", 2 * 128 * 64)
    sizes = calls(codec, monkeypatch)
    codec.decode_batch(codec.encode_batch([pictures[1]] * 5))
    assert sizes == [2, 2, 1, 2, 2, 1]


def test_tiles_and_pictures_mix(codec: TorchCodec, pictures: list[np.ndarray]) -> None:
    tiled = codec.encode(pictures[5], tile_size=64)
    plain = codec.encode(pictures[1])
    decoded = codec.decode_batch([tiled, plain])
    assert [p.size for p in decoded] == [(128, 128), (64, 128)]
    assert np.array_equal(np.asarray(decoded[0]), np.asarray(codec.decode(tiled)))


def test_nothing_gives_nothing(codec: TorchCodec) -> None:
    assert codec.encode_batch([]) == [] and codec.decode_batch([]) == []


def test_errors(codec: TorchCodec, pictures: list[np.ndarray], tiny_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="6 pictures and 2 rates"):
        codec.encode_batch(pictures, rate_index=[2, 3])
    with pytest.raises(RateError, match="rate index 7 is not installed"):
        codec.encode_batch(pictures[:2], rate_index=[2, 7])
    stream = codec.encode(pictures[0], rate_index=3)
    with pytest.raises(StreamError):
        codec.decode_batch([stream, stream[:-3]])
    with pytest.raises(ModelMismatchError, match="rate"):
        TorchCodec.load(tiny_checkpoint, []).decode_batch([stream])
