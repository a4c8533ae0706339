"""A pretended GPU: tensors on it keep their values on the CPU, and refuse to mix with the CPU's.

Its device is called "meta", which autograd runs on without a driver. Every value is that of a run
on the CPU, so that whole runs, with backward pass, validation and files, go as they would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from promptcodec.models import windows

GPU = torch.device("meta")
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class OnGpu(Tensor):
    """A tensor of the pretended GPU; `value` is on the CPU."""

    value: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, value: Tensor) -> OnGpu:
        shape = {"strides": value.stride(), "storage_offset": value.storage_offset()}
        own = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, value.shape, **shape, dtype=value.dtype, device=GPU
        )
        own.value = value
        return own

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Operations without a tensor of the GPU, which may make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in _leaves((args, tuple(kwargs.values()))) if isinstance(each, Tensor)]
    on_gpu = any(isinstance(each, OnGpu) for each in tensors)
    if on_gpu and func not in _COPIES:
        for each in tensors:  # a scalar may come from the CPU
            if not isinstance(each, OnGpu) and each.ndim:
                raise RuntimeError(f"{func} mixes devices: {[t.device.type for t in tensors]}")
    device = kwargs.get("device")
    if device is not None:
        on_gpu, kwargs = device.type == GPU.type, {**kwargs, "device": torch.device("cpu")}
    options = {name: _mapped(_value_of, each) for name, each in kwargs.items()}
    found = func(*_mapped(_value_of, args), **options)
    known = {id(_value_of(each)): each for each in tensors}
    return _mapped(lambda each: _placed(each, known, on_gpu=on_gpu), found)


def _value_of(each: Any) -> Any:
    return each.value if isinstance(each, OnGpu) else each


def _placed(each: Any, known: dict[int, Tensor], *, on_gpu: bool) -> Any:
    """A result, which is one of the arguments if that was changed in place."""
    if not isinstance(each, Tensor) or id(each) in known:
        return known.get(id(each), each)
    return OnGpu(each) if on_gpu else each


def _leaves(each: Any) -> Iterator[Any]:
    if isinstance(each, list | tuple):
        for part in each:
            yield from _leaves(part)
    else:
        yield each


def _mapped(function: Callable[[Any], Any], each: Any) -> Any:
    """Much faster than torch's `tree_map`, which knows more containers."""
    if isinstance(each, list | tuple):
        return type(each)([_mapped(function, part) for part in each])
    return function(each)


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What runs in here has a GPU, and Accelerate takes it."""
    autocast, apply = torch.autocast, nn.Module._apply

    def on_cpu(kind: str, *words: Any, **options: Any) -> Any:
        return autocast("cpu" if kind == GPU.type else kind, *words, **options)

    def without_views(on: bool) -> Any:  # a subclass has none in inference mode
        return torch.no_grad() if on else nullcontext()

    def in_place(self: nn.Module, *words: Any, **options: Any) -> nn.Module:
        """As on a real one, a parameter that moves stays the same object."""
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(self, *words, **options)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "autocast", on_cpu)
        patch.setattr(torch._C, "_InferenceMode", without_views)
        patch.setattr(nn.Module, "_apply", in_place)
        patch.setattr(Accelerator, "device", property(lambda _: GPU))
        _forget()
        try:
            with _Everywhere():
                yield
        finally:
            _forget()


def _forget() -> None:
    """Drop what is kept for each device: others use this one as it is meant."""
    windows.window_mask.cache_clear()
    windows.window_order.cache_clear()
