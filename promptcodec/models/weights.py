"""Networks on disk, each as a config (JSON) and its weights (safetensors): write, read, check."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from promptcodec.errors import CheckpointError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.tensors import Arrays, check_all_taken, check_finite, read_arrays, take

SPARE_WEIGHTS = 1 << 20  # weights (4 MB) of a config beyond its file that are not refused
SPARE_TENSORS = 500  # tensors likewise; even a small layer takes memory

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Trainable float32 tensors on the CPU as torch's default, whatever the caller's is."""
    kind = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(kind)


def as_stored(value: Tensor, kind: torch.dtype | None = None) -> NDArray[Any]:
    """A tensor as it is stored.

    Args:
        value: tensor on any device.
        kind: type that it is stored in; None is its own.
    """
    return value.detach().cpu().to(kind or value.dtype).contiguous().numpy()


def as_half(state: Mapping[str, Tensor]) -> Arrays:
    """Tensors as they are stored where half precision is enough: float16, whole numbers as is."""
    return {
        name: as_stored(value, torch.float16 if value.is_floating_point() else None)
        for name, value in state.items()
    }


def write_files(
    weights: Path, arrays: Arrays, *, config: str, facts: Any, sort: bool = False
) -> None:
    """Write arrays, then the config beside them.

    Args:
        weights: path of the safetensors file; its folder is made if it is not there.
        arrays: contiguous arrays by name.
        config: name of the JSON file.
        facts: dataclass that the JSON file holds.
        sort: order of the JSON keys by name instead of by field.
    Raises:
        CheckpointError: weights that are not finite.
        OutputError: the folder cannot be written.
    """
    folder = weights.parent
    check_finite(arrays, where=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(weights, save(arrays), force=True)
    text = json.dumps(asdict(facts), indent=2, sort_keys=sort) + "\n"
    write_atomically(folder / config, text.encode(), force=True)


def load_weights(module: nn.Module, arrays: Arrays, *, where: str) -> None:
    """Copy stored arrays into a network, in the types that it computes with.

    Args:
        module: network.
        arrays: stored arrays by name.
        where: name of the file, for the message.
    Raises:
        CheckpointError: one is missing, unknown or of another shape.
    """
    state, left = module.state_dict(), dict(arrays)
    for name, value in state.items():
        kind = None if value.is_floating_point() else as_stored(value).dtype.type
        found = take(left, name, shape=value.shape, kind=kind, where=where)
        state[name] = torch.from_numpy(found).to(value.dtype)
    check_all_taken(left, where=where)
    module.load_state_dict(state)


def read_network(path: Path, build: Callable[[], Network]) -> Network:
    """A network with the weights of a file; see `network_of`.

    Args:
        path: path of the safetensors file.
        build: function that makes the network without its weights.
    Raises:
        CheckpointError: missing file; tensors that are missing, unknown, of another shape or not
            finite.
    """
    return network_of(read_arrays(path), build, where=str(path))


@plain_tensors()
def network_of(arrays: Arrays, build: Callable[[], Network], *, where: str) -> Network:
    """A network with given weights, frozen, in eval mode, on the CPU.

    Args:
        arrays: weights by name.
        build: function that makes the network without its weights.
        where: name of their file, for the message.
    Raises:
        CheckpointError: tensors that are missing, unknown or of another shape.
    """
    with WeightBudget(arrays, where=where):
        module = build()
    load_weights(module, arrays, where=where)
    return module.requires_grad_(False).eval()


class WeightBudget(TorchFunctionMode):
    """Context in which a module is built with no more weights and tensors than its file holds.

    A small excess is allowed: reading the tensors reports the missing ones by name.

    Args:
        arrays: arrays of the file.
        where: name of the file, for the message.
    Raises:
        CheckpointError: the module has over a million weights or 500 tensors more.
    """

    def __init__(self, arrays: Arrays, *, where: str) -> None:
        super().__init__()
        self.there = sum(value.size for value in arrays.values())
        self.left, self.where = self.there + SPARE_WEIGHTS, where
        self.tensors_left = len(arrays) + SPARE_TENSORS

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (torch.empty, torch.zeros, torch.randn):  # by which layers allocate memory
            shape = args[0] if isinstance(args[0], tuple | list) else args
            self.left -= math.prod(shape)
            self.tensors_left -= 1
            if min(self.left, self.tensors_left) < 0:
                raise CheckpointError(
                    f"{self.where}: holds {self.there} weights and its config needs far more; "
                    "get both files again"
                )
        return func(*args, **(kwargs or {}))
