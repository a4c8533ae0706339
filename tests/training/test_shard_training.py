"""Runs on tar shards: stopped, killed and resumed bit for bit; the tasks and their command."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from places import RECIPES
from safetensors.torch import load_file
from shard_files import noise, write_shard
from shard_line import ShardLineTask
from tiny import TINY
from two_parameters import line_config

from promptcodec.cli.main import main
from promptcodec.training.config import BaseTrainingConfig, DataConfig
from promptcodec.training.data.shard_store import ShardStore
from promptcodec.training.ladder import LadderConfig, train_ladder
from promptcodec.training.rate_adapter import RateAdapterConfig
from promptcodec.training.record import recipe_of, with_new_keys
from promptcodec.training.state import step_of
from promptcodec.training.trainer import run_training


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards of six pictures, one with a broken picture that was cut off."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(4):
        members = [(f"{n:03d}.png", noise(n)) for n in range(6 * shard, 6 * shard + 6)]
        members[3:3] = [(f"{6 * shard + 2:03d}.json", b"{}")]
        write_shard(folder / f"{shard}.tar", members)
    members = [("x.png", noise(90)), ("y.png", b"nonsense"), ("z.png", noise(91))]
    data = write_shard(folder / "4.tar", members).read_bytes()
    (folder / "4.tar").write_bytes(data[: data.index(b"z.png") + 600])
    return folder


def train(data: Path, out: Path, stop: int | None = None, **changes) -> Path:
    """Train a line; a step has two batches of three crops."""
    changes = {"steps": 16, "batch": 3, "accumulate": 2, "validate_every": 1000} | changes
    task = ShardLineTask(line_config(**changes))
    return run_training(task, data=data, out=out, resume=True, max_steps=stop, device="cpu")


def same(a: Path, b: Path) -> bool:
    left, right = (load_file(out / "state.safetensors") for out in (a, b))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_stopping_and_resuming_changes_no_bit(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops in the first, second and last epoch of 24 pictures."""
    folder = train(shards, tmp_path / "whole")
    held: list[int] = []
    draw = ShardStore.batch

    def batch(self: ShardStore, *arguments, **options):
        found = draw(self, *arguments, **options)
        held.extend(window.held for window in self._windows.values())
        return found

    monkeypatch.setattr(ShardStore, "batch", batch)
    for stop in (1, 6, 15, None):
        train(shards, tmp_path / "parts", stop)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert len(held) == 2 * 16 and max(held) <= 5 + 3  # the buffer, and what is decoded ahead
    record = json.loads((folder / "training.json").read_text())
    assert (record["data"], record["pictures"]) == (shards.name, 4 * 6 + 2 - 2)
    other = train(shards, tmp_path / "other", seed=2).parent
    assert not same(tmp_path / "whole", other)


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_shard_training import train
train(Path(sys.argv[1]), Path(sys.argv[2]), steps=10**6, save_every=1)
"""


def test_killing_and_resuming_changes_no_bit(shards: Path, tmp_path: Path) -> None:
    killed, state = tmp_path / "killed", tmp_path / "killed" / "state.safetensors"
    tests = [Path(__file__).parent, Path(__file__).parents[1]]
    words = [sys.executable, "-c", KILLED, shards, killed, *tests]
    process = subprocess.Popen([*map(str, words)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    stop = step_of(state) + 5
    for out in (killed, tmp_path / "whole"):
        train(shards, out, stop, steps=10**6)
    assert same(tmp_path / "whole", killed)


def test_other_shards_on_a_resume_are_said(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(shards, tmp_path / "run", 2)
    train(shards, tmp_path / "run", 4)
    assert "others than up to step" not in caplog.text
    train(shards / "[0-2].tar", tmp_path / "run", 6)
    assert "of the tar shards are others than up to step 4" in caplog.text


def test_recipes_of_older_versions_lack_the_keys_of_shards() -> None:
    recipe = recipe_of(BaseTrainingConfig(codec=TINY))
    older = {**recipe, "data": {k: v for k, v in recipe["data"].items() if "_picture" not in k}}
    del older["data"]["shuffle_buffer"]
    assert with_new_keys({**older, "data": {**older["data"], "crop": 64}})["data"] == {
        **older["data"],
        "crop": 64,
        "shuffle_buffer": 1000,
        "crops_per_picture": 4,
    }
    assert with_new_keys(recipe) == recipe


# -- the commands -------------------------------------------------------------------------------


def test_train_base_by_a_pattern(shards: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    base = RECIPES / "base" / "base-tiny.yaml"
    recipe.write_text(f"extends: {base}\ndata: {{shuffle_buffer: 8}}\nsteps: 2\n")
    words = ["train-base", recipe, "--data", shards / "[0-3].tar", "--out", tmp_path / "run"]
    assert main([*map(str, words), "--device", "cpu"]) == 0
    record = json.loads((tmp_path / "run/base/training.json").read_text())
    assert record["pictures"] == 22 and record["recipe"]["data"]["shuffle_buffer"] == 8
    assert main([*map(str, words), "--device", "cpu", "--cache", str(tmp_path / "pixels")]) == 2


def test_train_ladder_opens_shards_once(
    shards: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    start = ShardStore.__init__

    def init(self: ShardStore, *arguments, **options) -> None:
        opened.append(arguments)
        start(self, *arguments, **options)

    monkeypatch.setattr(ShardStore, "__init__", init)
    run = RateAdapterConfig(
        base=str(tiny_checkpoint),
        data=DataConfig(crop=64, validation_pictures=1, shuffle_buffer=4),
        steps=1,
        batch=2,
        width=8,
        rank=2,
    )
    folder = train_ladder(
        LadderConfig(prompts=run, rates=(3, 4)), data=shards, out=tmp_path, device="cpu"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["rate-3", "rate-4"]
    assert len(opened) == 1
