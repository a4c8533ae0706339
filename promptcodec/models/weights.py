"""Weights in safetensors files: read, checked, put into networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from promptcodec.config import from_dict
from promptcodec.errors import CheckpointError, ConfigError
from promptcodec.io.atomic import write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        CheckpointError: it is missing or damaged, or a tensor is not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"{path} is no readable safetensors file: {line}") from None
    check_finite(tensors, where=str(path))
    return tensors


def check_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse tensors with values that are not finite; `where` names them.

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


def write_network(
    folder: Path, module: nn.Module, *, weights: str, config: str, facts: Any
) -> None:
    """Write a network in half precision, then its config.

    Args:
        folder: made if it is not there.
        module: trained.
        weights: name of the safetensors file.
        config: name of the JSON file.
        facts: dataclass that it holds.
    Raises:
        CheckpointError: weights that are not finite.
        OutputError: the folder cannot be written.
    """
    from safetensors.torch import save

    tensors = as_half(module.state_dict())
    check_finite(tensors, where=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / weights, save(tensors), force=True)
    text = json.dumps(asdict(facts), indent=2) + "\n"
    write_atomically(folder / config, text.encode(), force=True)


def read_facts(kind: type[T], path: Path, *, what: str) -> T:
    """The config beside a network's weights.

    Args:
        kind: dataclass of it.
        path: of the JSON file.
        what: is missing where there is no file, for the message.
    Raises:
        CheckpointError: no such file, not JSON, or a value that does not fit.
    """
    try:
        return from_dict(kind, json.loads(path.read_text("utf-8")), where=str(path))
    except OSError as error:
        raise CheckpointError(
            f"no {what} at {path.parent}: {path.name}: {error.strerror}"
        ) from None
    except ValueError as error:  # ConfigError is one
        reason = str(error) if isinstance(error, ConfigError) else f"{path} is not JSON: {error}"
        raise CheckpointError(reason) from None


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Put stored tensors into a network, in the types that it computes with.

    Raises:
        CheckpointError: one is missing, unknown or of another shape.
    """
    state, left = module.state_dict(), dict(tensors)
    for name, value in state.items():
        found = left.pop(name, None)
        if found is None:
            raise CheckpointError(f"{where}: tensor {name} is missing; get the file again")
        real = value.is_floating_point()
        if found.shape != value.shape or found.is_floating_point() != real:
            raise CheckpointError(
                f"{where}: tensor {name} is {found.dtype} {tuple(found.shape)}; need "
                f"{'float' if real else value.dtype} {tuple(value.shape)}: it does not belong to "
                "its config"
            )
        state[name] = found.to(value.dtype)
    if left:
        raise CheckpointError(f"{where}: unknown tensor {min(left)}; it belongs to another network")
    module.load_state_dict(state)
