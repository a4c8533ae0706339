"""What happens to weights in a step, without waiting for a GPU: clip, move, average.

A step whose gradient is not finite moves nothing. A CPU is simply asked; asking a GPU would make
both wait for each other at every step, so there the old values are kept and, on the GPU itself,
put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def guarded_step(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    *,
    clip_norm: float,
    ask: bool,
) -> Tensor:
    """Clip the gradient and move the weights, if it is finite.

    Args:
        optimizer: moves them; its counters go on where nothing is asked.
        parameters: what it moves.
        clip_norm: largest norm of the whole gradient.
        ask: look whether it is finite, rather than undo the step on the device.
    Returns:
        Scalar, 1.0 if nothing has moved, else 0.0.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch._foreach_norm(gradients)  # pyright: ignore
    norm = torch.linalg.vector_norm(torch.stack(norms))
    good = torch.isfinite(norm).float()
    if ask and not good:
        return 1.0 - good
    torch._foreach_mul_(gradients, (clip_norm / (norm + 1e-6)).clamp_max(1.0))  # pyright: ignore
    if ask:
        optimizer.step()
        return 1.0 - good
    for gradient in gradients:  # so that what is put back is multiplied with numbers
        gradient.nan_to_num_(0.0, 0.0, 0.0)
    moving = [*parameters, *_moments(optimizer, parameters)]
    kept = [value.clone() for value in moving]
    optimizer.step()
    torch._foreach_mul_(moving, good)  # pyright: ignore
    torch._foreach_mul_(kept, 1.0 - good)  # pyright: ignore
    torch._foreach_add_(moving, kept)  # pyright: ignore
    return 1.0 - good


def _moments(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """What the optimiser remembers of each parameter, on its device."""
    return [
        value
        for parameter in parameters
        for value in optimizer.state.get(parameter, {}).values()
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim
    ]


class Average:
    """Weights averaged over the steps.

    Args:
        model: on its device; its tensors are changed in place from here on.
        decay: share of the old average in the new one, once there were many steps.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        state, self.decay = model.state_dict(), decay
        self.values = {name: value.clone() for name, value in state.items()}
        floating = [name for name, value in state.items() if value.is_floating_point()]
        self._weights = [state[name] for name in floating]
        self._averages = [self.values[name] for name in floating]
        self._counters = [(self.values[n], v) for n, v in state.items() if n not in set(floating)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`."""
        # A young average forgets fast, or it would still remember the initial weights.
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - decay)  # pyright: ignore
        for own, value in self._counters:
            own.copy_(value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Go on from averages of the same names."""
        for name, own in self.values.items():
            own.copy_(values[name])
