"""Recipe of joint training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from promptcodec.coding.trunk import BEGINS, COARSE
from promptcodec.config import (
    Count,
    Natural,
    NotNegative,
    RateIndex,
    ShareBelow1,
    Within,
)
from promptcodec.errors import ConfigError
from promptcodec.training.config import DataConfig, LoopConfig, OptimizerConfig, Rise
from promptcodec.training.data.augmented import ViewConfig
from promptcodec.training.distillation import TeacherConfig

PARTS = {
    "encoder": ("codec.g_a.",),
    "entropy": ("codec.hyperprior.", "codec.context.", "codec.centroids."),
    "decoder": ("codec.g_s.",),
    "head": ("head.",),
    "prompts": ("task.",),
}  # by the names of their parameters
CODEC_PARTS = {"encoder", "entropy", "decoder"}


@dataclass(frozen=True, kw_only=True)
class CodecAndHeadConfig(LoopConfig):
    """Recipe of codec and head; what every recipe has is in `LoopConfig`.

    Args:
        base: folder of the initial base, or a Hub id; None is the bundled one.
        prompts: adapters of the base; None are the bundled ones.
        head: initial classifier; None is the bundled one.
        parts: trained parts, of "encoder", "entropy", "decoder", "head", "prompts".
        rates: rate indexes of the steps in turn; a written codec has these rates.
        alpha: weight of the task's loss, bpp per nat. Bai et al. use 0.1 to 0.6 at lambdas of
            0.001 to 0.006; a weight proportional to lambda would dominate high rates.
        beta: weight of the distortion over the rate's lambda; 1 is the trade-off of the frozen
            codec. Another value multiplies every lambda of the ladder by beta and rescales the
            gains, unless task prompts are trained.
        plain_steps: number of initial steps without quantisation and rate.
        width: width of the task prompts' trunk.
        rank: rank of the task prompts' updates.
    """

    max_rise: Rise | None = None
    base: str | None = None
    prompts: str | None = None
    head: str | None = None
    parts: tuple[str, ...] = ("encoder", "entropy", "decoder", "head")
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
        if not self.parts or set(self.parts) - set(PARTS):
            raise ConfigError(f"parts are {list(self.parts)}; need some of {', '.join(PARTS)}")
        if "prompts" in self.parts and set(self.parts) & CODEC_PARTS:
            raise ConfigError("task prompts belong to a frozen base: train them without its parts")
        if not self.rates:
            raise ConfigError("rates are empty; need one or more")


@dataclass(frozen=True, kw_only=True)
class JointTrainingConfig(CodecAndHeadConfig):
    """Recipe of joint training on labelled pictures.

    Args:
        smoothing: share of a label that is spread over all classes.
        teacher: teacher for distillation to codec and head; None trains on labels alone.
        unlabelled_share: share of pictures without labels in a batch, if the run has any.
        one_in: number of training pictures of which one is held out for validation.
        views: augmentation of the pictures, without mixup, whose pictures are no valid reference
            of the distortion.
    """

    smoothing: ShareBelow1 = 0.1
    teacher: TeacherConfig | None = None
    unlabelled_share: Annotated[float, Within(0.0, 1.0, beyond_low=True, below_high=True)] = 0.5
    one_in: Annotated[int, Within(2)] = 10
    views: ViewConfig = field(default_factory=lambda: ViewConfig(mixup=0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views.mixup:
            raise ConfigError("views.mixup changes pictures that distortion is measured on: set 0")


@dataclass(frozen=True, kw_only=True)
class TaughtJointConfig(CodecAndHeadConfig):
    """Recipe of joint training on pictures without labels, which a trained network judges.

    Args:
        network: folder of the network, a classifier on pixels, as `import-network` writes it.
        task: "joint-transfer".
        compared: px between the features of head and network that are compared: 4, 8 or 16.
        hints: weight of the loss on features over that on probabilities.
        data: pictures and crops.
    """

    network: str
    task: str = "joint-transfer"
    compared: int = COARSE
    hints: NotNegative = 1.0
    data: DataConfig = field(
        default_factory=lambda: DataConfig(
            crop=128, last_crop=None, reduce_probability=1.0, reduce_min=0.3, reduce_max=1.0
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task != "joint-transfer":
            raise ConfigError(f"task is {self.task!r}; need 'joint-transfer'")
        if self.compared not in BEGINS[1:]:
            raise ConfigError(f"compared is {self.compared}; need 4, 8 or 16")
