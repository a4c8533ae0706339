"""Arrays of a safetensors file, checked; no torch."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from promptcodec.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]


def read_arrays(path: Path) -> Arrays:
    """The arrays of a safetensors file, by name.

    Raises:
        CheckpointError: it is missing or damaged, or an array is not finite.
    """
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"{path} is no readable safetensors file: {line}") from None
    check_finite(arrays, where=str(path))
    return arrays


def check_finite(arrays: Mapping[str, NDArray[Any]], *, where: str) -> None:
    """Refuse arrays with values that are not finite.

    Args:
        arrays: arrays by name.
        where: name of their file, for the message.
    Raises:
        CheckpointError: there is one.
    """
    for name, value in arrays.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise CheckpointError(f"{where}: tensor {name} is not finite; train or get it again")


def take(
    arrays: Arrays,
    name: str,
    *,
    shape: Sequence[int],
    kind: type[np.generic] | None = None,
    where: str,
) -> NDArray[Any]:
    """Remove a stored array and return it.

    Args:
        arrays: arrays that are left, by name.
        name: name of the array.
        shape: shape that it must have.
        kind: type that it must have; None is any floating-point type.
        where: name of the file, for the message.
    Raises:
        CheckpointError: it is missing, or of another shape or type.
    """
    if name not in arrays:
        raise CheckpointError(f"{where}: tensor {name} is missing; get the file again")
    value = arrays.pop(name)
    fits = value.dtype.kind == "f" if kind is None else value.dtype == kind
    if value.shape != tuple(shape) or not fits:
        needed = "float" if kind is None else np.dtype(kind)
        raise CheckpointError(
            f"{where}: tensor {name} is {value.dtype} {value.shape}; need {needed} {tuple(shape)}: "
            "it does not belong to its config"
        )
    return value


def check_all_taken(arrays: Mapping[str, Any], *, where: str) -> None:
    """Raise a CheckpointError if a stored array is left that no network has."""
    if arrays:
        raise CheckpointError(
            f"{where}: unknown tensor {min(arrays)}; it belongs to another network"
        )


def update_hash(digest: hashlib._Hash, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Feed the sorted (name, dtype, shape, bytes) of arrays to a hash; FORMAT.md has the text."""
    for name in sorted(arrays):
        value = arrays[name]
        digest.update(f"\n{name} torch.{_text(value.dtype)} {value.shape}\n".encode())
        little = value.dtype.newbyteorder("<")  # as in files, on any processor
        digest.update(np.ascontiguousarray(value, little).data)


@functools.cache
def _text(kind: np.dtype[Any]) -> str:
    """Name of a type; to make it takes numpy longer than to hash a small array."""
    return str(kind.newbyteorder("="))
