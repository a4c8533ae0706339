"""Recipes of joint training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from promptcodec.coding.head_config import IGNORE
from promptcodec.coding.trunk import BEGINS, COARSE, Stride
from promptcodec.config import (
    Count,
    Natural,
    NotNegative,
    RateIndex,
    Share,
    ShareBelow1,
    Within,
)
from promptcodec.errors import ConfigError
from promptcodec.training.config import DataConfig, LoopConfig, OptimizerConfig, Rise
from promptcodec.training.data.augmented import ViewConfig
from promptcodec.training.data.segmentation_crops import SceneConfig

ENCODER, ENTROPY, DECODER, HEAD, PROMPTS = "encoder", "entropy", "decoder", "head", "prompts"
PARTS = {
    ENCODER: ("codec.g_a.",),
    ENTROPY: ("codec.hyperprior.", "codec.context.", "codec.centroids."),
    DECODER: ("codec.g_s.",),
    HEAD: ("head.",),
    PROMPTS: ("task.",),
}  # by the names of their parameters
CODEC_PARTS = {ENCODER, ENTROPY, DECODER}


@dataclass(frozen=True, kw_only=True)
class JointConfig(LoopConfig):
    """Recipe of codec and head; what every recipe has is in `LoopConfig`.

    Args:
        task: kind of what the head is compared with: "joint-classify", "joint-segment" or
            "joint-transfer".
        base: folder of the initial base, or a Hub id; None is the bundled one.
        prompts: adapters of the base; None are the bundled ones.
        head: initial head; None is the bundled one.
        parts: trained parts, of "encoder", "entropy", "decoder", "head", "prompts".
        rates: rate indexes of the steps in turn; a written codec has these rates.
        alpha: weight of the task's loss, bpp per nat. Bai et al. use 0.1 to 0.6 at lambdas of
            0.001 to 0.006; a weight proportional to lambda would dominate high rates.
        beta: weight of the distortion over the rate's lambda; 1 is the trade-off of the frozen
            codec. Another value multiplies every lambda of the ladder by beta and rescales the
            gains, unless task prompts are trained; 0 keeps the gains.
        plain_steps: number of initial steps without quantisation and rate.
        width: width of the task prompts' trunk.
        rank: rank of the task prompts' updates.
    """

    task: str
    max_rise: Rise | None = None
    base: str | None = None
    prompts: str | None = None
    head: str | None = None
    parts: tuple[str, ...] = (ENCODER, ENTROPY, DECODER, HEAD)
    rates: tuple[RateIndex, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    alpha: NotNegative = 0.3
    beta: NotNegative = 1.0
    plain_steps: Natural = 0
    width: Count = 32
    rank: Natural = 10
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-4, warmup_steps=50, decay_fraction=0.7, ema_decay=0.99
        )
    )
    steps: Count = 2000
    batch: Count = 16
    validate_every: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = set(self.parts)
        if not parts or parts - set(PARTS):
            raise ConfigError(f"parts are {list(self.parts)}; need some of {', '.join(PARTS)}")
        if PROMPTS in parts and parts & CODEC_PARTS:
            raise ConfigError("task prompts belong to a frozen base: train them without its parts")
        if not self.alpha and HEAD in parts:
            raise ConfigError("alpha is 0, and the head of parts learns from its loss alone")
        if not self.beta and DECODER in parts:
            raise ConfigError("beta is 0, and the decoder of parts learns from distortion alone")
        if not self.rates:
            raise ConfigError("rates are empty; need one or more")


def _check_task(config: JointConfig, wanted: str) -> None:
    if config.task != wanted:
        raise ConfigError(f"task is {config.task!r}; need {wanted!r}")


@dataclass(frozen=True, kw_only=True)
class LabelledJointConfig(JointConfig):
    """Recipe of joint training on labelled pictures.

    Args:
        smoothing: share of a label that is spread over all classes.
        one_in: number of training pictures of which one is held out for validation.
        views: augmentation of the pictures, without mixup, whose pictures are no valid reference
            of the distortion, and without settings, as the rates are those of `rates`.
    """

    task: str = "joint-classify"
    smoothing: ShareBelow1 = 0.1
    one_in: Annotated[int, Within(2)] = 10
    views: ViewConfig = field(default_factory=lambda: ViewConfig(mixup=0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_task(self, "joint-classify")
        if self.views.mixup:
            raise ConfigError("views.mixup changes pictures that distortion is measured on: set 0")


@dataclass(frozen=True, kw_only=True)
class MaskedJointConfig(JointConfig):
    """Recipe of joint training on pictures with masks.

    Args:
        ignore: numbers in the masks of pixels that have no class.
        balance: exponent of the class weights, (median share / own share) ** balance.
        one_in: number of runs of neighbouring training pictures of which one is held out.
        scenes: augmentation of the pictures, without settings, as the rates are those of `rates`.
    """

    task: str = "joint-segment"
    ignore: tuple[Annotated[int, Within(0, 255)], ...] = (IGNORE,)
    balance: Share = 0.5
    one_in: Annotated[int, Within(2)] = 10
    scenes: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_task(self, "joint-segment")


@dataclass(frozen=True, kw_only=True)
class TaughtJointConfig(JointConfig):
    """Recipe of joint training on pictures without labels, which a trained network judges.

    Args:
        network: folder of the network, a classifier on pixels, as `import-network` writes it.
        compared: px between the features of head and network that are compared: 4, 8 or 16.
        hints: weight of the loss on features over that on probabilities.
        data: pictures and crops.
    """

    network: str
    task: str = "joint-transfer"
    compared: Stride = COARSE
    hints: NotNegative = 1.0
    data: DataConfig = field(
        default_factory=lambda: DataConfig(
            crop=128, last_crop=None, reduce_probability=1.0, reduce_min=0.3, reduce_max=1.0
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_task(self, "joint-transfer")
        if self.compared not in BEGINS[1:]:
            raise ConfigError(f"compared is {self.compared}; need 4, 8 or 16")
