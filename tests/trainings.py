"""Training runs as tests start them."""

import time
from pathlib import Path

from promptcodec.training.base import BaseTask
from promptcodec.training.classifier import ClassifierTask, ClassifierTrainingConfig
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.segmenter import SegmenterTask, SegmenterTrainingConfig
from promptcodec.training.trainer import run_training
from promptcodec.training.transfer import TransferConfig

HeadRecipe = ClassifierTrainingConfig | SegmenterTrainingConfig | TransferConfig


def train_base(
    recipe: Path, *, cache: Path | None = None, minutes: float | None = None, **options
) -> Path:
    """Train a base by a recipe; other options as `run_training`."""
    task = BaseTask(read_recipe(recipe, BaseTrainingConfig), cache=cache)
    budget = None if minutes is None else task.budget(minutes, began=time.monotonic())
    return run_training(task, budget=budget, **options)


def read_head_recipe(path: Path) -> HeadRecipe:
    """The recipe of a head, by its task."""
    return read_recipe(path, ClassifierTrainingConfig, SegmenterTrainingConfig, TransferConfig)


def train_head(config: ClassifierTrainingConfig | SegmenterTrainingConfig, **options) -> Path:
    """Train a head; options as `run_training`."""
    kind = SegmenterTask if isinstance(config, SegmenterTrainingConfig) else ClassifierTask
    return run_training(kind(config), **options)
