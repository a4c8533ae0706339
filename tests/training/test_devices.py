"""A run keeps to one device: on a pretended GPU, and on a real one where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from places import RECIPES
from pretended_gpu import GPU, pretended_gpu
from tiny import tiny_head

from promptcodec.coding.trunk import StemConfig
from promptcodec.models.checkpoint import read_base
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.training.ablation import AblationConfig, Method, ablate
from promptcodec.training.aggregation import AggregationTask, AggregationTrainingConfig
from promptcodec.training.base import BaseTask
from promptcodec.training.classifier import ClassifierTask, ClassifierTrainingConfig
from promptcodec.training.config import BaseTrainingConfig, DataConfig, OptimizerConfig, read_recipe
from promptcodec.training.data.augmented import ViewConfig
from promptcodec.training.data.segmentation_crops import SceneConfig
from promptcodec.training.data.taught_views import TaughtViewConfig
from promptcodec.training.joint.config import (
    LabelledJointConfig,
    MaskedJointConfig,
    TaughtJointConfig,
)
from promptcodec.training.joint.labelled import LabelledJointTask
from promptcodec.training.joint.masked import MaskedJointTask
from promptcodec.training.joint.taught import TaughtJointTask
from promptcodec.training.ladder import LadderConfig, train_ladder
from promptcodec.training.rate_adapter import RateAdapterConfig
from promptcodec.training.segmenter import SegmenterTask, SegmenterTrainingConfig
from promptcodec.training.task import Task
from promptcodec.training.trainer import Trainer, run_training
from promptcodec.training.transfer import TransferConfig, TransferTask

LOOP: dict[str, Any] = {"steps": 1, "batch": 2, "precision": "no"}
ADAMW = OptimizerConfig(name="adamw", warmup_steps=0)
DATA = DataConfig(crop=64, validation_pictures=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures alone, two of each of two classes, and two with masks."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    kinds = ("plain", "labelled/train/red", "labelled/train/blue", "masked/train/images")
    for number in range(2):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        mask = {"masked/train/masks": pixels[..., 0] % 2}
        for kind, array in ({kind: pixels for kind in kinds} | mask).items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def heads(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier and a segmentation head on latents, and a network to take over."""
    base, folder = read_base(tiny_checkpoint), tmp_path_factory.mktemp("heads")
    own: dict[str, Any] = {
        "labels": ("blue", "red"),
        "latent_channels": base.config.codec.latent_channels,
        "base_sha256": base.sha256.hex(),
    }
    kinds = {
        "classify": tiny_head(**own),
        "segment": tiny_head("segment", **own),
        "network": tiny_head(labels=own["labels"], reads="pixels"),
    }
    for name, config in kinds.items():
        write_head(folder / name, build_head(config), config=config)
    return folder


Command = Callable[[Path, str], object]  # run in a folder, on a device


@pytest.fixture
def commands(
    tiny_checkpoint: Path, tiny_ladder: Path, heads: Path, data: Path
) -> dict[str, Command]:
    """Each command that trains, in its smallest form."""
    base, head = str(tiny_checkpoint), str(heads / "classify")
    own: dict[str, Any] = {"base": base, "optimizer": ADAMW, **LOOP}
    views = ViewConfig(size=64, views=1, mixup=0.0, settings=(4.0,))
    scenes = {"height": 64, "width": 64, "crop": 64, "views": 1}
    settings = {"settings": (4.0,), "held_settings": (4.0,)}
    network = str(heads / "network")

    def trains(kind: str, task: Callable[[], Task]) -> Command:
        return lambda out, device: run_training(task(), data=data / kind, out=out, device=device)

    def base_task() -> Task:
        recipe = read_recipe(RECIPES / "base" / "base-tiny.yaml", BaseTrainingConfig)
        return BaseTask(replace(recipe, data=DATA, hard_fraction=0.5, **LOOP | {"steps": 2}))

    def aggregation() -> Task:
        config = AggregationTrainingConfig(**own, head=head, rates=(2.0, 5.0), data=DATA)
        task = AggregationTask(config)
        task.codec.add_prompts(tiny_ladder)
        return task

    given = {**own, "prompts": str(tiny_ladder), "rates": (2, 4), "width": 4, "rank": 2}

    def joint(**options: Any) -> Callable[[], Task]:
        config = LabelledJointConfig(**given, head=head, views=views, one_in=2, **options)
        return lambda: LabelledJointTask(config)

    def joint_segment() -> Task:
        masks = SceneConfig(**scenes, **settings)
        config = MaskedJointConfig(**given, head=str(heads / "segment"), scenes=masks, one_in=2)
        return MaskedJointTask(config)

    def joint_transfer() -> Task:
        return TaughtJointTask(TaughtJointConfig(**given, head=head, network=network, data=DATA))

    prompts = RateAdapterConfig(**own, width=4, rank=2, data=DATA, z_table_sets=1)
    ladder = LadderConfig(prompts=prompts, rates=(4, 5))
    tunes = (("adapter", ("gains", "maps")), ("lora", ("gains",)), ("base", ()))
    methods = tuple(Method(name=n, tune=n, parts=p, width=4, rank=2) for n, p in tunes)
    bare = replace(prompts, z_table_sets=0)
    ablation = AblationConfig(prompts=bare, methods=methods, rates=(4,))

    def classifier() -> Task:
        return ClassifierTask(ClassifierTrainingConfig(**own, start=head, one_in=2, views=views))

    def segmenter() -> Task:
        augmented = SceneConfig(**scenes, **settings)
        labels = ("a", "b")
        return SegmenterTask(
            SegmenterTrainingConfig(**own, start=head, one_in=2, labels=labels, scenes=augmented)
        )

    def transfer() -> Task:
        taught = TaughtViewConfig(sizes=(64,), held_size=64, group=2, **settings)
        stem = StemConfig(width=8)
        return TransferTask(
            TransferConfig(**own, teacher=network, data=DATA, views=taught, stem=stem)
        )

    plain = data / "plain"
    return {
        "train-base": trains("plain", base_task),
        "train-ladder": lambda out, d: train_ladder(ladder, data=plain, out=out, device=d),
        "classify": trains("labelled", classifier),
        "segment": trains("masked", segmenter),
        "transfer": trains("plain", transfer),
        "train-joint": trains("labelled", joint()),
        "train-joint, task": trains("labelled", joint(parts=("prompts",))),
        "train-joint, masks": trains("masked", joint_segment),
        "train-joint, network": trains("plain", joint_transfer),
        "train-aggregation": trains("plain", aggregation),
        "ablate": lambda out, d: ablate(ablation, data=plain, out=out, device=d),
    }


NAMES = (
    "train-base",
    "train-ladder",  # each rate is what train-prompt trains
    "classify",
    "segment",
    "transfer",
    "train-joint",
    "train-joint, task",
    "train-joint, masks",
    "train-joint, network",
    "train-aggregation",
    "ablate",  # with LoRA and the whole base
)


@contextmanager
def all_on(device: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every loss in here, and every module that is validated or written, is on a device."""
    backward, averaged, found = Accelerator.backward, Trainer._averaged_model, []

    def seen(self: Accelerator, loss: torch.Tensor, **options: Any) -> None:
        found.append(loss.device.type)
        backward(self, loss, **options)

    def moved(self: Trainer) -> torch.nn.Module:
        model = averaged(self)
        found.extend(each.device.type for each in model.state_dict().values())
        return model

    with monkeypatch.context() as patch:
        patch.setattr(Accelerator, "backward", seen)
        patch.setattr(Trainer, "_averaged_model", moved)
        yield
    assert set(found) == {device}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_keeps_to_its_gpu(
    commands: dict[str, Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with all_on(GPU.type, monkeypatch), pretended_gpu(monkeypatch):
        commands[name](tmp_path, "cpu")
    assert list(tmp_path.rglob("training.json"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_run_on_a_machine_with_a_gpu(
    commands: dict[str, Command],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    device: str,
) -> None:
    with all_on(device, monkeypatch):
        commands[name](tmp_path, device)
    assert list(tmp_path.rglob("training.json"))
