"""Parameters and multiply-accumulates of any module, counted on what it really runs.

Counted are convolutions and matrix products, those inside attention included, as every paper
does; additions, norms and activations are not. One MAC is two of the FLOPs that torch counts.
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
"""Size of a Kodak picture, px, at which tables are given."""


@dataclass(frozen=True)
class Cost:
    """What one part of a model costs.

    Attributes:
        name: of the part.
        parameters: learned numbers.
        kmac_per_pixel: thousands of multiply-accumulates for each pixel of the picture.
    """

    name: str
    parameters: int
    kmac_per_pixel: float


def count_parameters(module: nn.Module) -> int:
    """Number of learned values of a module, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(run: Callable[..., Any], *inputs: Any) -> int:
    """Multiply-accumulates of one call.

    Args:
        run: a module or any function of tensors; it is called once.
        inputs: passed on; on the meta device nothing is computed, so that a picture
            of any size costs milliseconds.
    """
    # torch counts every matrix product but matrix times vector, which no model here uses, and,
    # in some versions, those of fused attention on a CPU.
    more = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    counter = FlopCounterMode(display=False, custom_mapping=more)
    with torch.inference_mode(), counter:
        run(*inputs)
    return counter.get_total_flops() // 2


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """FLOPs of fused attention, from the shapes that a counter gives."""
    return sdpa_flop_count(q, k, v)


def complexity_table(
    model: "CodecModel", *, width: int = WIDTH, height: int = HEIGHT
) -> list[Cost]:
    """What each part of a codec costs for one picture, and three sums of parts.

    Args:
        model: left as it is; a copy without values is run.
        width: of the picture, px, a multiple of the stride of the model.
        height: of the picture, px, likewise.

    Returns:
        One row a part, in the order in which they run, then the entropy model, and all that
        encoding and decoding run. The context counts in both: an encoder walks through it too.
    """
    ghost = copy.deepcopy(model).to("meta").eval()
    prior = ghost.hyperprior
    x = torch.empty(1, 3, height, width, device="meta")
    with torch.inference_mode():
        y = ghost.g_a(x)
        z = prior.h_a(y)
        features = prior.h_means(z)

    def cost(name: str, module: nn.Module, *inputs: Any) -> Cost:
        kmac = count_macs(module, *inputs) / (width * height) / 1000
        return Cost(name, count_parameters(module), kmac)

    g_a = cost("g_a", ghost.g_a, x)
    h_a = cost("h_a", prior.h_a, y)
    scale_path = cost("scale path", prior.scale_path, z)
    h_means = cost("h_means", prior.h_means, z)
    context = cost("context", ghost.context, features, lambda group, mu, shift: mu)
    g_s = cost("g_s", ghost.g_s, y)
    side = [scale_path, h_means, context]
    return [
        g_a,
        h_a,
        *side,
        g_s,
        _sum("entropy model", [h_a, *side]),
        _sum("encoding", [g_a, h_a, *side]),
        _sum("decoding", [*side, g_s]),
    ]


def render_complexity(rows: list[Cost]) -> str:
    """Markdown table of `complexity_table`."""
    lines = ["| part | parameters | kMAC/px |", "| --- | ---: | ---: |"]
    lines += [f"| {row.name} | {row.parameters:,} | {row.kmac_per_pixel:.2f} |" for row in rows]
    return "\n".join(lines)


def _sum(name: str, parts: list[Cost]) -> Cost:
    return Cost(
        name,
        sum(part.parameters for part in parts),
        sum(part.kmac_per_pixel for part in parts),
    )
