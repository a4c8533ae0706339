"""A run that diverges stops, says what to lower, and leaves the last state that was good."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from places import ASSETS, RECIPES
from safetensors.torch import load_file
from two_parameters import LineTask, line_config

from promptcodec.errors import ConfigError, DivergenceError
from promptcodec.training.base import BaseTask
from promptcodec.training.config import BaseTrainingConfig, DataConfig, read_recipe
from promptcodec.training.state import read_state
from promptcodec.training.trainer import run_training

NAN = math.nan


def train(values: list[float], out: Path, *, resume: bool = False, **changes) -> LineTask:
    """A run of a step for each number; NaN gives a gradient that is not finite."""
    changes = {"steps": len(values), "max_skipped": 3, "save_every": 1, **changes}
    task = LineTask(line_config(**changes), values)
    run_training(task, data=out, out=out, device="cpu", resume=resume)
    return task


def step_of(out: Path) -> int:
    return read_state(out / "state.safetensors").step


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch):
    """A setter of the losses of the next validations."""

    def set_losses(*losses: float) -> None:
        left = iter(losses)
        monkeypatch.setattr(LineTask, "validate", lambda *_, **__: {"loss": next(left)})

    return set_losses


def test_it_stops_after_some_steps_in_a_row(tmp_path: Path) -> None:
    values = [1.0, NAN, NAN, 2.0, 3.0, NAN, NAN, NAN, *[4.0] * 50]
    with pytest.raises(DivergenceError) as found:
        train(values, tmp_path, learning_rate=0.25)
    message = str(found.value)
    assert message.startswith("step 8: the gradient of the last 3 steps was not finite: lower")
    assert "optimizer.learning_rate (now 0.25)" in message and "\n" not in message
    assert "add --resume, which goes on from step 4" in message
    assert not (tmp_path / "line").exists()


@pytest.mark.parametrize("save_every", [1, 2, 5, 100])
def test_the_state_that_is_kept_gave_a_finite_gradient(tmp_path: Path, save_every: int) -> None:
    """Step 6 fails, so that the weights after step 5 may be what is wrong."""
    with pytest.raises(DivergenceError) as found:
        train([1.0] * 5 + [NAN] * 9, tmp_path, save_every=save_every)
    kept = {1: 4, 2: 4, 5: None, 100: None}[save_every]
    if kept is None:
        assert not (tmp_path / "state.safetensors").exists()
        assert "start again, as no state was saved before" in str(found.value)
    else:
        assert step_of(tmp_path) == kept


def test_it_goes_on_at_a_lower_rate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DivergenceError):
        train([1.0] * 5 + [NAN] * 9, tmp_path, learning_rate=0.1, clip_norm=2.0)
    with pytest.raises(ConfigError, match="had optimizer"):
        train([1.0] * 14, tmp_path, learning_rate=0.2, clip_norm=2.0, resume=True)
    lower = {"learning_rate": 0.01, "entropy_factor": 0.5, "clip_norm": 1.0}
    lower["entropy_ema_decay"] = 0.9
    task = train([1.0] * 14, tmp_path, **lower, resume=True)
    assert "learning_rate was 0.1 and is 0.01 from step 4 on" in caplog.text
    assert "entropy_ema_decay was None and is 0.9 from step 4 on" in caplog.text
    assert "entropy_factor was 1.0 and is 0.5 from step 4 on" in caplog.text
    assert len(task.before) == 10 and step_of(tmp_path) == 14
    moved = task.before[0] - float(load_file(tmp_path / "state.safetensors")["model.weight"])
    assert moved == pytest.approx(10 * 0.01, rel=0.1)  # AdamW moves by its rate


def test_a_state_that_fails_at_once_is_not_offered_again(tmp_path: Path) -> None:
    train([1.0] * 4, tmp_path)
    with pytest.raises(DivergenceError, match="start again in another run folder"):
        train([1.0] * 4 + [NAN] * 9, tmp_path, resume=True)
    assert step_of(tmp_path) == 4


def test_a_short_run_of_nothing_else_diverges(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="the gradient of the last 2 steps"):
        train([NAN, NAN], tmp_path)


def test_single_steps_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train([1.0, NAN, 1.0, NAN, NAN, 1.0, NAN], tmp_path)
    assert "up to step 7: 4 steps whose gradient was not finite were skipped" in caplog.text
    plain = tmp_path / "plain"
    train([1.0, 1.0, 1.0], plain)
    states = [load_file(out / "state.safetensors") for out in (tmp_path, plain)]
    assert states[0]["model.weight"] == states[1]["model.weight"]
    assert step_of(tmp_path) == 7


@pytest.mark.parametrize("loss", [NAN, math.inf])
def test_a_held_out_loss_that_is_no_number(tmp_path: Path, held_out, loss: float) -> None:
    held_out(1.0, loss)
    with pytest.raises(DivergenceError, match=f"step 2: the held-out loss is {loss}: lower"):
        train([1.0] * 4, tmp_path, validate_every=2)


def test_a_loss_that_explodes_and_stays_finite(tmp_path: Path, held_out) -> None:
    held_out(2.0, 1.0, 9.0)
    with pytest.raises(DivergenceError) as found:
        train([1.0] * 4, tmp_path)
    assert str(found.value).startswith(
        "step 2: the held-out loss is 9, after 2 at the start and 1 at best: lower"
    )
    assert "add --resume, which goes on from step 1" in str(found.value)
    assert step_of(tmp_path) == 1


def test_the_state_that_is_kept_was_validated(tmp_path: Path, held_out) -> None:
    """States between validations may have exploded; so may the run that goes on from one."""
    held_out(2.0, 1.0, 9.0)
    with pytest.raises(DivergenceError, match="goes on from step 4"):
        train([1.0] * 12, tmp_path, validate_every=4)
    assert step_of(tmp_path) == 4
    held_out(8.0)
    with pytest.raises(DivergenceError, match=r"8, after 2 at the start and 1 at best: .* step 4"):
        train([1.0] * 12, tmp_path, validate_every=4, resume=True)
    assert step_of(tmp_path) == 4
    held_out(1.5, 3.0)
    train([1.0] * 12, tmp_path, validate_every=4, resume=True, learning_rate=0.01)
    assert step_of(tmp_path) == 12
    assert not (tmp_path / "state-validated.safetensors").exists()


def test_without_a_validated_state_none_is_offered(tmp_path: Path, held_out) -> None:
    held_out(2.0, 9.0)
    with pytest.raises(DivergenceError, match="start again in another run folder"):
        train([1.0] * 8, tmp_path, validate_every=4)


@pytest.mark.parametrize("losses", [(2.0, 1.0, 4.0), (2.0, 0.001, 1.9), (2.0, 7.9, 1.0)])
def test_a_loss_may_rise_somewhat(tmp_path: Path, held_out, losses: tuple[float, ...]) -> None:
    held_out(*losses)
    train([1.0] * 2, tmp_path)


def test_how_far_a_loss_may_rise_is_in_the_recipe(tmp_path: Path, held_out) -> None:
    held_out(2.0, 1.0, 3.0)
    with pytest.raises(DivergenceError, match="step 2: the held-out loss is 3, after 2"):
        train([1.0] * 2, tmp_path, max_rise=2.5)


def test_a_base_of_five_decibels_is_none(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "base" / "base-tiny.yaml", BaseTrainingConfig)
    optimizer = replace(recipe.optimizer, learning_rate=0.3, warmup_steps=1)
    data = DataConfig(crop=64, validation_pictures=1)
    recipe = replace(recipe, optimizer=optimizer, data=data, steps=3, batch=1)
    with pytest.raises(DivergenceError, match=r"step 3: the held-out loss is .* at the start"):
        run_training(BaseTask(recipe), data=ASSETS, out=tmp_path, device="cpu")
    assert not (tmp_path / "base").exists()
