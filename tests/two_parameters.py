"""A training task of two parameters whose gradient is known: loss = mean(weight * x + bias)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptcodec.training.config import LoopConfig, OptimizerConfig
from promptcodec.training.losses import RateDistortion
from promptcodec.training.task import Task


class Line(nn.Linear):
    """weight * x + bias; keeps the types that it computed in."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.computed: list[torch.dtype] = []
        with torch.no_grad():
            self.weight.fill_(1.0)
            self.bias.fill_(-2.0)

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        self.computed.append(found.dtype)
        return found


class Numbers:
    """The numbers of a list one after the other; each further process sees them `apart` higher."""

    name = "numbers"

    def __init__(self, values: list[float], *, apart: float) -> None:
        self.values, self.apart = values, apart

    def __len__(self) -> int:
        return len(self.values)

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> Tensor:
        first = step * count
        return torch.tensor(self.values[first : first + count])[:, None] + self.apart * rank


class LineTask(Task):
    """Training of a `Line`; keeps what it was shown."""

    result = "line"

    def __init__(self, config: LoopConfig, values: list[float], *, apart: float = 0.0) -> None:
        self.config, self.values, self.apart = config, values, apart
        self.before: list[float] = []  # weight before each step
        self.validated: list[float] = []
        self.computed: list[torch.dtype] = []

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> Numbers:
        return Numbers(self.values, apart=self.apart)

    def build(self, store: Any) -> Line:
        return Line()

    def loss(self, model: Any, batch: Tensor, *, step: int, share: float = 0.0) -> RateDistortion:
        line = getattr(model, "module", model)
        self.before.append(float(line.weight.detach()))
        loss = model(batch).mean()
        self.computed.append(line.computed[-1])
        none = loss.detach()
        return RateDistortion(loss=loss, bpp=none, z_bpp=none, mse=none.new_ones(()))

    def validate(self, model: Any, store: Any, *, samples: Path) -> dict[str, float]:
        self.validated.append(float(model.weight.detach()))
        return {"loss": 1.0}

    def write(self, model: Any, folder: Path, *, store: Any) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weight.json").write_text(json.dumps(float(model.weight.detach())))
        return {}


def line_config(**changes: Any) -> LoopConfig:
    """A recipe without clipping or warm-up; keys of the optimiser among the others."""
    optimizer = {"name": "adamw", "learning_rate": 0.1, "warmup_steps": 0, "decay_fraction": 0.0}
    optimizer |= {"clip_norm": 1e6}
    names = OptimizerConfig.__dataclass_fields__.keys() & changes.keys()
    optimizer |= {name: changes.pop(name) for name in names}
    defaults = {"steps": 1, "batch": 1, "precision": "no", "validate_every": 1}
    return LoopConfig(optimizer=OptimizerConfig(**optimizer), **(defaults | changes))
