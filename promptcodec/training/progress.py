"""Progress of a run: a bar on the terminal and a log in JSON lines."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from promptcodec.training.config import LoopConfig
from promptcodec.training.losses import Loss

LOG_EVERY = 50


class Progress:
    """A bar on a terminal, `log.jsonl` in the folder, `run.json` with the resolved config.

    Args:
        out: folder of the run.
        config: resolved recipe.
        start: steps that are already done.
        name: name of the subject of training.
        enabled: whether this is the first process.
        track: function that receives the figures of each log line, by name, and their step.
    """

    def __init__(
        self,
        out: Path,
        config: LoopConfig,
        *,
        start: int,
        name: str,
        enabled: bool,
        track: Callable[[dict[str, float], int], None],
    ) -> None:
        self.track = track
        self.enabled = enabled
        self.log = out / "log.jsonl"
        self.console = Console(stderr=True)
        self.bar = Bar(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )
        self.task = self.bar.add_task("steps", total=config.steps, completed=start, figures="")
        self.steps, self.logged = config.steps, (start, time.monotonic())
        if enabled:
            text = json.dumps(dataclasses.asdict(config), indent=2)
            (out / "run.json").write_text(text + "\n")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, step: int, result: Loss, *, learning_rate: float, share: float) -> None:
        """Update the bar; log every 50 steps, which synchronises with the GPU.

        Args:
            step: steps done.
            result: loss of the last step.
            learning_rate: learning rate of the last step.
            share: share of the run that was done before the last step.
        """
        if not self.enabled:
            return
        done = 1 + round(share * self.steps)
        if step % LOG_EVERY:
            self.bar.update(self.task, completed=done)
            return
        figures = result.figures()
        now, before = time.monotonic(), self.logged
        self.logged = (step, now)
        record = {
            "step": step,
            **figures,
            "lr": learning_rate,
            "share": round(share, 5),
            "steps_per_second": round((step - before[0]) / max(now - before[1], 1e-9), 2),
        }
        self._write(record)
        self.track({k: v for k, v in record.items() if k != "step"}, step)
        self.bar.update(self.task, completed=done, figures=_shown(figures))

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """Log a validation and show it above the bar."""
        values = {name: round(value, 5) for name, value in figures.items()}
        self._write({"step": step, "validation": values})
        self.track({f"validation/{k}": v for k, v in values.items()}, step)
        self.console.print(f"step {step}: {_shown(values)}", highlight=False)

    def _write(self, record: dict[str, Any]) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _shown(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
