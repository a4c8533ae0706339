"""Arguments of batches: several pictures or streams, and a rate for each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError


def listed(items: Iterable[Any], *, what: str) -> list[Any]:
    """Items as a list.

    Args:
        items: list, array, generator or other iterable.
        what: name of the items in messages.
    Raises:
        UsageError: a path, bytes, or anything else that is one item.
    """
    try:
        if not isinstance(items, str | bytes | bytearray | Path):
            return list(items)
    except TypeError:
        pass
    raise UsageError(f"one {type(items).__name__} is given; need several {what}: pass a list")


def rates_for(count: int, rate_index: Any) -> list[Any]:
    """One rate for each of several pictures.

    Args:
        count: number of pictures.
        rate_index: one rate for all, or an array, tensor, generator or other iterable of rates.
    Raises:
        UsageError: there are more or fewer rates than pictures.
    """
    if isinstance(rate_index, str):  # which a ladder refuses, or reads as a number
        return [rate_index] * count
    try:
        each = list(islice(rate_index, count + 1))  # a generator may be endless
    except TypeError:  # a number, None, or an array without dimensions
        return [rate_index] * count
    if len(each) != count:
        given = f"more than {count}" if len(each) > count else f"{len(each)}"
        raise UsageError(f"{count} pictures and {given} rates: give one each")
    return each
