"""Weights of a smaller codec in a larger one: the same function, and gradients everywhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY

from promptcodec.config import CodecConfig
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.initialise import warm_start

SMALL = replace(
    TINY,
    encoder_channels=(8, 8, 16, 16),
    encoder_blocks=("", "", "sc", "ss"),
    decoder_channels=(8, 8, 16, 16),
    decoder_blocks=("", "c", "sc", "ss"),
)
DEEPER = replace(
    SMALL,
    encoder_blocks=("", "c", "sccs", "ssss"),
    decoder_blocks=("", "cc", "scs", "sss"),
)
NO_NORM = replace(SMALL, encoder_blocks=("", "", "cc", "c"), decoder_blocks=("", "c", "c", "cc"))
WIDER = {"encoder_channels": (8, 16, 24, 32), "decoder_channels": (16, 8, 24, 24)}


def lively(config: CodecConfig) -> CodecModel:
    torch.manual_seed(1)
    model = CodecModel(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "scale_path" not in name:
                value.add_(0.05 * torch.randn_like(value))
        for name, value in model.named_buffers():
            if name.endswith(("units", "step")):
                value.copy_(0.5 + torch.rand_like(value))
    return model.eval()


def grown(small: CodecModel, config: CodecConfig, folder: Path) -> tuple[CodecModel, list[str]]:
    save_file(small.state_dict(), folder / "small.safetensors")
    torch.manual_seed(2)
    model = CodecModel(config).eval()
    return model, warm_start(model, folder / "small.safetensors")


def outputs(model: CodecModel) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    x = torch.rand(1, 3, 128, 64)
    y = model.g_a(x)
    return y, model.g_s(y)


@pytest.mark.parametrize(
    ("small", "config"),
    [(SMALL, DEEPER), (NO_NORM, replace(NO_NORM, **WIDER))],
    ids=["deeper", "wider"],
)
def test_the_function_stays(small: CodecConfig, config: CodecConfig, tmp_path: Path) -> None:
    start = lively(small)
    model, afresh = grown(start, config, tmp_path)
    assert not [name for name in afresh if not name.startswith(("g_a.stages", "g_s.stages"))]
    for ours, theirs in zip(outputs(model), outputs(start), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_wider_norm_nearly(tmp_path: Path) -> None:
    start = lively(SMALL)
    model, _ = grown(start, replace(SMALL, **WIDER), tmp_path)
    for ours, theirs in zip(outputs(model), outputs(start), strict=True):
        assert (ours - theirs).norm() < 0.2 * theirs.norm()


@pytest.mark.parametrize("config", [DEEPER, replace(SMALL, **WIDER)], ids=["deeper", "wider"])
def test_every_new_weight_learns_in_two_steps(config: CodecConfig, tmp_path: Path) -> None:
    model, _ = grown(lively(SMALL), config, tmp_path)
    start = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        y, x_hat = outputs(model)
        (y.square().mean() + x_hat.square().mean()).backward()
        optimizer.step()
    for name, value in model.named_parameters():
        if name.startswith(("g_a.", "g_s.")) and value.ndim > 1 and "position_bias" not in name:
            moved = (value - start[name]).flatten(1).abs().amax(dim=1) > 0
            assert moved.float().mean() > 0.9, name
