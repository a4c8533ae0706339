"""A run goes on as if nothing had happened: after a stop, after a kill, in a newer tree."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import recipe_of
from trainings import train_base, train_head

from promptcodec.errors import CheckpointError, ConfigError, UsageError
from promptcodec.models.checkpoint import MEASURES
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.classifier import ClassifierTrainingConfig
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.convert import Rename, convert_state
from promptcodec.training.data.augmented import ViewConfig
from promptcodec.training.optim import build_optimizer
from promptcodec.training.state import parameter_names, read_state

RECIPE = (
    recipe_of()
    + """
data: {crop: 64, last_crop: 128, last_fraction: 0.3, validation_pictures: 2,
  packs: [{name: a, share: 2}, {name: b}], validation_exclude: [syn_*]}
optimizer: {name: OPTIMIZER, warmup_steps: 2, learning_rate: 0.01, decay_fraction: 0.5}
steps: 12
batch: 4
hard_fraction: 0.2
z_noise_fraction: 0.4
precision: "no"
validate_every: 5
save_every: 3
"""
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        pack = folder / "ab"[i % 2]
        pack.mkdir(exist_ok=True)
        picture = Image.fromarray(noise).resize((150, 140), Image.Resampling.BICUBIC)
        picture.save(pack / (f"syn_{i}.png" if i == 3 else f"{i}.png"))
    return folder


def write_recipe(folder: Path, *, optimizer: str = "muon") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("OPTIMIZER", optimizer))
    return path


def train(recipe: Path, pictures: Path, out: Path, stop: int | None = None) -> Path:
    cache = out.parent / "pixels"
    train_base(
        recipe, data=pictures, out=out, resume=True, max_steps=stop, device="cpu", cache=cache
    )
    return out


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return train(write_recipe(folder), pictures, folder / "run")


def same(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


FILES = ("state.safetensors", "state-before-decay.safetensors", "raw.safetensors")


def test_every_stop_of_a_run_with_everything_in_it(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    """Larger crops, rounded latents, the decay: a stop before, at and after each of them."""
    recipe = write_recipe(tmp_path)
    for stop in (1, 6, 7, 8, 9, 10, None):
        train(recipe, pictures, tmp_path / "parts", stop)
    for name in (*FILES, "base/model.safetensors"):
        assert same(whole / name, tmp_path / "parts" / name), name
    assert metadata(whole / FILES[1])["step"] == "6"


def in_weights(name: str, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """A tensor of a state as files of weights hold it: scale factors are exact."""
    value = state[f"model.{name}"]
    return value if name.endswith(MEASURES) else value.bfloat16()


def test_weights_from_before_the_decay_are_written_and_start_another_run(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    raw, state = load_file(whole / "raw.safetensors"), load_file(whole / FILES[1])
    model = CodecModel(read_recipe(whole.parent / "recipe.yaml", BaseTrainingConfig).codec)
    assert raw.keys() == model.state_dict().keys()
    for name, value in raw.items():
        assert torch.equal(value, in_weights(name, state)), name
    recipe = write_recipe(tmp_path)
    text = recipe.read_text().replace("steps: 12", "steps: 1\ninit_from: START")
    text = text.replace("learning_rate: 0.01", "learning_rate: 1.0e-12")
    (tmp_path / "start").mkdir()
    shutil.copy(whole / "raw.safetensors", tmp_path / "start")
    for number, start in enumerate((whole / "raw.safetensors", tmp_path / "start")):
        recipe.write_text(text.replace("START", str(start)))
        out = train(recipe, pictures, tmp_path / f"run{number}")
        found = load_file(out / "state.safetensors")
        for name, value in raw.items():
            torch.testing.assert_close(found[f"model.{name}"], value.float(), atol=1e-6, rtol=0)
        record = json.loads((out / "base/training.json").read_text())
        assert len(record["init_from_sha256"]) == 64


# -- from an older tree -------------------------------------------------------------------------

OLD_NAMES = {"g_a.head": "g_a.last", "hyperprior.scale_path": "hyper.scales"}


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def as_older_tree(path: Path, into: Path, *, by_place: bool, recipe: Path) -> None:
    """The state as a tree wrote it that had other names, or counted parameters."""
    facts = metadata(path)
    extra = json.loads(facts["extra"])
    config = read_recipe(recipe, BaseTrainingConfig)
    model = CodecModel(config.codec)
    names = parameter_names(model, build_optimizer(model, config.optimizer))

    def older(name: str) -> str:
        for new, old in OLD_NAMES.items():
            name = old + name.removeprefix(new) if name.startswith(new + ".") else name
        return name

    def place(name: str) -> str:
        return str(names.index(name)) if by_place else older(name)

    tensors = {}
    for key, value in load_file(path).items():
        group, _, name = key.partition(".")
        if group == "optimizer":
            name, _, moment = name.rpartition(".")
            tensors[f"optimizer.{place(name)}.{moment}"] = value
        else:
            tensors[f"{group}.{older(name)}"] = value
    extra["scalars"] = {place(name): v for name, v in extra["scalars"].items()}
    del extra["share"]
    extra["recipe"]["data"] = {"crop": 64, "in_memory": True}
    save_file(tensors, into, metadata={"step": facts["step"], "extra": json.dumps(extra)})


@pytest.mark.parametrize("by_place", [True, False])
def test_a_state_is_carried_to_this_tree(
    whole: Path, pictures: Path, tmp_path: Path, by_place: bool
) -> None:
    """All that was is there to the bit, and the steps that follow are the same."""
    recipe, out = write_recipe(tmp_path), tmp_path / "run"
    stopped = train(recipe, pictures, tmp_path / "stopped", 7) / "state.safetensors"
    older = tmp_path / "older.safetensors"
    as_older_tree(stopped, older, by_place=by_place, recipe=recipe)
    assert not same(stopped, older)
    out.mkdir()
    renames = [Rename.parse(f"{old}={new}") for new, old in OLD_NAMES.items()]
    weights = tmp_path / "raw.safetensors"
    convert_state(older, out / "state.safetensors", recipe=recipe, renames=renames, weights=weights)
    assert same(stopped, out / "state.safetensors")
    assert metadata(out / "state.safetensors")["step"] == "7"
    stored, state = load_file(weights), load_file(stopped)
    assert all(torch.equal(value, in_weights(name, state)) for name, value in stored.items())
    train(recipe, pictures, out)
    assert same(whole / "state.safetensors", out / "state.safetensors")


def test_a_state_goes_on_with_other_processes(whole: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    convert_state(whole / "state.safetensors", new, recipe=write_recipe(tmp_path), processes=3)
    assert same(whole / "state.safetensors", new)
    assert json.loads(metadata(new)["extra"])["processes"] == 3


def with_older_keys(state: Path, keys: dict[str, str]) -> None:
    """Give the recipe in a state the keys of an older version."""
    facts = metadata(state)
    extra = json.loads(facts["extra"])
    for new, old in keys.items():
        extra["recipe"][old] = extra["recipe"].pop(new)
    save_file(load_file(state), state, metadata={**facts, "extra": json.dumps(extra)})


def test_a_record_with_an_older_key_resumes(whole: Path, pictures: Path, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path), tmp_path / "run"
    state = train(recipe, pictures, out, 7) / "state.safetensors"
    with_older_keys(state, {"random_gain_weight": "room_weight"})
    other = tmp_path / "other.yaml"
    other.write_text(recipe.read_text() + "random_gain_weight: 0.2\n")
    with pytest.raises(ConfigError, match=r"had random_gain_weight: 0.1, the recipe has 0.2"):
        train(other, pictures, out)
    train(recipe, pictures, out)
    assert same(whole / "state.safetensors", out / "state.safetensors")
    other.write_text(recipe.read_text() + "room_weight: 0.1\n")
    with pytest.raises(ConfigError, match="unknown key 'room_weight'"):
        train(other, pictures, out)


def test_a_head_with_an_older_key_resumes(
    tiny_checkpoint: Path, tiny_heads: Path, labelled_pictures: Path, tmp_path: Path
) -> None:
    views = ViewConfig(size=64, views=1, settings=(4.0,))
    start = str(tiny_heads / "classify")
    config = ClassifierTrainingConfig(
        base=str(tiny_checkpoint), start=start, views=views, steps=2, batch=2
    )
    for stop in (1, None):
        train_head(config, data=labelled_pictures, out=tmp_path, resume=True, max_steps=stop)
        with_older_keys(tmp_path / "state.safetensors", {"input": "sight"})
    assert read_state(tmp_path / "state.safetensors").extra["recipe"]["input"] == "latents"


def test_what_does_not_fit_is_named(whole: Path, tmp_path: Path) -> None:
    recipe, new = write_recipe(tmp_path), tmp_path / "new"
    older = tmp_path / "older.safetensors"
    as_older_tree(whole / "state.safetensors", older, by_place=False, recipe=recipe)
    with pytest.raises(CheckpointError, match=r"does not fit the recipe: .*g_a.head"):
        convert_state(older, new, recipe=recipe)
    # Weights that fit, and a momentum that belongs to another parameter.
    tensors = load_file(whole / "state.safetensors")
    key = next(k for k in tensors if k.startswith("optimizer.g_s.") and k.endswith("buffer"))
    tensors[key.replace("g_s", "gone")] = tensors.pop(key)
    save_file(tensors, older, metadata=metadata(whole / "state.safetensors"))
    with pytest.raises(CheckpointError, match="of parameter gone"):
        convert_state(older, new, recipe=recipe)
    assert not new.exists()
    with pytest.raises(UsageError, match="give old=new"):
        Rename.parse("g_a.head")
