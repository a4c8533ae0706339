"""Muon: momentum whose matrices are orthogonalised; AdamW for everything that is no matrix.

    M <- lerp(M, G);  N = lerp(G, M);  W <- W - lr * 0.2 sqrt(max(rows, columns)) * polar(N)

The orthogonal factor comes from a Newton-Schulz iteration, in bfloat16 on processors with
instructions for it, else in float32. The weight of a convolution is the matrix (outputs, inputs *
taps). A whole matrix is orthogonalised every `period` steps; in between, bands of `band` rows are
orthogonalised separately, at a fraction of the cost.
Source: Jordan et al. 2024 (Muon); Liu et al. 2025, arXiv:2502.16982 (scale by shape); Khaled et al.
2025, arXiv:2510.16981 (blocks in between).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

# One row an iteration: X <- a X + (b A + c A A) X with A = X X^T. Coefficients that take singular
# values from (0, 1] to about 1 in five iterations (You Jiacheng 2024).
COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon(torch.optim.Optimizer):
    """Optimiser of matrices by Muon and of other parameters by AdamW.

    Args:
        params: groups of parameters; those with `matrices: False` are updated by AdamW.
        lr: learning rate of both.
        betas: moment decays of AdamW.
        momentum: momentum of Muon.
        weight_decay: decoupled weight decay.
        eps: epsilon of AdamW.
        band: number of rows orthogonalised together between whole turns; 0 is whole matrices.
        period: number of steps between two whole turns of a matrix.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.98),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        band: int = 0,
        period: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "eps": eps,
            "matrices": True,
            "band": band,
            "period": period,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; returns the loss of `closure`, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if moved and group["matrices"]:
                self._muon(moved, group)
            elif moved:
                self._adamw(moved, group)
        return loss

    def _muon(self, moved: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        for number, (p, grad) in enumerate(moved):
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
                state["turn"] = number  # so that whole turns are spread over the steps
            state["turn"] += 1
            whole = not group["band"] or state["turn"] % group["period"] == 0
            buffer = state["momentum_buffer"]
            buffer.lerp_(grad, 1.0 - momentum)
            update = torch.lerp(grad, buffer, momentum).flatten(1)
            band = 0 if whole else group["band"]
            rows, columns = update.shape
            if band and rows % band == 0 and rows > band and columns > band:
                factor = orthogonalise(update.view(-1, band, columns))
                size = max(band, columns)
            else:
                factor, size = orthogonalise(update), max(rows, columns)
            p.mul_(1.0 - lr * group["weight_decay"])
            p.add_(factor.reshape(p.shape).to(p.dtype), alpha=-lr * 0.2 * math.sqrt(size))

    def _adamw(self, moved: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        params = [p for p, _ in moved]
        for p in params:
            if not self.state[p]:
                self.state[p]["step"] = torch.zeros(())
                self.state[p]["exp_avg"] = torch.zeros_like(p)
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p)
        adamw(
            params,
            [grad for _, grad in moved],
            [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params],
            [],
            [self.state[p]["step"] for p in params],
            foreach=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearly the nearest (semi-)orthogonal matrix of each, in the type of the computation.

    Args:
        matrices: matrices, (..., rows, columns).
    """
    x = matrices.to(product_dtype(matrices.device))
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = (x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-7)).contiguous()
    add = torch.addmm if x.ndim == 2 else torch.baddbmm
    for a, b, c in COEFFICIENTS:
        gram = x @ x.mT
        x = add(x, add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


def product_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if `device` has instructions for it, else float32."""
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return torch.float32
    return torch.bfloat16
