"""Streams of a codec with econtext: whatever way they are decoded, the same symbols."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY

from promptcodec.api import Codec
from promptcodec.config import BaseConfig
from promptcodec.errors import ModelMismatchError
from promptcodec.models.checkpoint import write_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.econtext import EContext

CONFIG = replace(TINY, context="econtext", context_channels=16, context_segments=(2, 4, 6))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("econtext") / "base"
    torch.manual_seed(2)
    model = CodecModel(CONFIG)
    with torch.no_grad():
        model.g_a.head.weight.mul_(10.0)
    for parameter in model.context.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    write_base(folder, model, config=BaseConfig(codec=CONFIG, rate_index=4, lmbda=0.025))
    return folder


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(4).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((190, 141), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def stream(base: Path, picture: Image.Image) -> bytes:
    return Codec.load(base).encode(picture)


def decoded(codec: Codec, stream: bytes) -> tuple[np.ndarray, np.ndarray]:
    symbols = codec.decode_latents(stream).symbols
    assert np.abs(symbols).max() > 3
    return symbols, np.asarray(codec.decode(stream), np.int16)


def test_cache_and_threads_change_no_symbol(
    base: Path, stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols, rgb = decoded(Codec.load(base), stream)
    walk = EContext.forward
    before = torch.get_num_threads()
    for threads in (1, 2):
        for cached in (True, False):
            monkeypatch.setattr(
                EContext, "forward", lambda *a, cached=cached: walk(*a, cached=cached)
            )
            torch.set_num_threads(threads)
            other_symbols, other_rgb = decoded(Codec.load(base), stream)
            torch.set_num_threads(before)
            assert np.array_equal(symbols, other_symbols)
            assert np.abs(rgb - other_rgb).max() <= 1


def test_precision_changes_no_symbol(base: Path, stream: bytes) -> None:
    symbols, rgb = decoded(Codec.load(base), stream)
    half_symbols, half_rgb = decoded(Codec.load(base, precision="bfloat16"), stream)
    assert np.array_equal(symbols, half_symbols)
    assert half_rgb.shape == rgb.shape


def test_a_stream_of_another_base_is_refused_by_hash(tiny_codec: Codec, stream: bytes) -> None:
    with pytest.raises(ModelMismatchError, match=r"was written with base [0-9a-f]{16}"):
        tiny_codec.decode(stream)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 63), (130, 20)])
def test_every_size(base: Path, size: tuple[int, int]) -> None:
    codec = Codec.load(base)
    assert codec.decode(codec.encode(Image.new("RGB", size, (9, 90, 200)))).size == size
