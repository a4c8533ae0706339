"""Training state as one safetensors file: exact, atomic, nothing to unpickle."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from promptcodec.errors import CheckpointError, ConfigError
from promptcodec.io.atomic import write_atomically
from promptcodec.training.config import LoopConfig
from promptcodec.training.record import IGNORED_KEYS, effective, recipe_of, with_new_keys

MAY_CHANGE = ("steps", *IGNORED_KEYS)
MAY_FALL = ("learning_rate", "entropy_factor", "clip_norm", "entropy_ema_decay")  # optimizer.

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Held-out losses of a run so far.

    Args:
        start: loss of the initial weights.
        lowest: lowest loss.
        step: step of the last one.
    """

    start: float
    lowest: float
    step: int


@dataclass(frozen=True)
class TrainingState:
    """State for an exact resume; crops and noise are functions of the step.

    Args:
        step: number of steps done.
        tensors: model, averaged weights and optimiser, flat.
        extra: the rest of the optimiser's state, JSON values.
        seconds: time of these steps, over all parts of the run.
        share: share of the run that was done before the last of these steps.
        processes: number of processes of the run; None in states of older versions.
        held_out: held-out losses; None in states of older versions.
        data: digest of tar shards; None for other data, and in states of older versions.
    """

    step: int
    tensors: dict[str, Tensor]
    extra: dict[str, Any]
    seconds: float = 0.0
    share: float = 0.0
    processes: int | None = None
    held_out: HeldOut | None = None
    data: str | None = None

    @property
    def validated(self) -> bool:
        """Whether its own weights were validated."""
        return self.held_out is not None and self.held_out.step == self.step


def gather(
    step: int,
    *,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    share: float,
    seconds: float,
    config: LoopConfig,
    processes: int | None,
    held_out: HeldOut | None,
    data: str | None,
) -> TrainingState:
    """Collect the state of a run of `config` after `step` steps and `seconds`."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.items()}
    names = parameter_names(model, optimizer)
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{names[index]}.{key}"] = value
            else:
                scalars.setdefault(names[index], {})[key] = value
    extra = {"scalars": scalars, "recipe": recipe_of(config)}
    return TrainingState(
        step=step,
        tensors=tensors,
        extra=extra,
        seconds=seconds,
        share=share,
        processes=processes,
        held_out=held_out,
        data=data,
    )


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters of a model in the order of its optimiser."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def check_recipe(state: TrainingState, config: LoopConfig) -> None:
    """Refuse to resume a run with another recipe.

    Raises:
        ConfigError: the recipe differs in more than its length, its record keeping and lower
            values of `MAY_FALL`.
    """
    before, now = map(effective, (state.extra["recipe"], recipe_of(config)))
    was, lower = before["optimizer"], now["optimizer"]
    for name in MAY_FALL:
        if lower[name] is None or lower[name] == was[name]:
            continue
        if lower[name] < (was["ema_decay"] if was[name] is None else was[name]):
            change = f"{name} was {was[name]} and is {lower[name]} from step {state.step} on"
            logger.warning(change)
            lower[name] = was[name]
    for key, value in before.items():
        if key not in MAY_CHANGE and now[key] != value:
            raise ConfigError(
                f"the run to resume had {key}: {value}, the recipe has {now[key]}; put it back or "
                "start another run folder"
            )


def check_data(state: TrainingState, digest: str | None) -> None:
    """Log a line if a run resumes on other tar shards: its crops are then other ones."""
    if state.data is not None and state.data != digest:
        logger.warning(
            "members (name, place, size or time) of the tar shards are others than up to step %d, "
            "and so are the crops from here on: a run on the same shards would differ",
            state.step,
        )


def write_state(path: Path, state: TrainingState) -> None:
    """Write a state atomically."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
    extra = state.extra | {"seconds": state.seconds, "share": state.share}
    if state.processes is not None:
        extra["processes"] = state.processes
    if state.held_out is not None:
        extra["held_out"] = asdict(state.held_out)
    if state.data is not None:
        extra["data"] = state.data
    metadata = {"step": str(state.step), "extra": json.dumps(extra)}
    write_atomically(path, save(tensors, metadata=metadata), force=True)


def read_state(path: Path) -> TrainingState:
    """Read a state written by `write_state`.

    Raises:
        CheckpointError: the file is missing or no training state.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        extra = json.loads(metadata["extra"])
        extra["recipe"] = with_new_keys(extra["recipe"])
        step, seconds = int(metadata["step"]), float(extra.pop("seconds"))
        # Older states have no share; theirs is that of their steps.
        share = float(extra.pop("share", max(0, step - 1) / extra["recipe"]["steps"]))
        processes, held_out = extra.pop("processes", None), extra.pop("held_out", None)
        data = extra.pop("data", None)
        return TrainingState(
            step=step,
            tensors=tensors,
            extra=extra,
            seconds=seconds,
            share=share,
            processes=processes,
            held_out=None if held_out is None else HeldOut(**held_out),
            data=data,
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"training state {path} cannot be read: {error}") from None


def step_of(path: Path) -> int:
    """Number of steps of a state written by `write_state`."""
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def restore(
    state: TrainingState,
    *,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Restore a state in freshly built objects.

    Raises:
        CheckpointError: the state belongs to another architecture.
    """
    weights = {k[6:]: v for k, v in state.tensors.items() if k.startswith("model.")}
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"training state does not fit the recipe: {line}") from None
    for name, value in ema.items():
        value.copy_(state.tensors[f"ema.{name}"])
    optimizer.load_state_dict(
        {**optimizer.state_dict(), "state": _moments(state, model, optimizer)}
    )


def _moments(
    state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Any]]:
    """The optimiser's part of a state, by the index of each parameter in `optimizer`.

    Raises:
        CheckpointError: the state belongs to other parameters.
    """
    parameters = dict(model.named_parameters())
    names = parameter_names(model, optimizer)
    places = {name: place for place, name in enumerate(names)}
    places |= {str(place): place for place in range(len(names))}  # older states count them
    values = [
        (*key.removeprefix("optimizer.").rsplit(".", 1), value)
        for key, value in state.tensors.items()
        if key.startswith("optimizer.")
    ]
    values += [(n, k, v) for n, own in state.extra["scalars"].items() for k, v in own.items()]
    moments: dict[int, dict[str, Any]] = {}
    for name, key, value in values:
        shape = parameters[names[places[name]]].shape if name in places else None
        if shape is None or (isinstance(value, Tensor) and value.ndim and value.shape != shape):
            raise CheckpointError(
                f"training state does not fit the recipe: it has {key} of parameter {name}, which "
                "is another one here; name what moved, by `convert-state --rename old=new`"
            )
        moments.setdefault(places[name], {})[key] = value
    return moments
