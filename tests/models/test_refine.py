"""Effort: refined latents are better, reproducible, and read by any decoder."""

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.coding.entropy import rans
from promptcodec.coding.gains import Gains
from promptcodec.errors import UsageError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.refine import MAX_EFFORT, SCHEDULES, Schedule, refine


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    y, x = np.mgrid[0:70, 0:90]
    grain = np.random.default_rng(3).normal(0, 12, (70, 90))
    plane = 128 + 60 * np.sin(x / 9.0) + 30 * np.cos(y / 5.0) + grain
    return Image.fromarray(np.stack([plane, plane[::-1], plane], -1).clip(0, 255).astype(np.uint8))


def loss(codec: TorchCodec, picture: Image.Image, data: bytes) -> float:
    latents = codec.decode_latents(data)
    bits = sum(rans.estimate_bits(latents, codec.tables))
    error = np.asarray(picture, float) - np.asarray(codec.decode(data), float)
    pixels = picture.width * picture.height
    return bits / pixels + codec.config.lmbda * float((error**2).mean())


def test_more_effort_never_costs_more(tiny_codec: TorchCodec, picture: Image.Image) -> None:
    losses = [loss(tiny_codec, picture, tiny_codec.encode(picture, effort=e)) for e in (0, 1, 6)]
    assert losses[1] <= losses[0] + 1e-3 and losses[2] < losses[0]


def test_effort_is_reproducible_and_zero_changes_nothing(
    tiny_codec: TorchCodec, picture: Image.Image
) -> None:
    plain = tiny_codec.encode(picture)
    assert tiny_codec.encode(picture, effort=0) == plain
    refined = tiny_codec.encode(picture, effort=6)
    assert refined == tiny_codec.encode(picture, effort=6) != plain


def test_progress_is_reported(tiny_codec: TorchCodec, picture: Image.Image) -> None:
    seen: list[tuple[int, int]] = []
    tiny_codec.encode(picture, effort=2, progress=lambda *at: seen.append(at))
    total = SCHEDULES[2].steps + SCHEDULES[2].rounds
    assert seen == [(n, total) for n in range(1, total + 1)]


@pytest.mark.parametrize("effort", [-1, MAX_EFFORT + 1, 1.5])
def test_unknown_effort(tiny_codec: TorchCodec, picture: Image.Image, effort: float) -> None:
    with pytest.raises(UsageError, match="whole number from 0 to 9"):
        tiny_codec.encode(picture, effort=effort)  # type: ignore[arg-type]


def test_a_harmful_search_keeps_the_first_latents(tiny_codec: TorchCodec) -> None:
    model, tables = tiny_codec.model, tiny_codec.tables
    gains = Gains.constant(model.config.latent_channels)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    first = model.analyse(x, gains=gains)
    wild = Schedule(3, learning_rate=1e4)
    # Bits alone count: an untrained g_s may be nearer to a picture by chance.
    latents = refine(model, x, size=(64, 64), tables=tables, gains=gains, lmbda=1e-6, schedule=wild)
    assert torch.equal(latents.symbols, first.symbols) and torch.equal(latents.z_hat, first.z_hat)


def test_schedules_grow_with_effort() -> None:
    steps = [schedule.steps for schedule in SCHEDULES]
    assert len(steps) == MAX_EFFORT + 1 and steps[6] == 26
    work = [schedule.steps + schedule.rounds for schedule in SCHEDULES]
    assert work[0] == 0 and work == sorted(set(work))


def test_effort_runs_inside_inference_mode(tiny_codec: TorchCodec, picture: Image.Image) -> None:
    plain = tiny_codec.encode(picture, effort=3)
    with torch.inference_mode():
        assert tiny_codec.encode(picture, effort=3) == plain


def test_large_pictures_are_refused(
    tiny_codec: TorchCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptcodec.models.refine.MAX_PIXELS", 64 * 64)
    grey = Image.new("L", (65, 64))
    with pytest.raises(UsageError, match="1 GB for each megapixel"):
        tiny_codec.encode(grey, effort=1)
    assert tiny_codec.encode(grey, effort=0)
