"""The assembled codec: shapes, gradients, gains, and the walk of the context model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TINY

from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.coding.gains import Gains
from promptcodec.errors import ShapeError
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.likelihood import bounded


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


def trained_copy(model: CodecModel) -> CodecModel:
    copy = CodecModel(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def test_every_part_learns(model: CodecModel) -> None:
    trained = trained_copy(model)
    output = trained(torch.rand(2, 3, 64, 64))
    (output.y_bits + output.z_bits + output.x_hat.square().sum()).backward()
    still = [n for n, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_the_room_term_moves_the_scale_path_alone(model: CodecModel) -> None:
    trained = trained_copy(model)
    trained(torch.rand(2, 3, 64, 64)).random_gain_bits.backward()
    moved = [n for n, p in trained.named_parameters() if p.grad is not None and p.grad.any()]
    own = [n for n, _ in trained.named_parameters() if n.startswith("hyperprior.scale_path.")]
    assert sorted(moved) == sorted(own)


def test_the_room_term_counts_the_bits_of_finer_and_coarser_rates(model: CodecModel) -> None:
    trained = trained_copy(model)
    with torch.no_grad():  # the same deviation everywhere, whatever z is
        for layer in trained.hyperprior.scale_path.convolutions:
            layer.weight.zero_()
        trained.hyperprior.scale_path.convolutions[-1].bias.fill_(-10.0 / 16.0)  # index -10
    residual = torch.zeros(4096, 12, 4, 4)
    bits = trained._random_gain_bits(residual, torch.zeros(4096, 4, 1, 1), torch.zeros(()))
    # From -6 to 14 steps: an index of -16 to 4; only the last fifth is above the tables' end.
    steps = torch.linspace(-6.0, 14.0, 20001, dtype=torch.float64)
    scale = 0.11 * torch.exp(SCALE_STEP * (steps - 10.0).clamp_min(0.0))
    noise = torch.linspace(-0.5, 0.5, 401, dtype=torch.float64)[:, None]
    edges = [torch.erf((noise + side) / (scale * 2**0.5)) / 2 for side in (0.5, -0.5)]
    expected = -torch.log2((edges[0] - edges[1]).clamp_min(1e-9)).mean()
    torch.testing.assert_close(bits.double() / residual.numel(), expected, rtol=0.05, atol=0.0)


@pytest.mark.parametrize(("index", "zero"), [(0.4, True), (0.6, False)])
def test_training_forces_what_coding_forces(model: CodecModel, index: float, zero: bool) -> None:
    trained = trained_copy(model)
    with torch.no_grad():
        for layer in trained.hyperprior.scale_path.convolutions:
            layer.weight.zero_()
            layer.bias.zero_()
        trained.hyperprior.scale_path.convolutions[-1].bias.fill_(index / 16.0)
        trained.context.means.weight.zero_()
        trained.context.means.bias.zero_()  # the means are zero, so y_hat is the symbols
    trained.freeze_scale_path()
    x = torch.rand(1, 3, 64, 64)
    latents = trained.analyse(x, gains=Gains.constant(12))
    output = trained(x)
    assert bool((latents.symbols == 0).all()) is zero
    torch.testing.assert_close(output.y_hat, latents.y_hat)
    assert float(output.y_bits.detach()) > 0.0


def test_hard_latents_are_those_of_coding(model: CodecModel) -> None:
    trained = CodecModel(replace(TINY, context="none"))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("context.")}
    trained.load_state_dict(state, strict=False)
    with torch.no_grad():  # half of the indexes at 2, half certainly zero
        trained.hyperprior.scale_path.convolutions[-1].weight.zero_()
        bias = trained.hyperprior.scale_path.convolutions[-1].bias
        bias.copy_(torch.tensor([2.0, -2.0]).repeat(6) / 16.0)
    trained.freeze_scale_path()
    x = torch.rand(1, 3, 128, 64)
    latents = trained.analyse(x, gains=Gains.constant(12))
    output = trained(x, hard=True)
    assert (latents.symbols != 0).any() and (latents.indexes == 0).any()
    torch.testing.assert_close(output.y_hat, latents.y_hat)


def test_hard_latents_teach_decoder_and_entropy_model_alone(model: CodecModel) -> None:
    trained = trained_copy(model)
    output = trained(torch.rand(2, 3, 64, 64), hard=True)
    (output.y_bits + output.z_bits + output.x_hat.square().sum()).backward()
    still = {n for n, p in trained.named_parameters() if p.grad is None or not p.grad.any()}
    frozen = {n for n, _ in trained.named_parameters() if n.startswith(("g_a.", "hyperprior.h_a."))}
    assert still == frozen


def test_gains_shift_indexes_and_quantisation() -> None:
    gains = Gains(np.array([0, 127, 128, -128, -129, 512], np.int16))
    assert gains.offsets().tolist() == [0, 0, 1, 0, -1, 2]
    multipliers = gains.multipliers()
    assert multipliers[0] == 1.0 and multipliers.dtype == np.float32
    assert np.log(multipliers[5]) == pytest.approx(2 * SCALE_STEP)


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


@pytest.mark.parametrize("context", ["checkerboard", "econtext"])
@pytest.mark.parametrize("hard", [False, True])
def test_training_shows_the_context_what_a_decoder_has(
    monkeypatch: pytest.MonkeyPatch, context: str, hard: bool
) -> None:
    """Latents of symbols that are certainly zero are in no stream: nothing follows from them."""
    torch.manual_seed(4)
    config = replace(TINY, context=context, context_channels=8, context_segments=(6, 6))
    model = CodecModel(config)
    torch.nn.init.constant_(model.hyperprior.scale_path.layers[-1].weight, 0.0)
    bias = model.hyperprior.scale_path.layers[-1].bias
    for parameter in model.context.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        bias.fill_(2.0)
        bias[::3] = -1.0  # of 12 channels four
    monkeypatch.setattr(model.hyperprior.h_a, "forward", lambda y: torch.zeros(2, 4, 1, 1))
    y = 5.0 * torch.randn(2, 12, 4, 4)

    def rebuilt(other: float, place: slice) -> torch.Tensor:
        moved = y.clone()
        moved[:, place] += other
        monkeypatch.setattr(model, "to_latents", lambda x, adapter: moved)
        torch.manual_seed(6)
        return model(torch.rand(2, 3, 64, 64), hard=hard).y_hat

    before = rebuilt(0.0, slice(0, 12, 3))
    assert torch.equal(rebuilt(9.0, slice(0, 12, 3)), before)
    assert not torch.equal(rebuilt(9.0, slice(1, 12, 3))[:, 0::3], before[:, 0::3])  # others count


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("beyond", "bound"), [(-300.0, -128.0), (300.0, 127.0)])
def test_training_gives_z_the_range_of_its_tables(
    monkeypatch: pytest.MonkeyPatch, hard: bool, beyond: float, bound: float
) -> None:
    """Scales and means that follow from values which no stream carries fail once it is coded."""
    torch.manual_seed(5)
    model = CodecModel(TINY)
    for parameter in model.hyperprior.h_means.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.rand(1, 3, 64, 64)

    def found(value: float) -> list[torch.Tensor]:
        z = torch.full((1, 4, 1, 1), value)
        monkeypatch.setattr(model.hyperprior.h_a, "forward", lambda y: z)
        torch.manual_seed(6)
        out = model(x, round_z=True, hard=hard)
        return [out.y_hat, out.y_bits, out.z_bits]

    assert all(map(torch.equal, found(beyond), found(bound)))
    assert not any(map(torch.equal, found(bound)[:2], found(bound / 2)[:2]))


def test_a_bounded_value_moves_inwards_alone() -> None:
    x = torch.tensor([-3.0, 0.0, 3.0], requires_grad=True)
    found = bounded(x, -2.0, 2.0)
    assert found.tolist() == [-2.0, 0.0, 2.0]
    (upwards,) = torch.autograd.grad(-found.sum(), x, retain_graph=True)  # less is lost above
    (downwards,) = torch.autograd.grad(found.sum(), x)
    assert upwards.tolist() == [-1.0, -1.0, 0.0] and downwards.tolist() == [0.0, 1.0, 1.0]
