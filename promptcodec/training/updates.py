"""Update of the weights in a step, without waiting for a GPU: clip, step, average.

A gradient that is not finite changes no weight. On a CPU the norm is tested. On a GPU a test would
synchronise host and device at every step; there the update is undone from a copy on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    """Clip the gradient and update the weights, if it is finite.

    Args:
        optimizer: optimiser of the parameters; its counters advance in an undone step.
        parameters: parameters to update.
        clip_norm: largest norm of the whole gradient.
        ask: test on the host whether the gradient is finite, rather than undo on the device.
    Returns:
        Scalar, 1.0 if the update was left out or undone, else 0.0.
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
    for gradient in gradients:  # 0 * NaN below would be NaN
        gradient.nan_to_num_(0.0, 0.0, 0.0)
    moving = [*parameters, *_moments(optimizer, parameters)]
    kept = [value.clone() for value in moving]
    optimizer.step()
    torch._foreach_mul_(moving, good)  # pyright: ignore
    torch._foreach_mul_(kept, 1.0 - good)  # pyright: ignore
    torch._foreach_add_(moving, kept)  # pyright: ignore
    return 1.0 - good


def _moments(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """State of the optimiser that has the shape of its parameter."""
    return [
        value
        for parameter in parameters
        for value in optimizer.state.get(parameter, {}).values()
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim
    ]


class Average:
    """Exponential moving average of the weights.

    Args:
        model: model on its device, whose tensors are from now on updated in place.
        decay: weight of the old average in the new one, after many steps, by the weight's name.
    """

    def __init__(self, model: nn.Module, *, decay: Callable[[str], float]) -> None:
        state = model.state_dict()
        self.values = {name: value.clone() for name, value in state.items()}
        self._groups: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        self._counters: list[tuple[Tensor, Tensor]] = []
        for name, value in state.items():
            if value.is_floating_point():
                averages, weights = self._groups.setdefault(decay(name), ([], []))
                averages.append(self.values[name])
                weights.append(value)
            else:
                self._counters.append((self.values[name], value))

    @torch.no_grad()
    def update(self, step: int, *, pace: float = 1.0) -> None:
        """Add the weights after step `step` to the average.

        Args:
            step: steps done.
            pace: learning rate over its peak. The average is over fewer steps as it falls: where
                weights hardly move there is little noise to average out, and an average that
                reaches back to where they did move lags behind, more for some parts than others.
        """
        # A smaller decay at first, so that the initial weights lose their influence.
        least = 1.0 - (1 + step) / (10 + step)
        for decay, (averages, weights) in self._groups.items():
            share = min(1.0, max(least, (1.0 - decay) / max(pace, 1e-9)))
            torch._foreach_lerp_(averages, weights, share)  # pyright: ignore
        for own, value in self._counters:
            own.copy_(value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Replace the averages by `values`, which have the same names."""
        for name, own in self.values.items():
            own.copy_(values[name])
