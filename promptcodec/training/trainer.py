"""The one training loop, on Accelerate.

    crops(step) -> model -> objective -> backward -> clip -> optimiser -> average of the weights

Every random choice of step n is seeded with (seed, n, process), so a killed run that resumes from
its last state continues bit for bit; a run by the clock continues its schedule. Between two lines
of the log nothing waits for a GPU.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import nn

from promptcodec.errors import ConfigError, UsageError
from promptcodec.io.provenance import provenance
from promptcodec.training import state as training_state
from promptcodec.training.best import Best
from promptcodec.training.compiled import compile_forward
from promptcodec.training.divergence import Watch
from promptcodec.training.graphs import write_graphs
from promptcodec.training.losses import Loss
from promptcodec.training.muon import product_dtype
from promptcodec.training.optim import (
    average_decay,
    build_optimizer,
    decayed,
    learning_rate,
    on_gpu,
)
from promptcodec.training.pace import Budget, Pace, StepPace
from promptcodec.training.progress import Progress
from promptcodec.training.raw_weights import RAW_FILE, write_weights
from promptcodec.training.record import write_record
from promptcodec.training.state_file import STATE_FILE, StateFile
from promptcodec.training.task import Task
from promptcodec.training.trials import MemoryFaults, try_batches
from promptcodec.training.updates import Average, guarded_step

PRE_DECAY_FILE = "state-before-decay.safetensors"
PATIENCE = timedelta(days=7)  # longest wait for the first process, which validates and writes
VALIDATIONS, VALIDATION_SHARE = 5, 0.05  # largest number and share of time, in a run by the clock


class Trainer:
    """One run: builds everything, resumes, trains, validates, saves. Arguments: `run_training`."""

    def __init__(
        self,
        task: Task,
        *,
        data: Path,
        out: Path,
        resume: bool,
        device: str | None,
        validation: Path | None,
        budget: Budget | None,
    ) -> None:
        self.config, self.task, self.out, self.budget = task.config, task, out, budget
        config = self.config
        # Accelerate keeps the precision of a process's first run; each run has its own.
        AcceleratorState._reset_state()
        gpu = on_gpu(device)
        self.precision = config.precision
        if self.precision == "auto":
            reduced = product_dtype(torch.device("cuda" if gpu else "cpu")) == torch.bfloat16
            self.precision = "bf16" if reduced else "no"
        self.accelerator = Accelerator(
            mixed_precision=self.precision,
            cpu=not gpu,
            log_with=config.tracker,
            project_dir=out,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=task.resting),
                InitProcessGroupKwargs(timeout=PATIENCE),
            ],
        )
        self.main = self.accelerator.is_main_process
        if budget is not None and self.accelerator.num_processes > 1:
            raise UsageError("a run by the clock needs one process: start it without a launcher")
        if config.patience is not None and self.accelerator.num_processes > 1:
            raise UsageError("patience needs one process: start the run without a launcher")
        state = self._read_state(resume=resume)
        self.state_file = StateFile(out, state, main=self.main)
        self.store = task.open_store(
            data, device=self.accelerator.device.type, validation=validation
        )
        if state is not None:
            training_state.check_data(state, getattr(self.store, "digest", None))
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        model = task.build(self.store).to(memory_format=torch.channels_last)
        if state is None or state.step == 0:
            task.initialise(model, self.store)
        optimizer = build_optimizer(model, config.optimizer, factor=task.factor)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._averaged: nn.Module | None = None
        self.average = Average(
            self.unwrapped, decay=partial(average_decay, config=config.optimizer)
        )
        self.pace: Pace = StepPace(config.steps)
        self.step, self._done, self._earlier_seconds = 0, 0.0, 0.0
        if state is not None:
            training_state.restore(
                state, model=self.unwrapped, ema=self.average.values, optimizer=self.optimizer
            )
            self.step, self._earlier_seconds = state.step, state.seconds
            by_step = self.pace.share(state.step - 1)
            self._done = by_step if budget is None else state.share
        self._trained = [p for p in self.unwrapped.parameters() if p.requires_grad]
        self._on_cpu = self.accelerator.device.type == "cpu"
        self.watch = Watch(
            config,
            device=self.accelerator.device,
            state_file=self.state_file,
            held_out=state and state.held_out,
        )
        self.best = Best(out, patience=config.patience, resumed=state is not None)
        self._memory_faults = MemoryFaults()
        if compiled := task.compiled(self.unwrapped):
            compile_forward(compiled, attempt=self._attempt)
        if budget is not None:
            self._plan(budget)
        if config.tracker is not None:
            self.accelerator.init_trackers("promptcodec")
        self.progress = Progress(
            out,
            self.config,
            start=self.step,
            name=task.result,
            enabled=self.main,
            track=self.accelerator.log,
        )

    def _read_state(self, *, resume: bool) -> training_state.TrainingState | None:
        path = self.out / STATE_FILE
        if not path.exists():
            return None
        if not resume:
            raise UsageError(
                f"{self.out} holds an earlier run; add --resume to continue it or choose another "
                "folder"
            )
        state = training_state.read_state(path)
        if self.budget is not None:  # its batch was found by trials
            self.config = dataclasses.replace(self.config, batch=state.extra["recipe"]["batch"])
        training_state.check_recipe(state, self.config)
        now = self.accelerator.num_processes
        if state.processes not in (None, now):
            raise ConfigError(
                f"the run to resume had {state.processes} processes, now there are {now}; start "
                f"it by torchrun --nproc_per_node {state.processes}, or start another run folder"
            )
        return state

    @property
    def unwrapped(self) -> nn.Module:
        """The model without Accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model)

    def run(self, *, max_steps: int | None = None) -> Path:
        """Train to the end of the schedule, or to `max_steps`; returns the folder written."""
        start = self.step
        stop = math.inf if max_steps is None else max_steps
        before_decay = 1.0 - self.config.optimizer.decay_fraction
        decaying = self.step > 0 and self._done >= before_decay
        self._started = saved_at = time.monotonic()
        with self.progress:
            if self.budget is not None:
                self._start_clock(self.budget)
            elif self.watch.held_out is None:
                self._validate()
            config = self.config
            while self.step < stop and (share := self.pace.share(self.step)) < 1.0:
                if self.best.is_over:
                    break
                if share >= before_decay and not decaying:
                    decaying = True
                    self._save_before_decay()
                result = self._train_step(share)
                self.step += 1
                self._done = share
                self.watch.check_step(self.step)
                if result is not None:
                    rate = self._learning_rate(share)
                    self.progress.update(self.step, result, learning_rate=rate, share=share)
                if self.step % config.validate_every == 0:
                    self._validate()
                due = time.monotonic() - saved_at > config.keep_every_seconds
                if (self.step % config.save_every == 0 or due) and self.watch.skipped.in_row() == 0:
                    self.state_file.write(self._state(), step=self.step)
                    saved_at = time.monotonic()
            if self.step > start:
                self.watch.check_step(self.step, last=True)
                if self.step % config.validate_every:
                    # One more because of a stop is none of an uninterrupted run.
                    self._validate(counts=self.pace.share(self.step) >= 1.0)
                self.state_file.write(self._state(), step=self.step)
                self.state_file.prove()
        self.accelerator.wait_for_everyone()
        folder = self.out / self.task.result
        if self.main:
            self._write(folder)
        return folder

    def _train_step(self, share: float) -> Loss | None:
        """One optimiser step; None when it had to be skipped."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * self._learning_rate(share)
        try:
            for micro in range(config.accumulate):
                result = self._micro_step(micro, share)
        except (MemoryError, RuntimeError) as error:
            alone = self.accelerator.num_processes == 1
            self._memory_faults.add(error, step=self.step, alone=alone)
            self.optimizer.zero_grad()
            return None
        self._memory_faults.clear()
        self.watch.skipped.add(self._move())
        self.average.update(self.step, pace=decayed(share, config=config.optimizer))
        return result

    def _move(self) -> torch.Tensor:
        skipped = guarded_step(
            self.optimizer,
            self._trained,
            clip_norm=self.config.optimizer.clip_norm,
            ask=self._on_cpu,
        )
        self.optimizer.zero_grad()
        return skipped

    def _micro_step(self, micro: int, share: float) -> Loss:
        """Add the gradient of one batch; processes exchange theirs after the last."""
        config, rank = self.config, self.accelerator.process_index
        position = self.step * config.accumulate + micro
        torch.manual_seed(hash((config.seed, position, rank)) & 0x7FFFFFFF)
        batch = self.store.batch(
            config.batch, seed=config.seed, step=position, rank=rank, share=share
        ).to(self.accelerator.device)
        last = micro == config.accumulate - 1
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            result = self.task.loss(self.model, batch, step=self.step, share=share)
            self.accelerator.backward(result.loss / config.accumulate)
        return result

    # -- before the first step -----------------------------------------------------------------

    def _attempt(self) -> None:
        """One pass of every kind of the run, without updates."""
        for share in (0.0, 1.0):
            self._micro_step(self.config.accumulate - 1, share)
            self.optimizer.zero_grad()

    def _plan(self, budget: Budget) -> None:
        """Find the batch and the approximate number of steps; the state is unchanged."""
        if budget.batch is not None:
            self.config = dataclasses.replace(
                self.config, batch=budget.batch, steps=budget.steps, save_every=budget.steps
            )
            return
        before = copy.deepcopy((self.unwrapped.state_dict(), self.optimizer.state_dict()))

        def step(batch: int) -> None:
            self.config = dataclasses.replace(self.config, batch=batch)
            self._micro_step(self.config.accumulate - 1, self._done)
            self._move()

        trial = try_batches(
            step,
            batch=self.config.batch,
            grow=not self._on_cpu and self.step == 0,
            device=self.accelerator.device,
            seconds=0.1 * budget.seconds / budget.parts,
        )
        self.unwrapped.load_state_dict(before[0])
        self.optimizer.load_state_dict(before[1])
        seconds = trial.seconds * self.config.accumulate * budget.parts
        steps = self.step + round(budget.seconds / seconds)
        self.config = dataclasses.replace(
            self.config,
            batch=trial.batch,
            steps=max(1, steps),
            save_every=max(1, steps),
        )

    def _start_clock(self, budget: Budget) -> None:
        # The first validation on a GPU is slower, as kernels are selected.
        for _ in range(2 if budget.table_pictures and not self._on_cpu else 1):
            began = time.monotonic()
            self._validate()
        seconds = time.monotonic() - began
        pace = budget.pace(validating=seconds, pictures=len(self.store), done=self._done)
        often = min(VALIDATIONS, int(VALIDATION_SHARE * pace.seconds / max(seconds, 1e-3)))
        every = self.config.steps // (often + 1) + 1
        self.config = dataclasses.replace(self.config, validate_every=every)
        self.pace = pace

    # -- rare things ---------------------------------------------------------------------------

    def _learning_rate(self, share: float) -> float:
        return learning_rate(self.step, share=share, config=self.config.optimizer)

    def _averaged_model(self) -> nn.Module:
        """A separate module with the current averaged weights."""
        if self._averaged is None:
            self._averaged = self.task.build(self.store).to(self.accelerator.device)
        self._averaged.load_state_dict(self.average.values)
        return self._averaged.eval()

    def _validate(self, *, counts: bool = True) -> None:
        if self.main:
            model, samples = self._averaged_model(), self.out / "samples"
            figures = self.task.validate(model, self.store, samples=samples)
            self.progress.validated(self.step, figures)
            self.watch.check_loss(figures["loss"], step=self.step)
            if counts:
                self.best.add(figures["loss"], self.average.values)

    def _state(self) -> training_state.TrainingState | None:
        """What a resume needs; None on all processes but the first."""
        if not self.main:
            return None
        return training_state.gather(
            self.step,
            model=self.unwrapped,
            ema=self.average.values,
            optimizer=self.optimizer,
            share=self._done,
            seconds=self._seconds(),
            config=self.config,
            processes=self.accelerator.num_processes,
            held_out=self.watch.held_out,
            data=getattr(self.store, "digest", None),
        )

    def _save_before_decay(self) -> None:
        state = self._state()
        if state is not None:
            training_state.write_state(self.out / PRE_DECAY_FILE, state)
            write_weights(self.out / RAW_FILE, self.unwrapped.state_dict())

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _write(self, folder: Path) -> None:
        record = {
            "steps": self.step,
            "hours": round(self._seconds() / 3600, 3),
            "processes": self.accelerator.num_processes,
            **provenance(),
            "data": self.store.name,
            "pictures": len(self.store),
            "recipe": dataclasses.asdict(self.config) | {"precision": self.precision},
        }
        model = self._averaged_model()
        if self.best.values:
            model.load_state_dict(self.best.values)
        facts = self.task.write(model, folder, store=self.store)
        write_graphs(folder)
        write_record(folder, {**record, **facts})  # last: a result with it is finished


def run_training(
    task: Task,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    max_steps: int | None = None,
    device: str | None = None,
    validation: Path | None = None,
    budget: Budget | None = None,
) -> Path:
    """Train a base, an adapter, a head or any other task, and write the result.

    Args:
        task: subject of the run, with its recipe.
        data: training pictures: a folder, nested folders and zip files too, a zip file, or tar
            shards.
        out: folder for log, state, samples and the result.
        resume: whether to continue from the state in `out`.
        max_steps: step of the schedule to stop after, state saved; None runs to the end.
        device: "cpu" or "cuda"; None is the GPU if there is one.
        validation: folder of validation pictures; None holds pictures out of `data`.
        budget: wall time of the run, which on a GPU also determines the batch; None runs by the
            steps and batch of the recipe.
    Returns:
        Folder of the result.
    Raises:
        UsageError: `out` has an earlier run and `resume` is off, the device is unusable, or memory
            or time does not suffice.
        ConfigError: the recipe, or the number of processes, is not that of the state in `out`.
        CheckpointError: the state in `out` is damaged.
        DataError: the pictures are unusable.
        DivergenceError: the gradient of too many steps in a row was not finite, or the held-out
            loss was not, or exploded.
    """
    trainer = Trainer(
        task,
        data=Path(data),
        out=Path(out),
        resume=resume,
        device=device,
        validation=validation,
        budget=budget,
    )
    return trainer.run(max_steps=max_steps)
