"""What a step does to weights: exact, the same on every device, without waiting for a GPU."""

import logging
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from places import RECIPES
from tiny import TINY
from torch import Tensor, nn

from promptcodec.models import likelihood
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.base import BaseTask
from promptcodec.training.compiled import compile_forward
from promptcodec.training.config import BaseTrainingConfig, OptimizerConfig, read_recipe
from promptcodec.training.data.crops import FlatPictures, Places
from promptcodec.training.optim import build_optimizer
from promptcodec.training.trials import try_batches
from promptcodec.training.updates import Average, guarded_step


@pytest.fixture
def config() -> BaseTrainingConfig:
    return read_recipe(RECIPES / "base" / "base-tiny.yaml", BaseTrainingConfig)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 3))


class Steps:
    """A network and its optimiser, moved by made-up gradients."""

    def __init__(self, name: str, *, ask: bool) -> None:
        self.model, self.ask = network(), ask
        self.optimizer = build_optimizer(self.model, OptimizerConfig(name=name))
        self.parameters = list(self.model.parameters())

    def step(self, seed: int, *, spoil: float | None = None) -> float:
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        if spoil is not None and self.parameters[1].grad is not None:
            self.parameters[1].grad[3] = spoil
        return float(guarded_step(self.optimizer, self.parameters, clip_norm=1.0, ask=self.ask))

    def everything(self) -> list[Tensor]:
        states = [self.optimizer.state[p] for p in self.parameters]
        moments = [v for s in states for k, v in s.items() if isinstance(v, Tensor) and k != "step"]
        return [v.detach().clone() for v in (*self.parameters, *moments)]


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("ask", [True, False])
def test_a_gradient_that_is_not_finite_moves_nothing(name: str, ask: bool) -> None:
    steps = Steps(name, ask=ask)
    assert steps.step(1) == 0.0
    before = steps.everything()
    for spoil in (float("nan"), float("inf"), -float("inf")):
        assert steps.step(2, spoil=spoil) == 1.0
        after = steps.everything()
        assert len(after) == len(before) > 4
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert steps.step(3) == 0.0
    assert not torch.equal(steps.everything()[0], before[0])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_steps_are_those_of_pytorch(name: str) -> None:
    asked, unasked = Steps(name, ask=True), Steps(name, ask=False)
    plain = Steps(name, ask=True)
    for seed in range(4):
        asked.step(seed), unasked.step(seed)
        generator = torch.Generator().manual_seed(seed)
        for parameter in plain.parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        norm = nn.utils.clip_grad_norm_(plain.parameters, 1.0)
        assert norm > 1.0  # or nothing would have been clipped
        plain.optimizer.step()
    for a, b, c in zip(asked.everything(), unasked.everything(), plain.everything(), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-6, atol=1e-7)


def test_the_average_forgets_as_it_should() -> None:
    model = nn.BatchNorm2d(3)  # weights, statistics and a counter
    average = Average(model, decay=lambda _: 0.75)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(40):
        with torch.no_grad():
            model.weight.add_(step)
            model.num_batches_tracked.add_(1)
        average.update(step)
        decay = min(0.75, (1 + step) / (10 + step))
        expected["weight"] = decay * expected["weight"] + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.values["weight"], expected["weight"])
    assert average.values["num_batches_tracked"] == 40


@pytest.mark.parametrize("recipe", ["base-tiny.yaml", "base-small.yaml"])
def test_a_step_asks_the_device_nothing(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On "meta" nothing has a value: whatever asks for one, as `.item()`, fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none
    found = replace(
        read_recipe(RECIPES / "base" / recipe, BaseTrainingConfig),
        init_from=None,
        hard_fraction=0.5,
    )
    task = BaseTask(found)
    model = task.build(None).to("meta")
    optimizer = build_optimizer(model, found.optimizer)
    average = Average(model, decay=lambda _: 0.9)
    flat = FlatPictures([torch.zeros(90, 80, 3, dtype=torch.uint8)], device="meta")
    values = [np.array(v) for v in ([0, 0], [64, 80], [3, 0], [1, 0])]
    x = flat.cut(Places(*values, flip=np.array([True, False])), crop=64)
    assert x.shape == (2, 3, 64, 64)
    for share in (0.0, 1.0):
        task.loss(model, x, step=0, share=share).loss.backward()
        skipped = guarded_step(optimizer, list(model.parameters()), clip_norm=1.0, ask=False)
        average.update(0)
    with pytest.raises(RuntimeError, match="meta"):
        float(skipped)


def test_on_rounded_latents_the_encoder_rests(config: BaseTrainingConfig) -> None:
    task = BaseTask(replace(config, hard_fraction=0.25, z_noise_fraction=1.0))
    torch.manual_seed(0)
    model = task.build(None)
    with torch.no_grad():
        model.g_a.head.weight.mul_(40.0)
        model.hyperprior.h_a[-1].weight.mul_(6.0)
    x = torch.rand(2, 3, 64, 64)
    for share, rests in ((0.74, False), (0.75, True)):
        model.zero_grad()
        task.loss(model, x, step=0, share=share).loss.backward()
        for name, parameter in model.named_parameters():
            encoder = name.startswith(("g_a.", "hyperprior.h_a."))
            assert (parameter.grad is None) == (encoder and rests), name


def test_rounded_latents_cost_what_rounded_ones_cost(
    config: BaseTrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = BaseTask(config).build(None)
    with torch.no_grad():
        model.g_a.head.weight.mul_(40.0)
    x = torch.rand(1, 3, 64, 64)
    hard, noisy = model(x, hard=True), model(x)
    assert torch.equal(hard.y_bits, model(x, hard=True).y_bits)  # nothing is drawn
    assert not torch.equal(noisy.y_bits, model(x).y_bits)
    monkeypatch.setattr(likelihood, "add_noise", likelihood.round_ste)
    # The context sees latents rounded around their means, or to whole numbers: few symbols differ.
    torch.testing.assert_close(model(x).y_bits, hard.y_bits, rtol=0.01, atol=0)


# -- compiling ----------------------------------------------------------------------------------


class Spy:
    """What stands in for `torch.compile`."""

    def __init__(self, *, fails: bool) -> None:
        self.fails, self.calls = fails, 0

    def __call__(self, eager):
        def compiled(*arguments):
            self.calls += 1
            if self.fails:
                raise ValueError("no compiler\nand more")
            return eager(*arguments)

        return compiled


def test_compiled_in_training_and_not_in_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    spy, model = Spy(fails=False), network()
    monkeypatch.setattr(torch, "compile", spy)
    x = torch.rand(1, 3, 9, 9)
    assert compile_forward([model], attempt=lambda: model(x))
    assert spy.calls == 1
    with torch.no_grad():
        model(x)
    assert spy.calls == 1
    model(x)
    assert spy.calls == 2 and list(model.state_dict()) == list(network().state_dict())


@pytest.mark.parametrize("with_adapter", [False, True])
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_each_transform_is_one_graph(with_adapter: bool) -> None:
    """`fullgraph` refuses a size that depends on data, and code that Dynamo cannot follow."""
    torch.manual_seed(0)
    model = CodecModel(TINY)
    adapter = LayerAdaptivePrompts(TINY, width=4, rank=2)
    of_g_a, of_g_s = adapter.encoder_updates(), adapter.decoder_updates()
    x = torch.rand(2, 3, 128, 192)
    y = model.g_a(x).detach()
    for transform, values, prompts, updates in (
        (model.g_a, x, adapter.encoder_prompts(x), of_g_a),
        (model.g_s, y, adapter.decoder_prompts(y), of_g_s),
    ):
        compiled = torch.compile(transform.forward, backend="eager", fullgraph=True)
        own = (prompts, updates) if with_adapter else (None, None)
        expected = transform(values, *own)
        torch.testing.assert_close(compiled(values, *own), expected, rtol=0, atol=0)


def test_where_compiling_fails_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spy, model = Spy(fails=True), network()
    monkeypatch.setattr(torch, "compile", spy)
    x = torch.rand(1, 3, 9, 9)
    with caplog.at_level(logging.WARNING):
        assert not compile_forward([model], attempt=lambda: model(x))
    assert [r.getMessage() for r in caplog.records] == [
        "compile: not possible here (ValueError: no compiler); training goes on without"
    ]
    assert torch.equal(model(x), network()(x)) and spy.calls == 1


def test_out_of_memory_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", Spy(fails=False))

    def attempt() -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        compile_forward([network()], attempt=attempt)


# -- trials -------------------------------------------------------------------------------------


class Stopwatch:
    """Time that passes only by steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> None:
        self.now, self.seconds = 0.0, seconds
        self.tried: list[int] = []
        monkeypatch.setattr("promptcodec.training.trials.time.monotonic", lambda: self.now)

    def step(self, batch: int) -> None:
        if batch not in self.tried:
            self.tried.append(batch)
        if batch not in self.seconds:
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        self.now += self.seconds[batch]


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({8: 1.0, 16: 1.1, 32: 2.0, 64: 3.9, 128: 7.9}, 32, [8, 16, 32, 64]),  # 64 gains 2.6 %
        ({8: 1.0, 16: 1.0}, 16, [8, 16, 32]),  # 32 does not fit
        ({8: 1.0, 16: 2.0}, 8, [8, 16]),
        ({8: 40.0, 16: 40.0}, 8, [8]),  # no time is left for a second trial
    ],
)
def test_the_batch_grows_while_that_pays(
    seconds: dict[int, float],
    best: int,
    tried: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Stopwatch(monkeypatch, seconds)
    found = try_batches(clock.step, batch=8, grow=True, device=torch.device("cpu"), seconds=300.0)
    assert found.batch == best and clock.tried == tried
    assert found.seconds == pytest.approx(seconds[best])


def test_a_cpu_keeps_the_batch_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Stopwatch(monkeypatch, {8: 1.0, 16: 1.0})
    found = try_batches(clock.step, batch=8, grow=False, device=torch.device("cpu"), seconds=9.0)
    assert found.batch == 8 and clock.tried == [8]
    delays = iter([5.0, 5.0, 1.0, 1.0, 90.0, 1.0, 1.0, 1.0, 90.0])  # others use the machine
    clock.step = lambda batch: setattr(clock, "now", clock.now + next(delays))
    found = try_batches(clock.step, batch=8, grow=False, device=torch.device("cpu"), seconds=9.0)
    assert found.seconds == 1.0


def test_a_first_batch_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Stopwatch(monkeypatch, {8: 1.0})
    with pytest.raises(RuntimeError, match="out of memory"):
        try_batches(clock.step, batch=4, grow=False, device=torch.device("cpu"), seconds=9.0)
