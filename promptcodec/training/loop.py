"""The one training loop, on Accelerate.

    crops(step) -> model -> objective -> backward -> clip -> optimiser -> average of the weights

Every random choice of step n is seeded with (seed, n, process), so a killed run that resumes from
its last state continues bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from promptcodec.codec import checkpoint
from promptcodec.codec.checkpoint import read_base
from promptcodec.codec.model import CodecModel
from promptcodec.config import BaseConfig
from promptcodec.errors import ConfigError, UsageError
from promptcodec.files import write_atomically
from promptcodec.provenance import provenance
from promptcodec.training import state as training_state
from promptcodec.training.config import OptimizerConfig, RunConfig, read_recipe
from promptcodec.training.data import PictureStore
from promptcodec.training.initialise import (
    initialise_entropy,
    initialise_transforms,
    warm_start,
)
from promptcodec.training.objectives import RateDistortion, rate_distortion
from promptcodec.training.progress import Progress
from promptcodec.training.tables import fit_tables
from promptcodec.training.validation import validate

logger = logging.getLogger(__name__)

STATE_FILE = "state.safetensors"
PRE_DECAY_FILE = "state-before-decay.safetensors"
TRAINING_FILE = "training.json"
MAX_MEMORY_FAULTS = 3
TABLE_PICTURES = 500  # counted for the entropy tables


def train_base(
    recipe: Path,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    max_steps: int | None = None,
    device: str | None = None,
    validation: Path | None = None,
) -> Path:
    """Train a base codec and write its checkpoint.

    Args:
        recipe: YAML of a `RunConfig`.
        data: folder (nested folders and zip shards too) of training pictures.
        out: folder for log, state, samples and the checkpoint `base/`.
        resume: continue from the state in `out`.
        max_steps: stop after this step of the schedule, state saved; None runs to the end.
        device: "cpu" or "cuda"; None takes the GPU when there is one.
        validation: folder to validate on; None holds pictures out of `data`.
    Returns:
        Folder of the checkpoint.
    """
    trainer = BaseTrainer(
        read_recipe(recipe),
        data=Path(data),
        out=Path(out),
        resume=resume,
        device=device,
        validation=validation,
    )
    return trainer.run(max_steps=max_steps)


class BaseTrainer:
    """One run: builds everything, resumes, trains, validates, saves.

    Args:
        config: the run.
        data: training pictures.
        out: output folder.
        resume: continue from its state.
        device: "cpu", "cuda" or None for automatic.
        validation: folder of its own; None holds pictures out of `data`.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        data: Path,
        out: Path,
        resume: bool,
        device: str | None,
        validation: Path | None = None,
    ) -> None:
        self.config, self.out = config, out
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
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        model = CodecModel(config.codec).to(memory_format=torch.channels_last)
        if config.train == "entropy":
            model.g_a.requires_grad_(False)
            model.g_s.requires_grad_(False)
        self.optimizer = build_optimizer(model, config.optimizer)
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.step = 0
        self._memory_faults = 0
        self._earlier_seconds = 0.0
        self._init_hash = config.init_from and read_base(Path(config.init_from)).sha256.hex()
        if resume and state_path.exists():
            state = training_state.read_state(state_path)
            training_state.check_recipe(state, config)
            training_state.restore(state, model=model, ema=self.ema, optimizer=self.optimizer)
            self.step = state.step
            self._earlier_seconds = state.seconds
        self.store = PictureStore(
            data, config.data, device=str(self.accelerator.device), validation=validation
        )
        if self.step == 0:
            self._initialise(model)
            self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.model, self.optimizer = self.accelerator.prepare(model, self.optimizer)
        self.ema = {k: v.to(self.accelerator.device) for k, v in self.ema.items()}
        if config.tracker is not None:
            self.accelerator.init_trackers("promptcodec")
        self.progress = Progress(
            out, config, start=self.step, enabled=self.main, track=self.accelerator.log
        )

    def _initialise(self, model: CodecModel) -> None:
        config = self.config
        if config.init_from is not None:
            afresh = warm_start(model, Path(config.init_from), parts=config.init_parts)
            frozen = [n for n in afresh if config.train == "entropy" and n.startswith("g_")]
            if frozen:
                raise ConfigError(
                    f"train is 'entropy' and {frozen[0]} is not taken from {config.init_from}: "
                    "name a base of the same transforms, and both g_a and g_s in init_parts"
                )
            if afresh:
                names = sorted({".".join(name.split(".")[:2]) for name in afresh})
                logger.warning("not from %s: %s", config.init_from, ", ".join(names))
                starts = {"context": "context.y_scale", "hyperprior": checkpoint.SCALE_PATH}
                parts = [p for p, s in starts.items() if any(n.startswith(s) for n in afresh)]
                crops = self.store.batch(32, seed=config.seed, step=2**32).cpu()
                initialise_entropy(model, crops, parts=parts)
        elif config.linear_start:
            crops = (self.store.batch(8, seed=config.seed, step=2**32 + i) for i in range(16))
            initialise_transforms(model, (c.cpu() for c in crops), lmbda=config.rate_weight)

    @property
    def bare(self) -> CodecModel:
        """The model without Accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model)

    def run(self, *, max_steps: int | None = None) -> Path:
        """Train to the end of the schedule, or to `max_steps`; returns the checkpoint folder."""
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
        return self._write_checkpoint()

    def _train_step(self) -> RateDistortion | None:
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

    def _micro_step(self, micro: int) -> RateDistortion:
        """Add the gradient of one batch; processes exchange theirs after the last."""
        config, rank = self.config, self.accelerator.process_index
        position = self.step * config.accumulate + micro
        torch.manual_seed(hash((config.seed, position, rank)) & 0x7FFFFFFF)
        x = self.store.batch(config.batch, seed=config.seed, step=position, rank=rank)
        last = micro == config.accumulate - 1
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            output = self.model(
                x,
                round_z=self.step >= config.steps * config.z_noise_fraction,
                z_price=z_price(self.step, free_steps=config.z_free_steps),
                rate_only=config.train == "entropy",
            )
            result = rate_distortion(
                output, x, lmbda=config.rate_weight, room_weight=config.room_weight
            )
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
            self.ema[name].lerp_(value, 1.0 - decay)

    def _averaged_model(self) -> CodecModel:
        model = CodecModel(self.config.codec).to(self.accelerator.device)
        model.load_state_dict(self.ema)
        return model.eval()

    def _validate(self) -> None:
        if self.main:
            model = self._averaged_model()
            record = validate(model, self.store.validation, samples=self.out / "samples")
            self.progress.validated(self.step, record, lmbda=self.config.rate_weight)

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

    def _write_checkpoint(self) -> Path:
        folder = self.out / "base"
        if self.main:
            config = BaseConfig(
                codec=self.config.codec,
                rate_index=self.config.rate_index,
                lmbda=self.config.rate_weight,
            )
            model = self._averaged_model()
            tables = fit_tables(model, self.store.sample(TABLE_PICTURES))
            checkpoint.write_base(folder, model, config=config, tables=tables)
            run = {
                "steps": self.step,
                "hours": round(self._seconds() / 3600, 3),
                "processes": self.accelerator.num_processes,
                **provenance(),
                "init_from_sha256": self._init_hash,
                "data": self.store.name,
                "pictures": len(self.store),
                "recipe": dataclasses.asdict(self.config),
            }
            write_atomically(
                folder / TRAINING_FILE, (json.dumps(run, indent=2) + "\n").encode(), force=True
            )
        return folder


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


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser that `config` names, over the parameters of `model` that are trained."""
    # Matrices by Muon; tables, biases and the mixture of z by AdamW.
    tables = ("position_bias", "hyperprior.prior", "context.slot")
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            entropy = name.startswith(("hyperprior.", "context.")) and config.entropy_factor != 1.0
            small = parameter.ndim < 2 or any(n in name for n in tables)
            groups.setdefault((entropy, small), []).append(parameter)
    options = [
        {
            "params": parameters,
            "factor": config.entropy_factor if entropy else 1.0,
            **({"use_fallback": True} if small and config.name == "muon" else {}),
        }
        for (entropy, small), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    common = {
        "lr": config.learning_rate,
        "betas": (config.beta1, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.name == "adamw":
        return torch.optim.AdamW(options, **common)
    from timm.optim.muon import Muon  # timm takes seconds to import; only this choice needs it

    return Muon(options, nesterov=True, **common)


def z_price(step: int, *, free_steps: int) -> float:
    """Price of z's rate: zero for the first half of `free_steps`, then up to one in a line."""
    return min(1.0, max(0.0, 2.0 * step / free_steps - 1.0)) if free_steps else 1.0


def learning_rate(step: int, *, steps: int, config: OptimizerConfig) -> float:
    """Warm-up, constant, then a decay to zero over the last `decay_fraction` (1 - sqrt shape).

    Source of the shape: Haegele et al. 2024, arXiv:2405.18392.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    decay_steps = round(steps * config.decay_fraction)
    into = step - (steps - decay_steps)
    if into < 0:
        return peak
    return peak * (1.0 - math.sqrt(into / max(decay_steps, 1)))
