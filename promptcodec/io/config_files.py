"""JSON files of checkpoints as config dataclasses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from promptcodec.config import from_dict
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError, not_found

T = TypeVar("T")


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
        message = f"no {what} at {path.parent}: {path.name}: {error.strerror}"
        raise CheckpointError(not_found(path.parent, message)) from None
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
