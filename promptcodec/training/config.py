"""Settings of training recipes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

from promptcodec.config import (
    ADDED,
    LAMBDAS,
    CodecConfig,
    Count,
    Natural,
    NotNegative,
    Positive,
    Ranged,
    RateIndex,
    Seed,
    Share,
    ShareAbove0,
    ShareBelow1,
    Within,
    from_dict,
)
from promptcodec.errors import ConfigError, not_found
from promptcodec.training.trackers import check_tracker

T = TypeVar("T")

Rise = Annotated[float, Within(1.0)]

PARTS = ("g_a", "g_s", "hyperprior", "context")  # of a CodecModel


@dataclass(frozen=True, kw_only=True)
class Pack(Ranged):
    """A folder or zip file of the training pictures.

    Args:
        name: name of the pack in the folder of `--data`.
        share: share of the crops, relative to the other packs.
    """

    name: str
    share: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class DataConfig(Ranged):
    """Drawing of crops. The probability of a picture is proportional to its pixels.

    Args:
        crop: edge of a crop in px, a multiple of 64.
        last_crop: edge in the last part of the run, where a batch has fewer crops and as many
            pixels; None keeps `crop`.
        last_fraction: share of the steps that are this last part.
        packs: parts of `--data` to read, with their shares of the crops; empty is all of it.
        exclude: patterns of file names that are left out, such as `syn_*`, or of folders and file
            names, such as `val/*/*`.
        reduce_probability: share of crops taken after an antialiased reduction, which hides
            artefacts of lossy source files.
        reduce_min: smallest scale of that reduction.
        reduce_max: largest scale of that reduction.
        validation_pictures: number of pictures held out of training, spread over each pack.
        validation_exclude: patterns of file names that are never held out.
        shuffle_buffer: number of pictures in memory, of tar shards.
        crops_per_picture: mean number of crops of a picture while it is in memory, of tar shards.
    """

    crop: int = 128
    last_crop: int | None = None
    last_fraction: ShareAbove0 = 0.1
    packs: tuple[Pack, ...] = ()
    exclude: tuple[str, ...] = ()
    reduce_probability: Share = 0.75
    reduce_min: ShareAbove0 = 0.5
    reduce_max: ShareAbove0 = 0.85
    validation_pictures: Count = 24
    validation_exclude: tuple[str, ...] = ()
    shuffle_buffer: Count = field(default=1000, metadata=ADDED)
    crops_per_picture: Count = field(default=4, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, crop in (("crop", self.crop), ("last_crop", self.last_crop or self.crop)):
            if crop < 64 or crop % 64:
                raise ConfigError(f"{name} is {crop}; need a positive multiple of 64")
        if (self.last_crop or self.crop) < self.crop:
            raise ConfigError(f"last_crop is {self.last_crop}; need crop {self.crop} or more")
        names = [pack.name for pack in self.packs]
        if len(set(names)) != len(names):
            raise ConfigError(f"packs are {', '.join(names)}; need distinct names")
        if self.reduce_min > self.reduce_max:
            raise ConfigError(
                f"reduce_min {self.reduce_min} and reduce_max {self.reduce_max}: need "
                "0 < reduce_min <= reduce_max <= 1"
            )
        if self.validation_pictures < len(names):
            raise ConfigError(
                f"validation_pictures is {self.validation_pictures}; need one, and one a pack"
            )

    def crop_at(self, share: float) -> int:
        """Edge of the crops once `share` of the run is done."""
        late = self.last_crop is not None and share >= 1.0 - self.last_fraction
        return self.last_crop if late and self.last_crop else self.crop


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Ranged):
    """Optimiser and schedule: warm-up, constant, decay to zero.

    Args:
        name: "adamw", or "muon": matrices by Muon, the rest by AdamW.
        learning_rate: peak learning rate.
        entropy_factor: learning rate of hyperprior and context over that of the transforms.
        gain_factor: learning rate of an adapter's log-gains, in table steps, over that of its
            networks.
        momentum: momentum of Muon.
        band: number of rows that Muon orthogonalises together between whole turns of a matrix; 0
            is whole matrices at every step.
        period: number of steps between two whole turns of a matrix.
        beta1: first-moment decay of AdamW.
        beta2: second-moment decay of AdamW.
        weight_decay: decoupled weight decay.
        warmup_steps: number of steps of a linear warm-up from zero.
        decay_fraction: last share of the steps, with a decay to zero; a run can be extended from
            the state saved before it.
        clip_norm: largest norm of the gradient.
        ema_decay: decay of the averaged weights, which are evaluated and written; the average is
            shorter as the learning rate falls, and ends as the weights themselves.
        entropy_ema_decay: the same for hyperprior and context; None is `ema_decay`. The latents'
            meaning moves while they learn, and a long average of a hyperprior fits none of it.
    """

    name: str = "muon"
    learning_rate: Positive = 3e-3
    entropy_factor: Positive = 1.0
    gain_factor: Positive = 8.0
    momentum: ShareBelow1 = 0.95
    band: Natural = 32
    period: Count = 10
    beta1: ShareBelow1 = 0.9
    beta2: ShareBelow1 = 0.98
    weight_decay: NotNegative = 0.0
    warmup_steps: Natural = 200
    decay_fraction: Share = 0.2
    clip_norm: Positive = 1.0
    ema_decay: ShareBelow1 = 0.999
    entropy_ema_decay: ShareBelow1 | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in ("adamw", "muon"):
            raise ConfigError(f"optimizer name is {self.name!r}; need 'adamw' or 'muon'")


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Ranged):
    """Settings of every training run.

    Args:
        optimizer: optimiser and schedule.
        steps: number of optimiser steps of the whole run.
        batch: number of pictures of one step and process.
        accumulate: number of micro-batches summed in one step.
        precision: number format of the networks, not of likelihoods: "bf16", "no" (float32), or
            "auto", which is bf16 on processors with instructions for it.
        validate_every: number of steps between validations.
        save_every: number of steps between saved training states.
        keep_every_seconds: longest time between saved training states.
        seed: seed of weights, crops and noise.
        tracker: one of Accelerate's trackers, for instance "tensorboard"; None logs JSONL alone.
        max_skipped: number of steps in a row with a gradient that is not finite, after which the
            run stops.
        max_rise: largest ratio of the held-out loss to the lowest of the run; beyond it, and above
            the loss of the initial weights, the run stops. None has no limit, the default where
            labels are learned: a head that knows its pictures by heart is far off on others.
        patience: number of validations in a row without a lower held-out loss, after which the run
            ends; its result has the weights of the lowest. None trains to the end, with the last.
    """

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: Count = 20000
    batch: Count = 8
    accumulate: Count = 1
    precision: str = "auto"
    validate_every: Count = 1000
    save_every: Count = 2000
    keep_every_seconds: Positive = 240.0
    seed: Seed = 1
    tracker: str | None = None
    max_skipped: Count = 10
    max_rise: Rise | None = 4.0
    patience: Count | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in ("auto", "bf16", "no"):
            raise ConfigError(f"precision is {self.precision!r}; need 'auto', 'bf16' or 'no'")
        if self.tracker is not None:
            check_tracker(self.tracker)


@dataclass(frozen=True, kw_only=True)
class RateConfig(LoopConfig):
    """Settings of a run that trains one rate of a codec on crops.

    Args:
        data: drawing of crops.
        rate_index: position on the ladder.
        lmbda: rate-distortion weight; None is that of the ladder.
        compile: whether to compile the transforms, if that is possible.
    """

    data: DataConfig = field(default_factory=DataConfig)
    rate_index: RateIndex = 4
    lmbda: Positive | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch * self.data.crop**2 < (self.data.last_crop or 0) ** 2:
            raise ConfigError(
                f"batch {self.batch} of crop {self.data.crop} px is less than one last_crop of "
                f"{self.data.last_crop} px: raise batch or lower data.last_crop"
            )

    @property
    def rate_weight(self) -> float:
        """Rate-distortion weight of this run."""
        return LAMBDAS[self.rate_index] if self.lmbda is None else self.lmbda


@dataclass(frozen=True, kw_only=True)
class BaseTrainingConfig(RateConfig):
    """Recipe of a base codec.

    Args:
        codec: architecture of the base.
        init_from: folder of a base checkpoint, or file of weights (`raw.safetensors` of another
            run), to start from. Layers may be wider here and blocks more (`growth`); other
            tensors of another name or shape are initialised afresh. None has no start.
        init_parts: parts to copy from it, for instance [g_a, g_s]; empty copies all.
        linear_start: whether, without init_from, transforms start as principal components rather
            than random.
        z_noise_fraction: share of the steps with noisy z, before those with rounded z.
        hard_fraction: share of the steps, the last ones, with latents rounded as in coding, which
            train decoder and entropy model, not the encoder.
        z_free_steps: number of steps over which the weight of z's rate, in the gradient of the
            hyper-analysis, is 0 for the first half and rises to 1 in the second.
        train: "all", or "entropy": hyperprior and context alone, by their rate.
        random_gain_weight: weight of the rate at a random gain, which orders the indexes below 0.
    """

    codec: CodecConfig
    init_from: str | None = None
    init_parts: tuple[str, ...] = ()
    linear_start: bool = True
    z_noise_fraction: Share = 0.8
    hard_fraction: Share = 0.0
    z_free_steps: Natural = 0
    train: str = "all"
    random_gain_weight: NotNegative = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train not in ("all", "entropy"):
            raise ConfigError(f"train is {self.train!r}; need 'all' or 'entropy'")
        if self.train == "entropy" and self.init_from is None:
            raise ConfigError("train 'entropy' needs init_from: a base with trained transforms")
        unknown = set(self.init_parts) - set(PARTS)
        if unknown:
            raise ConfigError(f"init_parts has {min(unknown)!r}; need some of {', '.join(PARTS)}")


def read_recipe(path: Path, kind: type[T], *others: type[T]) -> T:
    """Read a YAML recipe.

    Args:
        path: path of the recipe.
        kind: dataclass of settings.
        others: other dataclasses, one of which is used if its default of `task` is the recipe's.
    Raises:
        ConfigError: the file is missing or no YAML, or a key or value is invalid.
    """
    values = read_yaml(path)
    for other in others:
        if isinstance(values, dict) and values.get("task") == getattr(other, "task", None):
            kind = other
    return from_dict(kind, values, where=str(path))


def read_yaml(path: Path) -> Any:
    """Read a YAML file; an empty one is None.

    A recipe with `extends: OTHER`, relative to its own folder, is that one with its own keys
    replaced; mappings are merged key by key.

    Raises:
        ConfigError: the file is missing or no YAML, or recipes extend each other in a circle.
    """
    return _merged(Path(path), ())


def _merged(path: Path, above: tuple[Path, ...]) -> Any:
    if path.resolve() in above:
        raise ConfigError(f"recipe {path} extends itself: remove one `extends`")
    values = _parsed(path)
    if not isinstance(values, dict) or "extends" not in values:
        return values
    other = values.pop("extends")
    if not isinstance(other, str):
        raise ConfigError(f"{path}.extends is {other!r}; need the name of a recipe")
    return _overlaid(_merged(path.parent / other, (*above, path.resolve())), values)


def _overlaid(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    merged = {key: _overlaid(under[key], value) for key, value in over.items() if key in under}
    return {**under, **over, **merged}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the numbers of YAML 1.2, where 1e-3 is one."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _parsed(path: Path) -> Any:
    try:
        values: Any = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        message = (
            f"recipe {path} cannot be read: {error.strerror}: name a YAML file, such as those of "
            "recipes/"
        )
        raise ConfigError(not_found(path, message)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"recipe {path} is not valid YAML: {line}") from None
    return {} if values is None else values
