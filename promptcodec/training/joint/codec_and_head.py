"""Codec and head that are trained together, or some of their parts: what all such runs have."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.entropy.rans import EntropyTables, estimate_bits
from promptcodec.errors import ConfigError
from promptcodec.io.checkpoints import find_base, find_heads, find_prompts
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.adapters.task_checkpoint import TaskConfig, write_task
from promptcodec.models.adapters.task_prompts import TaskPrompts
from promptcodec.models.checkpoint import Base, density_tables, read_base, write_base
from promptcodec.models.heads.checkpoint import Head, read_head, write_head
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.trunk_heads import TrunkClassifier
from promptcodec.models.tensors import arrays_of
from promptcodec.training.entropy_tables import fit_tables
from promptcodec.training.joint.config import CODEC_PARTS, PARTS, CodecAndHeadConfig
from promptcodec.training.joint.model import JointModel
from promptcodec.training.rate_adapter import rescale_gains
from promptcodec.training.task import Task
from promptcodec.training.validation import transmit


class CodecAndHeadTask(Task):
    """Training of a codec and a head, or of some of their parts.

    Args:
        config: recipe.
    Raises:
        CheckpointError: base, adapter or head is missing.
        ConfigError: a rate has no adapter, or the base has no head.
    """

    def __init__(self, config: CodecAndHeadConfig) -> None:
        self.config = config
        self.resting = config.plain_steps > 0
        self.base: Base = read_base(find_base(config.base))
        folders = find_prompts(config.prompts, base=config.base)
        found = [read_adapter(folder, base=self.base) for folder in folders]
        self.weights = {a.config.rate_index: config.beta * a.config.lmbda for a in found}
        moves = "prompts" not in config.parts and config.beta not in (0.0, 1.0)
        if moves:
            found = [rescale_adapter(adapter, found, beta=config.beta) for adapter in found]
        parts = set(config.parts)
        self.own_codec = moves or bool(parts & CODEC_PARTS)
        self.own_symbols = moves or bool(parts & (CODEC_PARTS - {"decoder"}))
        self.result = "joint" if self.own_codec else "task"
        self.adapters = {adapter.config.rate_index: adapter for adapter in found}
        missing = sorted(set(config.rates) - set(self.adapters))
        if missing:
            raise ConfigError(
                f"rate {missing[0]} has no adapter; there are {', '.join(map(str, self.adapters))}"
            )
        heads = find_heads(config.head, base=config.base)
        if not heads:
            raise ConfigError("head is None, and this base has none: name a trained head")
        self.head: Head = read_head(heads[0], base_sha256=self.base.sha256)

    def joined(self, **options: Any) -> JointModel:
        """Copies of base and head; parts that are not trained are frozen.

        Args:
            options: further arguments of `JointModel`.
        """
        config, task = self.config, None
        if "prompts" in config.parts:
            task = TaskPrompts(self.base.config.codec, width=config.width, rank=config.rank)
        codec, head = copy.deepcopy(self.base.model), copy.deepcopy(self.head.model)
        assert isinstance(head, LatentClassifier | TrunkClassifier)
        model = JointModel(codec, head, task, adapters=self.adapters, **options)
        prefixes = tuple(prefix for part in config.parts for prefix in PARTS[part])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith((*prefixes, "hint.")))
        return model

    def tables(self, model: JointModel) -> dict[int, EntropyTables]:
        """Entropy tables by rate: those of the base, or densities where symbols are in training."""
        rates = self.config.rates
        if self.own_symbols:
            model.codec.freeze_scale_path()
            return dict.fromkeys(rates, density_tables(model.codec))
        return {rate: self.base.tables.with_sets(self.adapters[rate].z_sets) for rate in rates}

    def sent(
        self, model: JointModel, x: Tensor, *, rate: int, tables: EntropyTables
    ) -> tuple[Tensor, Tensor, float]:
        """Pictures through the codec of a rate, rounded as in files.

        Args:
            model: codec and head.
            x: RGB in [0, 1], (B, 3, H, W).
            rate: rate index.
            tables: entropy tables of the rate.
        Returns:
            y_hat (B, M, h, w), decoded pixels (B, 3, H, W), and their bits without headers.
        """
        adapter, gains = model.adapter(rate), self.adapters[rate].gains
        latents, x_hat = transmit(model.codec, x, gains=gains, adapter=adapter)
        return latents.y_hat, x_hat, sum(estimate_bits(arrays_of(latents), tables))

    def write_parts(
        self, model: JointModel, folder: Path, *, pictures: Sequence[Tensor]
    ) -> dict[str, Any]:
        """Write the trained parts, each with the hash of its base.

        Args:
            model: codec and head.
            folder: folder of the result.
            pictures: training pictures that entropy tables are fitted to, uint8 (3, H, W).
        """
        own = self.base.sha256
        if self.own_codec:
            codec = model.codec.requires_grad_(False).eval()
            tables = fit_tables(codec, pictures) if self.own_symbols else self.base.tables
            own = write_base(folder / "base", codec, config=self.base.config, tables=tables)
            for rate in self.config.rates:
                adapter = self.adapters[rate]
                config = replace(adapter.config, base_sha256=own.hex(), init_from=None)
                write_adapter(folder / "prompts" / f"rate-{rate}", adapter.network, config=config)
        if "head" in self.config.parts or self.own_codec:
            config = replace(self.head.config, base_sha256=own.hex())
            write_head(folder / "heads" / "classify", model.head, config=config)
        if isinstance(model.task, TaskPrompts):
            config = TaskConfig(
                task=self.head.config.task,
                base_sha256=own.hex(),
                width=self.config.width,
                rank=self.config.rank,
            )
            write_task(folder / "prompts", model.task, config=config)
        return {"base_sha256": self.base.sha256.hex()}


def rescale_adapter(
    adapter: RateAdapter, ladder: Sequence[RateAdapter], *, beta: float
) -> RateAdapter:
    """An adapter for beta times the lambda of one.

    The initial networks are those of the nearest lambda of the ladder: networks of a higher rate,
    quantised more coarsely, lose more than those of a low rate. The gains are rescaled by half the
    logarithm of the ratio, as at the start of a ladder.

    Args:
        adapter: adapter of the rate.
        ladder: all adapters.
        beta: factor on lambda, above 0.
    """
    lmbda = beta * adapter.config.lmbda
    nearest = min(ladder, key=lambda each: abs(math.log(each.config.lmbda / lmbda)))
    prompts = copy.deepcopy(nearest.network)
    rescale_gains(prompts, known=nearest.config.lmbda, lmbda=lmbda)
    config = replace(nearest.config, rate_index=adapter.config.rate_index, lmbda=lmbda)
    return replace(nearest, config=config, network=prompts, gains=prompts.gains())
