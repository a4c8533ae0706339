"""The base codec as one module: transforms, hyperprior, context.

x -> g_a -> y -> h_a -> z -> z_hat -> scale path -> table indexes (exact)
|                  '-> h_means -> context(y_hat so far) -> mu
'-> r = round((y - mu) * gain) -> y_hat = rebuild(r) / gain + mu -> g_s -> x_hat
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from promptcodec.coding.entropy import golomb
from promptcodec.coding.entropy.tables import NUM_SCALES, Z_MAX, Z_MIN
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.config import TILE_STRIDE, CodecConfig
from promptcodec.errors import ShapeError
from promptcodec.models import likelihood
from promptcodec.models.centroids import Centroids
from promptcodec.models.context import CheckerboardContext, ContextModel, NoContext
from promptcodec.models.econtext import EContext
from promptcodec.models.hyperprior import Hyperprior, integer_indexes
from promptcodec.models.linear_maps import Updates
from promptcodec.models.swin import PromptTokens
from promptcodec.models.tensors import multipliers, offsets
from promptcodec.models.transforms import Analysis, Synthesis


@dataclass(frozen=True)
class TrainingOutput:
    """Output of a training pass.

    Args:
        x_hat: reconstruction, not clamped, shape of x; None if g_s has not run.
        y_bits: bits of y, scalar.
        z_bits: bits of z, scalar.
        random_gain_bits: bits of y at a random gain, scalar; its gradient reaches only the
            scale path.
        y_hat: latents as they would be transmitted, (B, M, H/16, W/16), with a straight-through
            gradient.
    """

    x_hat: Tensor | None
    y_bits: Tensor
    z_bits: Tensor
    random_gain_bits: Tensor
    y_hat: Tensor


class Adapter(Protocol):
    """Networks of one rate for a base, beside the integer gains of streams."""

    def encoder_prompts(self, x: Tensor) -> Sequence[PromptTokens | None]:
        """Prompts of g_a's Swin blocks, first stage first, from x (B, 3, H, W)."""
        ...

    def decoder_prompts(self, y_hat: Tensor) -> Sequence[PromptTokens | None]:
        """Prompts of g_s's Swin blocks, deepest stage first, from y_hat (B, M, h, w)."""
        ...

    def encoder_updates(self) -> Updates | None:
        """Updates of the weights of g_a."""
        ...

    def decoder_updates(self) -> Updates | None:
        """Updates of the weights of g_s."""
        ...

    def gain_steps(self) -> Tensor:
        """Log-gain of each channel in table steps, real, for training, (1, M, 1, 1)."""
        ...

    def modulate_means(self, features: Tensor) -> Tensor:
        """Scale and shift the features of the means, (B, N, h, w)."""
        ...


class AdapterSlot(nn.Module):
    """Place of the default adapter; empty, unless a library fills it."""

    def forward(self) -> Adapter | None:
        """The active adapter; None is the base."""
        return None


def build_context(config: CodecConfig) -> ContextModel:
    """The context model of a config."""
    models = {"none": NoContext, "checkerboard": CheckerboardContext, "econtext": EContext}
    return models[config.context](config)


class CodecModel(nn.Module):
    """A base codec.

    Args:
        config: the architecture.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a = Analysis(config)
        self.g_s = Synthesis(config)
        self.hyperprior = Hyperprior(config)
        self.context = build_context(config)
        self.centroids = Centroids() if config.reconstruction == "centroid" else None
        self.adapter_slot = AdapterSlot()
        self._integer_layers: list[tuple[Tensor, Tensor]] | None = None

    # -- training ------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        *,
        round_z: bool = False,
        z_rate_weight: float = 1.0,
        rate_only: bool = False,
        synthesise: bool = True,
        hard: bool = False,
        adapter: Adapter | None = None,
    ) -> TrainingOutput:
        """One differentiable pass.

        The rate is computed with noise, the synthesis with rounding and a straight-through
        gradient. A symbol whose table index rounds to 0 is zero, and z has the range of its tables,
        as in coding.

        Args:
            x: RGB in [0, 1], (B, 3, H, W); H and W multiples of 64 px.
            round_z: whether scales and means come from rounded z; otherwise from noisy z, which
                keeps an untrained hyperprior from collapsing to zero.
            z_rate_weight: factor on the gradient of z's rate with respect to z, not to its prior;
                below 1 in early steps, before scales and means depend on z.
            rate_only: whether to leave out g_s and the gradient of g_a.
            synthesise: whether to run g_s, unless `rate_only` leaves it out.
            hard: whether latents are rounded as in coding; no gradient reaches g_a or h_a, and the
                distortion has a gradient for the means, not for the symbols.
            adapter: adapter of a rate; None is that of the slot, else the base.
        Source:
            Minnen and Singh 2020, arXiv:2007.08739, for mixing noise and rounding.
        """
        adapter = adapter or self.adapter_slot()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (rate_only or hard)):
            y = self.to_latents(x, adapter)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not hard):
            z = likelihood.bounded(self.hyperprior.h_a(y).float(), Z_MIN, Z_MAX)
        z_sent = torch.round(z) if hard else likelihood.add_noise(z)
        z_hat = likelihood.round_ste(z) if round_z and not hard else z_sent
        features = self.features(z_hat, adapter)
        steps = adapter.gain_steps() if adapter else y.new_zeros(())
        gain = likelihood.gain_of(steps)
        with torch.autocast(x.device.type, enabled=False):
            index = self.hyperprior.scale_path(z_hat) + steps
        known = self._known(features, y, gain, certain=index.detach() < 0.5, hard=hard)
        mu, shift = self.context.parallel(features, known)
        with torch.autocast(x.device.type, enabled=False):
            mu = mu.float()
            shift = 0.0 if shift is None else shift.float()
            index = index + shift
            residual = (y - mu) * gain
            rounded = likelihood.round_ste(residual)
            symbols = torch.where(index.detach() < 0.5, 0.0, rounded)
            y_hat = self.rebuild(symbols.detach() if hard else symbols, index) / gain + mu
            coded = rounded if hard else likelihood.add_noise(residual)
            y_bits = likelihood.gaussian_bits(coded, likelihood.index_to_scale(index)).sum()
            priced = z_rate_weight * z_sent + (1.0 - z_rate_weight) * z_sent.detach()
            probability = likelihood.lower_bound(
                self.hyperprior.prior(priced), likelihood.LIKELIHOOD_MIN
            )
            z_bits = -torch.log2(probability).sum()
            random_gain_bits = self._random_gain_bits(residual, z_hat, steps + shift)
        x_hat = None
        if synthesise and not rate_only:
            x_hat = self.to_picture(y_hat, adapter)
        return TrainingOutput(
            x_hat=x_hat,
            y_bits=y_bits,
            z_bits=z_bits,
            random_gain_bits=random_gain_bits,
            y_hat=y_hat,
        )

    def _known(
        self, features: Tensor, y: Tensor, gain: Tensor, *, certain: Tensor, hard: bool
    ) -> Tensor:
        """Latents as context of later groups, (B, M, h, w): noisy ones, or rounded ones.

        Of a symbol that is certainly zero a decoder has the mean alone. The latent in its place
        would be information that no stream carries, and transforms learn to use it.

        Args:
            features: mean features of the hyperprior.
            y: latents, (B, M, h, w).
            gain: steps in a unit of y.
            certain: whether a symbol is certainly zero, (B, M, h, w).
            hard: whether latents are rounded.
        """
        noisy = y if hard else likelihood.add_noise(y * gain) / gain
        with torch.no_grad():
            mu = self.context.parallel(features, noisy.masked_fill(certain, 0.0))[0].float()
        sent = torch.round((y.detach() - mu) * gain) / gain + mu if hard else noisy
        return torch.where(certain, mu, sent)

    def to_latents(self, x: Tensor, adapter: Adapter | None) -> Tensor:
        """g_a with an adapter: (B, 3, H, W) to (B, M, H/16, W/16), float32."""
        adapter = adapter or self.adapter_slot()
        if adapter is None:
            return self.g_a(x).float()
        return self.g_a(x, adapter.encoder_prompts(x), adapter.encoder_updates()).float()

    def to_picture(self, y_hat: Tensor, adapter: Adapter | None) -> Tensor:
        """g_s with an adapter: (B, M, h, w) to (B, 3, 16 h, 16 w)."""
        adapter = adapter or self.adapter_slot()
        if adapter is None:
            return self.g_s(y_hat)
        return self.g_s(y_hat, adapter.decoder_prompts(y_hat), adapter.decoder_updates())

    def features(self, z_hat: Tensor, adapter: Adapter | None) -> Tensor:
        """Features of the means, (B, N, H/16, W/16), from z_hat (B, Cz, H/64, W/64)."""
        features = self.hyperprior.h_means(z_hat)
        adapter = adapter or self.adapter_slot()
        return adapter.modulate_means(features) if adapter else features

    def rebuild(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Residuals in quantisation steps from symbols and their table indexes, any shape."""
        return symbols if self.centroids is None else self.centroids(symbols, index)

    def _random_gain_bits(self, residual: Tensor, z_hat: Tensor, shift: Tensor) -> Tensor:
        """Bits of y with another random gain for each picture of the batch.

        At the base's own rate all indexes below 0 use table 0, so that their order gets no
        gradient. Finer rates add an offset to the indexes and need that order. The gradient
        reaches only the scale path.

        Args:
            residual: residuals in quantisation steps, (B, M, h, w).
            z_hat: rounded z, (B, Cz, h/4, w/4).
            shift: addend of the table indexes of the scale path.
        """
        index = self.hyperprior.scale_path(z_hat.detach()) + shift.detach()
        steps = torch.empty(len(index), 1, 1, 1, device=index.device).uniform_(-6.0, 14.0)
        scaled = likelihood.add_noise(residual.detach() * likelihood.gain_of(steps))
        return likelihood.gaussian_bits(scaled, likelihood.index_to_scale(index + steps)).sum()

    # -- coding --------------------------------------------------------------------------------

    @torch.inference_mode()
    def analyse(
        self, x: Tensor, *, gains: Gains, adapter: Adapter | None = None
    ) -> Latents[Tensor]:
        """Quantise padded pictures.

        Args:
            x: RGB in [0, 1], (B, 3, H, W); H and W multiples of 64 px.
            gains: per-channel gains of the rate.
            adapter: adapter of the rate; None is that of the slot, else the base.
        Raises:
            ShapeError: H or W is not a multiple of 64.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % TILE_STRIDE or x.shape[3] % TILE_STRIDE:
            raise ShapeError(
                f"x is {tuple(x.shape)}; need (B, 3, H, W), multiples of 64: pad first"
            )
        y, z = self.transform(x, adapter=adapter)
        return self.quantise(y, z, gains=gains, adapter=adapter)

    @torch.inference_mode()
    def transform(self, x: Tensor, *, adapter: Adapter | None = None) -> tuple[Tensor, Tensor]:
        """Latents before they are rounded: y (B, M, H/16, W/16), z (B, Cz, H/64, W/64), float32."""
        y = self.to_latents(x, adapter)
        with torch.autocast(x.device.type, enabled=False):
            return y, self.hyperprior.h_a(y)

    @torch.inference_mode()
    def quantise(
        self, y: Tensor, z: Tensor, *, gains: Gains, adapter: Adapter | None = None
    ) -> Latents[Tensor]:
        """Quantise latents to the symbols of a stream.

        Args:
            y: latents before rounding, (B, M, h, w), float32.
            z: side information before rounding, (B, Cz, h/4, w/4), float32.
            gains: per-channel gains of the rate.
            adapter: adapter of the rate; None is that of the slot, else the base.
        """
        with torch.autocast(y.device.type, enabled=False):
            z_hat = torch.round(z).clamp_(Z_MIN, Z_MAX)
            features = self.features(z_hat, adapter)
            return self._quantise(y, z_hat, features, gains=gains)

    def _quantise(
        self, y: Tensor, z_hat: Tensor, features: Tensor, *, gains: Gains
    ) -> Latents[Tensor]:
        grouping = self.context.grouping
        targets = grouping.split(y)
        raw = grouping.split(self._raw_indexes(z_hat, gains=gains))
        gain = multipliers(gains, y.device)
        indexes: list[Tensor] = []
        symbols: list[Tensor] = []

        def reconstruct(group: int, mu: Tensor, shift: Tensor | None) -> Tensor:
            index = raw[group] if shift is None else raw[group] + torch.round(shift)
            index = index.clamp(0, NUM_SCALES - 1).to(torch.uint8)
            own = gain[:, grouping.segment(group)]
            residual = torch.round((targets[group] - mu) * own)
            residual = residual.clamp_(-golomb.LIMIT, golomb.LIMIT).mul_(index > 0)
            indexes.append(index)
            symbols.append(residual)
            return self.rebuild(residual, index) / own + mu

        y_hat = self.context(features, reconstruct)
        return Latents(
            z_hat=z_hat.to(torch.int16),
            indexes=grouping.join(indexes),
            symbols=grouping.join(symbols).to(torch.int32),
            y_hat=y_hat,
        )

    @torch.inference_mode()
    def indexes(self, z_hat: Tensor, *, gains: Gains) -> Tensor:
        """Table index of every symbol, exact on every machine, uint8 (B, M, 4 h, 4 w)."""
        return self._raw_indexes(z_hat, gains=gains).clamp_(0, NUM_SCALES - 1).to(torch.uint8)

    def _raw_indexes(self, z_hat: Tensor, *, gains: Gains) -> Tensor:
        """Indexes before they are clamped to the tables, int32."""
        if self._integer_layers is None:
            raise RuntimeError("the scale path is not frozen; call freeze_scale_path first")
        layers = [(w.to(z_hat.device), b.to(z_hat.device)) for w, b in self._integer_layers]
        return integer_indexes(z_hat, layers) + offsets(gains, z_hat.device)

    @torch.inference_mode()
    def reconstruct_latents(
        self,
        z_hat: Tensor,
        symbols: Tensor,
        *,
        indexes: Tensor,
        gains: Gains,
        adapter: Adapter | None = None,
    ) -> Tensor:
        """y_hat from decoded symbols and their table indexes, (B, M, h, w) float32."""
        with torch.autocast(z_hat.device.type, enabled=False):
            features = self.features(z_hat.float(), adapter)
            residual = self.rebuild(symbols.float(), indexes) / multipliers(gains, z_hat.device)
            residuals = self.context.grouping.split(residual)
            return self.context(features, lambda group, mu, _: residuals[group] + mu)

    @torch.inference_mode()
    def synthesise(self, y_hat: Tensor, *, adapter: Adapter | None = None) -> Tensor:
        """Pictures from latents: (B, 3, 16 h, 16 w), float32, not clamped."""
        return self.to_picture(y_hat, adapter).float()

    def freeze_scale_path(self, layers: list[tuple[Tensor, Tensor]] | None = None) -> None:
        """Fix the integer scale path: from a checkpoint's integers, or from the float weights.

        Constants of the context model are computed anew as well.
        """
        self.context.freeze()
        layers = self.hyperprior.scale_path.quantised() if layers is None else layers
        self._integer_layers = [(w.to(torch.float64), b.to(torch.float64)) for w, b in layers]
