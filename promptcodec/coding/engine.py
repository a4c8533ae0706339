"""Interface of the networks for coding, on arrays; torch is one engine, others are possible.

Shapes: B pictures or windows of one size, H and W multiples of 64 px, h = H / 16, w = W / 16,
M latent channels, Cz channels of z. Every array is on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.config import BaseConfig

EngineName = Literal["onnx", "openvino", "torch"]
Precision = Literal["float32", "bfloat16"]
Progress = Callable[[int, int], None]  # steps done, steps
Array = NDArray[Any]


class EngineOptions(TypedDict, total=False):
    """Options of an engine beside its base.

    Args:
        heads: a head for `classify` and `segment`, a folder of heads, the folder of a codec, or a
            Hub id of any; None is `heads/` in the folder of the base. Heads are read at their
            first use.
        tasks: task prompts for `encode(task=...)`, a folder of them, the folder of a codec, or a
            Hub id of any; None is `tasks/` in the folder of the base.
        device: "cpu" (the default), "cuda", "cuda:1", ...
        precision: number format of g_a and g_s, "float32" (the default) or "bfloat16"; entropy
            coding is exact in either.
        threads: CPU threads of the networks; None is the default of the engine.
    """

    heads: str | Path | None
    tasks: str | Path | None
    device: str
    precision: Precision
    threads: int | None


class BaseFacts(Protocol):
    """A base as its checkpoint describes it."""

    @property
    def config(self) -> BaseConfig:
        """Architecture and rate."""
        ...

    @property
    def tables(self) -> EntropyTables:
        """Entropy tables."""
        ...

    @property
    def sha256(self) -> bytes:
        """Hash, 32 bytes."""
        ...


class OfBase:
    """Part of an engine: facts of its base.

    Args:
        facts: base of the engine.
    """

    def __init__(self, facts: BaseFacts) -> None:
        self._facts = facts

    @property
    def config(self) -> BaseConfig:
        """Architecture and rate of the base."""
        return self._facts.config

    @property
    def tables(self) -> EntropyTables:
        """Entropy tables of the base."""
        return self._facts.tables

    @property
    def base_hash(self) -> bytes:
        """Hash of the base, 32 bytes."""
        return self._facts.sha256


class Engine(Protocol):
    """Networks of a base codec; safe to share among threads.

    Arguments called `network` are `RatePoint.network`.
    """

    name: EngineName

    @property
    def config(self) -> BaseConfig:
        """Architecture and rate of the base."""
        ...

    @property
    def tables(self) -> EntropyTables:
        """Entropy tables of the base."""
        ...

    @property
    def base_hash(self) -> bytes:
        """Hash of the base, 32 bytes."""
        ...

    def analyse(self, rgb: NDArray[np.uint8], *, network: Any) -> Array:
        """g_a: (B, H, W, 3) to y before rounding, float32 (B, M, h, w)."""
        ...

    def hyper_analyse(self, y: Array) -> Array:
        """h_a: y to z before rounding, float32 (B, Cz, h / 4, w / 4)."""
        ...

    def quantise(self, y: Array, z: Array, *, gains: Gains, network: Any) -> Latents[Array]:
        """Latents of y and z as they are coded."""
        ...

    def indexes(self, z_hat: Array, *, gains: Gains) -> NDArray[np.uint8]:
        """Table index of every symbol, (B, M, h, w), the same on every machine."""
        ...

    def reconstruct(
        self, z_hat: Array, symbols: Array, indexes: Array, *, gains: Gains, network: Any
    ) -> Array:
        """y_hat from decoded symbols, float32 (B, M, h, w)."""
        ...

    def synthesise(self, y_hat: Array, *, network: Any) -> NDArray[np.uint8]:
        """g_s: y_hat to pixels, (B, H, W, 3)."""
        ...

    def refine(
        self,
        rgb: NDArray[np.uint8],
        *,
        size: tuple[int, int],
        tables: EntropyTables,
        gains: Gains,
        lmbda: float,
        effort: int,
        network: Any,
        progress: Progress | None,
    ) -> Latents[Array]:
        """Latents of lower cost than those of g_a.

        Args:
            rgb: one padded picture, (1, H, W, 3).
            size: height and width of the picture without its padding, px.
            tables: entropy tables of the rate.
            gains: log-gains of the stream.
            lmbda: rate-distortion weight, cost = bpp + lmbda * mse in squared levels.
            effort: amount of work, 1 to 9.
            network: networks of the rate.
            progress: function of (steps done, steps).
        Raises:
            UsageError: the engine has no gradients, or the picture is too large.
        """
        ...

    def between(self, low: Any, high: Any, share: float) -> Any:
        """A network interpolated from `low` (share 0) to `high` (share 1)."""
        ...

    def with_task(self, network: Any, task: str) -> Any:
        """A rate's network with the prompts of a task before it.

        Raises:
            CheckpointError: the codec has no prompts of that task.
            RateError: `network` is None, the base alone.
            UsageError: the engine has no task prompts.
        """
        ...

    def read_adapter(self, folder: Path) -> RateAdapter:
        """The rate adapter in a folder; errors as `Codec.load`."""
        ...

    def labels(self, task: str) -> tuple[str, ...]:
        """Classes of the head of a task, "classify" or "segment".

        Raises:
            CheckpointError: the codec has no such head.
            ModelMismatchError: the head belongs to another base.
        """
        ...

    def predict(self, task: str, y_hat: Array, *, lmbdas: Sequence[float]) -> Array:
        """Scores of the head of a task, float32; errors as `labels`.

        Args:
            task: "classify" or "segment".
            y_hat: latents of B pictures.
            lmbdas: rate-distortion weight of each picture's rate.
        Returns:
            Calibrated logits (B, classes), or for "segment" logits at 1/8, (B, classes, 2 h, 2 w).
        """
        ...
