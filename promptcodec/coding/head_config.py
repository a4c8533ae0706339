"""Contents of `head_config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from promptcodec.coding.trunk import StemConfig, TrunkConfig
from promptcodec.config import (
    CLASSIFY,
    LAMBDAS,
    LATENT_STRIDE,
    SEGMENT,
    Count,
    Natural,
    Positive,
    Ranged,
    ShareBelow1,
    Within,
    check_format_version,
)
from promptcodec.errors import ConfigError

LATENTS, PIXELS = "latents", "pixels"
SWIN, RESNET, TRUNK = "swin", "resnet", "trunk"
IGNORE = 255  # in a mask: a pixel of no class
LOG_MIDDLE = math.log(LAMBDAS[4])  # log of the lambda where the input of the rate is zero
FILM_WIDTH = 32  # hidden channels between the rate and what it scales and shifts
DILATIONS = (1, 3, 6, 9)  # of the convolutions that a segmentation head ends in
Ratio = Annotated[float, Within(0.0, 16.0, beyond_low=True)]  # of an MLP of a head


@dataclass(frozen=True, kw_only=True)
class HeadConfig(Ranged):
    """A head and the base that it reads.

    Args:
        task: "classify" or "segment".
        labels: names of the classes in their order.
        reads: kind of input: "latents", or "pixels" for the networks of comparisons.
        latent_channels: M of y_hat; 0 with pixels.
        body: kind of stages: "swin", "resnet" for bottlenecks, to classify alone, or "trunk" for
            those of a trained network, which `trunk` describes and not the fields of the others.
        stem: network from latents to the features where a trunk begins; None without a trunk, and
            with pixels.
        trunk: part of a trained network; None with other bodies.
        stride: px between two tokens of a classifier's first stage on latents: 16, or 8 by a
            pixel shuffle.
        patch: px between two tokens of a network on pixels, before its first stage: 1, 2 or 4.
        film: whether the rate also scales and shifts every channel of y_hat.
        dropout: share of the channels of y_hat, and of inputs of the last layer, that are dropped
            in training.
        widths: channels of the stages; the first is at `stride` (of pixels: at `patch`), and every
            merging of 2x2 tokens halves the resolution.
        depths: blocks of each stage.
        window: edge of the attention windows in tokens.
        head_channels: channels of one attention head.
        mlp_ratio: hidden width of a Swin MLP over the stage's width.
        temperature: divisor of the logits for calibrated probabilities; see `training.classifier`.
        base_sha256: hash of the base, hexadecimal; empty with pixels.
        format_version: version of this layout.
    """

    task: str = CLASSIFY
    labels: tuple[str, ...]
    reads: str = "latents"
    latent_channels: Natural = 0
    body: str = SWIN
    stem: StemConfig | None = None
    trunk: TrunkConfig | None = None
    stride: int = 16
    patch: int = 4
    film: bool = False
    dropout: ShareBelow1 = 0.0
    widths: tuple[Annotated[int, Within(1, 4096)], ...] = (128, 192)
    depths: tuple[Count, ...] = (4, 2)
    window: Annotated[int, Within(2)] = 4
    head_channels: Count = 32
    mlp_ratio: Ratio = 2.0
    temperature: Positive = 1.0
    base_sha256: str = ""
    format_version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in (CLASSIFY, SEGMENT):
            raise ConfigError(f"task is {self.task!r}; need {CLASSIFY!r} or {SEGMENT!r}")
        most = 65536 if self.task == CLASSIFY else IGNORE
        if not 2 <= len(self.labels) <= most or len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"{len(self.labels)} labels; need 2 to {most}, all different")
        if self.reads not in (LATENTS, PIXELS):
            raise ConfigError(f"reads is {self.reads!r}; need {LATENTS!r} or {PIXELS!r}")
        if (self.latent_channels < 1) != (self.reads == PIXELS):
            raise ConfigError(
                f"latent_channels is {self.latent_channels} and the head reads {self.reads}; "
                "latents have 1 or more, pixels 0"
            )
        check_format_version(self.format_version)
        if self.body == TRUNK:
            self._check_trunk()
        else:
            self._check_stages()

    def _check_trunk(self) -> None:
        on_latents = self.reads == LATENTS
        if self.trunk is None or (self.stem is None) == on_latents:
            raise ConfigError(
                f"body {TRUNK!r} on {self.reads} needs a trunk, and a stem on {LATENTS} alone"
            )
        if not on_latents and not self.trunk.is_whole:
            raise ConfigError(
                f"the trunk begins at 1/{self.trunk.begins} and the head reads {self.reads}, which "
                "only a whole network does"
            )

    def _check_stages(self) -> None:
        if self.trunk is not None or self.stem is not None:
            raise ConfigError(f"body is {self.body!r}; a trunk or a stem needs {TRUNK!r}")
        if not self.widths or len(self.widths) != len(self.depths):
            raise ConfigError(
                f"widths has {len(self.widths)} entries and depths {len(self.depths)}; need one "
                "of each for every stage"
            )
        if any(width % self.head_channels for width in self.widths):
            raise ConfigError(
                f"widths are {list(self.widths)}; need multiples of head_channels "
                f"{self.head_channels}"
            )
        if self.body not in (SWIN, RESNET) or (self.body == RESNET and self.task == SEGMENT):
            raise ConfigError(
                f"body is {self.body!r} to {self.task}; need {SWIN!r} or {TRUNK!r}, or {RESNET!r} "
                "to classify"
            )
        if self.body == RESNET and any(width % 4 for width in self.widths):
            raise ConfigError(
                f"widths are {list(self.widths)}; body {RESNET!r} needs multiples of 4"
            )
        if self.stride not in (8, 16):
            raise ConfigError(f"stride is {self.stride}; need 8 or 16")
        if self.patch not in ((1, 2, 4) if self.task == CLASSIFY else (4,)):
            raise ConfigError(f"patch is {self.patch}; need 1, 2 or 4 to classify, 4 to segment")
        if len(self.widths) > 4:
            raise ConfigError(f"widths has {len(self.widths)} entries; need up to 4 stages")

    @property
    def finer(self) -> int:
        """Tokens of the first stage for each latent of a classifier, along an axis."""
        return LATENT_STRIDE // self.stride

    @property
    def multiple(self) -> int:
        """Rows and columns of latents are padded to multiples of it: whole windows everywhere."""
        if self.body in (RESNET, TRUNK):
            return 1
        if self.task == SEGMENT:
            return self.window
        tokens = self.window << (len(self.widths) - 1)
        return tokens // math.gcd(tokens, self.finer)
