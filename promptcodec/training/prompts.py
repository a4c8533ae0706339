"""Training the prompts of one rate under a frozen base."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from promptcodec.adapters.prompts import LayerAdaptivePrompts
from promptcodec.adapters.store import (
    AdapterConfig,
    RateAdapter,
    pack_tensors,
    read_adapter,
    write_adapter,
)
from promptcodec.adapters.store import build as build_adapter
from promptcodec.api import find_base
from promptcodec.codec.checkpoint import Base, read_base
from promptcodec.codec.model import CodecModel, TrainingOutput
from promptcodec.config import from_dict
from promptcodec.errors import ConfigError
from promptcodec.files import write_atomically
from promptcodec.training.config import LoopConfig, read_yaml
from promptcodec.training.data import PictureStore
from promptcodec.training.loop import Trainer
from promptcodec.training.objectives import RateDistortion, rate_distortion
from promptcodec.training.validation import Validation, validate

logger = logging.getLogger(__name__)

TRAINING_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class PromptConfig(LoopConfig):
    """One training run of a rate's prompts, beside what every run has.

    Args:
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        init_from: folder of the adapter to start from; None starts from the base alone.
        width: of the prompt networks' trunks.
    """

    base: str | None = None
    init_from: str | None = None
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ConfigError(f"width is {self.width}; need 1 or more")


class Adapted(nn.Module):
    """A frozen base and the prompts that are trained; only these are its parameters.

    Args:
        base: frozen; moves along, but is neither saved nor averaged.
        prompts: trained.
    """

    base: CodecModel

    def __init__(self, base: CodecModel, prompts: LayerAdaptivePrompts) -> None:
        super().__init__()
        self.prompts = prompts
        object.__setattr__(self, "base", base)  # past the registry of modules

    def _apply(self, fn: Callable, recurse: bool = True) -> Adapted:
        self.base._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor) -> TrainingOutput:
        """See `CodecModel.forward`; z is rounded, as the base's training left it."""
        return self.base(x, round_z=True, adapter=self.prompts)


class PromptTask:
    """The prompts of one rate as what a `Trainer` trains.

    Args:
        config: the run.
    Raises:
        CheckpointError: no usable base or adapter to start from.
        ModelMismatchError: the adapter to start from belongs to another base.
    """

    def __init__(self, config: PromptConfig) -> None:
        self.config = config
        self.result = f"rate-{config.rate_index}"
        self.base: Base = read_base(find_base(config.base))
        self.start: RateAdapter | None = None
        if config.init_from is not None:
            self.start = read_adapter(Path(config.init_from), base=self.base)
            if self.start.config.width != config.width:
                raise ConfigError(
                    f"width is {config.width}, and {config.init_from} has "
                    f"{self.start.config.width}: give the same"
                )

    def build(self) -> Adapted:
        """Fresh prompts, which leave the base as it is."""
        prompts = LayerAdaptivePrompts(self.base.config.codec, width=self.config.width)
        return Adapted(self.base.model, prompts)

    def initialise(self, model: Adapted, store: PictureStore) -> None:
        """Start from a neighbour's prompts, where the recipe names one."""
        if self.start is not None:
            model.prompts.load_state_dict(self.start.prompts.state_dict())

    def loss(self, model: nn.Module, x: Tensor, *, step: int) -> RateDistortion:
        """What every step minimises on pictures x (B, 3, H, W) in [0, 1]."""
        return rate_distortion(model(x), x, lmbda=self.config.rate_weight)

    def validate(self, model: Adapted, pictures: list[Tensor], *, samples: Path) -> Validation:
        """Rate and distortion on held-out pictures with the gains as integers."""
        adapter = self._adapter(model)
        tables = self.base.tables
        return validate(self.base.model, pictures, samples=samples, adapter=adapter, tables=tables)

    def write(
        self, model: Adapted, folder: Path, *, store: PictureStore, record: dict[str, Any]
    ) -> None:
        """Write the adapter with its training record."""
        write_adapter(folder, model.prompts, config=self._adapter_config())
        record = {**record, "base_sha256": self.base.sha256.hex()}
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(folder / TRAINING_FILE, text.encode(), force=True)

    def _adapter_config(self) -> AdapterConfig:
        return AdapterConfig(
            rate_index=self.config.rate_index,
            lmbda=self.config.rate_weight,
            base_sha256=self.base.sha256.hex(),
            width=self.config.width,
            init_from=self.start.sha256.hex() if self.start else None,
        )

    def _adapter(self, model: Adapted) -> RateAdapter:
        """What a file of these weights would hold."""
        return build_adapter(
            pack_tensors(model.prompts),
            config=self._adapter_config(),
            codec=self.base.config.codec,
            where="the prompts in training",
        )


def read_prompt_recipe(path: Path) -> PromptConfig:
    """Read a YAML recipe of a rate's prompts.

    Raises:
        ConfigError: no such file, not YAML, or a key or value that does not fit.
    """
    return from_dict(PromptConfig, read_yaml(path), where=str(path))


def train_prompts(
    config: PromptConfig,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    max_steps: int | None = None,
    device: str | None = None,
    validation: Path | None = None,
) -> Path:
    """Train the prompts of one rate and write their adapter.

    Args:
        config: the run.
        data: folder (nested folders and zip shards too) of training pictures.
        out: folder for log, state, samples and the adapter `rate-N/`.
        resume: continue from the state in `out`.
        max_steps: stop after this step of the schedule, state saved; None runs to the end.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        validation: folder to validate on; None holds pictures out of `data`.
    Returns:
        Folder of the adapter.
    """
    trainer = Trainer(
        config,
        PromptTask(config),
        data=Path(data),
        out=Path(out),
        resume=resume,
        device=device,
        validation=validation,
    )
    return trainer.run(max_steps=max_steps)
