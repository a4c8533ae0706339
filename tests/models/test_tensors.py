"""Picture arrays as tensors, padding and cropping."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import RGB

from promptcodec.errors import ShapeError
from promptcodec.models.tensors import crop, from_pixels, pad, to_pixels

CPU = torch.device("cpu")


def test_all_levels_survive_tensors():
    rgb = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    rgb[..., 1] = rgb[:, ::-1, :, 1]
    x = from_pixels(rgb, CPU)
    assert x.shape == (1, 3, 16, 16) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.min() == 0 and x.max() == 1
    assert np.array_equal(to_pixels(x), rgb)
    assert np.array_equal(to_pixels(x.double()), rgb)


def test_pixels_are_copied():
    rgb = RGB[None].copy()
    from_pixels(rgb, CPU).zero_()
    assert rgb.any()


def test_pixels_are_rounded_and_clamped_and_leave_their_tensor_alone():
    values = torch.tensor([-1.0, 0.4999 / 255, 0.5001 / 255, 2.0, float("inf"), float("nan")])
    x = values.expand(1, 3, 1, 6).clone()
    assert to_pixels(x)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255, 0]
    assert torch.equal(x[0, 0, 0, :5], values[:5])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    multiple=st.sampled_from([1, 2, 7, 16, 64, 256]),
)
def test_pad_repeats_the_edge_and_crop_undoes_it(height, width, multiple):
    x = torch.arange(3.0 * height * width).reshape(1, 3, height, width)
    padded = pad(x, multiple)
    high, wide = padded.shape[2:]
    assert high % multiple == wide % multiple == 0
    assert 0 <= high - height < multiple and 0 <= wide - width < multiple
    rows = torch.arange(high).clamp(max=height - 1)
    columns = torch.arange(wide).clamp(max=width - 1)
    assert torch.equal(padded, x[:, :, rows][:, :, :, columns])
    assert torch.equal(crop(padded, height, width), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_pixel_is_padded_to_any_multiple(dtype):
    x = torch.tensor([0.25, 0.5, 1.0], dtype=dtype).reshape(1, 3, 1, 1)
    assert torch.equal(pad(x, 64), x.expand(1, 3, 64, 64))


def test_pad_and_crop_refuse_what_makes_no_sense():
    for x, multiple in (
        (torch.zeros(3, 4, 4), 2),
        (torch.zeros(1, 3, 0, 4), 2),
        (torch.zeros(1, 3, 4, 4), 0),
    ):
        with pytest.raises(ShapeError, match="need a non-empty"):
            pad(x, multiple)
    for height, width in ((0, 1), (5, 1), (1, 5), (-1, 1)):
        with pytest.raises(ShapeError, match=f"to {height} x {width}"):
            crop(torch.zeros(1, 3, 4, 4), height, width)
