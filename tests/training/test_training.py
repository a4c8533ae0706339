"""Training on tiny pictures: learns, resumes exactly, skips what is broken, says what is wrong."""

import itertools
import json
import math
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from places import RECIPES
from safetensors.torch import load_file
from tiny import recipe_of
from trainings import read_head_recipe, train_base

from promptcodec.api import Codec
from promptcodec.errors import CheckpointError, ConfigError, DataError, UsageError
from promptcodec.evaluation.classification import TaskEvaluation
from promptcodec.training.ablation import AblationConfig
from promptcodec.training.aggregation import AggregationTrainingConfig
from promptcodec.training.config import BaseTrainingConfig, DataConfig, OptimizerConfig, read_recipe
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.joint.config import (
    LabelledJointConfig,
    MaskedJointConfig,
    TaughtJointConfig,
)
from promptcodec.training.ladder import LadderConfig
from promptcodec.training.optim import learning_rate

RECIPE = (
    recipe_of()
    + """
data: {crop: 64, validation_pictures: 1}
optimizer: {name: OPTIMIZER, warmup_steps: 2, learning_rate: 0.01}
steps: STEPS
batch: 2
accumulate: ACCUMULATE
precision: "no"
validate_every: 1000
save_every: SAVE
"""
)


def write_recipe(
    folder: Path, *, steps: int = 12, save: int = 3, optimizer: str = "muon", accumulate: int = 1
) -> Path:
    text = RECIPE.replace("STEPS", str(steps)).replace("SAVE", str(save))
    text = text.replace("OPTIMIZER", optimizer).replace("ACCUMULATE", str(accumulate))
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nested folder, a zip shard, a broken file, a small file."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    (folder / "nested").mkdir()
    for i in range(4):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        picture = small.resize((120, 100), Image.Resampling.BICUBIC)
        picture.save(folder / "nested" / f"{i}.png")
    with zipfile.ZipFile(folder / "shard.zip", "w") as archive:
        for i in range(2):
            archive.write(folder / "nested" / f"{i}.png", f"class/{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    Image.new("RGB", (20, 20)).save(folder / "small.png")
    return folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "state.safetensors")


def same(a: Path, b: Path) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_store_reads_folders_and_shards_and_names_what_it_skips(pictures: Path) -> None:
    store = PictureStore(pictures, DataConfig(crop=64, validation_pictures=2))
    assert len(store) == 4 and len(store.validation) == 2
    assert sorted(Path(name).name for name in store.skipped) == ["broken.jpg", "small.png"]
    batch = store.batch(3, seed=1, step=5)
    assert batch.shape == (3, 3, 64, 64) and 0 <= batch.min() and batch.max() <= 1
    assert torch.equal(batch, store.batch(3, seed=1, step=5))
    for other in (
        store.batch(3, seed=1, step=6),
        store.batch(3, seed=2, step=5),
        store.batch(3, seed=1, step=5, rank=1),
    ):
        assert not torch.equal(batch, other)


def test_running_out_of_memory_skips_the_batch_then_says_what_to_do(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    recipe = write_recipe(tmp_path, steps=4, optimizer="adamw")
    draw = PictureStore.batch
    failing = {1}

    def batch(self: PictureStore, count: int, *, step: int, **rest):
        if step in failing:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        return draw(self, count, step=step, **rest)

    monkeypatch.setattr(PictureStore, "batch", batch)
    train_base(recipe, data=pictures, out=tmp_path / "one", device="cpu")
    assert "step 1: out of memory" in caplog.text
    failing.update(range(4))
    with pytest.raises(UsageError, match="lower batch"):
        train_base(recipe, data=pictures, out=tmp_path / "all", device="cpu")


def test_store_can_validate_on_another_folder(pictures: Path, tmp_path: Path) -> None:
    config = DataConfig(crop=64, validation_pictures=2)
    store = PictureStore(pictures / "shard.zip", config, validation=pictures / "nested")
    assert len(store) == 2 and len(store.validation) == 2
    with pytest.raises(DataError, match="for validation"):
        PictureStore(pictures, config, validation=tmp_path)


def test_store_faults(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        PictureStore(tmp_path / "nothing", DataConfig())
    with pytest.raises(DataError, match="0 usable pictures"):
        PictureStore(tmp_path, DataConfig())
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match="cannot be read"):
        PictureStore(tmp_path, DataConfig())


def test_training_learns_and_its_checkpoint_codes(pictures: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, steps=60, save=60, optimizer="adamw")
    folder = train_base(recipe, data=pictures, out=tmp_path / "run", device="cpu")
    records = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    validation = [r["validation"] for r in records if "validation" in r]
    # Learned beyond the linear start, which is validated first.
    assert validation[-1]["loss"] < 0.9 * validation[0]["loss"]
    assert (tmp_path / "run/samples/0.png").exists()
    assert json.loads((tmp_path / "run/run.json").read_text())["steps"] == 60
    codec = Codec.load(folder)
    picture = Image.open(pictures / "nested" / "0.png")
    assert codec.decode(codec.encode(picture)).size == picture.size


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_stopping_and_resuming_changes_no_bit(
    pictures: Path, tmp_path: Path, optimizer: str
) -> None:
    recipe = write_recipe(tmp_path, optimizer=optimizer, steps=8)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_base(recipe, data=pictures, out=whole, device="cpu")
    for stop in (1, 5, None):
        train_base(recipe, data=pictures, out=parts, resume=True, max_steps=stop, device="cpu")
    assert same(whole, parts)
    a, b = (load_file(p / "base" / "model.safetensors") for p in (whole, parts))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert Codec.load(whole / "base").engine.name == "onnx"


def test_a_stop_that_is_past_trains_nothing(pictures: Path, tmp_path: Path) -> None:
    recipe, state = write_recipe(tmp_path, steps=8), tmp_path / "run" / "state.safetensors"
    train_base(recipe, data=pictures, out=state.parent, max_steps=4, device="cpu")
    before = state.read_bytes()
    train_base(recipe, data=pictures, out=state.parent, resume=True, max_steps=3, device="cpu")
    assert state.read_bytes() == before


TRAIN = """
import sys, torch
torch.set_num_threads(1)
from promptcodec.cli.main import main
recipe, data, out = sys.argv[1:]
sys.exit(main(["train-base", recipe, "--data", data, "--out", out, "--resume", "--device", "cpu"]))
"""


def test_killing_and_resuming_changes_no_bit(pictures: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, steps=16, save=1, optimizer="adamw")
    words = [sys.executable, "-c", TRAIN, str(recipe), str(pictures)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*words, str(whole)], check=True, capture_output=True)
    process = subprocess.Popen([*words, str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (killed / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(float(np.random.default_rng().uniform(0, 0.2)))
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*words, str(killed)], check=True, capture_output=True)
    assert same(whole, killed)


def test_an_earlier_run_is_not_overwritten(pictures: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, steps=2)
    train_base(recipe, data=pictures, out=tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="--resume"):
        train_base(recipe, data=pictures, out=tmp_path / "run", device="cpu")


def test_a_state_of_another_architecture_is_refused(pictures: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, steps=2)
    train_base(recipe, data=pictures, out=tmp_path / "run", device="cpu")
    text = recipe.read_text()
    recipe.write_text(text.replace('"latent_channels": 12', '"latent_channels": 16'))
    with pytest.raises(ConfigError, match="the run to resume had codec"):
        train_base(recipe, data=pictures, out=tmp_path / "run", resume=True, device="cpu")
    (tmp_path / "run/state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train_base(recipe, data=pictures, out=tmp_path / "run", resume=True, device="cpu")


def test_only_length_and_records_may_change_on_resume(pictures: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, steps=2)
    train_base(recipe, data=pictures, out=tmp_path / "run", device="cpu")
    text = recipe.read_text()
    recipe.write_text(text + "rate_index: 7\n")
    with pytest.raises(ConfigError, match="had rate_index: 4, the recipe has 7"):
        train_base(recipe, data=pictures, out=tmp_path / "run", resume=True, device="cpu")
    recipe.write_text(text.replace("steps: 2\n", "steps: 4\n"))
    train_base(recipe, data=pictures, out=tmp_path / "run", resume=True, device="cpu")
    log = (tmp_path / "run/base/training.json").read_text()
    assert json.loads(log)["steps"] == 4
    assert (tmp_path / "run/base/graphs/graphs.json").is_file()


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_there(pictures: Path, tmp_path: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=f"device is '?{device}"):
        train_base(write_recipe(tmp_path), data=pictures, out=tmp_path / "run", device=device)


def test_a_batch_that_does_not_fit_leaves_nothing_behind(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping the second part of a step is the same as never having begun that step."""
    whole = PictureStore.batch

    def scarce(self: PictureStore, count: int, *, step: int, **rest):
        if step == 2 * 2 + 1:  # third step, second part
            raise MemoryError
        return whole(self, count, step=step, **rest)

    def trained(name: str, steps: int) -> dict[str, torch.Tensor]:
        folder = tmp_path / name
        folder.mkdir()
        recipe = write_recipe(folder, steps=steps, accumulate=2)
        train_base(recipe, data=pictures, out=folder / "run", device="cpu", max_steps=steps)
        return load_file(folder / "run/state.safetensors")

    plain = trained("plain", 2)
    monkeypatch.setattr(PictureStore, "batch", scarce)
    skipped = trained("skipped", 3)
    moments = [k for k in plain if k.startswith("optimizer.") and "momentum" in k]
    assert moments and all(torch.equal(plain[k], skipped[k]) for k in moments)


def test_a_broken_member_of_an_archive_is_skipped(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shard.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.write(pictures / "nested" / f"{i}.png", f"{i}.png")
    data = bytearray(path.read_bytes())
    data[data.index(b"1.png") + 60] ^= 0xFF  # inside the packed bytes of the second member
    path.write_bytes(data)
    store = PictureStore(path, DataConfig(crop=64, validation_pictures=1))
    assert store.batch(8, seed=0, step=0).shape == (8, 3, 64, 64)
    assert "1.png" in caplog.text


def test_schedule() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=10, decay_fraction=0.2)
    rates = [learning_rate(step, share=step / 100, config=config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert all(rate == 1.0 for rate in rates[10:81])
    assert all(a > b for a, b in itertools.pairwise(rates[80:]))
    assert math.isclose(rates[99], 1 - math.sqrt(19 / 20))


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_loads(path: Path) -> None:
    if path.name.startswith("ladder-"):
        assert read_recipe(path, LadderConfig).prompts.steps > 0
    elif path.name.startswith(("ablation", "ceiling")):
        config = read_recipe(path, AblationConfig)
        assert config.methods and config.search_share >= 0.25
    elif path.name.startswith(("classify", "segment", "transfer")):
        assert read_head_recipe(path).steps > 0
    elif path.name.startswith("eval-"):
        assert read_recipe(path, TaskEvaluation).sources
    elif path.name.startswith("aggregation"):
        assert read_recipe(path, AggregationTrainingConfig).steps > 0
    elif path.name.startswith(("decoder", "joint", "task")):
        kinds = LabelledJointConfig, MaskedJointConfig, TaughtJointConfig
        assert read_recipe(path, *kinds).steps > 0
    else:
        assert read_recipe(path, BaseTrainingConfig).steps > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", "unknown key 'stepz'"),
        ("codec: {chanels: [1]}", "unknown key 'chanels'"),
        ("steps: many", "steps is 'many'"),
        ("steps: 0", "need 1 or more"),
        ("data: {crop: 100}", "multiple of 64"),
        ("data: {reduce_min: 0.9, reduce_max: 0.5}", "reduce_min"),
        ("codec: {windows: [8, 8, 8]}", "codec is incomplete: "),
        ("optimizer: {name: sgd}", "optimizer name"),
        ("rate_index: 9", "0 to 7"),
        ("train: heads", "need 'all' or 'entropy'"),
        ("train: entropy", "needs init_from"),
        ("init_parts: [g_x]", "init_parts has 'g_x'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(recipe_of() + text)  # the last one of two keys counts
    with pytest.raises(ConfigError, match=message):
        read_recipe(path, BaseTrainingConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", "not valid YAML"),
        ("- 1", "need a mapping"),
        ("[]", "need a mapping"),
        ("steps: 3", "is incomplete: it lacks codec"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(path, BaseTrainingConfig)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "nothing.yaml", BaseTrainingConfig)
