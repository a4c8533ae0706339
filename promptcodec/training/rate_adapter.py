"""Training the prompts of one rate under a frozen base."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.coding.entropy.z_tables import MAX_SETS
from promptcodec.config import LAMBDAS
from promptcodec.errors import ConfigError, UsageError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.hub import find_base, find_prompts
from promptcodec.models.adapters.checkpoint import (
    AdapterConfig,
    RateAdapter,
    adapter_digest,
    pack_tensors,
    read_adapter,
    read_adapter_config,
    write_adapter,
)
from promptcodec.models.adapters.checkpoint import build as build_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.models.codec_model import CodecModel, TrainingOutput
from promptcodec.training.config import (
    DataConfig,
    OptimizerConfig,
    RateConfig,
    read_recipe,
)
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.losses import RateDistortion, rate_distortion
from promptcodec.training.pace import Budget
from promptcodec.training.trainer import Trainer
from promptcodec.training.validation import validate
from promptcodec.training.z_sets import FittedSets, choose_sets, hyper_latents

logger = logging.getLogger(__name__)

TRAINING_FILE = "training.json"
TABLE_PICTURES = 500  # counted for the tables of z
IGNORED_KEYS = (
    "validate_every",
    "save_every",
    "keep_every_seconds",
    "tracker",
)  # say nothing of weights
TIMED = ("steps", "batch")  # found by a run by the clock
PARTS = {
    "prompts": ("encoder.", "decoder."),
    "gains": ("log_gains",),
    "means": ("mean_scale", "mean_bias"),
    "maps": ("encoder_maps.", "decoder_maps."),
}  # of an adapter, by the names of their parameters


@dataclass(frozen=True, kw_only=True)
class RateAdapterConfig(RateConfig):
    """One training run of a rate's prompts, beside what every run has.

    Args:
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        init_from: folder of the adapter to start from; None starts from the base alone.
        width: of the prompt networks' trunks.
        rank: of the updates of linear maps; 0 trains none.
        parts: what is trained of "prompts", "gains", "means" and "maps"; the rest adds nothing.
        z_table_sets: sets of the rate's own tables of z at most, fitted at the end; 0 leaves the
            base's tables.
    """

    base: str | None = None
    init_from: str | None = None
    width: int = 32
    rank: int = 10
    parts: tuple[str, ...] = tuple(PARTS)
    z_table_sets: int = MAX_SETS
    data: DataConfig = field(default_factory=lambda: DataConfig(crop=256))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=5e-3, warmup_steps=50, decay_fraction=0.75, ema_decay=0.99
        )
    )
    steps: int = 1200
    batch: int = 4
    validate_every: int = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts or set(self.parts) - set(PARTS):
            raise ConfigError(f"parts are {list(self.parts)}; need some of {', '.join(PARTS)}")
        if set(self.parts) == {"maps"} and not self.rank:
            raise ConfigError("parts are maps alone, at rank 0: nothing would be trained")
        if self.width < 1 or self.rank < 0:
            raise ConfigError(
                f"width is {self.width} and rank {self.rank}; need 1 or more and 0 or more"
            )
        if not 0 <= self.z_table_sets <= MAX_SETS:
            raise ConfigError(f"z_table_sets is {self.z_table_sets}; need 0 to {MAX_SETS}")


class AdaptedCodec(nn.Module):
    """A frozen base and the prompts that are trained; only these are its parameters.

    Args:
        base: frozen; moves along, but is neither saved nor averaged.
        prompts: trained.
    """

    base: CodecModel

    def __init__(self, base: CodecModel, prompts: LayerAdaptivePrompts) -> None:
        super().__init__()
        self.prompts = prompts
        object.__setattr__(self, "base", base)  # past the registry of modules

    def _apply(self, fn: Callable, recurse: bool = True) -> AdaptedCodec:
        self.base._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor) -> TrainingOutput:
        """See `CodecModel.forward`; z is rounded, as the base's training left it."""
        return self.base(x, round_z=True, adapter=self.prompts)


class RateAdapterTask:
    """The prompts of one rate as what a `Trainer` trains.

    Args:
        config: the run.
        cache: file to keep decoded pictures in; None keeps them in memory.
        open_pictures: makes the store; runs on the same pictures may share one.
    Raises:
        CheckpointError: no usable base or adapter to start from.
        ModelMismatchError: the adapter to start from belongs to another base.
    """

    def __init__(
        self,
        config: RateAdapterConfig,
        *,
        cache: Path | None = None,
        open_pictures: Callable[..., PictureStore] = PictureStore,
    ) -> None:
        self.config, self.cache, self.open_pictures = config, cache, open_pictures
        self.result = f"rate-{config.rate_index}"
        self.base: Base = read_base(find_base(config.base))
        self.start: RateAdapter | None = None
        if config.init_from is not None:
            self.start = read_adapter(Path(config.init_from), base=self.base)
            found = self.start.config
            if (found.width, found.rank) != (config.width, config.rank):
                raise ConfigError(
                    f"width is {config.width} and rank {config.rank}, and {config.init_from} has "
                    f"{found.width} and {found.rank}: give the same"
                )

    def build(self) -> AdaptedCodec:
        """Fresh prompts, which leave the base as it is."""
        config = self.config
        prompts = LayerAdaptivePrompts(self.base.config.codec, width=config.width, rank=config.rank)
        trained = tuple(name for part in config.parts for name in PARTS[part])
        for name, parameter in prompts.named_parameters():
            parameter.requires_grad_(name.startswith(trained))
        return AdaptedCodec(self.base.model, prompts)

    @staticmethod
    def transforms(model: AdaptedCodec) -> list[nn.Module]:
        """What a recipe's `compile` compiles."""
        return [model.base.g_a, model.base.g_s]

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> PictureStore:
        """Read the pictures."""
        return self.open_pictures(
            data, self.config.data, device=device, validation=validation, cache=self.cache
        )

    def initialise(self, model: AdaptedCodec, store: PictureStore) -> None:
        """Start from a neighbour's prompts, where the recipe names one, else from the base.

        The gains start where the step between levels is right for lambda at high rate:
        proportional to its inverse square root.
        """
        known = self.base.config.lmbda
        if self.start is not None:
            model.prompts.load_state_dict(self.start.network.state_dict())
            known = self.start.config.lmbda
        with torch.no_grad():
            steps = 0.5 * math.log(self.config.rate_weight / known) / SCALE_STEP
            if "gains" in self.config.parts:
                model.prompts.log_gains.add_(steps)

    def loss(
        self, model: nn.Module, batch: Tensor, *, step: int, share: float = 0.0
    ) -> RateDistortion:
        """What every step minimises on pictures (B, 3, H, W) in [0, 1]."""
        return rate_distortion(model(batch), batch, lmbda=self.config.rate_weight)

    def validate(
        self, model: AdaptedCodec, store: PictureStore, *, samples: Path
    ) -> dict[str, float]:
        """Rate and distortion on held-out pictures with the gains as integers."""
        adapter = self._adapter(model)
        adapter.network.to(next(self.base.model.parameters()).device)
        found = validate(
            self.base.model,
            store.validation,
            samples=samples,
            adapter=adapter,
            tables=self.base.tables,
        )
        return found.figures(lmbda=self.config.rate_weight)

    def write(
        self, model: AdaptedCodec, folder: Path, *, store: PictureStore, record: dict[str, Any]
    ) -> None:
        """Fit its tables of z and write the adapter with its training record."""
        fitted = self._fit_sets(model, store)
        write_adapter(folder, model.prompts, config=self._adapter_config(), z_sets=fitted.sets)
        record = {
            **record,
            "base_sha256": self.base.sha256.hex(),
            "z_tables": {"sets": len(fitted.sets), "held_out_bits": fitted.bits},
        }
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(folder / TRAINING_FILE, text.encode(), force=True)

    def _fit_sets(self, model: AdaptedCodec, store: PictureStore) -> FittedSets:
        """Tables of z for the weights that are written."""
        if not self.config.z_table_sets:
            return FittedSets()
        prompts = self._adapter(model).network.to(next(self.base.model.parameters()).device)
        tiles = hyper_latents(self.base.model, store.sample(TABLE_PICTURES), adapter=prompts)
        return choose_sets(list(tiles), self.base.tables.z, most=self.config.z_table_sets)

    def _adapter_config(self) -> AdapterConfig:
        return AdapterConfig(
            rate_index=self.config.rate_index,
            lmbda=self.config.rate_weight,
            base_sha256=self.base.sha256.hex(),
            width=self.config.width,
            rank=self.config.rank,
            init_from=self.start.sha256.hex() if self.start else None,
        )

    def _adapter(self, model: AdaptedCodec) -> RateAdapter:
        """What a file of these weights would hold."""
        return build_adapter(
            pack_tensors(model.prompts),
            config=self._adapter_config(),
            codec=self.base.config.codec,
            where="the prompts in training",
        )


@dataclass(frozen=True)
class ChosenRun:
    """A run of prompts, and the pictures it learns from.

    Args:
        run: its recipe.
        data: folder of pictures.
    """

    run: RateAdapterConfig
    data: Path


def resolve_run(
    recipe: Path | None,
    *,
    lmbda: float | None,
    rate_index: int | None,
    base: str | None,
    init_from: str | None,
    data: Path | None,
) -> ChosenRun:
    """Fill in what a user left out: nearest rate, nearest trained neighbour, sample pictures.

    Args:
        recipe: YAML file; None takes the defaults.
        lmbda: rate-distortion weight; None takes that of `rate_index`.
        rate_index: position of the adapter; None is the nearest to `lmbda`.
        base: as `find_base` takes it; None leaves it to the recipe.
        init_from: adapter to start from; "none" is the base alone, None the nearest installed one.
        data: pictures; None takes the two samples of the package, with a warning.
    Raises:
        UsageError: neither lmbda nor rate_index nor a recipe.
    """
    config = read_recipe(recipe, RateAdapterConfig) if recipe is not None else RateAdapterConfig()
    if recipe is None and lmbda is None and rate_index is None:
        raise UsageError("no rate given: add --lambda, --rate-index or --recipe")
    if lmbda is not None:
        if not 0.0 < lmbda < math.inf:
            raise UsageError(f"lambda is {lmbda}; need a positive number, such as 0.0067")
        rate_index = nearest_rate(lmbda) if rate_index is None else rate_index
    config = replace(
        config,
        base=config.base if base is None else base,
        rate_index=config.rate_index if rate_index is None else rate_index,
        lmbda=lmbda if lmbda is not None or rate_index is not None else config.lmbda,
    )
    if init_from is not None:
        config = replace(config, init_from=None if init_from == "none" else init_from)
    elif config.init_from is None:
        shape = (config.width, config.rank)
        folders = [
            folder
            for folder in find_prompts(None, base=config.base)
            if ((found := read_adapter_config(folder)).width, found.rank) == shape
        ]
        start = nearest_adapter(folders, lmbda=config.rate_weight)
        config = replace(config, init_from=start and str(start))
    if data is None:
        data = Path(__file__).resolve().parents[1] / "io" / "assets"
        logger.warning(
            "no --data and no $PROMPTCODEC_DATA: training on the sample pictures, which is a trial "
            "and no useful adapter"
        )
        config = replace(config, data=replace(config.data, validation_pictures=1))
    logger.warning(
        "rate %d, lambda %g, from %s",
        config.rate_index,
        config.rate_weight,
        config.init_from or "the base alone",
    )
    return ChosenRun(config, data)


def same_run(folder: Path, run: RateAdapterConfig, *, timed: bool = False) -> bool:
    """Whether the adapter in `folder` is what `run` would train, from the same start and base.

    Only how often a run reports may differ; by the clock, also how much it did.
    """
    try:
        record = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
        found, own = dict(record["recipe"]), read_adapter_config(folder)
        start = None if run.init_from is None else Path(run.init_from)
        began = None if start is None else adapter_digest(start).hex()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    wanted = json.loads(json.dumps(asdict(run)))
    found.setdefault("z_table_sets", 0)  # older than the field
    for facts in (found, wanted):
        for free in ("init_from", "base", *IGNORED_KEYS, *(TIMED if timed else ())):
            facts.pop(free, None)
    base = read_base(find_base(run.base)).sha256.hex()
    return (found, own.init_from, own.base_sha256) == (wanted, began, base)


def nearest_rate(lmbda: float) -> int:
    """Rate index whose lambda is nearest, by ratio."""
    return min(range(len(LAMBDAS)), key=lambda index: abs(math.log(LAMBDAS[index] / lmbda)))


def nearest_adapter(folders: Sequence[Path], *, lmbda: float) -> Path | None:
    """Which of these adapters is nearest in lambda, by ratio; None of none."""
    return min(
        folders,
        key=lambda folder: abs(math.log(read_adapter_config(folder).lmbda / lmbda)),
        default=None,
    )


def train_prompts(
    config: RateAdapterConfig,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    max_steps: int | None = None,
    device: str | None = None,
    validation: Path | None = None,
    cache: Path | None = None,
    open_pictures: Callable[..., PictureStore] = PictureStore,
    budget: Budget | None = None,
) -> Path:
    """Train the prompts of one rate and write their adapter.

    Args:
        config: the run.
        data: folder (nested folders and zip shards too) of training pictures.
        out: folder for log, state, samples and the adapter `rate-N/`.
        resume: continue from the state in `out`.
        max_steps: stop after this step of the schedule, state saved; None runs to the end.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        validation: folder to validate on; None holds pictures out of `data`.
        cache: file to keep decoded pictures in; None keeps them in memory.
        open_pictures: makes the store of pictures.
        budget: wall time of the run; None leaves its length to the recipe.
    Returns:
        Folder of the adapter.
    """
    trainer = Trainer(
        config,
        RateAdapterTask(config, cache=cache, open_pictures=open_pictures),
        data=Path(data),
        out=Path(out),
        resume=resume,
        device=device,
        validation=validation,
        budget=budget,
        compiled=RateAdapterTask.transforms if config.compile else None,
    )
    return trainer.run(max_steps=max_steps)
