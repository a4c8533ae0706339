"""Training of the adapter of one rate for a frozen base."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from promptcodec.coding.adapter import AdapterConfig, RateAdapter
from promptcodec.coding.adapter_file import adapter_digest, read_adapter_config
from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.coding.entropy.z_tables import MAX_SETS
from promptcodec.config import Count, Within
from promptcodec.errors import ConfigError
from promptcodec.io.checkpoints import find_base
from promptcodec.models.adapters.checkpoint import build as build_adapter
from promptcodec.models.adapters.checkpoint import pack_arrays, read_adapter, write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.models.codec_model import CodecModel, TrainingOutput
from promptcodec.training.config import DataConfig, OptimizerConfig, RateConfig
from promptcodec.training.data.opening import CropStore, open_pictures
from promptcodec.training.entropy_tables import TABLE_PICTURES
from promptcodec.training.frozen import WithFrozen
from promptcodec.training.losses import (
    RateDistortion,
    TrainingMetric,
    check_metric,
    rate_distortion,
)
from promptcodec.training.optim import device_of
from promptcodec.training.record import read_record, same_recipe
from promptcodec.training.task import PictureTask
from promptcodec.training.validation import validate
from promptcodec.training.z_sets import FittedSets, choose_sets, hyper_latents

TIMED_KEYS = ("steps", "batch")  # results of trials in a run by the clock
PARTS = {
    "prompts": ("encoder.", "decoder."),
    "gains": ("log_gains",),
    "means": ("mean_scale", "mean_bias"),
    "maps": ("encoder_maps.", "decoder_maps."),
    "blocks": ("encoder_blocks.", "decoder_blocks."),
}  # parts of an adapter, by the names of their parameters
SIDES = ("encoder", "decoder")
Rank = Annotated[int, Within(0, 256)]


@dataclass(frozen=True, kw_only=True)
class RateAdapterConfig(RateConfig):
    """Recipe of a rate adapter.

    Args:
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        init_from: folder of the adapter to start from, of the same width and ranks; without
            updates of blocks it may serve any `block_rank`. None starts from the base alone.
        width: width of the prompt networks' trunks.
        rank: rank of the updates of linear maps; 0 has none.
        block_rank: rank of the updates of the layers of blocks; 0 has none.
        parts: trained parts, of "prompts", "gains", "means", "maps" and "blocks"; the others stay
            as they start, without effect or as in `init_from`.
        sides: trained sides of prompts, maps and blocks, of "encoder" and "decoder"; the other one
            stays as it starts.
        z_table_sets: largest number of sets of tables of z, fitted at the end; 0 uses the tables
            of the base.
        metric: metric of the distortion, "psnr" or "ms-ssim".
    """

    base: str | None = None
    init_from: str | None = None
    width: Count = 32
    rank: Rank = 10
    block_rank: Rank = 0
    parts: tuple[str, ...] = tuple(PARTS)
    sides: tuple[str, ...] = SIDES
    z_table_sets: Annotated[int, Within(0, MAX_SETS)] = MAX_SETS
    metric: TrainingMetric = "psnr"
    data: DataConfig = field(default_factory=lambda: DataConfig(crop=256))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=5e-3, warmup_steps=50, decay_fraction=0.75, ema_decay=0.99
        )
    )
    steps: Count = 1200
    batch: Count = 4
    validate_every: Count = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metric(self.metric, crop=self.data.crop)
        if not self.parts or set(self.parts) - set(PARTS):
            raise ConfigError(f"parts are {list(self.parts)}; need some of {', '.join(PARTS)}")
        if not self.sides or set(self.sides) - set(SIDES) or len(self.sides) > len(set(self.sides)):
            raise ConfigError(f"sides are {list(self.sides)}; need some of {', '.join(SIDES)}")
        ranks = {"maps": self.rank, "blocks": self.block_rank}
        if not any(ranks.get(part, 1) for part in self.parts):
            only = " and ".join(self.parts)
            raise ConfigError(f"parts are {only} alone, at rank 0: nothing would be trained")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Width and both ranks of the adapter."""
        return self.width, self.rank, self.block_rank


def is_trained(name: str, *, parts: tuple[str, ...], sides: tuple[str, ...]) -> bool:
    """Whether a parameter of an adapter is among the trained parts and sides."""
    starts = tuple(start for part in parts for start in PARTS[part])
    left_out = tuple(side for side in SIDES if side not in sides)
    return name.startswith(starts) and not name.startswith(left_out)


def can_start(found: AdapterConfig, config: RateAdapterConfig) -> bool:
    """Whether an adapter has the tensors of a recipe, or all but its updates of blocks."""
    return found.shape in (config.shape, (config.width, config.rank, 0))


class AdaptedCodec(WithFrozen):
    """A frozen base and an adapter in training, whose parameters are the only ones.

    Args:
        base: frozen base, on the same device, but neither saved nor averaged.
        prompts: adapter in training.
    """

    base: CodecModel

    def __init__(self, base: CodecModel, prompts: LayerAdaptivePrompts) -> None:
        super().__init__([base])
        self.prompts = prompts
        object.__setattr__(self, "base", base)  # past the registry of modules

    def forward(self, x: Tensor) -> TrainingOutput:
        """See `CodecModel.forward`; z is rounded, as the base's training left it."""
        return self.base(x, round_z=True, adapter=self.prompts)


class RateAdapterTask(PictureTask):
    """Training of the adapter of one rate under a frozen base.

    Args:
        config: recipe.
        cache: file for decoded pictures; None keeps them in memory.
        open_pictures: maker of the store; runs on the same pictures may share one.
    Raises:
        CheckpointError: base or initial adapter is missing or unusable.
        ModelMismatchError: the initial adapter belongs to another base.
    """

    def __init__(
        self,
        config: RateAdapterConfig,
        *,
        cache: Path | None = None,
        open_pictures: Callable[..., CropStore] = open_pictures,
    ) -> None:
        super().__init__(config, cache=cache, open_pictures=open_pictures)
        self.result = f"rate-{config.rate_index}"
        self.base: Base = read_base(find_base(config.base))
        self.start: RateAdapter | None = None
        if config.init_from is not None:
            self.start = read_adapter(Path(config.init_from), base=self.base)
            if not can_start(self.start.config, config):
                raise ConfigError(
                    f"width, rank and block_rank are {config.shape}, and {config.init_from} has "
                    f"{self.start.config.shape}: give the same"
                )

    def build(self, store: CropStore) -> AdaptedCodec:
        """A fresh adapter, equal to the base."""
        config = self.config
        prompts = LayerAdaptivePrompts(
            self.base.config.codec,
            width=config.width,
            rank=config.rank,
            block_rank=config.block_rank,
        )
        for name, parameter in prompts.named_parameters():
            trained = is_trained(name, parts=config.parts, sides=config.sides)
            parameter.requires_grad_(trained)
        return AdaptedCodec(self.base.model, prompts)

    def compiled(self, model: AdaptedCodec) -> list[nn.Module]:
        """The transforms, if the recipe has `compile`."""
        return [model.base.g_a, model.base.g_s] if self.config.compile else []

    def initialise(self, model: AdaptedCodec, store: CropStore) -> None:
        """Start from the recipe's neighbour, or without one from the base."""
        known = self.base.config.lmbda
        if self.start is not None:
            # What the neighbour lacks, updates of blocks, stays without effect.
            own = model.prompts.state_dict()
            model.prompts.load_state_dict(own | self.start.network.state_dict())
            known = self.start.config.lmbda
        if "gains" in self.config.parts:
            rescale_gains(model.prompts, known=known, lmbda=self.config.rate_weight)

    def loss(
        self, model: nn.Module, batch: Tensor, *, step: int, share: float = 0.0
    ) -> RateDistortion:
        """Rate-distortion loss on pictures (B, 3, H, W) in [0, 1]."""
        return rate_distortion(
            model(batch), batch, lmbda=self.config.rate_weight, metric=self.config.metric
        )

    def validate(self, model: AdaptedCodec, store: CropStore, *, samples: Path) -> dict[str, float]:
        """Rate and distortion on held-out pictures with the gains as integers."""
        adapter = self._adapter(model)
        found = validate(
            self.base.model,
            store.validation,
            samples=samples,
            adapter=adapter,
            tables=self.base.tables,
            metric=self.config.metric,
        )
        return found.figures(lmbda=self.config.rate_weight)

    def write(self, model: AdaptedCodec, folder: Path, *, store: CropStore) -> dict[str, Any]:
        """Fit tables of z and write the adapter."""
        fitted = self._fit_sets(model, store)
        write_adapter(folder, model.prompts, config=self._adapter_config(), z_sets=fitted.sets)
        return {
            "base_sha256": self.base.sha256.hex(),
            "z_tables": {"sets": len(fitted.sets), "held_out_bits": fitted.bits},
        }

    def _fit_sets(self, model: AdaptedCodec, store: CropStore) -> FittedSets:
        """Tables of z for the written weights."""
        if not self.config.z_table_sets:
            return FittedSets()
        prompts = self._adapter(model).network
        tiles = hyper_latents(self.base.model, store.sample(TABLE_PICTURES), adapter=prompts)
        return choose_sets(list(tiles), self.base.tables.z, most=self.config.z_table_sets)

    def _adapter_config(self) -> AdapterConfig:
        return AdapterConfig(
            rate_index=self.config.rate_index,
            lmbda=self.config.rate_weight,
            base_sha256=self.base.sha256.hex(),
            width=self.config.width,
            rank=self.config.rank,
            block_rank=self.config.block_rank,
            metric="mse" if self.config.metric == "psnr" else self.config.metric,
            init_from=self.start.sha256.hex() if self.start else None,
        )

    def _adapter(self, model: Any) -> RateAdapter:
        """The adapter of these weights, as read from a file, on their device."""
        adapter = build_adapter(
            pack_arrays(model.prompts),
            config=self._adapter_config(),
            codec=self.base.config.codec,
            where="the prompts in training",
        )
        adapter.network.to(device_of(model))
        return adapter


def same_run(folder: Path, run: RateAdapterConfig, *, timed: bool = False) -> bool:
    """Whether the adapter in `folder` has the recipe, start and base of `run`.

    Only the intervals of reports may differ; in a run by the clock also steps and batch.
    """
    try:
        found, own = read_record(folder)["recipe"], read_adapter_config(folder)
        start = None if run.init_from is None else Path(run.init_from)
        began = None if start is None else adapter_digest(start).hex()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    found.setdefault("z_table_sets", 0)  # older than the field
    ignored = ("init_from", "base", *(TIMED_KEYS if timed else ()))
    base = read_base(find_base(run.base)).sha256.hex()
    return same_recipe(found, run, ignored=ignored) and (
        (own.init_from, own.base_sha256) == (began, base)
    )


@torch.no_grad()
def rescale_gains(prompts: LayerAdaptivePrompts, *, known: float, lmbda: float) -> None:
    """Rescale the log-gains of an adapter to another lambda.

    At high rate the best quantisation step is proportional to the inverse square root of lambda.

    Args:
        prompts: adapter.
        known: lambda of its gains.
        lmbda: new lambda.
    """
    prompts.log_gains.add_(0.5 * math.log(lmbda / known) / SCALE_STEP)
