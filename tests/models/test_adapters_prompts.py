"""The prompt module of one rate: fresh it is the base, and it reaches every window."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny import TINY

from promptcodec.coding.architecture import encoder_stages
from promptcodec.coding.gains import Gains
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts, prompted
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.linear_maps import Updates
from promptcodec.models.swin import PromptTokens, SwinBlock
from promptcodec.models.windows import partition
from promptcodec.runtime.graphs.levels import decoder_levels, encoder_levels, layer_names

CONFIG = replace(TINY, windows=(8, 8, 8, 4))


@pytest.fixture
def base() -> CodecModel:
    torch.manual_seed(0)
    return CodecModel(CONFIG).requires_grad_(False).eval()


@pytest.fixture
def prompts() -> LayerAdaptivePrompts:
    torch.manual_seed(1)
    return LayerAdaptivePrompts(CONFIG, width=8, rank=2)


@pytest.mark.parametrize("size", [(64, 64), (64, 192), (256, 128)])
def test_fresh_prompts_are_exactly_the_base(
    base: CodecModel, prompts: LayerAdaptivePrompts, size: tuple[int, int]
) -> None:
    x = torch.rand(2, 3, *size)
    y = base.g_a(x)
    assert torch.equal(base.g_a(x, prompts.encoder_prompts(x)), y)
    assert torch.equal(base.g_s(y, prompts.decoder_prompts(y)), base.g_s(y))
    features = torch.randn(2, 8, 4, 4)
    assert torch.equal(prompts.modulate_means(features), features)
    assert not prompts.gain_steps().any()


def test_fresh_gates_have_a_gradient_and_the_base_has_none(
    base: CodecModel, prompts: LayerAdaptivePrompts
) -> None:
    x = torch.rand(1, 3, 128, 128)
    y = base.g_a(x, prompts.encoder_prompts(x))
    base.g_s(y, prompts.decoder_prompts(y)).square().mean().backward()
    gates = (*prompts.encoder.gates, *prompts.decoder.gates)
    assert len(gates) == 6
    assert all(gate.grad is not None and bool((gate.grad != 0).all()) for gate in gates)
    assert all(parameter.grad is None for parameter in base.parameters())


def test_open_gates_let_every_part_learn(base: CodecModel, prompts: LayerAdaptivePrompts) -> None:
    for gate in (*prompts.encoder.gates, *prompts.decoder.gates):
        torch.nn.init.constant_(gate, 0.5)
    x = torch.rand(1, 3, 128, 128)
    y = base.g_a(x, prompts.encoder_prompts(x))
    base.g_s(y, prompts.decoder_prompts(y)).square().mean().backward()
    parts = [*prompts.encoder.named_parameters(), *prompts.decoder.named_parameters()]
    for name, parameter in parts:
        assert parameter.grad is not None and bool(parameter.grad.any()), name


def test_blocks_are_those_of_the_transforms(base: CodecModel) -> None:
    found = [m for m in base.g_a.modules() if isinstance(m, SwinBlock)]
    specs = prompted(encoder_stages(CONFIG))
    assert [m.attention.heads for m in found] == [spec.heads for spec in specs]
    assert [spec.stride for spec in specs] == [8, 16, 16]


@pytest.mark.parametrize("shifted", [False, True])
def test_a_prompt_lies_in_the_window_of_its_tokens(shifted: bool) -> None:
    """A grid of prompts is rolled and cut like the tokens above which it lies."""
    torch.manual_seed(2)
    block = SwinBlock(8, window=8, shifted=shifted, head_channels=8, mlp_ratio=1.0)
    x = torch.randn(1, 16, 24, 8)
    grid = torch.randn(1, 8, 12, 8)
    gate = torch.ones(1)
    before = block(x, prompts=PromptTokens(grid, gate))
    other = grid.clone()
    other[:, 5, 7] += 3.0  # above tokens 10..11, 14..15
    moved = (block(x, prompts=PromptTokens(other, gate)) - before).abs().amax(-1)[0] > 1e-6
    rows, columns = torch.arange(16), torch.arange(24)
    shift = 4 if shifted else 0
    window = ((rows - shift) % 16 // 8)[:, None] * 3 + (columns - shift) % 24 // 8
    assert torch.equal(moved, window == window[10, 14])


def test_grid_and_windows_are_the_same_prompts() -> None:
    torch.manual_seed(3)
    block = SwinBlock(8, window=4, shifted=False, head_channels=4, mlp_ratio=1.0)
    x, grid, gate = torch.randn(2, 8, 8, 8), torch.randn(2, 4, 4, 8), torch.ones(2)
    by_grid = block(x, prompts=PromptTokens(grid, gate))
    assert torch.equal(by_grid, block(x, prompts=PromptTokens(partition(grid, 2), gate)))


def test_the_whole_codec_with_a_fresh_adapter_is_the_base(
    base: CodecModel, prompts: LayerAdaptivePrompts
) -> None:
    base.freeze_scale_path()
    x, gains = torch.rand(1, 3, 128, 64), Gains.constant(12)
    plain, adapted = base.analyse(x, gains=gains), base.analyse(x, gains=gains, adapter=prompts)
    assert all(
        torch.equal(a, b) for a, b in zip(vars(plain).values(), vars(adapted).values(), strict=True)
    )
    x_hat = base.synthesise(plain.y_hat, adapter=prompts)
    assert torch.equal(x_hat, base.synthesise(plain.y_hat))
    torch.manual_seed(9)
    first = base(x)
    torch.manual_seed(9)
    second = base(x, adapter=prompts)
    assert torch.equal(first.x_hat, second.x_hat) and torch.equal(first.y_bits, second.y_bits)
    (second.y_bits + second.x_hat.square().sum()).backward()
    for name in ("log_gains", "mean_scale", "mean_bias"):
        gradient = getattr(prompts, name).grad
        assert gradient is not None and bool(gradient.any()), name


def test_cost_in_parameters_of_the_bundled_base() -> None:
    """At most one parameter in twenty of the base's."""
    from promptcodec.io.checkpoints import find_base
    from promptcodec.models.checkpoint import read_base

    model = read_base(find_base(None)).model
    own = sum(p.numel() for p in LayerAdaptivePrompts(model.config).parameters())
    assert own <= 0.05 * sum(p.numel() for p in model.parameters())


def test_updates_are_what_they_would_be_in_the_weights() -> None:
    torch.manual_seed(4)
    base = CodecModel(CONFIG).requires_grad_(False).eval()
    adapter = LayerAdaptivePrompts(CONFIG, width=4, rank=2, block_rank=3).requires_grad_(False)
    for parameter in (*adapter.encoder_blocks.up, *adapter.decoder_blocks.up):
        parameter.normal_(std=0.05)
    for parameter in (*adapter.encoder.gates, *adapter.decoder.gates):
        parameter.fill_(0.5)  # keys and values of prompts are by the same weights
    merged = copy.deepcopy(base)
    sides = (
        (merged.g_a, encoder_levels(CONFIG), adapter.encoder_blocks),
        (merged.g_s, decoder_levels(CONFIG)[0], adapter.decoder_blocks),
    )
    for transform, levels, updates in sides:
        names = [f"{name}.weight".partition(".")[2] for name in layer_names(levels)]
        for name, update in zip(names, updates() or [], strict=True):
            weight = transform.get_parameter(name)
            weight.add_(update.view_as(weight))
    x = torch.rand(2, 3, 128, 64)
    y = base.g_a(x, adapter.encoder_prompts(x), adapter.encoder_updates())
    expected = merged.g_a(x, adapter.encoder_prompts(x), Updates(adapter.encoder_maps()))
    torch.testing.assert_close(y, expected)
    prompts = adapter.decoder_prompts(y)
    shown = base.g_s(y, prompts, adapter.decoder_updates())
    torch.testing.assert_close(shown, merged.g_s(y, prompts, Updates(adapter.decoder_maps())))
    assert not torch.allclose(y, base.g_a(x, adapter.encoder_prompts(x)))
    with pytest.raises(ValueError, match=r"updates for \d+ layers"):
        base.g_a(x, None, Updates(blocks=(adapter.encoder_blocks() or [])[:-1]))
