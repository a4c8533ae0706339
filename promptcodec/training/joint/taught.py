"""Joint training on pictures without labels: a trained network judges the original.

    picture -> encoder -> latents -> stem -> stages of the network -> logits
           '-> the whole network ----------------^--------------------^

    loss = rate + beta * lambda * 255^2 * mse + alpha * (hints * features + cross-entropy)

With beta 0 the codec is trained for what the head needs alone; a decoder for people can be trained
afterwards, as parts [decoder] with alpha 0. Source: Chamain et al. 2022, arXiv:2007.08041.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
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
from promptcodec.training.transfer import TaughtHead, read_network

SCALE = 32  # crops that the scale of features is taken from


@dataclass(frozen=True)
class TaughtJointLoss:
    """Loss of a step and its parts; scalars.

    Args:
        loss: total loss, to be differentiated.
        codec: rate and distortion.
        features: mean squared error of the features, standardised.
        divergence: Kullback-Leibler divergence from the network's probabilities, nats.
        agreement: share of the pictures whose most probable class is the network's.
    """

    loss: Tensor
    codec: RateDistortion
    features: Tensor
    divergence: Tensor
    agreement: Tensor

    def figures(self) -> dict[str, float]:
        """All parts."""
        parts = rounded(
            loss=self.loss,
            features=self.features,
            divergence=self.divergence,
            agreement=self.agreement,
        )
        return {**self.codec.figures(), **parts}


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
        self.spread = features.std(dim=(0, 2, 3)).clamp_min(1e-3)[:, None, None]
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
        features, divergence, agreement = self._apart((output.features, output.logits), wanted)
        task = config.hints * features + divergence
        return TaughtJointLoss(
            loss=codec.loss + config.alpha * task,
            codec=codec,
            features=features,
            divergence=divergence,
            agreement=agreement,
        )

    def _apart(
        self, found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Error of features, divergence of probabilities and agreement of classes."""
        spread = self.spread.to(wanted[0].device)
        error = ((found[0].float() - wanted[0].float()) / spread).square().mean()
        likely, known = (logits.float().log_softmax(dim=1) for logits in (found[1], wanted[1]))
        divergence = F.kl_div(likely, known, log_target=True, reduction="batchmean")
        return error, divergence, (likely.argmax(1) == known.argmax(1)).float().mean()

    @torch.inference_mode()
    def validate(self, model: JointModel, store: CropStore, *, samples: Path) -> dict[str, float]:
        """Rate, PSNR and agreement on held-out pictures at every rate, rounded as in files."""
        figures: dict[str, float] = {}
        losses, agreements = [], []
        for rate, tables in self.tables(model).items():
            rows = []
            for picture in store.validation:
                x = picture[None].to(device_of(model)).float() / 255.0
                y_hat, x_hat, bits = self.sent(model, x, rate=rate, tables=tables)
                features, logits = model.judge(y_hat, rate=rate)
                wanted = self._teach(x)
                rows_, columns = wanted[0].shape[2:]
                features = features[:, :, :rows_, :columns]
                parts = self._apart((features, logits), wanted)
                mse = float((x_hat - x).square().mean())
                psnr = psnr_of(255.0**2 * mse * x.numel(), x.numel())
                rows.append([bits / (x[0, 0].numel()), psnr, mse, *map(float, parts)])
            bpp, psnr, mse, error, divergence, agreement = torch.tensor(rows).mean(dim=0).tolist()
            figures |= {f"bpp_{rate}": bpp, f"psnr_{rate}": psnr, f"agreement_{rate}": agreement}
            task = self.config.hints * error + divergence
            losses.append(bpp + self.weights[rate] * 255.0**2 * mse + self.config.alpha * task)
            agreements.append(agreement)
        means = (sum(each) / len(each) for each in (losses, agreements))
        return dict(zip(("loss", "agreement"), means, strict=True)) | figures

    def write(self, model: JointModel, folder: Path, *, store: CropStore) -> dict[str, Any]:
        """Write the trained parts."""
        return self.write_parts(model, folder, pictures=list(store.sample(TABLE_PICTURES)))
