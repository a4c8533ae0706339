"""Joint training on pictures without labels: a trained network judges the original.

    picture -> encoder -> latents -> stem -> stages of the network -> logits
           '-> the whole network ----------------^--------------------^

    loss = rate + beta * lambda * 255^2 * mse + alpha * (hints * features + cross-entropy)

With beta 0 the codec is trained for what the head needs alone; a decoder for people can be trained
afterwards, as parts [decoder] with alpha 0. Source: Chamain et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptcodec.coding.distortion import psnr_of
from promptcodec.errors import ConfigError
from promptcodec.models.heads.trunk_heads import TrunkClassifier
from promptcodec.training.data.batch import INITIAL_STEP
from promptcodec.training.data.opening import CropStore, open_pictures
from promptcodec.training.entropy_tables import TABLE_PICTURES
from promptcodec.training.joint.codec_and_head import CodecAndHeadTask
from promptcodec.training.joint.config import TaughtJointConfig
from promptcodec.training.joint.model import JointModel
from promptcodec.training.losses import RateDistortion, rate_distortion, rounded
from promptcodec.training.optim import device_of
from promptcodec.training.transfer import (
    TaughtHead,
    TransferLoss,
    compare,
    read_network,
    spread_of,
)

SCALE = 32  # crops that the scale of features is taken from


@dataclass(frozen=True)
class TaughtJointLoss:
    """Loss of a step and its parts.

    Args:
        loss: total loss, to be differentiated, scalar.
        codec: rate and distortion.
        task: difference from the network's outputs.
    """

    loss: Tensor
    codec: RateDistortion
    task: TransferLoss

    def figures(self) -> dict[str, float]:
        """All parts."""
        return self.codec.figures() | self.task.figures() | rounded(loss=self.loss)


class TaughtJointTask(CodecAndHeadTask):
    """Joint training with a trained network as teacher.

    Args:
        config: recipe.
        cache: file for decoded pictures; None keeps them in memory.
    Raises:
        CheckpointError: base, adapter, head or network is missing.
        ConfigError: a rate has no adapter, or the head has no stages of such a network.
    """

    def __init__(self, config: TaughtJointConfig, *, cache: Path | None = None) -> None:
        super().__init__(config)
        self.cache = cache
        self.network = read_network(Path(config.network))
        classes = self.network.config.labels
        if not isinstance(self.head.model, TrunkClassifier) or self.head.config.labels != classes:
            raise ConfigError(
                f"the head has no stages of a network with {len(classes)} classes as "
                f"{config.network}: name one that a transfer from it has trained"
            )
        if config.compared < self.head.model.begins:
            raise ConfigError(
                f"compared is {config.compared}; the head's stages begin at "
                f"1/{self.head.model.begins}"
            )
        self.spread = torch.ones(1)

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> CropStore:
        """Read the pictures."""
        store = open_pictures(
            data, self.config.data, device=device, validation=validation, cache=self.cache
        )
        crops = store.batch(SCALE, seed=self.config.seed, step=INITIAL_STEP)
        self.network.model.to(crops.device)
        features, _ = self._teach(crops)
        self.spread = spread_of([features])
        return store

    @torch.no_grad()
    def _teach(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of the network for originals (B, 3, H, W)."""
        network = self.network.model
        assert isinstance(network, TrunkClassifier)
        return TaughtHead(network, self.config.compared)(x, x.new_ones(len(x)))

    def build(self, store: CropStore) -> JointModel:
        """Copies of base and head; parts that are not trained are frozen."""
        return self.joined(compared=self.config.compared)

    def loss(
        self, model: nn.Module, batch: Tensor, *, step: int, share: float = 0.0
    ) -> TaughtJointLoss:
        """Rate, distortion and task of a batch; rates are taken in turn."""
        config = self.config
        rate = config.rates[step % len(config.rates)]
        wanted = self._teach(batch)
        output = model(batch, rate=rate, plain=step < config.plain_steps)
        codec = rate_distortion(output.codec, batch, lmbda=self.weights[rate])
        task = self._compare((output.features, output.logits), wanted)
        return TaughtJointLoss(codec.loss + config.alpha * task.loss, codec=codec, task=task)

    def _compare(self, found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> TransferLoss:
        rows, columns = wanted[0].shape[2:]  # the codec pads, the network does not
        found = found[0][:, :, :rows, :columns], found[1]
        return compare(found, wanted, spread=self.spread, hints=self.config.hints)

    @torch.inference_mode()
    def validate(self, model: JointModel, store: CropStore, *, samples: Path) -> dict[str, float]:
        """Rate, PSNR and agreement on held-out pictures at every rate, rounded as in files."""
        tables, device = self.tables(model), device_of(model)
        rows: dict[int, list[list[float]]] = {rate: [] for rate in tables}
        for picture in store.validation:
            x = picture[None].to(device).float() / 255.0
            wanted = self._teach(x)
            for rate, own in tables.items():
                y_hat, x_hat, bits = self.sent(model, x, rate=rate, tables=own)
                task = self._compare(model.judge(y_hat, rate=rate), wanted)
                mse = float((x_hat - x).square().mean())
                psnr = psnr_of(255.0**2 * mse * x.numel(), x.numel())
                parts = float(task.loss), float(task.agreement)
                rows[rate].append([bits / x[0, 0].numel(), psnr, mse, *parts])
        figures: dict[str, float] = {}
        losses, agreements = [], []
        for rate, own in rows.items():
            bpp, psnr, mse, task, agreement = torch.tensor(own).mean(dim=0).tolist()
            figures |= {f"bpp_{rate}": bpp, f"psnr_{rate}": psnr, f"agreement_{rate}": agreement}
            losses.append(bpp + self.weights[rate] * 255.0**2 * mse + self.config.alpha * task)
            agreements.append(agreement)
        means = {"loss": sum(losses), "agreement": sum(agreements)}
        return {name: total / len(rows) for name, total in means.items()} | figures

    def write(self, model: JointModel, folder: Path, *, store: CropStore) -> dict[str, Any]:
        """Write the trained parts."""
        return self.write_parts(model, folder, pictures=list(store.sample(TABLE_PICTURES)))
