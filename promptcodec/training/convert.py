"""Conversion of training states of older versions: same values, other names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from promptcodec.errors import OutputError, UsageError
from promptcodec.training.base import build_model
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.optim import build_optimizer
from promptcodec.training.raw_weights import write_weights
from promptcodec.training.state import TrainingState, gather, read_state, restore, write_state


@dataclass(frozen=True)
class Rename:
    """A part of a model with another name in this version.

    Args:
        old: old name of a module or parameter.
        new: name in this version.
    """

    old: str
    new: str

    @classmethod
    def parse(cls, text: str) -> Rename:
        """Read "old=new".

        Raises:
            UsageError: the text has another form.
        """
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise UsageError(f"--rename is {text!r}: give old=new, such as g_a.head=g_a.out")
        return cls(old, new)

    def fits(self, name: str) -> bool:
        """Whether a parameter is the renamed one, or inside the renamed module."""
        return name == self.old or name.startswith(self.old + ".")


def convert_state(
    old: Path,
    new: Path,
    *,
    recipe: Path,
    renames: Sequence[Rename] = (),
    weights: Path | None = None,
    processes: int | None = None,
) -> None:
    """Convert the state of a base's run; step, weights, moments and averages stay exact.

    Args:
        old: state of an older version.
        new: file to write, for a run folder as `state.safetensors`.
        recipe: recipe of the run for this version.
        renames: renamed parts; the first that fits a name counts.
        weights: file for the weights alone, for `init_from`; None writes none.
        processes: number of processes that go on; None is that of the state. Each has batches of
            the recipe's size, so that a step has another number of pictures from there on.
    Raises:
        CheckpointError: `old` is no state, or does not fit the recipe after renaming.
        OutputError: `new` exists.
    """
    if new.exists():
        raise OutputError(f"{new} exists: name a file that does not")
    state, config = read_state(old), read_recipe(recipe, BaseTrainingConfig)
    tensors = {}
    for key, value in state.tensors.items():
        group, _, name = key.partition(".")  # model, ema, optimizer
        tensors[f"{group}.{_renamed(name, renames)}"] = value
    scalars = {_renamed(name, renames): v for name, v in state.extra["scalars"].items()}
    state = replace(state, tensors=tensors, extra={**state.extra, "scalars": scalars})
    if processes is not None:
        state = replace(state, processes=processes)
    write_state(new, _rebuilt(state, config))
    if weights is not None:
        write_weights(weights, {k[6:]: v for k, v in tensors.items() if k.startswith("model.")})


def _renamed(name: str, renames: Sequence[Rename]) -> str:
    for rename in renames:
        if rename.fits(name):
            return rename.new + name.removeprefix(rename.old)
    return name


def _rebuilt(state: TrainingState, config: BaseTrainingConfig) -> TrainingState:
    """The state as a run of `config` saves it, after restoring it in such a run."""
    model = build_model(config)
    optimizer = build_optimizer(model, config.optimizer)
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    restore(state, model=model, ema=ema, optimizer=optimizer)
    return gather(
        state.step,
        model=model,
        ema=ema,
        optimizer=optimizer,
        share=state.share,
        seconds=state.seconds,
        config=config,
        processes=state.processes,
        held_out=state.held_out,
        data=state.data,
    )
