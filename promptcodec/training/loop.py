"""The one training loop, on Accelerate.

    crops(step) -> model -> objective -> backward -> clip -> optimiser -> average of the weights

Every random choice of step n is seeded with (seed, n, process), so a killed run that resumes from
its last state continues bit for bit.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from promptcodec.errors import UsageError
from promptcodec.provenance import provenance
from promptcodec.training import state as training_state
from promptcodec.training.config import LoopConfig
from promptcodec.training.objectives import Objective
from promptcodec.training.optim import build_optimizer, learning_rate
from promptcodec.training.progress import Progress

logger = logging.getLogger(__name__)

STATE_FILE = "state.safetensors"
PRE_DECAY_FILE = "state-before-decay.safetensors"
MAX_MEMORY_FAULTS = 3


class Store(Protocol):
    """What batches are drawn from.

    Attributes:
        name: of the data, for the record of the run.
    """

    name: str

    def __len__(self) -> int:
        """Pictures to train on."""
        ...

    def batch(self, count: int, *, seed: int, step: int, rank: int = 0) -> Any:
        """What step `step` of one process sees: a function of the arguments alone."""
        ...


class Task(Protocol):
    """What is trained: a base codec, an adapter, a head.

    Attributes:
        result: name of the folder that `write` fills, inside the run's.
    """

    result: str

    def build(self) -> Any:
        """A fresh module; what is frozen has `requires_grad` off. Called with the seed set.

        The store is open by then.
        """
        ...

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> Store:
        """Read what to train on."""
        ...

    def initialise(self, model: Any, store: Any) -> None:
        """Set a fresh module's first weights, where drawn ones will not do."""
        ...

    def loss(self, model: nn.Module, batch: Any, *, step: int) -> Objective:
        """What step `step` minimises on a batch of the store."""
        ...

    def validate(self, model: Any, store: Any, *, samples: Path) -> dict[str, float]:
        """Measure averaged weights on what the store holds out; figures by name, `loss` too."""
        ...

    def write(self, model: Any, folder: Path, *, store: Any, record: dict[str, Any]) -> None:
        """Write averaged weights with the record of the run."""
        ...


class Trainer:
    """One run: builds everything, resumes, trains, validates, saves.

    Args:
        config: the run.
        task: what is trained.
        data: training pictures.
        out: output folder.
        resume: continue from its state.
        device: "cpu", "cuda" or None for automatic.
        validation: folder of its own; None holds pictures out of `data`.
    """

    def __init__(
        self,
        config: LoopConfig,
        task: Task,
        *,
        data: Path,
        out: Path,
        resume: bool,
        device: str | None,
        validation: Path | None = None,
    ) -> None:
        self.config, self.task, self.out = config, task, out
        # Accelerate remembers the precision of a process's first run; each run has its own.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(
            mixed_precision=config.precision,
            cpu=not on_gpu(device),
            log_with=config.tracker,
            project_dir=out,
        )
        self.main = self.accelerator.is_main_process
        state_path = out / STATE_FILE
        if state_path.exists() and not resume:
            raise UsageError(
                f"{out} holds an earlier run; add --resume to continue it or choose another folder"
            )
        state = None
        if state_path.exists():
            state = training_state.read_state(state_path)
            training_state.check_recipe(state, config)
        device_name = str(self.accelerator.device)
        self.store = task.open_store(data, device=device_name, validation=validation)
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        model = task.build().to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(model, config.optimizer)
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.step = 0
        self._memory_faults = 0
        self._earlier_seconds = 0.0
        if state is not None:
            training_state.restore(state, model=model, ema=self.ema, optimizer=self.optimizer)
            self.step = state.step
            self._earlier_seconds = state.seconds
        if self.step == 0:
            task.initialise(model, self.store)
            self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.model, self.optimizer = self.accelerator.prepare(model, self.optimizer)
        self.ema = {k: v.to(self.accelerator.device) for k, v in self.ema.items()}
        if config.tracker is not None:
            self.accelerator.init_trackers("promptcodec")
        self.progress = Progress(
            out,
            config,
            start=self.step,
            name=task.result,
            enabled=self.main,
            track=self.accelerator.log,
        )

    @property
    def bare(self) -> nn.Module:
        """The model without Accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model)

    def run(self, *, max_steps: int | None = None) -> Path:
        """Train to the end of the schedule, or to `max_steps`; returns the folder written."""
        config = self.config
        end = config.steps if max_steps is None else min(max_steps, config.steps)
        decay_start = config.steps - round(config.steps * config.optimizer.decay_fraction)
        self._started = saved_at = time.monotonic()
        with self.progress:
            while self.step < end:
                if self.step == decay_start:
                    self._save(PRE_DECAY_FILE)
                result = self._train_step()
                self.step += 1
                if result is not None:
                    self.progress.update(self.step, result, learning_rate=self._learning_rate())
                last = self.step == end
                if self.step % config.validate_every == 0 or last:
                    self._validate()
                due = time.monotonic() - saved_at > config.keep_every_seconds
                if self.step % config.save_every == 0 or due or last:
                    self._save(STATE_FILE)
                    saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()
        folder = self.out / self.task.result
        if self.main:
            self._write(folder)
        return folder

    def _train_step(self) -> Objective | None:
        """One optimiser step; None when it had to be skipped."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * self._learning_rate()
        try:
            for micro in range(config.accumulate):
                result = self._micro_step(micro)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            self._skip_for_memory()
            return None
        self._memory_faults = 0
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.optimizer.clip_norm)
        if bool(torch.isfinite(torch.as_tensor(norm))):
            self.optimizer.step()
        else:
            logger.warning("step %d: gradient is not finite; skipped", self.step)
        self.optimizer.zero_grad()
        self._average()
        return result

    def _micro_step(self, micro: int) -> Objective:
        """Add the gradient of one batch; processes exchange theirs after the last."""
        config, rank = self.config, self.accelerator.process_index
        position = self.step * config.accumulate + micro
        torch.manual_seed(hash((config.seed, position, rank)) & 0x7FFFFFFF)
        batch = self.store.batch(config.batch, seed=config.seed, step=position, rank=rank)
        last = micro == config.accumulate - 1
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            result = self.task.loss(self.model, batch, step=self.step)
            self.accelerator.backward(result.loss / config.accumulate)
        return result

    def _skip_for_memory(self) -> None:
        if self.accelerator.num_processes > 1:  # the others already wait for this one's gradient
            raise UsageError(
                f"step {self.step}: out of memory; lower batch or data.crop in the recipe, raise "
                "accumulate, and add --resume"
            ) from None
        self.optimizer.zero_grad()
        self._memory_faults += 1
        logger.warning("step %d: out of memory; its batch is skipped", self.step)
        if self._memory_faults >= MAX_MEMORY_FAULTS:
            raise UsageError(
                f"{MAX_MEMORY_FAULTS} batches in a row did not fit in memory; lower batch "
                "or data.crop in the recipe, raise accumulate, and add --resume"
            ) from None

    def _learning_rate(self) -> float:
        return learning_rate(self.step, steps=self.config.steps, config=self.config.optimizer)

    @torch.no_grad()
    def _average(self) -> None:
        # A young average forgets fast, or it would still remember the initial weights.
        decay = min(self.config.optimizer.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.bare.state_dict().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1.0 - decay)
            else:  # a counter
                self.ema[name].copy_(value)

    def _averaged_model(self) -> nn.Module:
        model = self.task.build().to(self.accelerator.device)
        model.load_state_dict(self.ema)
        return model.eval()

    def _validate(self) -> None:
        if self.main:
            model, samples = self._averaged_model(), self.out / "samples"
            figures = self.task.validate(model, self.store, samples=samples)
            self.progress.validated(self.step, figures)

    def _save(self, name: str) -> None:
        if self.main:
            state = training_state.gather(
                self.step,
                model=self.bare,
                ema=self.ema,
                optimizer=self.optimizer,
                seconds=self._seconds(),
                config=self.config,
            )
            training_state.write_state(self.out / name, state)

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
            "recipe": dataclasses.asdict(self.config),
        }
        self.task.write(self._averaged_model(), folder, store=self.store, record=record)


def on_gpu(device: str | None) -> bool:
    """Whether to train on the GPU.

    Raises:
        UsageError: an unknown device, or no GPU where one was asked for.
    """
    if device not in (None, "cpu", "cuda"):
        raise UsageError(f"device is {device!r}; need cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, and this machine has no usable GPU; use cpu")
    return device != "cpu" and torch.cuda.is_available()


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)  # the CPU allocator raises a plain RuntimeError
    return "DefaultCPUAllocator" in text or "out of memory" in text
