"""Networks on disk, each as a config (JSON) and its weights (safetensors): write, read, check."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from promptcodec.config import from_dict
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError
from promptcodec.io.atomic import write_atomically

SPARE_WEIGHTS = 1 << 20  # weights (4 MB) of a config beyond its file that are not refused
SPARE_TENSORS = 500  # tensors likewise; even a small layer takes memory

T = TypeVar("T")
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        CheckpointError: it is missing or damaged, or a tensor is not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"{path} is no readable safetensors file: {line}") from None
    check_finite(tensors, where=str(path))
    return tensors


def check_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse tensors with values that are not finite.

    Args:
        tensors: tensors by name.
        where: name of their file, for the message.
    Raises:
        CheckpointError: there is one.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{where}: tensor {name} is not finite; train or get it again")


def as_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are stored where half precision is enough: float16, whole numbers as is."""
    kept = {name: value.detach().cpu() for name, value in state.items()}
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in kept.items()
    }


def write_files(
    weights: Path, tensors: Mapping[str, Tensor], *, config: str, facts: Any, sort: bool = False
) -> None:
    """Write tensors, then the config beside them.

    Args:
        weights: path of the safetensors file; its folder is made if it is not there.
        tensors: contiguous tensors by name.
        config: name of the JSON file.
        facts: dataclass that the JSON file holds.
        sort: order of the JSON keys by name instead of by field.
    Raises:
        CheckpointError: weights that are not finite.
        OutputError: the folder cannot be written.
    """
    folder = weights.parent
    check_finite(tensors, where=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(weights, save(dict(tensors)), force=True)
    text = json.dumps(asdict(facts), indent=2, sort_keys=sort) + "\n"
    write_atomically(folder / config, text.encode(), force=True)


def read_json(path: Path, *, what: str) -> Any:
    """The content of a JSON file.

    Args:
        path: path of the file.
        what: name of what is missing without the file, for the message.
    Raises:
        CheckpointError: no such file, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"no {what} at {path.parent}: {path.name}: {error.strerror}"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None


def config_of(kind: type[T], values: Any, *, where: str) -> T:
    """A config dataclass from the content of its file.

    Args:
        kind: dataclass.
        values: content of the JSON file.
        where: name of the file, for the message.
    Raises:
        CheckpointError: a key or a value that does not fit.
    """
    try:
        return from_dict(kind, values, where=where)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def read_config(kind: type[T], path: Path, *, what: str) -> T:
    """The config beside a network's weights; arguments and errors as above."""
    return config_of(kind, read_json(path, what=what), where=str(path))


def check_base(folder: Path, stored: str, base: bytes, *, what: str) -> None:
    """Refuse what belongs to another base.

    Args:
        folder: folder of the network.
        stored: hash of the base in its config, hexadecimal.
        base: hash of the base that is loaded.
        what: name of the network, for the message.
    Raises:
        ModelMismatchError: the two differ.
    """
    if stored != base.hex():
        raise ModelMismatchError(
            f"{folder} belongs to base {stored[:16]}, the loaded one is {base.hex()[:16]}: load "
            f"that base, or train {what} for this one"
        )


def take(
    tensors: dict[str, Tensor],
    name: str,
    *,
    shape: Sequence[int],
    kind: torch.dtype | None = None,
    where: str,
) -> Tensor:
    """Remove a stored tensor and return it.

    Args:
        tensors: tensors that are left, by name.
        name: name of the tensor.
        shape: shape that it must have.
        kind: type that it must have; None is any floating-point type.
        where: name of the file, for the message.
    Raises:
        CheckpointError: it is missing, or of another shape or type.
    """
    if name not in tensors:
        raise CheckpointError(f"{where}: tensor {name} is missing; get the file again")
    value = tensors.pop(name)
    fits = value.is_floating_point() if kind is None else value.dtype == kind
    if tuple(value.shape) != tuple(shape) or not fits:
        raise CheckpointError(
            f"{where}: tensor {name} is {value.dtype} {tuple(value.shape)}; need "
            f"{kind or 'float'} {tuple(shape)}: it does not belong to its config"
        )
    return value


def check_all_taken(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Raise a CheckpointError if a stored tensor is left that no network has."""
    if tensors:
        raise CheckpointError(
            f"{where}: unknown tensor {min(tensors)}; it belongs to another network"
        )


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy stored tensors into a network, in the types that it computes with.

    Args:
        module: network.
        tensors: stored tensors by name.
        where: name of the file, for the message.
    Raises:
        CheckpointError: one is missing, unknown or of another shape.
    """
    state, left = module.state_dict(), dict(tensors)
    for name, value in state.items():
        kind = None if value.is_floating_point() else value.dtype
        state[name] = take(left, name, shape=value.shape, kind=kind, where=where).to(value.dtype)
    check_all_taken(left, where=where)
    module.load_state_dict(state)


@plain_tensors()
def read_network(path: Path, build: Callable[[], Network]) -> Network:
    """A network with the weights of a file, frozen, in eval mode, on the CPU.

    Args:
        path: path of the safetensors file.
        build: function that makes the network without its weights.
    Raises:
        CheckpointError: missing file; tensors that are missing, unknown, of another shape or not
            finite.
    """
    tensors = read_weights(path)
    with WeightBudget(tensors, where=str(path)):
        module = build()
    load_weights(module, tensors, where=str(path))
    return module.requires_grad_(False).eval()


class WeightBudget(TorchFunctionMode):
    """Context in which a module is built with no more weights and tensors than its file holds.

    A small excess is allowed: reading the tensors reports the missing ones by name.

    Args:
        tensors: tensors of the file.
        where: name of the file, for the message.
    Raises:
        CheckpointError: the module has over a million weights or 500 tensors more.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, where: str) -> None:
        super().__init__()
        self.there = sum(value.numel() for value in tensors.values())
        self.left, self.where = self.there + SPARE_WEIGHTS, where
        self.tensors_left = len(tensors) + SPARE_TENSORS

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
