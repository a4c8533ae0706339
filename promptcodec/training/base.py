"""Training of a base codec, as a task of the loop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from promptcodec.config import BaseConfig
from promptcodec.errors import ConfigError
from promptcodec.models import checkpoint
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.config import BaseTrainingConfig
from promptcodec.training.data.batch import INITIAL_STEP
from promptcodec.training.data.opening import CropStore
from promptcodec.training.entropy_tables import TABLE_PICTURES, fit_tables
from promptcodec.training.initialise import (
    initialise_entropy,
    initialise_transforms,
    warm_start,
)
from promptcodec.training.losses import RateDistortion, rate_distortion
from promptcodec.training.pace import Budget
from promptcodec.training.raw_weights import read_start
from promptcodec.training.task import PictureTask
from promptcodec.training.validation import validate

logger = logging.getLogger(__name__)


class BaseTask(PictureTask):
    """Training of a base codec.

    Args:
        config: recipe.
        cache: file for decoded pictures; None keeps them in memory.
    """

    result = "base"

    def __init__(self, config: BaseTrainingConfig, *, cache: Path | None = None) -> None:
        super().__init__(config, cache=cache)
        self.resting = config.hard_fraction > 0.0
        # Read first, so that a missing base fails before all pictures are read.
        start = config.init_from and read_start(Path(config.init_from))
        self._init_hash = start.sha256 if start else None

    def budget(self, minutes: float, *, began: float) -> Budget:
        """Wall time of the run, the writing of its tables included.

        Args:
            minutes: wall time in minutes.
            began: start of that time, by `time.monotonic`.
        """
        held = self.config.data.validation_pictures
        tables = TABLE_PICTURES
        return Budget(60.0 * minutes, validation_pictures=held, table_pictures=tables, began=began)

    def build(self, store: CropStore) -> CodecModel:
        """A fresh model with frozen parts as in the recipe."""
        return build_model(self.config)

    def compiled(self, model: CodecModel) -> list[nn.Module]:
        """The transforms, if the recipe has `compile`."""
        return [model.g_a, model.g_s] if self.config.compile else []

    def initialise(self, model: CodecModel, store: CropStore) -> None:
        """Start from a checkpoint, or from principal components.

        Raises:
            ConfigError: frozen transforms would keep their random initial weights.
        """
        config = self.config
        if config.init_from is not None:
            afresh = warm_start(model, Path(config.init_from), parts=config.init_parts)
            frozen = [n for n in afresh if config.train == "entropy" and n.startswith("g_")]
            if frozen:
                raise ConfigError(
                    f"train is 'entropy' and {frozen[0]} is not taken from {config.init_from}: "
                    "name a base of the same transforms, and both g_a and g_s in init_parts"
                )
            if afresh:
                names = sorted({".".join(name.split(".")[:2]) for name in afresh})
                logger.warning("not from %s: %s", config.init_from, ", ".join(names))
                starts = {"context": "context.y_scale", "hyperprior": checkpoint.SCALE_PATH}
                parts = [p for p, s in starts.items() if any(n.startswith(s) for n in afresh)]
                crops = store.batch(32, seed=config.seed, step=INITIAL_STEP).cpu()
                initialise_entropy(model, crops, parts=parts)
        elif config.linear_start:
            crops = (store.batch(8, seed=config.seed, step=INITIAL_STEP + i) for i in range(16))
            initialise_transforms(model, (c.cpu() for c in crops), lmbda=config.rate_weight)

    def loss(
        self, model: nn.Module, batch: Tensor, *, step: int, share: float = 0.0
    ) -> RateDistortion:
        """Rate-distortion loss of step `step` on pictures (B, 3, H, W) in [0, 1]."""
        config = self.config
        hard = config.hard_fraction > 0.0 and share >= 1.0 - config.hard_fraction
        output = model(
            batch,
            round_z=share >= config.z_noise_fraction or hard,
            z_rate_weight=z_rate_weight(step, free_steps=config.z_free_steps),
            rate_only=config.train == "entropy",
            hard=hard,
        )
        return rate_distortion(
            output, batch, lmbda=config.rate_weight, random_gain_weight=config.random_gain_weight
        )

    def validate(self, model: CodecModel, store: CropStore, *, samples: Path) -> dict[str, float]:
        """Rate and distortion on held-out pictures."""
        found = validate(model, store.validation, samples=samples)
        return found.figures(lmbda=self.config.rate_weight)

    def write(self, model: CodecModel, folder: Path, *, store: CropStore) -> dict[str, Any]:
        """Fit the tables and write the checkpoint."""
        config = BaseConfig(
            codec=self.config.codec,
            rate_index=self.config.rate_index,
            lmbda=self.config.rate_weight,
        )
        tables = fit_tables(model, store.sample(TABLE_PICTURES))
        checkpoint.write_base(folder, model, config=config, tables=tables)
        return {"init_from_sha256": self._init_hash}


def build_model(config: BaseTrainingConfig) -> CodecModel:
    """A fresh model with frozen parts as in the recipe."""
    model = CodecModel(config.codec)
    if config.train == "entropy":
        model.g_a.requires_grad_(False)
        model.g_s.requires_grad_(False)
        if model.centroids is not None:  # the rate alone gives them no gradient
            model.centroids.requires_grad_(False)
    return model


def z_rate_weight(step: int, *, free_steps: int) -> float:
    """Weight of z's rate: 0 for the first half of `free_steps`, then linearly up to 1."""
    return min(1.0, max(0.0, 2.0 * step / free_steps - 1.0)) if free_steps else 1.0
