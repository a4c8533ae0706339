"""Training codec and classifier together, or some of their parts.

    loss = rate + beta * lambda * 255^2 * mse + alpha * cross-entropy

`parts` selects what is trained. Codec and head: joint training, the second stage of Bai et al.
2022, arXiv:2112.09300; the first is the trained base and head that a run starts from, or
`plain_steps` without quantisation. Head alone: its control (Torfason et al. 2018,
arXiv:1803.06131). g_s alone: a decoder for a given encoder (Chamain et al. 2022). Task prompts:
the base stays frozen. Steps take all rates in turn, so one run trains them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.distortion import psnr_of
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.errors import ConfigError
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.training.config import DataConfig
from promptcodec.training.data.augmented import fit
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.distillation import FeatureProjection, read_teacher, stage_at_16
from promptcodec.training.entropy_tables import TABLE_PICTURES
from promptcodec.training.joint.codec_and_head import CodecAndHeadTask
from promptcodec.training.joint.config import JointTrainingConfig
from promptcodec.training.joint.data import JointBatch, JointStore
from promptcodec.training.joint.model import JointModel
from promptcodec.training.losses import RateDistortion, rate_distortion, rounded
from promptcodec.training.optim import device_of

HINT_PICTURES = 200  # for the initial least squares of a hint
# Parts of 1 to 2.5 times the crop's edge: most of a small photograph.
UNLABELLED = DataConfig(
    reduce_probability=1.0, reduce_min=0.4, reduce_max=1.0, validation_pictures=1
)


@dataclass(frozen=True)
class JointLoss:
    """Loss of a step and its parts; scalars.

    Args:
        loss: total loss, to be differentiated.
        codec: rate and distortion.
        cross_entropy: cross-entropy in nats.
        hint: weighted loss on a teacher's features; 0 without a teacher.
        accuracy: share of the labelled pictures whose largest logit is the label.
    """

    loss: Tensor
    codec: RateDistortion
    cross_entropy: Tensor
    hint: Tensor
    accuracy: Tensor

    def figures(self) -> dict[str, float]:
        """All parts."""
        return {
            **self.codec.figures(),
            **rounded(
                loss=self.loss,
                cross_entropy=self.cross_entropy,
                hint=self.hint,
                accuracy=self.accuracy,
            ),
        }


class JointTask(CodecAndHeadTask):
    """Joint training, or training of some parts.

    Args:
        config: recipe.
        unlabelled: folder or zip file of pictures without labels, whose targets are the teacher's
            probabilities; None has none.
    Raises:
        CheckpointError: base, adapter or head is missing.
        ConfigError: a rate has no adapter, or pictures without labels have no teacher.
    """

    def __init__(self, config: JointTrainingConfig, *, unlabelled: Path | None = None) -> None:
        super().__init__(config)
        self.config, self.unlabelled = config, unlabelled
        if unlabelled is not None and config.teacher is None and config.alpha:
            raise ConfigError("pictures without labels need a teacher: name one in the recipe")
        others = round(config.unlabelled_share * config.batch)
        if unlabelled is not None and not 0 < others < config.batch:
            raise ConfigError(
                f"unlabelled_share {config.unlabelled_share:g} of a batch of {config.batch} leaves "
                "no picture with a label or none without: need one of each"
            )
        if unlabelled is not None and config.views.size % 64:
            raise ConfigError(
                f"views.size is {config.views.size}; with --unlabelled it needs a multiple of 64"
            )
        self.teacher = None
        if config.teacher is not None:
            self.teacher = read_teacher(config.teacher, classes=self.head.config.labels)

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> JointStore:
        """Read the pictures."""
        training, held = read_labelled(data, split="train").held_out(one_in=self.config.one_in)
        if validation is not None:
            held = read_labelled(validation, split="val")
        if training.classes != self.head.config.labels:
            raise ConfigError(
                f"{data} has classes {', '.join(training.classes[:4])} ..., and the head has "
                f"{', '.join(self.head.config.labels[:4])} ...: train a head for these pictures"
            )
        config, unlabelled = self.config, None
        if self.unlabelled is not None:
            own = replace(UNLABELLED, crop=config.views.size)
            unlabelled = open_pictures(self.unlabelled, own)
        names = [Path(data).name, *([] if unlabelled is None else [unlabelled.name])]
        return JointStore(
            " and ".join(names),
            training,
            held,
            rates=config.rates,
            config=config.views,
            unlabelled=unlabelled,
            share=config.unlabelled_share,
        )

    def build(self, store: JointStore) -> JointModel:
        """Copies of base and head; parts that are not trained are frozen."""
        if self.teacher is None:
            return self.joined()
        head, teacher = self.head.model, self.teacher.model
        assert isinstance(head, LatentClassifier)
        hint = FeatureProjection(*(m.config.widths[stage_at_16(m)] for m in (head, teacher)))
        return self.joined(hint=hint, teacher=teacher)

    @torch.no_grad()
    def initialise(self, model: JointModel, store: JointStore) -> None:
        """Fit a hint by least squares; the other weights are trained already."""
        if not isinstance(model.hint, FeatureProjection) or self.teacher is None:
            return
        pictures, rate = torch.stack(store.sample(HINT_PICTURES)), self.config.rates[-1]
        features = self.teacher.predict(pictures).features.float()
        model.eval()  # keeps the statistics
        output = [model(x.float() / 255.0, rate=rate) for x in pictures.split(self.config.batch)]
        model.train()
        middle = torch.cat([part.features for part in output])
        rows, columns = features.shape[2:]
        model.hint.fit(middle[:, :, :rows, :columns], features)

    def loss(
        self, model: nn.Module, batch: JointBatch, *, step: int, share: float = 0.0
    ) -> JointLoss:
        """Rate, distortion and task of a batch."""
        config = self.config
        targets, features, hints = self._smoothed(batch), None, 0.0
        if self.teacher is not None:
            teaching = self.teacher.predict(torch.round(255.0 * batch.x).to(torch.uint8))
            # The target of a picture without a label is the teacher's alone.
            weight = torch.where(batch.labelled, self.teacher.config.share, 1.0)[:, None]
            targets = (1.0 - weight) * targets + weight * teaching.shares
            features, hints = teaching.features, self.teacher.config.hints
        plain = step < config.plain_steps
        output = model(batch.x, rate=batch.rate, plain=plain, features=features)
        codec = rate_distortion(output.codec, batch.x, lmbda=self.weights[batch.rate])
        apart = hints * output.apart
        entropy = F.cross_entropy(output.logits.float(), targets)
        labelled = batch.labelled.float()  # a choice by them would wait for a GPU
        right = output.logits.argmax(dim=1) == batch.targets.argmax(dim=1)
        return JointLoss(
            loss=codec.loss + config.alpha * (entropy + apart),
            codec=codec,
            cross_entropy=entropy,
            hint=apart,
            accuracy=(right * labelled).sum() / labelled.sum().clamp_min(1.0),
        )

    def _smoothed(self, batch: JointBatch) -> Tensor:
        """Smoothed labels, (B, classes)."""
        smoothing, classes = self.config.smoothing, batch.targets.shape[1]
        return (1.0 - smoothing) * batch.targets + smoothing / classes

    @torch.inference_mode()
    def validate(self, model: JointModel, store: JointStore, *, samples: Path) -> dict[str, float]:
        """Rate, PSNR and accuracy on held-out pictures at every rate, rounded as in files."""
        tables = self.tables(model)
        figures, losses = {}, []
        for rate in self.config.rates:
            own = tables[rate]
            bpp, psnr, mse, nats, accuracy = self._measure(model, store, rate=rate, tables=own)
            figures |= {f"bpp_{rate}": bpp, f"psnr_{rate}": psnr, f"accuracy_{rate}": accuracy}
            distortion = self.weights[rate] * 255.0**2 * mse
            losses.append(bpp + distortion + self.config.alpha * nats)
        mean = sum(figures[f"accuracy_{rate}"] for rate in self.config.rates)
        loss = sum(losses) / len(losses)
        return {"loss": loss, "accuracy": mean / len(self.config.rates), **figures}

    def _measure(
        self, model: JointModel, store: JointStore, *, rate: int, tables: EntropyTables
    ) -> tuple[float, ...]:
        """bpp, PSNR, mean squared error, cross-entropy and accuracy of a rate."""
        bits = pixels = 0.0
        errors, logits = [], []
        size, device = store.config.size, device_of(model)
        for picture in store.held.pictures:
            x = fit(picture, size)[None].to(device).float() / 255.0
            y_hat, x_hat, own = self.sent(model, x, rate=rate, tables=tables)
            bits, pixels = bits + own, pixels + size * size
            errors.append(float((x_hat - x).square().mean()))
            logits.append(model.judge(y_hat, rate=rate)[1])
        scores = torch.cat(logits).cpu()
        right = (scores.argmax(dim=1) == store.held.labels).float().mean()
        nats = F.cross_entropy(scores.float(), store.held.labels)
        samples = 3 * size * size
        psnr = np.mean([psnr_of(255.0**2 * samples * error, samples) for error in errors])
        return bits / pixels, float(psnr), float(np.mean(errors)), float(nats), float(right)

    def write(self, model: JointModel, folder: Path, *, store: JointStore) -> dict[str, Any]:
        """Write the trained parts."""
        facts = self.write_parts(model, folder, pictures=store.sample(TABLE_PICTURES))
        return {**facts, "classes": store.classes}
