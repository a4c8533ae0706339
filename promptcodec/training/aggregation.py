"""Training of a decoder with features of a head: aggregation and g_s for a frozen encoder.

The bits are unchanged, so variants are compared by PSNR alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from promptcodec.coding.distortion import psnr_of
from promptcodec.coding.head_config import CLASSIFY
from promptcodec.coding.trunk import COARSE
from promptcodec.config import TILE_STRIDE, Count, RatePlace
from promptcodec.errors import ConfigError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.tensors import read_arrays
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.aggregation import Aggregation, features_at_16
from promptcodec.models.heads.network import Classifier
from promptcodec.models.tensors import crop, pad
from promptcodec.models.transforms import Synthesis
from promptcodec.models.weights import as_half, load_weights
from promptcodec.training.config import DataConfig, LoopConfig, OptimizerConfig
from promptcodec.training.data.opening import CropStore
from promptcodec.training.frozen import WithFrozen
from promptcodec.training.losses import psnr
from promptcodec.training.optim import device_of
from promptcodec.training.record import read_record
from promptcodec.training.task import PictureTask

WEIGHTS_FILE = "aggregation.safetensors"


@dataclass(frozen=True, kw_only=True)
class AggregationTrainingConfig(LoopConfig):
    """Recipe of a decoder with aggregation.

    Args:
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        head: classifier whose features are used; None is the bundled one.
        features: whether to use them; False is the control with as many parameters.
        rates: rate indexes of the steps, in turn.
        data: drawing of crops.
    """

    base: str | None = None
    head: str | None = None
    features: bool = True
    rates: tuple[RatePlace, ...] = (0.0, 2.0, 4.0, 6.0)
    data: DataConfig = field(default_factory=lambda: DataConfig(crop=256))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=5e-4, warmup_steps=50, decay_fraction=0.75, ema_decay=0.99
        )
    )
    steps: Count = 1500
    batch: Count = 4
    validate_every: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rates:
            raise ConfigError("rates are empty; need one or more")


@dataclass(frozen=True)
class ReconstructionLoss:
    """Loss of a step; scalars.

    Args:
        loss: lambda * 255^2 * mse.
        mse: mean squared error of x in [0, 1].
    """

    loss: Tensor
    mse: Tensor

    def figures(self) -> dict[str, float]:
        """Loss and PSNR."""
        return {"loss": round(float(self.loss.detach()), 5), "psnr": round(psnr(self.mse), 3)}


class AggregatingDecoder(WithFrozen):
    """Aggregation and g_s, with frozen codec and head.

    Args:
        codec: codec of the latents; its g_s is copied.
        features: whether to use the head's features at 1/16.
    """

    codec: TorchCodec
    reader: Classifier

    def __init__(self, codec: TorchCodec, *, features: bool) -> None:
        reader = codec.head(CLASSIFY).model
        networks = [codec.at(rate.index).network for rate in codec.rates]
        super().__init__([codec.model, reader, *filter(None, networks)])
        assert isinstance(reader, Classifier)
        object.__setattr__(self, "codec", codec)  # past the registry of modules
        object.__setattr__(self, "reader", reader)
        latents = codec.config.codec.latent_channels
        self.aggregation = Aggregation(latents, reader.trunk.channels[COARSE], features=features)
        self.g_s: Synthesis = copy.deepcopy(codec.model.g_s).requires_grad_(True)

    @torch.no_grad()
    def latents(self, x: Tensor, *, rate: float) -> tuple[Tensor, Tensor | None]:
        """y_hat of padded pictures at a rate, and features of the head."""
        point = self.codec.at(rate)
        found = self.codec.model.analyse(x, gains=point.gains, adapter=point.network)
        y_hat = found.y_hat.clone()
        return y_hat, self.read(y_hat, rate=rate)

    @torch.no_grad()
    def read(self, y_hat: Tensor, *, rate: float) -> Tensor | None:
        """Features of the head at 1/16, (B, D, h, w); None for the control."""
        if not self.aggregation.features:
            return None
        lmbda = y_hat.new_full((len(y_hat),), self.codec.at(rate).lmbda)
        return features_at_16(self.reader, y_hat, lmbda)

    def forward(self, y_hat: Tensor, read: Tensor | None, *, rate: float) -> Tensor:
        """Pictures of latents, (B, 3, 16 h, 16 w)."""
        adapter = self.codec.at(rate).network
        mixed = self.aggregation(y_hat, read)
        if adapter is None:
            return self.g_s(mixed)
        # Prompts are computed from the transmitted y_hat.
        return self.g_s(mixed, adapter.decoder_prompts(y_hat), adapter.decoder_updates())


class AggregationTask(PictureTask):
    """Training of a decoder with aggregation.

    Args:
        config: recipe.
    """

    result = "aggregation"

    def __init__(self, config: AggregationTrainingConfig) -> None:
        super().__init__(config)
        self.codec = TorchCodec.load(config.base, heads=config.head)

    def build(self, store: CropStore) -> AggregatingDecoder:
        """g_s of the base after an aggregation that is the identity."""
        return AggregatingDecoder(self.codec, features=self.config.features)

    def loss(
        self, model: nn.Module, batch: Tensor, *, step: int, share: float = 0.0
    ) -> ReconstructionLoss:
        """Distortion at one of the rates, in turn."""
        rate = self.config.rates[step % len(self.config.rates)]
        unwrapped: Any = getattr(model, "module", model)
        y_hat, read = unwrapped.latents(batch, rate=rate)
        mse = (model(y_hat, read, rate=rate).float() - batch).square().mean()
        return ReconstructionLoss(loss=self.codec.at(rate).lmbda * 255.0**2 * mse, mse=mse)

    @torch.inference_mode()
    def validate(
        self, model: AggregatingDecoder, store: CropStore, *, samples: Path
    ) -> dict[str, float]:
        """Distortion on held-out pictures at every rate."""
        figures, losses = {}, []
        for rate in self.config.rates:
            found = np.array([measure(model, each, rate=rate) for each in store.validation])
            figures[f"psnr_{rate:g}"] = float(found.mean())
            losses.append(self.codec.at(rate).lmbda * 255.0**2 * np.mean(10.0 ** (-found / 10.0)))
        return {"loss": float(np.mean(losses)), **figures}

    def write(self, model: AggregatingDecoder, folder: Path, *, store: CropStore) -> dict[str, Any]:
        """Write aggregation and g_s, weights in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = as_half(model.state_dict())
        write_atomically(folder / WEIGHTS_FILE, save(arrays), force=True)
        return {"base_sha256": self.codec.base_hash.hex()}


@torch.inference_mode()
def measure(model: AggregatingDecoder, picture: Tensor, *, rate: float) -> float:
    """PSNR, dB, of a uint8 picture (3, H, W) at a rate."""
    height, width = picture.shape[1:]
    picture = picture.to(device_of(model))
    x = pad(picture[None].float() / 255.0, TILE_STRIDE)
    y_hat, read = model.latents(x, rate=rate)
    x_hat = crop(model(y_hat, read, rate=rate), height, width).clamp(0, 1)
    error = float((torch.round(255.0 * x_hat) - picture.float()).square().sum())
    return psnr_of(error, picture.numel())


def read_aggregation(folder: Path, codec: TorchCodec) -> AggregatingDecoder:
    """A trained decoder with aggregation, for the codec it was trained with.

    Raises:
        CheckpointError: files are missing or damaged.
        ConfigError: the decoder was trained with another base.
    """
    record = read_record(folder)
    if record["base_sha256"] != codec.base_hash.hex():
        raise ConfigError(f"{folder} belongs to base {record['base_sha256'][:16]}: load that one")
    model = AggregatingDecoder(codec, features=record["recipe"]["features"])
    load_weights(model, read_arrays(folder / WEIGHTS_FILE), where=str(folder))
    return model.requires_grad_(False).eval()
