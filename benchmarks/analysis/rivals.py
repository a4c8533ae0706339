"""Networks that classify where the picture is taken, in the form that torch runs fastest."""

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.analysis.turns import in_turn
from promptcodec.evaluation.speed.timing import summarise

MOBILE = {"MobileNetV2": "mobilenetv2_100", "MobileNetV3": "mobilenetv3_large_100"}
TRIALS = 7  # runs of each form

Action = Callable[[], object]


def mobile_networks(*, classes: int) -> dict[str, nn.Module]:
    """MobileNets with random weights, whose time is that of trained ones."""
    return {
        title: timm.create_model(name, num_classes=classes).eval() for title, name in MOBILE.items()
    }


def fastest(model: nn.Module, x: Tensor) -> tuple[str, Action]:
    """The form of a network that takes the least time for x, (B, 3, H, W), and its name."""
    actions = dict(forms(model, x))
    turns = in_turn(actions, repeats=TRIALS, warm_up=3)
    name = min(actions, key=lambda each: summarise(turns[each].wall).median)
    return name, actions[name]


def forms(model: nn.Module, x: Tensor) -> Iterator[tuple[str, Action]]:
    """Ways to run a network: as it is, channels last, and traced with normalisation folded."""
    for memory in (torch.contiguous_format, torch.channels_last):
        order = ", channels last" if memory == torch.channels_last else ""
        own = copy.deepcopy(model).to(memory_format=memory)
        inputs = x.contiguous(memory_format=memory)
        yield f"as it is{order}", _run(own, inputs)
        for name, change in (("frozen", torch.jit.freeze), ("optimised", _optimised)):
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # torch has newer ways, for graphics cards mostly
                traced = change(torch.jit.trace(own, inputs))
                for _ in range(2):  # it is compiled at its first calls
                    traced(inputs)
            yield f"{name}{order}", _run(traced, inputs)


def _optimised(traced: Any) -> Any:
    return torch.jit.optimize_for_inference(torch.jit.freeze(traced))


def _run(model: Callable[[Tensor], Tensor], x: Tensor) -> Action:
    @torch.inference_mode()
    def run() -> Tensor:
        return model(x)

    return run
