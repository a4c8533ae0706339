"""Contents of `head_config.json`."""

from __future__ import annotations

from dataclasses import dataclass

from promptcodec.config import CLASSIFY, SEGMENT, check_format_version
from promptcodec.errors import ConfigError

LATENTS, PIXELS = "latents", "pixels"
SWIN, RESNET = "swin", "resnet"
IGNORE = 255  # in a mask: a pixel of no class


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A head and the base that it reads.

    Args:
        task: "classify" or "segment".
        labels: names of the classes in their order.
        reads: kind of input: "latents", or "pixels" for the networks of comparisons.
        latent_channels: M of y_hat; 0 with pixels.
        body: kind of stages: "swin", or "resnet" for bottlenecks; only "swin" for segmentation.
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
    latent_channels: int = 0
    body: str = SWIN
    stride: int = 16
    patch: int = 4
    film: bool = False
    dropout: float = 0.0
    widths: tuple[int, ...] = (128, 192)
    depths: tuple[int, ...] = (4, 2)
    window: int = 4
    head_channels: int = 32
    mlp_ratio: float = 2.0
    temperature: float = 1.0
    base_sha256: str = ""
    format_version: int = 1

    def __post_init__(self) -> None:
        if self.task not in (CLASSIFY, SEGMENT):
            raise ConfigError(f"task is {self.task!r}; need {CLASSIFY!r} or {SEGMENT!r}")
        most = 65536 if self.task == CLASSIFY else IGNORE
        if not 2 <= len(self.labels) <= most or len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"{len(self.labels)} labels; need 2 to {most}, all different")
        if not self.widths or len(self.widths) != len(self.depths):
            raise ConfigError(
                f"widths has {len(self.widths)} entries and depths {len(self.depths)}; need one "
                "of each for every stage"
            )
        if self.head_channels < 1 or any(w < 1 or w % self.head_channels for w in self.widths):
            raise ConfigError(
                f"widths are {list(self.widths)}; need multiples of head_channels "
                f"{self.head_channels}"
            )
        if self.reads not in (LATENTS, PIXELS):
            raise ConfigError(f"reads is {self.reads!r}; need {LATENTS!r} or {PIXELS!r}")
        if self.body not in (SWIN, RESNET) or (self.body == RESNET and self.task == SEGMENT):
            raise ConfigError(
                f"body is {self.body!r} to {self.task}; need {SWIN!r}, or {RESNET!r} to classify"
            )
        if not 0.0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}; need a number above 0")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout is {self.dropout}; need 0 to 1")
        if self.stride not in (8, 16):
            raise ConfigError(f"stride is {self.stride}; need 8 or 16")
        if self.patch not in ((1, 2, 4) if self.task == CLASSIFY else (4,)):
            raise ConfigError(f"patch is {self.patch}; need 1, 2 or 4 to classify, 4 to segment")
        if min(self.depths) < 1 or self.window < 2:
            raise ConfigError("depths need 1 or more, window 2 or more")
        if (self.latent_channels < 1) != (self.reads == PIXELS):
            raise ConfigError(
                f"latent_channels is {self.latent_channels} and the head reads {self.reads}; "
                "latents have 1 or more, pixels 0"
            )
        if not 0.0 < self.mlp_ratio <= 16.0 or max(self.widths) > 4096 or len(self.widths) > 4:
            raise ConfigError("need mlp_ratio 0 to 16, widths up to 4096 and up to 4 stages")
        check_format_version(self.format_version)
