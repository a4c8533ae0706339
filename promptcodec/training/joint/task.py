"""Training codec and head together, or some of their parts.

    loss = rate + beta * lambda * 255^2 * mse + alpha * loss of the task

`parts` selects what is trained. Codec and head: joint training, the second stage of Bai et al.
2022, arXiv:2112.09300; the first is the trained base and head that a run starts from, or
`plain_steps` without quantisation. Head alone: its control (Torfason et al. 2018,
arXiv:1803.06131). g_s alone: a decoder for a given encoder (Chamain et al. 2022). Task prompts:
the base stays frozen. Steps take all rates in turn, so one run trains them all. With alpha 0 the
head does not run, with beta 0 g_s does not.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from promptcodec.coding.distortion import psnr_of
from promptcodec.coding.entropy.rans import EntropyTables, estimate_bits
from promptcodec.coding.head_config import CLASSIFY
from promptcodec.coding.head_file import head_folder
from promptcodec.errors import ConfigError
from promptcodec.io.checkpoints import find_base, find_heads, find_prompts
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.adapters.task_checkpoint import TaskConfig, write_task
from promptcodec.models.adapters.task_prompts import TaskPrompts
from promptcodec.models.checkpoint import Base, density_tables, read_base, write_base
from promptcodec.models.heads.checkpoint import Head, read_head, write_head
from promptcodec.models.tensors import arrays_of
from promptcodec.training.entropy_tables import TABLE_PICTURES, fit_tables
from promptcodec.training.joint.adapters import rescale_adapter
from promptcodec.training.joint.config import (
    CODEC_PARTS,
    DECODER,
    HEAD,
    PARTS,
    PROMPTS,
    JointConfig,
)
from promptcodec.training.joint.model import HeadOutput, JointModel
from promptcodec.training.losses import Loss, RateDistortion, rate_distortion, rounded
from promptcodec.training.optim import device_of
from promptcodec.training.task import Store, Task
from promptcodec.training.validation import transmit

Wanted = TypeVar("Wanted")  # what the output of a head is compared with


@dataclass(frozen=True)
class JointLoss:
    """Loss of a step and its parts.

    Args:
        loss: total loss, to be differentiated, scalar.
        codec: rate and distortion.
        task: loss of the task; None where the head has not run.
    """

    loss: Tensor
    codec: RateDistortion
    task: Loss | None

    def figures(self) -> dict[str, float]:
        """All parts; `task` is the loss of the task."""
        found = self.codec.figures()
        if self.task is not None:
            found |= self.task.figures() | rounded(task=self.task.loss)
        return found | rounded(loss=self.loss)


@dataclass(frozen=True)
class Judged:
    """Comparison of one held-out picture.

    Args:
        loss: loss of the task.
        counts: numbers that are summed over pictures, from which `JointTask.score` is computed.
    """

    loss: float
    counts: np.ndarray


class JointTask(Task, Generic[Wanted]):
    """Joint training, or training of some parts.

    Args:
        config: recipe.
        cache: file for decoded pictures or views; None keeps them in memory.
    Raises:
        CheckpointError: base, adapter or head is missing.
        ConfigError: a rate has no adapter.

    Attributes:
        reads: task of the head.
        figure: name of the score.
    """

    reads: str = CLASSIFY
    figure: str

    def __init__(self, config: JointConfig, *, cache: Path | None = None) -> None:
        self.config, self.cache = config, cache
        self.resting = config.plain_steps > 0 or not config.beta or not config.alpha
        self.base: Base = read_base(find_base(config.base))
        folders = find_prompts(config.prompts, base=config.base)
        found = [read_adapter(folder, base=self.base) for folder in folders]
        self.weights = {a.config.rate_index: config.beta * a.config.lmbda for a in found}
        moves = PROMPTS not in config.parts and config.beta not in (0.0, 1.0)
        if moves:
            found = [rescale_adapter(adapter, found, beta=config.beta) for adapter in found]
        parts = set(config.parts)
        self.own_codec = moves or bool(parts & CODEC_PARTS)
        self.own_symbols = moves or bool(parts & (CODEC_PARTS - {DECODER}))
        self.result = "joint" if self.own_codec else "task"
        self.adapters = {adapter.config.rate_index: adapter for adapter in found}
        missing = sorted(set(config.rates) - set(self.adapters))
        if missing:
            raise ConfigError(
                f"rate {missing[0]} has no adapter; there are {', '.join(map(str, self.adapters))}"
            )
        heads = find_heads(config.head, base=config.base)
        folder = head_folder(heads, self.reads)
        self.head: Head = read_head(folder, base_sha256=self.base.sha256)

    # -- what a kind of task defines -----------------------------------------------------------

    @abstractmethod
    def pictures(self, batch: Any) -> Tensor:
        """Pictures of a batch, (B, 3, H, W) in [0, 1]."""

    @abstractmethod
    def wanted(self, batch: Any) -> Wanted:
        """What the output of the head is compared with."""

    @abstractmethod
    def compare(self, found: HeadOutput, wanted: Wanted) -> Loss:
        """Loss of the task."""

    @abstractmethod
    def held(self, store: Any) -> Iterator[tuple[Tensor, Wanted]]:
        """Held-out pictures, (1, 3, H, W) in [0, 1], on the CPU."""

    @abstractmethod
    def judge(self, found: HeadOutput, wanted: Wanted) -> Judged:
        """Comparison of one held-out picture."""

    @abstractmethod
    def score(self, counts: np.ndarray) -> float:
        """Score of counts that were summed over pictures."""

    @abstractmethod
    def sample(self, store: Any, count: int) -> Sequence[Tensor]:
        """Training pictures that entropy tables are fitted to, uint8 (3, H, W)."""

    def temperature(self, outputs: list[Tensor], wanted: list[Wanted]) -> float:
        """Temperature of the head, from scores of held-out pictures."""
        return self.head.config.temperature

    # -- training ------------------------------------------------------------------------------

    def build(self, store: Store) -> JointModel:
        """Copies of base and head; parts that are not trained are frozen."""
        config, task = self.config, None
        if PROMPTS in config.parts:
            task = TaskPrompts(self.base.config.codec, width=config.width, rank=config.rank)
        codec, head = copy.deepcopy(self.base.model), copy.deepcopy(self.head.model)
        model = JointModel(codec, head, task, adapters=self.adapters)
        prefixes = tuple(prefix for part in config.parts for prefix in PARTS[part])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(prefixes))
        return model

    def loss(self, model: nn.Module, batch: Any, *, step: int, share: float = 0.0) -> JointLoss:
        """Rate, distortion and task of a batch; rates are taken in turn."""
        config = self.config
        rate, x = config.rates[step % len(config.rates)], self.pictures(batch)
        output = model(
            x,
            rate=rate,
            plain=step < config.plain_steps,
            synthesise=config.beta > 0.0,
            read=config.alpha > 0.0,
        )
        codec = rate_distortion(output.codec, x, lmbda=self.weights[rate])
        if output.head is None:
            return JointLoss(codec.loss, codec=codec, task=None)
        task = self.compare(output.head, self.wanted(batch))
        return JointLoss(codec.loss + config.alpha * task.loss, codec=codec, task=task)

    @torch.inference_mode()
    def validate(self, model: JointModel, store: Store, *, samples: Path) -> dict[str, float]:
        """Rate, PSNR and score on held-out pictures at every rate, rounded as in files."""
        tables, device = self.tables(model), device_of(model)
        rows: dict[int, list[list[float]]] = {rate: [] for rate in tables}
        counts: dict[int, Any] = dict.fromkeys(tables, 0)
        for picture, wanted in self.held(store):
            x = picture.to(device)
            for rate, own in tables.items():
                found, x_hat, bits = self.sent(model, x, rate=rate, tables=own)
                judged = self.judge(found, wanted)
                mse = float((x_hat - x).square().mean())
                psnr = psnr_of(255.0**2 * mse * x.numel(), x.numel())
                rows[rate].append([bits / x[0, 0].numel(), psnr, mse, judged.loss])
                counts[rate] = counts[rate] + judged.counts
        figures: dict[str, float] = {}
        losses, scores = [], []
        for rate, own in rows.items():
            bpp, psnr, mse, task = np.mean(own, axis=0).tolist()
            scores.append(self.score(counts[rate]))
            figures |= {
                f"bpp_{rate}": bpp,
                f"psnr_{rate}": psnr,
                f"{self.figure}_{rate}": scores[-1],
            }
            losses.append(bpp + self.weights[rate] * 255.0**2 * mse + self.config.alpha * task)
        means = {"loss": float(np.mean(losses)), self.figure: float(np.mean(scores))}
        return means | figures

    def tables(self, model: JointModel) -> dict[int, EntropyTables]:
        """Entropy tables by rate: those of the base, or densities where symbols are in training."""
        rates = self.config.rates
        if self.own_symbols:
            model.codec.freeze_scale_path()
            return dict.fromkeys(rates, density_tables(model.codec))
        return {rate: self.base.tables.with_sets(self.adapters[rate].z_sets) for rate in rates}

    def sent(
        self, model: JointModel, x: Tensor, *, rate: int, tables: EntropyTables
    ) -> tuple[HeadOutput, Tensor, float]:
        """Pictures through the codec of a rate, rounded as in files.

        Args:
            model: codec and head.
            x: RGB in [0, 1], (B, 3, H, W).
            rate: rate index.
            tables: entropy tables of the rate.
        Returns:
            Output of the head, decoded pixels (B, 3, H, W), and their bits without headers.
        """
        adapter, gains = model.adapter(rate), self.adapters[rate].gains
        latents, x_hat = transmit(model.codec, x, gains=gains, adapter=adapter)
        height, width = x.shape[2:]
        found = model.read(latents.y_hat, rate=rate, height=height, width=width)
        return found, x_hat, sum(estimate_bits(arrays_of(latents), tables))

    # -- result --------------------------------------------------------------------------------

    def write(self, model: JointModel, folder: Path, *, store: Store) -> dict[str, Any]:
        """Write the trained parts, each with the hash of its base."""
        own, config = self.base.sha256, self.config
        codec = model.codec.requires_grad_(False).eval()
        if self.own_codec:
            pictures = self.sample(store, TABLE_PICTURES)
            tables = fit_tables(codec, pictures) if self.own_symbols else self.base.tables
            own = write_base(folder / "base", codec, config=self.base.config, tables=tables)
            for rate in config.rates:
                adapter = self.adapters[rate]
                bound = replace(adapter.config, base_sha256=own.hex(), init_from=None)
                write_adapter(folder / "prompts" / f"rate-{rate}", adapter.network, config=bound)
        if HEAD in config.parts or self.own_codec:
            temperature = self._temperature(model, store)
            head = replace(self.head.config, base_sha256=own.hex(), temperature=temperature)
            write_head(folder / "heads" / head.task, model.head, config=head)
        if isinstance(model.task, TaskPrompts):
            own_task = TaskConfig(
                task=self.head.config.task,
                base_sha256=own.hex(),
                width=config.width,
                rank=config.rank,
            )
            write_task(folder / "prompts", model.task, config=own_task)
        return {"base_sha256": self.base.sha256.hex(), "labels": len(self.head.config.labels)}

    @torch.inference_mode()
    def _temperature(self, model: JointModel, store: Store) -> float:
        """Temperature over held-out pictures at all rates."""
        tables, device = self.tables(model), device_of(model)
        outputs, known = [], []
        for picture, wanted in self.held(store):
            for rate, own in tables.items():
                found, _, _ = self.sent(model, picture.to(device), rate=rate, tables=own)
                outputs.append(found.scores.float().cpu())
                known.append(wanted)
        return self.temperature(outputs, known)
