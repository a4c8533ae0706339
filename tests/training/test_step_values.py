"""What a run does to a module of two parameters, against numbers worked out by hand."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from two_parameters import LineTask, line_config

from promptcodec.training import trainer
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.optim import average_decay
from promptcodec.training.trainer import run_training
from promptcodec.training.updates import Average, guarded_step


def train(task: LineTask, out: Path) -> dict[str, Tensor]:
    """The state of a run."""
    run_training(task, data=out, out=out, device="cpu")
    return load_file(out / "state.safetensors")


def gradients(state: dict[str, Tensor]) -> tuple[float, float]:
    """Gradients of weight and bias in the one step of a run: AdamW keeps a tenth of them."""
    moments = (state[f"optimizer.{name}.exp_avg"] for name in ("weight", "bias"))
    weight, bias = (10.0 * float(each) for each in moments)
    return weight, bias


# -- accumulation -------------------------------------------------------------------------------

VALUES = [1.0, 2.0, 4.0, 9.0, -3.0, 0.5, 7.0, 2.5]


def test_parts_of_a_batch_make_its_mean_gradient(tmp_path: Path) -> None:
    state = train(LineTask(line_config(accumulate=4), VALUES), tmp_path)
    assert gradients(state) == pytest.approx((4.0, 1.0))  # (1 + 2 + 4 + 9) / 4


@pytest.mark.parametrize("clip_norm", [1e6, 1.0])
def test_accumulation_is_one_large_batch(tmp_path: Path, clip_norm: float) -> None:
    parts, whole = (
        train(LineTask(line_config(steps=2, clip_norm=clip_norm, **shape), VALUES), tmp_path / name)
        for name, shape in (("parts", {"accumulate": 4}), ("whole", {"batch": 4}))
    )
    assert parts.keys() == whole.keys()
    for name in parts:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-6, atol=1e-7)


# -- clipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize(
    ("gradient", "clip_norm", "moved"),
    [
        ((3.0, 4.0), 1.0, (0.6, 0.8)),  # of norm 5
        ((-3.0, 4.0), 2.5, (-1.5, 2.0)),
        ((0.3, 0.4), 1.0, (0.3, 0.4)),  # of norm 0.5: as it is
    ],
)
def test_a_gradient_is_cut_to_its_norm(
    gradient: tuple[float, float], clip_norm: float, moved: tuple[float, float], ask: bool
) -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for parameter, value in zip(parameters, gradient, strict=True):
        parameter.grad = torch.tensor([value])
    plain = torch.optim.SGD(parameters, lr=1.0)
    assert float(guarded_step(plain, parameters, clip_norm=clip_norm, ask=ask)) == 0.0
    assert [-float(p) for p in parameters] == pytest.approx(moved, rel=1e-5)


def test_a_run_clips_by_its_recipe(tmp_path: Path) -> None:
    task = LineTask(line_config(clip_norm=1.0), [0.75])  # of norm 1.25
    assert gradients(train(task, tmp_path)) == pytest.approx((0.6, 0.8), rel=1e-5)


# -- average of the weights ---------------------------------------------------------------------


def test_an_average_of_two_parameters() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    average = Average(model, decay=lambda _: 0.5)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(-4.0)
    average.update(0)  # a young one keeps a tenth
    assert float(average.values["weight"]) == pytest.approx(1.9)
    assert float(average.values["bias"]) == pytest.approx(-3.6)
    average.update(98)  # an old one its decay
    assert float(average.values["weight"]) == pytest.approx(1.95)
    assert float(average.values["bias"]) == pytest.approx(-3.8)


@pytest.mark.parametrize(
    ("pace", "moved"),
    [(1.0, 0.01), (0.5, 0.02), (0.02, 0.5), (0.01, 1.0), (0.001, 1.0), (0.0, 1.0)],
)
def test_an_average_is_shorter_where_the_learning_rate_falls(pace: float, moved: float) -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average = Average(model, decay=lambda _: 0.99)
        model.weight.fill_(2.0)
    average.update(10**6, pace=pace)
    assert float(average.values["weight"]) == pytest.approx(1.0 + moved)


def test_a_decayed_run_ends_with_its_last_weights(tmp_path: Path) -> None:
    lags = []
    for fraction in (0.0, 0.5):
        config = line_config(steps=60, ema_decay=0.99, decay_fraction=fraction)
        state = train(LineTask(config, VALUES), tmp_path / str(fraction))
        lags.append(abs(float(state["ema.weight"]) / float(state["model.weight"]) - 1.0))
    assert lags[0] > 0.01 and lags[1] < 0.2 * lags[0]


def test_the_entropy_model_has_an_average_of_its_own() -> None:
    model = nn.ModuleDict({name: nn.Linear(1, 1) for name in ("g_a", "hyperprior", "context")})
    for asked, own in ((None, 0.9), (0.5, 0.5)):
        config = OptimizerConfig(ema_decay=0.9, entropy_ema_decay=asked)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(1.0)
            average = Average(model, decay=partial(average_decay, config=config))
            for parameter in model.parameters():
                parameter.fill_(2.0)
        average.update(1000)
        found = {name: float(value) for name, value in average.values.items()}
        assert found["g_a.weight"] == pytest.approx(1.1)
        for name in ("hyperprior.weight", "hyperprior.bias", "context.weight"):
            assert found[name] == pytest.approx(2.0 - own)


def test_averaged_weights_are_validated_saved_and_written(tmp_path: Path) -> None:
    task = LineTask(line_config(steps=4, ema_decay=0.2), VALUES)
    state = train(task, tmp_path)
    raw = [*task.before, float(state["model.weight"])]
    expected, averages = raw[0], [raw[0]]  # the initial weights are validated, too
    for step, weight in enumerate(raw[1:]):
        decay = min(0.2, (1 + step) / (10 + step))
        expected = decay * expected + (1.0 - decay) * weight
        averages.append(expected)
    assert task.validated == pytest.approx(averages, rel=1e-6)
    assert float(state["ema.weight"]) == pytest.approx(averages[-1], rel=1e-6)
    assert json.loads((tmp_path / "line/weight.json").read_text()) == float(state["ema.weight"])
    assert abs(averages[-1] - raw[-1]) > 0.001


# -- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "products", "computed"),
    [
        ("bf16", torch.float32, torch.bfloat16),
        ("no", torch.bfloat16, torch.float32),
        ("auto", torch.bfloat16, torch.bfloat16),
        ("auto", torch.float32, torch.float32),
    ],
)
def test_networks_compute_in_the_precision_of_the_recipe(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    products: torch.dtype,
    computed: torch.dtype,
) -> None:
    monkeypatch.setattr(trainer, "product_dtype", lambda _: products)
    task = LineTask(line_config(steps=2, precision=precision), VALUES)
    state = train(task, tmp_path)
    assert task.computed == [computed] * 2
    assert state["model.weight"].dtype == torch.float32
