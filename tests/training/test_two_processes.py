"""Two processes train as one: the same weights, from the mean of both gradients."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from places import RECIPES
from processes import torchrun
from safetensors.torch import load_file
from shard_files import write_shards
from two_parameters import LineTask, line_config

from promptcodec.training.trainer import run_training

SCRIPT = Path(__file__).parent / "two_processes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes wrote; one start serves all tests, as it takes most of the time."""
    folder = tmp_path_factory.mktemp("two")
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(noise).resize((80, 70)).save(folder / "pictures" / f"{i}.png")
    write_shards(folder / "shards", 8, 7, 9)
    alone = LineTask(line_config(steps=2), [1.0, 2.0])
    run_training(alone, data=folder, out=folder / "alone", device="cpu", max_steps=1)
    recipe = RECIPES / "base" / "base-tiny.yaml"
    done = torchrun(SCRIPT, recipe, folder / "pictures", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("whole", "entropy"):
        assert (folder / name / "base/model.safetensors").exists()
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> list[dict[str, Any]]:
    """What each process found."""
    return [json.loads((folder / f"facts-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("run", "gradient"),
    [
        ("one", 6.0),  # 1 in the first process, 11 in the second
        ("parts", 9.0),  # 4 and 14, each the mean of four parts
        ("clipped", 6.0 / 37.0**0.5),  # of (6, 1), which is cut after the exchange
    ],
)
def test_gradients_are_averaged(facts: list[dict[str, Any]], run: str, gradient: float) -> None:
    for own in facts:
        assert own[run][1] == pytest.approx(gradient, rel=1e-5)


def test_weights_stay_equal(facts: list[dict[str, Any]], tmp_path: Path) -> None:
    for run in ("one", "parts", "clipped", "several"):
        assert facts[0][run] == facts[1][run]
    # One process on the mean of what both saw does the same.
    task = LineTask(line_config(steps=4), [6.0, 7.0, 9.0, 14.0])
    run_training(task, data=tmp_path, out=tmp_path, device="cpu")
    weight = facts[0]["several"][0]
    assert weight < 0.9
    alone = load_file(tmp_path / "state.safetensors")["model.weight"]
    assert weight == pytest.approx(float(alone), rel=1e-6)


def test_the_others_wait_while_the_first_validates(facts: list[dict[str, Any]]) -> None:
    assert all(own["patience"] >= 24 * 3600 for own in facts)


def test_another_number_of_processes_is_refused(facts: list[dict[str, Any]]) -> None:
    for own in facts:
        assert "the run to resume had 1 processes, now there are 2" in own["refusal"]
        assert "--nproc_per_node 1" in own["refusal"]


@pytest.mark.parametrize(("name", "pictures"), [("shards", 24), ("shards/shard-000.tar", 8)])
def test_each_process_reads_its_own_part_of_tar_shards(
    facts: list[dict[str, Any]], name: str, pictures: int
) -> None:
    """Whole shards where there are enough, else every second picture."""
    first, second = (set(own[name]) for own in facts)
    assert not first & second
    assert len(first | second) == pictures - 2  # held out
    parts = [{n for n in part if n < 8} for part in (first, second)]
    assert [bool(part) for part in parts] == [True, pictures == 8]


def test_both_processes_resume_in_tar_shards(folder: Path) -> None:
    whole, parts = (load_file(folder / n / "state.safetensors") for n in ("unstopped", "stopped"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
