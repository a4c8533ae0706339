"""Window attention: agrees with timm where that is right; prompts as designed."""

import pytest
import torch

from promptcodec.models.swin import (
    PromptTokens,
    SwinBlock,
    WindowAttention,
)
from promptcodec.models.windows import Windows, merge, partition, window_mask

DIM, WINDOW = 32, 4


def block(*, shifted: bool) -> SwinBlock:
    torch.manual_seed(3)
    made = SwinBlock(DIM, window=WINDOW, shifted=shifted, head_channels=8, mlp_ratio=2.0).eval()
    torch.nn.init.normal_(made.attention.position_bias)
    return made


def timm_block(ours: SwinBlock, *, shifted: bool, size: tuple[int, int]):
    from timm.models.swin_transformer import SwinTransformerBlock

    theirs = SwinTransformerBlock(
        DIM,
        size,
        num_heads=4,
        window_size=WINDOW,
        shift_size=WINDOW // 2 if shifted else 0,
        mlp_ratio=2.0,
        always_partition=True,
    ).eval()
    names = {"attn.": "attention.", "attn.relative_position_bias_table": "attention.position_bias"}
    names |= {"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.2."}
    own = ours.state_dict()
    state = theirs.state_dict()
    for name in list(state):
        source = name
        for prefix, other in sorted(names.items(), key=lambda pair: -len(pair[0])):
            if name.startswith(prefix):
                source = other + name[len(prefix) :]
                break
        if source in own:
            state[name] = own[source]
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (16, 12), (4, 20), (12, 4)])
def test_agrees_with_timm_at_window_multiples(shifted: bool, size: tuple[int, int]) -> None:
    ours = block(shifted=shifted)
    theirs = timm_block(ours, shifted=shifted and min(size) > WINDOW, size=size)
    x = torch.randn(2, *size, DIM)
    with torch.no_grad():
        expected = theirs(x)
        if shifted and min(size) <= WINDOW:
            # timm drops the shift only where both sides are small; a strip is ours to define.
            assert ours(x).shape == expected.shape
            return
        torch.testing.assert_close(ours(x), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("shifted", [False, True])
def test_training_and_inference_paths_agree(shifted: bool) -> None:
    ours = block(shifted=shifted)
    x = torch.randn(3, 8, 12, DIM)
    with torch.no_grad():
        fused = ours(x)
    torch.testing.assert_close(ours(x).detach(), fused, atol=2e-5, rtol=1e-4)


def test_partition_and_merge_are_inverse() -> None:
    x = torch.randn(2, 8, 12, 5)
    windows = partition(x, 4)
    assert windows.shape == (2 * 6, 16, 5)
    torch.testing.assert_close(merge(windows, window=4, height=8, width=12), x, atol=0, rtol=0)


def test_shifted_block_mixes_no_opposite_borders() -> None:
    """A change at the left border must not reach the right border through the cyclic shift."""
    ours = block(shifted=True)
    x = torch.randn(1, 12, 16, DIM)
    changed = x.clone()
    changed[:, :, 0] += 1.0
    with torch.no_grad():
        moved = (ours(changed) - ours(x)).abs().amax(dim=(0, 1, 3)) > 0
    assert moved[:2].all()  # its own window of the shifted grid
    assert not moved[2:].any()


def test_a_mask_made_while_coding_serves_training() -> None:
    ours = block(shifted=True)
    x = torch.randn(1, 20, 28, DIM)  # a size that no other test has
    with torch.inference_mode():
        ours(x)
    ours(x).square().mean().backward()


def test_shift_mask_counts() -> None:
    mask = window_mask(Windows(8, 8, 4, 4, (2, 2)))
    assert mask.windows == 4
    assert mask.cut.tolist() == [1, 2, 3]  # the first window is whole
    assert int(mask.allowed[2].sum()) == 4 * 4 * 4  # four regions of four tokens
    one_axis = window_mask(Windows(8, 4, 4, 4, (2, 0)))
    assert one_axis.cut.tolist() == [1] and int(one_axis.allowed[0].sum()) == 2 * 8 * 8


@pytest.mark.parametrize("shifted", [False, True])
def test_prompts_none_and_zero_gate_are_exactly_the_base(shifted: bool) -> None:
    ours = block(shifted=shifted)
    x = torch.randn(1, 8, 8, DIM)
    prompts = PromptTokens(tokens=torch.randn(4, 5, DIM), gate=torch.zeros(4))
    with torch.no_grad():
        base = ours(x)
        assert torch.equal(ours(x, prompts=None), base)
        assert torch.equal(ours(x, prompts=prompts), base)


def test_prompts_reach_every_window_also_masked_ones() -> None:
    ours = block(shifted=True)
    x = torch.randn(1, 8, 8, DIM)
    gate = torch.ones(4, requires_grad=True)
    tokens = torch.randn(1, 5, DIM, requires_grad=True)
    out = ours(x, prompts=PromptTokens(tokens=tokens, gate=gate))
    with torch.no_grad():
        assert ((out - ours(x)).abs().amax(dim=3) > 0).all()
    out.square().mean().backward()
    assert tokens.grad is not None and tokens.grad.abs().sum() > 0


def test_gate_learns_at_zero() -> None:
    ours = block(shifted=False).requires_grad_(False)
    gate = torch.zeros(4, requires_grad=True)
    x = torch.randn(1, 4, 4, DIM)
    ours(
        x, prompts=PromptTokens(tokens=torch.randn(1, 3, DIM), gate=gate)
    ).square().mean().backward()
    assert gate.grad is not None and (gate.grad.abs() > 0).all()


def test_position_bias_sees_relative_offsets_only() -> None:
    attention = WindowAttention(8, window=3, head_channels=4)
    with torch.no_grad():
        attention.position_bias.copy_(torch.arange(25.0)[:, None].expand(25, 2))
    bias = attention.bias()[0]
    assert bias[0, 1] == bias[3, 4] == bias[7, 8]  # one column to the left, in three rows
    assert bias[0, 3] == bias[5, 8]
