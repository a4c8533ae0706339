"""Recipes of heads and of what belongs to them: paths, equal training, stores of real sizes."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from places import RECIPES, ROOT
from tiny import lively_head, tiny_head

from promptcodec.coding.adapter import AdapterConfig
from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.config import LAMBDAS
from promptcodec.evaluation.classification import TaskEvaluation
from promptcodec.evaluation.speed.complexity import complexity_table, count_macs, count_parameters
from promptcodec.models.adapters.checkpoint import write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.heads.checkpoint import write_head
from promptcodec.training.aggregation import AggregationTask, AggregationTrainingConfig
from promptcodec.training.base import BaseTask
from promptcodec.training.classifier import ClassifierTask, ClassifierTrainingConfig
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.data.inputs import FileInput
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.joint.config import (
    CODEC_PARTS,
    HEAD,
    PROMPTS,
    MaskedJointConfig,
    TaughtJointConfig,
)
from promptcodec.training.joint.masked import MaskedJointTask
from promptcodec.training.joint.taught import TaughtJointTask
from promptcodec.training.ladder import LadderConfig
from promptcodec.training.segmenter import SegmenterTask, SegmenterTrainingConfig
from promptcodec.training.transfer import TransferConfig, TransferTask

HEADS = (ClassifierTrainingConfig, SegmenterTrainingConfig, TransferConfig)
KINDS: dict[str, tuple[Any, ...]] = {
    "classify": HEADS,
    "segment": HEADS,
    "joint": (TaughtJointConfig, MaskedJointConfig),
    "aggregation": (AggregationTrainingConfig,),
    "eval": (TaskEvaluation,),
}
EDGE = {"base-edge": ("base", BaseTrainingConfig), "ladder-edge": ("rates", LadderConfig)}
NETWORK = "runs/networks/lite0"  # of `import-network`
FOLDERS = [folder for folder in KINDS if folder != "eval"]
TRAINED = [path.stem for folder in FOLDERS for path in sorted(RECIPES.glob(f"{folder}/*"))]
TRAINED += EDGE


def place_of(name: str) -> Path:
    (path,) = RECIPES.glob(f"*/{name}.yaml")
    return path


def config_of(name: str) -> Any:
    if name in EDGE:
        return read_recipe(place_of(name), EDGE[name][1])
    return read_recipe(place_of(name), *KINDS[place_of(name).parent.name])


def outputs() -> Iterator[str]:
    """Folders that the recipes write, and those of codecs, which hold them."""
    yield NETWORK
    for name in TRAINED:
        config, run = config_of(name), f"runs/{name}"
        if found := re.search(r"--out (runs/\S+)", place_of(name).read_text()):
            run = found[1] if name != "transfer" else run  # there it is that of the network
        if isinstance(config, BaseTrainingConfig):
            yield from (run, f"{run}/base")
        elif isinstance(config, LadderConfig):
            yield f"{run}/prompts"
        elif isinstance(config, AggregationTrainingConfig):
            yield f"{run}/aggregation"
        elif isinstance(config, HEADS):
            yield f"{run}/head"
        else:
            yield from of_joint(config, run)


def of_joint(config: Any, run: str) -> Iterator[str]:
    task = "segment" if isinstance(config, MaskedJointConfig) else "classify"
    own = bool(set(config.parts) & CODEC_PARTS)
    folder = f"{run}/joint" if own else f"{run}/task"
    if own:
        yield from (folder, f"{folder}/base", f"{folder}/prompts")
    if PROMPTS in config.parts:
        yield f"{folder}/prompts"
    if own or HEAD in config.parts:
        yield f"{folder}/heads/{task}"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def test_every_path_is_what_a_recipe_writes() -> None:
    written, named = set(outputs()), {}
    for folder in (*KINDS, "rates", "base"):
        for path in RECIPES.glob(f"{folder}/*.yaml"):
            if folder in KINDS or path.stem in EDGE:
                own = strings(asdict(config_of(path.stem)))
                named |= {place: path.name for place in own if place.startswith("runs/")}
    assert len(named) > 20
    assert {place: by for place, by in named.items() if place not in written} == {}


@pytest.mark.parametrize("document", ["analysis.md", "segmentation.md"])
def test_documents_name_recipes_that_there_are(document: str) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    places = set(re.findall(r"recipes/[\w/.-]+\.yaml", text))
    names = set(re.findall(r"`([\w-]+)\.yaml`", text))
    assert len(places) > 1 and names
    assert [place for place in places if not (ROOT / place).is_file()] == []
    assert names <= {path.stem for path in RECIPES.glob("*/*.yaml")}


def test_every_trained_head_is_measured() -> None:
    """Or another recipe starts from it, or one of the benchmarks reads it."""
    used = {
        place
        for folder in KINDS
        for path in RECIPES.glob(f"{folder}/*.yaml")
        for place in strings(asdict(config_of(path.stem)))
    }
    heads = {place for place in outputs() if "/head" in place}
    benchmarks = {
        "runs/segment-decoded/head",
        "runs/joint-segment/joint/heads/segment",
        "runs/joint-segment-control/task/heads/segment",
    }
    assert heads - used == benchmarks


@pytest.mark.parametrize(
    ("rival", "head", "differs"),
    [
        *((f"transfer-{name}", "transfer", {"input", "views"})
          for name in ("decoded", "jpeg", "webp", "avif")),
        ("segment-decoded", "segment", {"input", "start"}),
        ("cifar-decoded", "cifar-latents", {"input", "start"}),
        ("cifar-jpeg", "cifar-latents", {"input", "start", "views"}),
        ("joint-control", "joint", {"parts", "beta"}),
        ("joint-segment-control", "joint-segment", {"parts", "beta"}),
        ("joint-edge-control", "joint-edge", {"parts"}),
        ("task", "joint", {"parts", "beta", "optimizer"}),
        ("aggregation-control", "aggregation", {"features"}),
    ],
)  # fmt: skip
def test_rivals_are_trained_alike(rival: str, head: str, differs: set[str]) -> None:
    ours, theirs = asdict(config_of(head)), asdict(config_of(rival))
    found = {key for key, value in ours.items() if value != theirs[key]}
    assert found <= differs and (found - {"views"}) == differs - {"views"}
    if "views" in ours:  # what differs of them is the codec's settings
        left = [
            {key: value for key, value in each["views"].items() if "settings" not in key}
            | {"number of settings": len(each["views"]["settings"])}
            for each in (ours, theirs)
        ]
        assert left[0] == left[1]


def test_the_rival_of_the_edge_codec_sees_as_many_pictures() -> None:
    rival, head, joint = map(config_of, ("transfer-jpeg-128", "transfer-edge", "joint-edge"))
    assert rival.steps * rival.batch == head.steps * head.batch + joint.steps * joint.batch
    assert rival.views.sizes == head.views.sizes == (joint.data.crop,) == (128,)


def test_all_that_the_edge_encodes_with_is_a_tenth_of_a_mobile_network() -> None:
    import timm

    rows = complexity_table(CodecModel(config_of("base-edge").codec), width=128, height=128)
    (own,) = [row for row in rows if row.name == "encoding"]
    rival = timm.create_model("mobilenetv2_100", num_classes=10).to("meta").eval()
    macs = count_macs(rival, torch.empty(1, 3, 128, 128, device="meta")) / 128**2 / 1000
    assert macs > 10 * own.kmac_per_pixel
    assert count_parameters(rival) > 10 * own.parameters


def test_progressive_jpeg_has_the_pixels_of_jpeg() -> None:
    rng = np.random.default_rng(1)
    picture = torch.from_numpy(rng.integers(0, 256, (3, 72, 56), np.uint8))
    plain, progressive = FileInput("jpeg"), FileInput("jpeg-progressive")
    for quality in config_of("transfer-jpeg").views.settings:
        files = [each.compress(picture, quality) for each in (plain, progressive)]
        assert files[0] != files[1]
        assert torch.equal(plain.show(files[0]), progressive.show(files[1]))


# -- stores ----------------------------------------------------------------------------------------


def save(path: Path, *, width: int, height: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(small).resize((width, height)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few pictures of each set, of the sizes that they have there."""
    folder = tmp_path_factory.mktemp("sets")
    for number in range(6):
        width, height = ((384, 256), (299, 299), (320, 480))[number % 3]
        for name in ("nips17", "ineta"):
            place = folder / f"train_photos/{name}_{number}.png"
            save(place, width=width, height=height, seed=number)
        width, height = ((768, 576), (427, 640), (768, 432))[number % 3]
        for name in ("animal", "syn"):
            place = folder / f"train_hq/{name}_{number}.png"
            save(place, width=width, height=height, seed=number)
        for split in ("train", "val"):
            place = folder / f"imagenette128/{split}/n01440764_tench/{number}.png"
            save(place, width=128, height=128, seed=number)
    for number in range(12):
        save(folder / f"camvid/train/images/{number}.png", width=480, height=360, seed=number)
        mask = np.arange(360 * 480, dtype=np.int64).reshape(360, 480) // 480 % 12
        place = folder / f"camvid/train/masks/{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8)).save(place)
        for label in range(10):
            save(folder / f"cifar10/train/{label}/{number}.png", width=32, height=32, seed=number)
    return folder


@pytest.fixture(scope="module")
def parts(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny codec of all rates, a network, and heads of both tasks."""
    folder = tmp_path_factory.mktemp("parts")
    shutil.copytree(tiny_checkpoint, folder / "codec" / "base")
    base = read_base(folder / "codec" / "base")
    own = base.sha256.hex()
    for rate, lmbda in enumerate(LAMBDAS):
        adapter = LayerAdaptivePrompts(base.config.codec, width=1, rank=0)
        with torch.no_grad():
            adapter.log_gains.add_(0.5 * math.log(lmbda / base.config.lmbda) / SCALE_STEP)
        config = AdapterConfig(rate_index=rate, lmbda=lmbda, base_sha256=own, width=1, rank=0)
        write_adapter(folder / f"codec/prompts/rate-{rate}", adapter, config=config)
    known = {"latent_channels": base.config.codec.latent_channels, "base_sha256": own}
    heads = {
        "network": tiny_head(reads="pixels"),
        "head": tiny_head(**known),
        "streets": tiny_head("segment", labels=tuple("abcdefghijk"), **known),
    }
    for name, config in heads.items():
        write_head(folder / name, lively_head(config), config=config)
    return folder


def opened(name: str, *, data: Path, parts: Path) -> Any:
    """The store of a recipe, with tiny networks and few held-out pictures."""
    config = config_of(name)
    codec, head = str(parts / "codec"), str(parts / "head")
    if isinstance(config, LadderConfig):
        own = replace(config.prompts.data, validation_pictures=2)
        return open_pictures(data, own)
    if hasattr(config, "data"):
        config = replace(config, data=replace(config.data, validation_pictures=3))
    if isinstance(config, BaseTrainingConfig):
        return BaseTask(config).open_store(data, device="cpu", validation=None)
    config = replace(config, base=codec)
    if isinstance(config, TransferConfig):
        task = TransferTask(replace(config, teacher=str(parts / "network")))
    elif isinstance(config, AggregationTrainingConfig):
        task = AggregationTask(replace(config, head=head))
    elif isinstance(config, TaughtJointConfig):
        task = TaughtJointTask(
            replace(config, prompts=None, head=head, network=str(parts / "network"))
        )
    elif isinstance(config, MaskedJointConfig):
        scenes = replace(config.scenes, views=1)
        streets = str(parts / "streets")
        task = MaskedJointTask(replace(config, prompts=None, head=streets, scenes=scenes))
        data = data / "camvid"
    else:
        start = head if config.input == "latents" else str(parts / "network")
        config = replace(config, start=start)
        if isinstance(config, SegmenterTrainingConfig):
            task = SegmenterTask(replace(config, scenes=replace(config.scenes, views=1)))
            data = data / "camvid"
        else:
            task = ClassifierTask(replace(config, views=replace(config.views, views=1)))
            data = data / "cifar10"
    return task.open_store(data, device="cpu", validation=None)


@pytest.mark.parametrize("name", TRAINED)
def test_the_store_opens_with_pictures_of_the_real_sizes(
    name: str, data: Path, parts: Path
) -> None:
    store = opened(name, data=data, parts=parts)
    config, kept = config_of(name), getattr(store, "pictures", store)
    if hasattr(kept, "skipped"):  # of pictures without labels
        assert kept.skipped == []
        names = [entry.source.name for entry in kept._pictures]
        assert not [each for each in names if each.startswith(("ineta", "syn"))]
        drawn = config.prompts.data if isinstance(config, LadderConfig) else config.data
        assert len(names) == 6 * len(drawn.packs)  # none of them of the test splits
    batch = store.batch(8, seed=0, step=0)
    shape = batch.shape if isinstance(batch, torch.Tensor) else batch.inputs.shape
    assert shape[0] == 8
