"""Bases of several shapes and of every context, lively and with their graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from promptcodec.api import Codec
from promptcodec.coding.adapter import AdapterConfig
from promptcodec.config import LAMBDAS, BaseConfig, CodecConfig
from promptcodec.models.adapters.checkpoint import write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import write_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.codec_model import CodecModel
from promptcodec.runtime.export import export

BLOCKS = CodecConfig(
    name="tiny",
    encoder_channels=(8, 8, 16, 16),
    encoder_blocks=("", "", "ssc", "ss"),
    decoder_channels=(8, 8, 16, 24),
    decoder_blocks=("", "c", "sc", "sss"),
    windows=(8, 8, 8, 4),
    head_channels=8,
    mlp_ratio=1.5,
    latent_channels=24,
    detail_channels=8,
    hyper_channels=12,
    hyper_kernel=1,
    z_channels=6,
    scale_channels=8,
    context="checkerboard",
    context_channels=16,
    context_segments=(8, 16),  # which only econtext reads
    reconstruction="centroid",
)
SHAPES = {
    "blocks": BLOCKS,
    "econtext": replace(
        BLOCKS,
        context="econtext",
        context_window=4,
        hyper_kernel=3,
        encoder_blocks=("", "c", "", "s"),  # detail comes from a stage without blocks
    ),
    "no-context": replace(BLOCKS, context="none", reconstruction="middle"),
    "no-detail": replace(
        BLOCKS,
        detail_channels=0,
        encoder_channels=(8, 8, 16, 24),
        encoder_blocks=("", "", "", "s"),
        decoder_blocks=("", "", "ss", "s"),
    ),
}


def lively(model: torch.nn.Module) -> None:
    """Random values where an untrained network has zeros or ones."""
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(("units", "step", "y_scale")):
                value.copy_(0.5 + torch.rand_like(value))
            elif value.ndim == 1 or "position_bias" in name or ".up." in name:
                if value.is_floating_point() and "prior" not in name and "scale_path" not in name:
                    value.add_(0.1 * torch.randn_like(value))


@pytest.fixture(scope="session", params=SHAPES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a base, `base/`, and of two adapters, `prompts/`."""
    folder = tmp_path_factory.mktemp(f"runtime-{request.param}")
    return make(SHAPES[request.param], folder)


def make(config: CodecConfig, folder: Path) -> Path:
    torch.manual_seed(0)
    model = CodecModel(config)
    lively(model)
    with torch.no_grad():
        model.g_a.head.weight.mul_(40.0)
        last: Any = model.hyperprior.scale_path.layers[-1]
        last.weight.mul_(0.5)
        last.bias.fill_(0.9)
    sha256 = write_base(folder / "base", model, config=BaseConfig(codec=config))
    for index, width, rank in ((2, 4, 2), (4, 4, 2)):
        prompts = LayerAdaptivePrompts(config, width=width, rank=rank, block_rank=3)
        lively(prompts)
        adapter = AdapterConfig(
            rate_index=index,
            lmbda=LAMBDAS[index],
            base_sha256=sha256.hex(),
            width=width,
            rank=rank,
            block_rank=3,
        )
        write_adapter(folder / "prompts" / f"rate-{index}", prompts, config=adapter)
    export(folder / "base")
    return folder


@pytest.fixture(scope="session")
def codecs(base: Path) -> tuple[TorchCodec, Codec]:
    """The same codec on both engines."""
    places = base / "base", base / "prompts"
    return TorchCodec.load(*places), Codec.load(*places, engine="onnx", threads=1)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A picture with structure whose sides are no multiples of 64, (100, 150, 3)."""
    y, x = np.mgrid[0:100, 0:150]
    noise = np.random.default_rng(0).integers(0, 40, (100, 150))
    levels = np.stack([x + noise, 2 * y, 255 - x + y // 2], axis=2)
    return levels.clip(0, 255).astype(np.uint8)
