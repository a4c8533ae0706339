"""Runs by the clock: they end in time, decay included, and say how they got there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from places import RECIPES
from safetensors.torch import load_file
from trainings import train_base

from promptcodec.cli.main import main
from promptcodec.errors import ConfigError, UsageError
from promptcodec.models.checkpoint import read_base
from promptcodec.training import progress
from promptcodec.training.base import BaseTask
from promptcodec.training.config import BaseTrainingConfig, RateConfig, read_recipe, read_yaml
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.ladder import LadderConfig
from promptcodec.training.pace import Budget, ClockPace, StepPace

TINY = RECIPES / "base" / "base-tiny.yaml"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("promptcodec.training.pace.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(5):
        noise = np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((90, 80)).save(folder / f"{i}.png")
    recipe = TINY.read_text() + "precision: 'no'\n"
    (folder / "recipe.yaml").write_text(recipe)
    # What is imported on first use does not count in these tests.
    train(folder, folder / "warm", max_steps=1)
    shutil.rmtree(folder / "warm")
    return folder


def train(pictures: Path, out: Path, **options) -> Path:
    recipe = pictures / "recipe.yaml"
    return train_base(recipe, data=pictures, out=out, device="cpu", **options)


def test_steps_make_shares() -> None:
    assert [StepPace(4).share(step) for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("speeds", [(0.1, 0.1), (0.1, 0.9), (0.9, 0.1)])
def test_a_clock_ends_in_time_whatever_the_speed(clock: Clock, speeds: tuple[float, float]) -> None:
    pace = ClockPace(seconds=20.0, done=0.0, _start=clock.now)
    shares = []
    while (share := pace.share(len(shares))) < 1.0:
        shares.append(share)
        clock.now += speeds[0] if share < 0.5 else speeds[1]
    assert 20.0 - 2 * max(speeds) <= clock.now - 1000.0 <= 20.0
    assert shares == sorted(shares) and shares[0] < 0.01 and shares[-1] > 0.9
    assert shares[3] == pytest.approx(3 * speeds[0] / 20.0)


def test_a_clock_goes_on_with_the_rest_of_a_schedule(clock: Clock) -> None:
    pace = ClockPace(seconds=10.0, done=0.6, _start=clock.now)
    assert pace.share(700) == 0.6
    clock.now += 5.0
    assert pace.share(701) == pytest.approx(0.8)


def test_a_budget_leaves_time_to_write(clock: Clock) -> None:
    budget = Budget(100.0, validation_pictures=5, table_pictures=500, began=clock.now)
    clock.now += 10.0
    pace = budget.pace(validating=2.0, pictures=20, done=0.25)
    # 10 s are gone; a validation and tables of 20 pictures, 15 % more of both, 2 s for files.
    assert pace.seconds == pytest.approx(100.0 - 10.0 - 1.15 * 2.0 * 5.0 - 2.0)
    assert pace.done == 0.25
    shared = replace(budget, parts=3).pace(validating=2.0, pictures=20, done=0.0)
    assert shared.seconds == pytest.approx(90.0 / 3 - 1.15 * 2.0 * 5.0 - 2.0)
    with pytest.raises(UsageError, match="are too few: 10 s are gone and writing takes"):
        budget.pace(validating=16.0, pictures=600, done=0.0)


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def slow_machine(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Two seconds for every step, the twentieth and later ones four; a second for a validation."""
    draw, validate = PictureStore.batch, BaseTask.validate

    def batch(self: PictureStore, count: int, *, step: int, **rest):
        if step < 2**32:  # what a start draws has other numbers
            clock.now += 2.0 if step < 20 else 4.0
        return draw(self, count, step=step, **rest)

    def validated(*arguments, **options) -> dict[str, float]:
        clock.now += 1.0
        return validate(*arguments, **options)

    monkeypatch.setattr(PictureStore, "batch", batch)
    monkeypatch.setattr(BaseTask, "validate", validated)
    monkeypatch.setattr(progress, "LOG_EVERY", 1)
    return clock


def test_a_base_by_the_clock(slow_machine: Clock, pictures: Path, tmp_path: Path) -> None:
    """Everything is there in time, the rate of learning came down, and the record says so."""
    began, out = slow_machine.now, tmp_path / "run"
    folder = train(pictures, out, minutes=2.0)
    # Tables of three pictures would take 1.5 s more, as two are validated on in a second.
    assert 105.0 < slow_machine.now - began <= 120.0 - 1.5
    read_base(folder)
    found = [r for r in records(out) if "share" in r]
    shares, rates = ([r[name] for r in found] for name in ("share", "lr"))
    # 16 s of trials, 1 s of validation, 5 s kept for the end: what 98 s have room for.
    assert len(found) == pytest.approx(20 + (98 - 40) / 4, abs=3.5)
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] > 0.9
    assert shares[10] == pytest.approx(10 * 2.0 / 98.0, abs=0.03)
    config = read_recipe(pictures / "recipe.yaml", BaseTrainingConfig)
    assert max(rates) == config.optimizer.learning_rate and rates[-1] < 0.3 * max(rates)
    record = json.loads((folder / "training.json").read_text())
    assert record["steps"] == len(found) and record["recipe"]["batch"] == config.batch
    raw = load_file(out / "raw.safetensors")
    exact = {n for n, v in raw.items() if v.dtype == torch.float32}
    assert exact == {n for n in raw if n.endswith((".units", ".step"))} and len(exact) > 1
    assert {v.dtype for n, v in raw.items() if n not in exact} == {torch.bfloat16}
    before = load_file(out / "state-before-decay.safetensors")
    assert all(torch.equal(v, before[f"model.{k}"].to(v.dtype)) for k, v in raw.items())


def test_trials_leave_nothing_behind(slow_machine: Clock, pictures: Path, tmp_path: Path) -> None:
    train(pictures, tmp_path / "timed", minutes=4.0, max_steps=1)
    train(pictures, tmp_path / "plain", max_steps=1)
    timed, plain = (load_file(tmp_path / n / "state.safetensors") for n in ("timed", "plain"))
    assert timed.keys() == plain.keys()
    assert all(torch.equal(timed[k], plain[k]) for k in plain)


def test_a_run_by_the_clock_goes_on(slow_machine: Clock, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(pictures, out, minutes=2.0, max_steps=5)
    with pytest.raises(UsageError, match="holds an earlier run"):
        train(pictures, out, minutes=2.0)
    began = slow_machine.now
    train(pictures, out, minutes=1.0, resume=True)
    assert 45.0 < slow_machine.now - began <= 60.0
    shares = [r["share"] for r in records(out) if "share" in r]
    assert shares == sorted(shares) and shares[-1] > 0.75
    assert shares[5] == pytest.approx(shares[4], abs=0.001)  # no jump


def test_too_few_minutes(slow_machine: Clock, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="minutes are too few"):
        train(pictures, tmp_path / "run", minutes=0.3)


def test_a_ladder_by_the_clock(
    clock: Clock,
    tiny_checkpoint: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal parts of what is left once the first rate has started; a resumed one is finished.

    The base of the command line replaces the recipe's.
    """
    draw = PictureStore.batch

    def batch(self: PictureStore, *arguments, **options):
        clock.now += 2.0
        return draw(self, *arguments, **options)

    monkeypatch.setattr(PictureStore, "batch", batch)
    prompts = {"base": "none/of/these", "width": 4, "rank": 2, "batch": 1, "precision": "no"}
    prompts["data"] = {"crop": 64, "validation_pictures": 1}
    recipe, out = tmp_path / "ladder.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({"prompts": prompts, "rates": [3, 4, 5]}))
    words = ["train-ladder", str(recipe), "--data", str(pictures), "--out", str(out)]
    words += ["--device", "cpu", "--minutes", "2", "--base", str(tiny_checkpoint)]
    began = clock.now
    assert main(words) == 0
    assert 100.0 < clock.now - began <= 120.0
    steps = [
        json.loads((out / f"prompts/rate-{rate}/training.json").read_text())["steps"]
        for rate in (4, 5, 3)
    ]
    assert min(steps) > 12 and max(steps) - min(steps) < 4
    assert main([*words, "--resume"]) == 0  # all are there, however many steps they had
    with pytest.raises(ConfigError, match="minutes is 0"):
        LadderConfig(minutes=0.0)


# -- recipes ------------------------------------------------------------------------------------


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    (tmp_path / "nested").mkdir()
    (tmp_path / "first.yaml").write_text("steps: 1\ndata: {crop: 64, exclude: [a]}\nseed: 3\n")
    (tmp_path / "nested/second.yaml").write_text(
        "extends: ../first.yaml\ndata: {exclude: [b, c], reduce_min: 0.4}\n"
    )
    (tmp_path / "third.yaml").write_text("extends: nested/second.yaml\nsteps: 5\nbatch: 2\n")
    return tmp_path


def test_recipes_extend_recipes(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged = {"crop": 64, "exclude": ["b", "c"], "reduce_min": 0.4}
    expected = {"steps": 5, "data": merged, "seed": 3, "batch": 2}
    assert read_yaml(recipes / "third.yaml") == expected
    config = read_recipe(recipes / "third.yaml", RateConfig)
    assert (config.steps, config.seed, config.data.exclude) == (5, 3, ("b", "c"))
    assert main(["recipe", str(recipes / "third.yaml")]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == expected
    assert main(["recipe", str(recipes / "third.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"schema": "promptcodec.recipe/1", **expected}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: first.yaml", "extends itself"),
        ("extends: missing.yaml", "missing.yaml cannot be read"),
        ("extends: [a]", "need the name of a recipe"),
    ],
)
def test_faults_of_extends(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "first.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "first.yaml")


def test_a_state_is_converted_by_a_command(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new, raw = tmp_path / "run", tmp_path / "new", tmp_path / "raw"
    train(pictures, out, max_steps=1)
    words = ["convert-state", str(out / "state.safetensors"), str(new), "--recipe", str(TINY)]
    assert main([*words, "--raw", str(raw), "--rename", "nothing=something"]) == 0
    assert load_file(new).keys() == load_file(out / "state.safetensors").keys()
    assert len(load_file(raw)) > 20
    capsys.readouterr()
    assert main(words) != 0
    assert "exists: name a file that does not" in capsys.readouterr().err
