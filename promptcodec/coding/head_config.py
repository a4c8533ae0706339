"""Contents of `head_config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from promptcodec.coding.trunk import COARSE, StemConfig, TrunkConfig
from promptcodec.config import (
    CLASSIFY,
    LAMBDAS,
    SEGMENT,
    Natural,
    Positive,
    Ranged,
    check_format_version,
)
from promptcodec.errors import ConfigError

LATENTS, PIXELS = "latents", "pixels"
IGNORE = 255  # in a mask: a pixel of no class
LOG_MIDDLE = math.log(LAMBDAS[4])  # log of the lambda where the input of the rate is zero
FILM_WIDTH = 32  # hidden channels between the rate and what it scales and shifts
DILATIONS = (1, 3, 6, 9)  # of the convolutions that a segmentation head ends in


@dataclass(frozen=True, kw_only=True)
class HeadConfig(Ranged):
    """A head and the base that it reads.

    Args:
        task: "classify" or "segment".
        labels: names of the classes in their order.
        trunk: part of a trained network: to its classes, or to segment up to 1/16.
        reads: kind of input: "latents", or "pixels" for teachers and comparisons.
        latent_channels: M of y_hat; 0 with pixels.
        stem: network from latents to what the trunk reads; None with pixels.
        temperature: divisor of the logits for calibrated probabilities; see `training.temperature`.
        base_sha256: hash of the base, hexadecimal; empty with pixels.
        format_version: version of this layout.
    """

    task: str = CLASSIFY
    labels: tuple[str, ...]
    trunk: TrunkConfig
    reads: str = LATENTS
    latent_channels: Natural = 0
    stem: StemConfig | None = None
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
        on_latents = self.reads == LATENTS
        if (self.latent_channels > 0) != on_latents or (self.stem is not None) != on_latents:
            raise ConfigError(
                f"latent_channels is {self.latent_channels} and the head reads {self.reads}; "
                f"{LATENTS} have 1 or more and a stem, {PIXELS} 0 and none"
            )
        if not on_latents and not self.trunk.is_whole:
            raise ConfigError(
                f"the trunk begins at 1/{self.trunk.begins} and the head reads {self.reads}, which "
                "only a whole network does"
            )
        wanted = 0 if self.task == CLASSIFY else COARSE
        if self.trunk.until != wanted:
            raise ConfigError(
                f"until of the trunk is {self.trunk.until}; a head to {self.task} needs {wanted}"
            )
        check_format_version(self.format_version)
