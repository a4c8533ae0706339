"""Classifier on y_hat, without g_s.

    y_hat (M, h, w) -> standardise -> Linear, LayerNorm -> + rate [-> pixel shuffle] -> stages
                    -> LayerNorm -> mean over tokens -> Linear -> logits

The body is that of Swin-T or ResNet-50 without its first stages: the grid of latents is that of
third-stage tokens. Its width is that of the codec. The rate is an input of the head, since latents
of the same picture differ between rates.
Sources: Torfason et al. 2018, arXiv:1803.06131; Bai et al. 2022, arXiv:2112.09300. Differs: Swin
stages, one head for all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import FILM_WIDTH, LOG_MIDDLE, RESNET, HeadConfig
from promptcodec.config import LAMBDAS
from promptcodec.models.heads.swin_stages import SwinStages, initialise

if TYPE_CHECKING:
    from promptcodec.models.heads.residual_stages import ResidualStages


class LatentStem(nn.Module):
    """Latents to tokens: y_hat (B, M, h, w) to (B, h, w, width).

    Args:
        channels: M.
        width: channels of the tokens.
        film: whether each channel of y_hat gets a scale and a shift that depend on the rate
            (Perez et al. 2017, arXiv:1709.07871): adapters of the rates change the latents.
        dropout: share of channels that are replaced by their mean in training.
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self, channels: int, width: int, *, film: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(dropout)
        self.film = None
        if film:
            last = nn.Linear(FILM_WIDTH, 2 * channels)
            self.film = nn.Sequential(nn.Linear(1, FILM_WIDTH), nn.GELU(), last)
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.embed = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.rate = nn.Linear(1, width)

    def start_plain(self) -> None:
        """Initialise scale and shift of the rate to the identity."""
        if self.film is not None:
            for parameter in self.film[-1].parameters():
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def standardise(self, y_hat: Tensor) -> None:
        """Set mean and deviation of each channel to those of latents (B, M, h, w)."""
        self.center.copy_(y_hat.mean(dim=(0, 2, 3)))
        self.spread.copy_(y_hat.std(dim=(0, 2, 3)).clamp_min(1e-3))

    def forward(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Tokens, (B, h, w, width).

        Args:
            y_hat: latents, (B, M, h, w).
            lmbda: rate-distortion weight of each picture's rate, (B,), clamped to the ladder.
        """
        return self.tokens(*self.shaded(y_hat, lmbda))

    def shaded(self, y_hat: Tensor, lmbda: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised latents with scale and shift of the rate, (B, h, w, M); the rate, (B, 1)."""
        center, spread = self.center[:, None, None], self.spread[:, None, None]
        x = self.drop((y_hat - center) / spread).permute(0, 2, 3, 1)
        rate = (torch.log(lmbda.clamp(LAMBDAS[0], LAMBDAS[-1])) - LOG_MIDDLE)[:, None]
        if self.film is not None:
            scale, shift = self.film(rate)[:, None, None, :].chunk(2, dim=-1)
            x = x * (1.0 + scale) + shift
        return x, rate

    def tokens(self, x: Tensor, rate: Tensor) -> Tensor:
        """Tokens, (B, h, w, width), of what `shaded` returns."""
        return self.norm(self.embed(x)) + self.rate(rate)[:, None, None, :]


class LatentClassifier(nn.Module):
    """Logits from latents.

    Args:
        config: configuration of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.finer = config.finer
        width = config.widths[0] * self.finer**2
        self.stem = LatentStem(
            config.latent_channels, width, film=config.film, dropout=config.dropout
        )
        self.drop = nn.Dropout(config.dropout)
        self.shuffle = nn.PixelShuffle(self.finer)
        self.body = build_body(config)
        self.norm = nn.LayerNorm(config.widths[-1])
        self.out = nn.Linear(config.widths[-1], len(config.labels))
        initialise(self)
        self.stem.start_plain()

    def forward(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Logits, (B, classes).

        Args:
            y_hat: latents, (B, M, h, w), of any h and w.
            lmbda: rate-distortion weight of each picture's rate, (B,).
        """
        return self.judge(self.body(self.tokens(y_hat, lmbda)))

    def tokens(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Input of the body, (B, h', w', width); see `forward`."""
        x = self.stem(pad_grid(y_hat, self.config.multiple), lmbda)
        if self.finer > 1:
            x = self.shuffle(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x

    def judge(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), from the output of the body, (B, h', w', width)."""
        return self.out(self.drop(self.norm(x).mean(dim=(1, 2))))


def build_body(config: HeadConfig) -> SwinStages | ResidualStages:
    """The stages of a config."""
    if config.body == RESNET:
        # Here, so that coding and Swin heads do not import timm.
        from promptcodec.models.heads.residual_stages import ResidualStages

        return ResidualStages(config.widths, config.depths)
    return SwinStages(
        config.widths,
        config.depths,
        window=config.window,
        head_channels=config.head_channels,
        mlp_ratio=config.mlp_ratio,
    )


def pad_grid(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, h, w) to multiples by repeating the last row and column."""
    below, right = (-n % multiple for n in x.shape[2:])
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x
