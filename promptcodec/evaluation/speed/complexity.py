"""Parameters and multiply-accumulates of any module, counted on the operations that it runs.

Convolutions and matrix products count, including those of attention, as is usual in papers;
additions, norms and activations do not. One MAC is two of the FLOPs that torch counts.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

if TYPE_CHECKING:
    from promptcodec.models.codec_model import CodecModel

WIDTH, HEIGHT = 768, 512
"""Size of a Kodak picture, px, for which tables are given."""
SUMS = {
    "entropy model": ("h_a", "scale path", "h_means", "context"),
    "encoding": ("g_a", "h_a", "scale path", "h_means", "context"),
    "decoding": ("scale path", "h_means", "context", "g_s"),
}
"""Sums of parts that run together."""


@dataclass(frozen=True)
class Cost:
    """Cost of one part of a model.

    Attributes:
        name: name of the part.
        parameters: number of learned values.
        kmac_per_pixel: thousands of multiply-accumulates for each pixel of the picture.
    """

    name: str
    parameters: int
    kmac_per_pixel: float


def count_parameters(module: nn.Module) -> int:
    """Number of learned values of a module; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(run: Callable[..., Any], *inputs: Any) -> int:
    """Multiply-accumulates of one call.

    Args:
        run: module or function of tensors; it is called once.
        inputs: arguments of `run`; on the meta device nothing is computed, so that a picture of
            any size takes milliseconds.
    """
    # Not counted by torch: matrix times vector, which no model here uses, and in some versions
    # fused attention on a CPU.
    more = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    counter = FlopCounterMode(display=False, custom_mapping=more)
    with torch.inference_mode(), counter:
        run(*inputs)
    return counter.get_total_flops() // 2


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """FLOPs of fused attention, from the shapes of its arguments."""
    return sdpa_flop_count(q, k, v)


def complexity_table(
    model: "CodecModel", *, width: int = WIDTH, height: int = HEIGHT
) -> list[Cost]:
    """Cost of each part of a codec, and of the `SUMS` of parts.

    The cost of a pixel is what a picture of twice the width takes more: weights of linear maps that
    are joined, once for a picture or for all, are not counted.

    Args:
        model: model to count; a copy without values is run.
        width: width of the picture, px, a multiple of the stride of the model.
        height: height of the picture, px, a multiple of the stride of the model.

    Returns:
        One row for each part in the order of execution, then one for each sum.
    """
    ghost = copy.deepcopy(model).to("meta").eval()
    once, twice = (_parts(ghost, width=times * width, height=height) for times in (1, 2))
    parts = {}
    for name, (module, inputs) in once.items():
        more = count_macs(module, *twice[name][1]) - count_macs(module, *inputs)
        parts[name] = Cost(name, count_parameters(module), more / (width * height) / 1000)
    sums = []
    for name, members in SUMS.items():
        costs = [parts[member] for member in members]
        kmac = sum(each.kmac_per_pixel for each in costs)
        sums.append(Cost(name, sum(each.parameters for each in costs), kmac))
    return [*parts.values(), *sums]


def _parts(
    ghost: "CodecModel", *, width: int, height: int
) -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """Parts of a model on the meta device, and their inputs for one picture."""
    prior = ghost.hyperprior
    x = torch.empty(1, 3, height, width, device="meta")
    with torch.inference_mode():
        y = ghost.g_a(x)
        z = prior.h_a(y)
        features = prior.h_means(z)
    return {
        "g_a": (ghost.g_a, (x,)),
        "h_a": (prior.h_a, (y,)),
        "scale path": (prior.scale_path, (z,)),
        "h_means": (prior.h_means, (z,)),
        "context": (ghost.context, (features, lambda group, mu, shift: mu)),
        "g_s": (ghost.g_s, (y,)),
    }


def render_complexity(rows: list[Cost]) -> str:
    """Markdown table of `complexity_table`."""
    lines = ["| part | parameters | kMAC/px |", "| --- | ---: | ---: |"]
    lines += [f"| {row.name} | {row.parameters:,} | {row.kmac_per_pixel:.2f} |" for row in rows]
    return "\n".join(lines)
