"""Modules in training with frozen ones beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from torch import nn


class WithFrozen(nn.Module):
    """A module that owns frozen ones: they move along, and are neither saved nor averaged.

    Args:
        frozen: modules without parameters to train; those of an adapter or a teacher, for instance.
    """

    def __init__(self, frozen: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self._frozen = tuple(frozen)  # a tuple is no submodule

    def _apply(self, fn: Callable, recurse: bool = True) -> Self:
        for module in self._frozen:
            module._apply(fn, recurse)
        return super()._apply(fn, recurse)
