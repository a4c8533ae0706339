"""A few training steps of whichever tree is on the path, timed and profiled; JSON on stdout.

    PYTHONPATH=TREE python -m benchmarks.base.throughput_probe RECIPE PICTURES OUT --steps 12

`throughput.py` starts it in each tree in turn.
"""

import argparse
import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

try:
    from promptcodec.cli.main import main as command_line
    from promptcodec.training.trainer import Trainer
except ImportError:  # an older tree
    from promptcodec.training.loop import Trainer  # type: ignore

    from promptcodec.cli import main as command_line  # type: ignore

WARM = 3  # steps before the first that counts
KINDS = {  # of an operation, by what its name begins with; the first that fits counts
    "convolution": ("mkldnn_convolution", "convolution", "thnn_conv"),
    "product": ("mm", "addmm", "bmm", "baddbmm", "mkldnn_linear", "linear"),
    "attention": ("_scaled_dot_product",),
    "softmax": ("_softmax", "_log_softmax"),
    "norm": ("native_layer_norm", "_native", "linalg"),
    "copy": ("copy_", "_to_copy", "clone", "cat", "roll", "index", "contiguous", "gather", "fill"),
    "average and update": ("_foreach", "_fused"),
}


def kind_of(name: str) -> str:
    """What an operation of the profile counts as."""
    plain = name.removeprefix("aten::")
    for kind, starts in KINDS.items():
        if plain.startswith(starts):
            return kind
    return "elementwise and other"


def main() -> None:
    """Train, with the loop's own step in between two readings of the clock."""
    parser = argparse.ArgumentParser(description="Times of a training step.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    times: list[tuple[float, float]] = []
    seen: dict[str, Any] = {}
    step = Trainer._train_step
    optimizer_seconds: list[float] = []

    def timed(trainer: Any, *rest: Any) -> Any:
        seen["batch"] = trainer.config.batch
        seen["crop"] = trainer.config.data.crop
        if len(times) == WARM:
            inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
            move = inner.step

            def moved(*args: Any, **kwargs: Any) -> Any:
                began = time.process_time()
                result = move(*args, **kwargs)
                optimizer_seconds.append(time.process_time() - began)
                return result

            inner.step = moved
        profiled = len(times) == arguments.steps
        run = profile(activities=[ProfilerActivity.CPU]) if profiled else contextlib.nullcontext()
        began = (time.process_time(), time.perf_counter())
        with run as report:
            result = step(trainer, *rest)
        times.append((time.process_time() - began[0], time.perf_counter() - began[1]))
        if profiled:
            seen["profile"] = shares(report)
        return result

    Trainer._train_step = timed  # type: ignore[method-assign]
    Trainer._validate = lambda *_, **__: None  # type: ignore[method-assign]
    Trainer._write = lambda *_: None  # type: ignore[method-assign]
    with contextlib.redirect_stdout(sys.stderr):
        places = [str(arguments.recipe), "--data", str(arguments.pictures)]
        places += ["--out", str(arguments.out), "--max-steps", str(arguments.steps + 1)]
        train: Any = command_line
        if train(["train-base", *places, "--device", "cpu"]):
            raise SystemExit("the training failed: see above")
    measured = sorted(t for t, _ in times[WARM : arguments.steps])
    middle = measured[len(measured) // 2]
    pixels = seen["batch"] * seen["crop"] ** 2
    report = {
        "batch": seen["batch"],
        "crop": seen["crop"],
        "seconds_a_step": {"median": middle, "least": measured[0], "most": measured[-1]},
        "optimizer_seconds": sorted(optimizer_seconds)[len(optimizer_seconds) // 2],
        "megapixels_per_second": pixels / middle / 1e6,
        "resident_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "profile": seen["profile"],
    }
    print(json.dumps(report))


def shares(report: Any) -> dict[str, float]:
    """Share of a profiled step by kind of operation."""
    spent: dict[str, float] = {}
    for event in report.key_averages():
        if event.key.startswith("Optimizer.") or event.key.startswith("ProfilerStep"):
            continue
        kind = kind_of(event.key)
        spent[kind] = spent.get(kind, 0.0) + event.self_cpu_time_total
    total = sum(spent.values())
    order = sorted(spent, key=spent.__getitem__, reverse=True)
    return {kind: round(spent[kind] / total, 4) for kind in order}


if __name__ == "__main__":
    main()
