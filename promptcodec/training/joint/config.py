"""What a recipe of joint training says."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptcodec.errors import ConfigError
from promptcodec.training.config import LoopConfig, OptimizerConfig
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
class JointTrainingConfig(LoopConfig):
    """One joint training run, beside what every run has.

    Args:
        base: folder of the base to start from, or a Hub id; None is the bundled one.
        prompts: its adapters; None are the bundled ones.
        head: its classifier to start from; None is the bundled one.
        parts: what learns, of "encoder", "entropy", "decoder", "head", "prompts".
        rates: rate indexes that steps draw from; a codec that is written has these.
        alpha: weight of the cross-entropy, bpp for a nat. Bai et al. give it 0.1 to 0.6 at lambdas
            of 0.001 to 0.006; one that grew on with lambda would drown high rates.
        beta: weight of the distortion over the rate's lambda; 1 is the frozen codec's own trade.
            Another one moves the ladder, unless task prompts learn: every lambda is beta times
            what it was, and the gains follow.
        plain_steps: first steps without quantisation and rate.
        smoothing: share of a label that is spread over all classes.
        teacher: whom codec and head learn from beside the labels; None learns from them alone.
        unlabelled_share: of a batch that pictures without labels are, where a run has some.
        width: of the task prompts' trunk.
        rank: of the task prompts' updates.
        one_in: one training picture in so many is held out of training, to choose by.
        views: how pictures are varied; no mixup, which would spoil the distortion.
    """

    base: str | None = None
    prompts: str | None = None
    head: str | None = None
    parts: tuple[str, ...] = ("encoder", "entropy", "decoder", "head")
    rates: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    alpha: float = 0.3
    beta: float = 1.0
    plain_steps: int = 0
    smoothing: float = 0.1
    teacher: TeacherConfig | None = None
    unlabelled_share: float = 0.5
    width: int = 32
    rank: int = 10
    one_in: int = 10
    views: ViewConfig = field(default_factory=lambda: ViewConfig(mixup=0.0))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-4, warmup_steps=50, decay_fraction=0.7, ema_decay=0.99
        )
    )
    steps: int = 2000
    batch: int = 16
    validate_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts or set(self.parts) - set(PARTS):
            raise ConfigError(f"parts are {list(self.parts)}; need some of {', '.join(PARTS)}")
        if "prompts" in self.parts and set(self.parts) & CODEC_PARTS:
            raise ConfigError("task prompts belong to a frozen base: train them without its parts")
        if self.alpha < 0.0 or self.beta < 0.0 or not self.rates:
            raise ConfigError(
                f"alpha is {self.alpha}, beta {self.beta}, rates {list(self.rates)}; need weights "
                "of 0 or more and a rate"
            )
        if not 0.0 < self.unlabelled_share < 1.0:
            raise ConfigError(
                f"unlabelled_share is {self.unlabelled_share}; need more than 0 and less than 1"
            )
        if self.views.mixup:
            raise ConfigError("views.mixup mixes pictures, which distortion is measured on: set 0")
