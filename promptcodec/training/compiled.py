"""Compiled forward passes, on machines that can compile them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from promptcodec.training.trials import is_out_of_memory

logger = logging.getLogger(__name__)


def compile_forward(modules: Sequence[nn.Module], *, attempt: Callable[[], object]) -> bool:
    """Compile modules in place for training; passes without gradients stay uncompiled.

    Args:
        modules: modules to compile.
        attempt: function that runs them forwards and backwards; if it fails, they stay uncompiled
            and one warning is logged.
    Returns:
        Whether they are compiled.
    """
    for module in modules:
        module.forward = _while_training(module.forward)
    try:
        attempt()
    except Exception as error:  # compilers raise errors of any class
        if is_out_of_memory(error):
            raise
        for module in modules:
            del module.forward  # back to the method of the class
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.warning("compile: not possible here (%s); training goes on without", reason)
        return False
    return True


def _while_training(eager: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(eager)

    def forward(*arguments: Any, **options: Any) -> Any:
        # Validation has pictures of many sizes, each of which would be compiled for.
        chosen = compiled if torch.is_grad_enabled() else eager
        return chosen(*arguments, **options)

    return forward
