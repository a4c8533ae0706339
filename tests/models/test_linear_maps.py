"""Linear maps that are one: the result of the layers one after another, at borders as well."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.models.linear_maps import (
    Weights,
    joined_patches,
    render,
    shuffle,
    weights_of,
)


def layer(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    torch.manual_seed(inputs + outputs)
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=int(kernel == 3))


def of(conv: nn.Conv2d) -> Weights:
    return weights_of(conv, None, None)


@torch.no_grad()
def test_patches_of_patches() -> None:
    first, second, third = (
        layer(3, 5, 2, stride=2),
        layer(5, 4, 2, stride=2),
        layer(4, 7, 2, stride=2),
    )
    x = torch.rand(2, 3, 16, 24)
    joined = joined_patches(joined_patches(of(first), of(second)), of(third))
    assert joined.kernel.shape == (7, 3, 8, 8) and joined.stride == 8
    torch.testing.assert_close(joined(x), third(second(first(x))))


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 5)])
def test_squares_and_their_render(size: tuple[int, int]) -> None:
    squares, last = layer(6, 8, 1), layer(2, 12, 3)
    x = torch.rand(2, 6, *size)
    expected = F.pixel_shuffle(last(F.pixel_shuffle(squares(x), 2)), 2)
    assert expected.shape == (2, 3, 4 * size[0], 4 * size[1])
    torch.testing.assert_close(render(x, of(squares), of(last)), expected)


@torch.no_grad()
def test_the_bias_of_squares_is_not_rounded_to_bfloat16() -> None:
    squares, last = layer(6, 8, 1), layer(2, 12, 3)
    last.bias = None
    x = torch.zeros(1, 6, 2, 2)
    joined = Weights(last.weight, torch.zeros(12))
    expected = render(x, of(squares), joined)
    with torch.autocast("cpu", torch.bfloat16):
        found = render(x, of(squares), joined)
    assert found.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("factor", [2, 4])
def test_shuffle_is_a_pixel_shuffle(factor: int) -> None:
    conv = layer(3, 5 * factor**2, 1)
    x = torch.rand(2, 3, 4, 6)
    found = shuffle(of(conv).by_square(factor)(x), factor)
    torch.testing.assert_close(found, F.pixel_shuffle(conv(x), factor))
    assert found.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_updates_are_for_inputs_in_units() -> None:
    conv = layer(4, 5, 3)
    update, units = torch.rand(5, 4, 3, 3), torch.tensor([1.0, 2.0, 4.0, 0.5])
    x = torch.rand(1, 4, 6, 6)

    def expected(x: Tensor) -> Tensor:
        x = x / units[:, None, None]
        return F.conv2d(x, conv.weight + update, conv.bias, padding=1)

    torch.testing.assert_close(weights_of(conv, update, units)(x), expected(x))
