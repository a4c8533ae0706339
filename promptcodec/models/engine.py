"""Engine of a base codec in torch: arrays in, arrays out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.engine import (
    Array,
    EngineName,
    EngineOptions,
    OfBase,
    Precision,
    Progress,
)
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import find_base, find_heads, find_tasks, root_of
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.adapters.interpolation import between
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.adapters.task_prompts import with_task
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.models.codec_model import Adapter, AdapterSlot, CodecModel
from promptcodec.models.heads import predict
from promptcodec.models.refine import SCHEDULES, refine
from promptcodec.models.task_modules import TaskModules
from promptcodec.models.tensors import arrays_of, from_pixels, tensor_of, to_pixels
from promptcodec.models.weights import plain_tensors

# The threads of OpenMP end at a fork; a child process that waits for them would hang.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class TorchEngine(OfBase):
    """A base codec on a device; `coding.engine.Engine` describes its methods.

    Args:
        base: weights, tables and hash.
        device: device of the computation.
        precision: number format of g_a and g_s; entropy coding is exact in either.
        heads: folders of heads.
        tasks: folders of task prompts.
    """

    name: EngineName = "torch"

    @plain_tensors()
    def __init__(
        self,
        base: Base,
        *,
        device: torch.device,
        precision: Precision = "float32",
        heads: Sequence[Path] = (),
        tasks: Sequence[Path] = (),
    ) -> None:
        super().__init__(base)
        _forbid_tf32(device)
        self.model: CodecModel = base.model.to(device).to(memory_format=torch.channels_last)
        self.base = base
        self.device = device
        self.precision: Precision = precision
        self.modules = TaskModules(base, device, heads=heads, tasks=tasks)

    @classmethod
    def load(cls, base: str | Path | None, **options: Unpack[EngineOptions]) -> Self:
        """Read a base and find what belongs to it; arguments and errors as `Codec.load`."""
        precision, threads = options.get("precision", "float32"), options.get("threads")
        if precision not in ("float32", "bfloat16"):
            raise UsageError(f"precision is {precision!r}; need 'float32' or 'bfloat16'")
        if threads is not None:
            torch.set_num_threads(threads)
        root = root_of(base)
        return cls(
            read_base(find_base(root)),
            device=device_of(options.get("device", "cpu")),
            precision=precision,
            heads=find_heads(options.get("heads"), base=root),
            tasks=find_tasks(options.get("tasks"), base=root),
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        _forbid_tf32(self.device)

    @torch.inference_mode()
    def analyse(self, rgb: NDArray[np.uint8], *, network: Adapter | None) -> Array:
        """g_a."""
        self._check_slot(network)
        with self._autocast():
            y = self.model.to_latents(from_pixels(rgb, self.device), network)
        return y.cpu().numpy()

    @torch.inference_mode()
    def hyper_analyse(self, y: Array) -> Array:
        """h_a."""
        return self.model.hyperprior.h_a(self._tensor(y)).cpu().numpy()

    def quantise(
        self, y: Array, z: Array, *, gains: Gains, network: Adapter | None
    ) -> Latents[Array]:
        """Latents of y and z as they are coded."""
        y_tensor, z_tensor = self._tensor(y), self._tensor(z)
        return arrays_of(self.model.quantise(y_tensor, z_tensor, gains=gains, adapter=network))

    def indexes(self, z_hat: Array, *, gains: Gains) -> NDArray[np.uint8]:
        """Table index of every symbol."""
        return self.model.indexes(self._tensor(z_hat), gains=gains).cpu().numpy()

    def reconstruct(
        self, z_hat: Array, symbols: Array, indexes: Array, *, gains: Gains, network: Adapter | None
    ) -> Array:
        """y_hat from decoded symbols."""
        self._check_slot(network)
        y_hat = self.model.reconstruct_latents(
            self._tensor(z_hat),
            self._tensor(symbols),
            indexes=self._tensor(indexes),
            gains=gains,
            adapter=network,
        )
        return y_hat.cpu().numpy()

    @torch.inference_mode()
    def synthesise(self, y_hat: Array, *, network: Adapter | None) -> NDArray[np.uint8]:
        """g_s."""
        with self._autocast():
            x_hat = self.model.synthesise(self._tensor(y_hat), adapter=network)
        return to_pixels(x_hat)

    def refine(
        self,
        rgb: NDArray[np.uint8],
        *,
        size: tuple[int, int],
        tables: EntropyTables,
        gains: Gains,
        lmbda: float,
        effort: int,
        network: Adapter | None,
        progress: Progress | None,
    ) -> Latents[Array]:
        """Latents of lower cost than those of g_a."""
        with self._autocast():
            latents = refine(
                self.model,
                from_pixels(rgb, self.device),
                size=size,
                tables=tables,
                gains=gains,
                lmbda=lmbda,
                schedule=SCHEDULES[effort],
                adapter=network,
                progress=progress,
            )
        return arrays_of(latents)

    def between(
        self, low: LayerAdaptivePrompts, high: LayerAdaptivePrompts, share: float
    ) -> LayerAdaptivePrompts:
        """A network interpolated between two; see `interpolation`."""
        return between(low, high, share)

    def with_task(self, network: Adapter | None, task: str) -> Adapter:
        """A rate's network with the prompts of a task before it."""
        return with_task(network, self.modules.task(task).prompts)

    @plain_tensors()
    def read_adapter(self, folder: Path) -> RateAdapter:
        """The rate adapter in a folder."""
        adapter = read_adapter(folder, base=self.base)
        adapter.network.to(self.device)
        return adapter

    def labels(self, task: str) -> tuple[str, ...]:
        """Classes of the head of a task."""
        return self.modules.head(task).config.labels

    @torch.inference_mode()
    def predict(self, task: str, y_hat: Array, *, lmbdas: Sequence[float]) -> Array:
        """Scores of the head of a task."""
        head = self.modules.head(task)
        scores = predict.scores(head, self._tensor(y_hat), lmbda=lmbdas)
        return (scores / head.config.temperature).cpu().numpy()

    def _tensor(self, array: Array) -> Tensor:
        return tensor_of(array, self.device)

    def _autocast(self) -> torch.autocast:
        """Context manager of the precision."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _check_slot(self, network: Adapter | None) -> None:
        """Raise UsageError for the base alone if a library has put an adapter into the model."""
        if network is None and type(self.model.adapter_slot) is not AdapterSlot:
            raise UsageError(
                "a library has put an adapter into this codec's model, so the base alone cannot be "
                "coded with it: use a separate model, by `read_base`, for that library"
            )


def _forbid_tf32(device: torch.device) -> None:
    if device.type == "cuda":
        # TF32 has 10 bits of mantissa; means need all 23 of float32.
        torch.backends.cudnn.allow_tf32 = False


def device_of(name: str) -> torch.device:
    """A device by name.

    Raises:
        UsageError: the name is unknown, or the device cannot be used.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"there is no device {name!r}: choose cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported: choose cpu or cuda")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {line}: choose cpu") from None
    return device
