"""Transforms: sizes, units of features, blocks, prompts, and what is refused."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY

from promptcodec.coding.architecture import (
    analysis_maps,
    block_layers,
    decoder_stages,
    encoder_stages,
    synthesis_maps,
)
from promptcodec.config import BaseConfig, CodecConfig, from_dict
from promptcodec.errors import ConfigError
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts, prompted
from promptcodec.models.checkpoint import write_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.stages import ConvolutionBranch
from promptcodec.models.swin import SwinBlock


@pytest.fixture(scope="module")
def model() -> CodecModel:
    torch.manual_seed(3)
    return CodecModel(TINY).eval()


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 192), (192, 128)])
def test_shapes_at_every_size(model: CodecModel, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        y = model.g_a(x)
        assert y.shape == (2, 12, size[0] // 16, size[1] // 16)
        assert model.g_s(y).shape == x.shape


def test_a_branch_keeps_its_shape_and_sees_only_its_own_picture() -> None:
    torch.manual_seed(1)
    branch = ConvolutionBranch(8)
    x, units = torch.rand(2, 8, 4, 6), torch.ones(8)
    with torch.no_grad():
        both, one = branch(x, units), branch(x[1:], units)
    assert both.shape == x.shape
    torch.testing.assert_close(both[1:], one)
    assert not torch.allclose(both, x)


def test_layers_look_at_features_in_units_of_their_channels(model: CodecModel) -> None:
    """Dividing by units is what multiplying the weights that look would be."""
    other = CodecModel(TINY).eval()
    other.load_state_dict(model.state_dict())
    for module, stage in ((other.g_a, other.g_a.stages[3]), (other.g_s, other.g_s.stages[0])):
        assert torch.equal(stage.units, torch.ones_like(stage.units))
        stage.units.fill_(4.0)
        for block in stage.blocks:
            if isinstance(block, SwinBlock):  # its norms do not mind
                continue
            block.conv1.weight.data.mul_(4.0)
        looks = module.head if module is other.g_a else module.up[0]
        looks.weight.data[:, : len(stage.units)].mul_(4.0)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        y = model.g_a(x)
        torch.testing.assert_close(other.g_a(x), y, atol=2e-3, rtol=2e-2)
        torch.testing.assert_close(other.g_s(y), model.g_s(y), atol=2e-3, rtol=2e-2)


def test_latents_reach_the_decoder_in_their_units(model: CodecModel) -> None:
    other = CodecModel(TINY).eval()
    other.load_state_dict(model.state_dict())
    other.g_s.units.fill_(4.0)
    other.g_s.step.fill_(0.5)
    y = torch.randn(1, 12, 4, 4)
    with torch.no_grad():
        expected = 0.5 * (model.g_s(y) - 0.5) + 0.5
        torch.testing.assert_close(other.g_s(4.0 * y), expected)


def test_maps_are_those_that_run(model: CodecModel) -> None:
    for maps, layers in (
        (analysis_maps(TINY), [*model.g_a.down, model.g_a.head, model.g_a.detail]),
        (synthesis_maps(TINY), [model.g_s.stem, *model.g_s.up]),
    ):
        shapes = [(m.outputs, m.inputs, m.kernel, m.kernel) for m in maps]
        assert shapes == [tuple(layer.weight.shape) for layer in layers]
    for stages, transform in (
        (encoder_stages(TINY), model.g_a),
        (decoder_stages(TINY), model.g_s),
    ):
        own = [p for n, p in transform.stages.named_parameters() if n.endswith("weight")]
        layers = [p for p in own if p.ndim > 1]  # no norms
        found = block_layers(TINY, stages)
        assert [(m.outputs, m.inputs, m.kernel**2) for m in found] == [
            (p.shape[0], p.shape[1], p[0, 0].numel()) for p in layers
        ]


def test_every_update_and_every_prompt_moves_the_result(model: CodecModel) -> None:
    assert [b.stride for b in prompted(encoder_stages(TINY))] == [8, 16, 16]
    assert [b.stride for b in prompted(decoder_stages(TINY))] == [16, 16, 8]
    torch.manual_seed(5)
    adapter = LayerAdaptivePrompts(TINY, width=4, rank=2, block_rank=2)
    x = torch.rand(1, 3, 128, 64)
    with torch.no_grad():
        y = model.g_a(x)
        plain = model.g_s(y)
        # A fresh adapter adds nothing, though it has prompts and updates.
        assert torch.equal(model.to_latents(x, adapter), y)
        assert torch.equal(model.to_picture(y, adapter), plain)
        for parts, run in (
            (
                (adapter.encoder.gates, adapter.encoder_maps.up, adapter.encoder_blocks.up),
                lambda: model.to_latents(x, adapter),
            ),
            (
                (adapter.decoder.gates, adapter.decoder_maps.up, adapter.decoder_blocks.up),
                lambda: model.to_picture(y, adapter),
            ),
        ):
            before = run()
            for parameter in (p for part in parts for p in part):
                parameter.fill_(0.5)
                after = run()
                assert not torch.equal(after, before)
                before = after


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_channels": (8, 8, 16)}, "encoder_channels has 3 entries"),
        ({"decoder_blocks": ()}, "decoder_blocks has 0 entries"),
        ({"encoder_channels": (8, 8, 16, 4)}, "as many channels at 1/16 as there are deep"),
        ({"encoder_channels": (0, 8, 16, 24)}, r"encoder_channels\[0\] is 0; need 1 to"),
        ({"encoder_blocks": ("", "", "cd", "s")}, "'cd'; need at most 256 letters, c or s"),
        ({"decoder_blocks": ("", "", "", "c" * 257)}, "need at most 256 letters"),
        ({"encoder_channels": (8, 8, 12, 24)}, "need a multiple of head_channels 8"),
        ({"windows": (8, 8, 5, 2)}, r"windows\[2\] is 5; need a divisor of 8"),
        ({"scale_channels": 0}, "scale_channels is 0; need 1 to"),
        ({"halo": 32}, "halo is 32; need a multiple of 64"),
        ({"halo": 576}, "need 0 to 512"),
        ({"detail_channels": 12}, "need 0 to latent_channels - 1"),
    ],
)
def test_contradictions_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)


def test_every_key_that_a_hash_covers_is_given() -> None:
    values = dataclasses.asdict(TINY)
    optional = {f.name for f in dataclasses.fields(CodecConfig) if f.metadata.get("added")}
    assert optional.isdisjoint(TINY.identity())
    for key in values:
        rest = {k: v for k, v in values.items() if k != key}
        if key in optional:
            assert from_dict(CodecConfig, rest) == TINY
            continue
        with pytest.raises(ConfigError, match=f"codec is incomplete: it lacks {key}$"):
            from_dict(CodecConfig, rest, where="codec")


def test_a_checkpoint_codes_pictures(model: CodecModel, tmp_path: Path) -> None:
    made = CodecModel(TINY)
    made.load_state_dict(model.state_dict())
    with torch.no_grad():
        made.g_a.head.weight.mul_(40.0)
        made.hyperprior.scale_path.layers[-1].bias.fill_(0.9)
        made.g_s.step.fill_(0.0371)  # no float16
        made.g_s.stages[0].units.fill_(123.45)
    write_base(tmp_path / "base", made, config=BaseConfig(codec=TINY))
    codec = TorchCodec.load(tmp_path / "base")
    assert torch.equal(codec.model.g_s.step, made.g_s.step)
    assert torch.equal(codec.model.g_s.stages[0].units, made.g_s.stages[0].units)
    noise = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((201, 133), Image.Resampling.BICUBIC)
    for tile_size in (0, 64):
        stream = codec.encode(picture, tile_size=tile_size)
        assert codec.decode(stream).size == picture.size
    y_hat = codec.latents(stream)
    assert y_hat.shape == (1, 12, 12, 16) and float(y_hat.std()) > 0.5
