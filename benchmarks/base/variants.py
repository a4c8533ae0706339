"""Variants of a base that `search` trains: their settings and their optimizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import yaml
from torch import Tensor

from promptcodec.config import CodecConfig, from_dict
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.config import DataConfig, OptimizerConfig, Pack
from promptcodec.training.optim import build_optimizer

VARIANTS = Path(__file__).with_name("search.yaml")
HELD_OUT = 12  # pictures of each pack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """Settings of a run.

    Args:
        codec: the architecture.
        optimizer: "muon", "soap" or "adamw".
        band: rows orthogonalised together between whole turns of Muon.
        period: steps between whole turns.
        entropy_factor: learning rate of the entropy model over that of the transforms.
        batch: crops of a step.
        crop: px.
        better: share of crops from train_hq; the default is its share of the pixels.
        warmup: steps.
        decay: share of the time, at the end.
        clip: of the gradient's norm.
        momentum: of Muon.
        beta1: of first moments.
        beta2: of second moments.
        random_gain_weight: weight of the rate at a random gain.
        z_noise: share of the time with noisy z.
        z_free: share of the time until the rate of z has its full weight.
        rate_index: rung of the ladder; sets lambda.
    """

    codec: CodecConfig
    optimizer: str = "muon"
    band: int = 0
    period: int = 5
    entropy_factor: float = 1.0
    batch: int = 3
    crop: int = 192
    better: float = 0.435
    warmup: int = 30
    decay: float = 0.5
    clip: float = 1.0
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.98
    random_gain_weight: float = 0.1
    z_noise: float = 0.8
    z_free: float = 0.2
    rate_index: int = 4

    @property
    def data(self) -> DataConfig:
        """How crops are drawn. No picture is smaller than a crop, so all hold out the same ones."""
        packs = (
            Pack(name="train_photos", share=1.0 - self.better),
            Pack(name="train_hq", share=self.better),
        )
        return DataConfig(
            crop=self.crop,
            packs=packs,
            validation_pictures=HELD_OUT * len(packs),
            validation_exclude=("syn_*",),
        )


def read_variant(name: str) -> Variant:
    """A variant of search.yaml, merged with those that it extends."""
    known = yaml.safe_load(VARIANTS.read_text())

    def values(key: str) -> dict:
        own = dict(known[key])
        parent = own.pop("extends", None)
        if parent is None:
            return own
        above = values(parent)
        return {**above, **own, "codec": {**above.get("codec", {}), **own.get("codec", {})}}

    return from_dict(Variant, values(name), where=name)


def build_optimiser(model: CodecModel, variant: Variant, rate: float) -> torch.optim.Optimizer:
    """Matrices by the variant's method, tables and vectors by AdamW."""
    if variant.optimizer != "soap":
        config = OptimizerConfig(
            name=variant.optimizer,
            learning_rate=rate,
            entropy_factor=variant.entropy_factor,
            momentum=variant.momentum,
            band=variant.band,
            period=variant.period,
            beta1=variant.beta1,
            beta2=variant.beta2,
        )
        return build_optimizer(model, config)
    # From pytorch-optimizer, which is no dependency.
    from pytorch_optimizer import SOAP  # type: ignore[import-not-found]

    groups: dict[float, list[Tensor]] = {}
    for name, p in model.named_parameters():
        entropy = name.startswith(("hyperprior.", "context.", "centroids."))
        groups.setdefault(variant.entropy_factor if entropy else 1.0, []).append(p)
    return SOAP(
        [{"params": ps, "factor": factor} for factor, ps in groups.items()],
        lr=rate,
        betas=(variant.beta1, variant.beta2),
        weight_decay=0.0,
        precondition_frequency=10,
        max_precondition_dim=400,
    )
