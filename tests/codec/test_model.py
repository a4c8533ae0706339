"""The assembled codec: shapes, gradients, gains, and the walk of the context model."""

import pytest
import torch
from tiny import TINY

from promptcodec.codec.gains import Gains
from promptcodec.codec.model import CodecModel
from promptcodec.codec.tables import SCALE_STEP
from promptcodec.errors import ShapeError


@pytest.fixture(scope="module")
def model() -> CodecModel:
    torch.manual_seed(2)
    made = CodecModel(TINY).eval()
    with torch.no_grad():
        made.g_a.head.weight.mul_(30.0)
    made.freeze_scale_path()
    return made


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 192), (192, 128)])
def test_shapes_at_every_size(model: CodecModel, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    latents = model.analyse(x, gains=Gains.constant(12))
    h, w = size[0] // 16, size[1] // 16
    assert latents.z_hat.shape == (2, 4, h // 4, w // 4)
    assert latents.symbols.shape == latents.indexes.shape == latents.y_hat.shape == (2, 12, h, w)
    assert model.synthesise(latents.y_hat).shape == x.shape


@pytest.mark.parametrize("shape", [(1, 3, 100, 64), (3, 64, 64), (1, 1, 64, 64)])
def test_unpadded_input_is_refused(model: CodecModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="pad first"):
        model.analyse(torch.rand(shape), gains=Gains.constant(12))


def test_decoder_rebuilds_the_encoders_latents(model: CodecModel) -> None:
    gains = Gains.constant(12, 700)
    latents = model.analyse(torch.rand(1, 3, 64, 128), gains=gains)
    assert latents.symbols.abs().max() > 0
    assert torch.equal(model.indexes(latents.z_hat, gains=gains), latents.indexes)
    again = model.reconstruct_latents(
        latents.z_hat, latents.symbols, indexes=latents.indexes, gains=gains
    )
    torch.testing.assert_close(again, latents.y_hat, atol=1e-5, rtol=1e-5)


def test_index_zero_is_a_certain_zero(model: CodecModel) -> None:
    latents = model.analyse(torch.rand(1, 3, 64, 64), gains=Gains.constant(12, -23 * 256))
    assert (latents.indexes == 0).any() and (latents.indexes > 0).any()
    assert (latents.symbols[latents.indexes == 0] == 0).all()


def test_every_part_learns_and_the_room_term_moves_the_scale_path_alone(model: CodecModel) -> None:
    trained = CodecModel(TINY)
    trained.load_state_dict(model.state_dict())
    output = trained(torch.rand(2, 3, 64, 64))
    output.room_bits.backward(retain_graph=True)
    moved = {name.split(".")[0] for name, p in trained.named_parameters() if p.grad is not None}
    scale = [n for n, p in trained.named_parameters() if p.grad is not None]
    assert moved <= {"hyperprior", "g_a"} and any("scale_path" in n for n in scale)
    trained.zero_grad()
    (output.y_bits + output.z_bits + output.x_hat.square().sum()).backward()
    still = [n for n, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_gains_shift_indexes_and_quantisation() -> None:
    gains = Gains(torch.tensor([0, 127, 128, -128, -129, 512], dtype=torch.int16))
    assert gains.offsets(torch.device("cpu")).flatten().tolist() == [0, 0, 1, 0, -1, 2]
    multipliers = gains.multipliers(torch.device("cpu")).flatten()
    assert multipliers[0] == 1.0
    torch.testing.assert_close(multipliers[5].log(), torch.tensor(2 * SCALE_STEP))


def test_a_finer_gain_costs_more_and_is_closer(model: CodecModel) -> None:
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        y = model.g_a(x)
    errors = []
    for steps in (-4, 0, 4):
        latents = model.analyse(x, gains=Gains.constant(12, steps * 256))
        coded = latents.indexes > 0
        errors.append(float((latents.y_hat - y)[coded].square().mean()))
    assert errors[0] > errors[1] > errors[2]
