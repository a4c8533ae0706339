"""Held-out loss of a base's training run so far, and what it will be after more pictures.

    python -m benchmarks.base.forecast RUN [--before GPX] [--processes STEP:N ...] [--since STEP]
        [--out docs/results/base-run.json]

Model: loss = floor + scale * pixels ** -power, by least squares over the validations of the
constant part of the schedule. A law of this form is extrapolated, so the forecast is repeated on
the last half and on the first three quarters of the points; the spread is part of the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import curve_fit

from benchmarks.common import parse, parser, write_record

GOALS = (40.0, 80.0)  # gigapixels
FEWEST = 6  # points of a fit
START = 0.5  # gigapixels of a run; before, the loss still falls from its start, not by the law
BOUNDS = ([0.0, 0.0, 0.05], [np.inf, np.inf, 2.0])  # floor, scale, power


def read_run(
    run: Path, *, before: float = 0.0, processes: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Validations of a run and how its schedule divides it.

    Args:
        run: folder with `run.json` and `log.jsonl`.
        before: gigapixels that its initial weights had seen.
        processes: number of processes from a step on; None is one from the first step.

    Returns:
        `points`, each with `step`, `gigapixels` and the figures of the validation; `constant`,
        gigapixels at which the decay begins; `recipe`.
    """
    recipe = json.loads((run / "run.json").read_text())
    pixels = recipe["batch"] * recipe["accumulate"] * recipe["data"]["crop"] ** 2 / 1e9
    changes = sorted({0: 1, **(processes or {})}.items())

    def batches(step: int) -> int:
        """Batches of all processes up to a step."""
        ends = [*(begin for begin, _ in changes[1:]), step]
        parts = zip(changes, ends, strict=True)
        return sum(count * max(0, min(end, step) - begin) for (begin, count), end in parts)

    found: dict[int, dict[str, Any]] = {}  # a resumed run repeats steps: the last one counts
    for line in (run / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "validation" in record:
            step = record["step"]
            found[step] = {
                "step": step,
                "gigapixels": before + batches(step) * pixels,
                **record["validation"],
            }
    decay = recipe["optimizer"]["decay_fraction"]
    constant = before + batches(round((1.0 - decay) * recipe["steps"])) * pixels
    points = [found[step] for step in sorted(found)]
    return {"points": points, "constant": constant, "before": before, "recipe": recipe}


def fit(gigapixels: np.ndarray, losses: np.ndarray) -> tuple[float, float, float]:
    """Floor, scale and power of the law, (N,) gigapixels and (N,) losses given."""
    start = (0.8 * losses.min(), max(losses[0] - 0.8 * losses.min(), 1e-3), 0.3)
    found, _ = curve_fit(_law, gigapixels, losses, p0=start, bounds=BOUNDS, max_nfev=20000)
    floor, scale, power = (float(value) for value in found)
    return floor, scale, power


def forecast(points: list[dict[str, Any]], *, before: float = 0.0) -> dict[str, Any] | None:
    """Loss at each of `GOALS` by all points and by parts of them; None for too few points."""
    used = [point for point in points if point["gigapixels"] - before >= START]
    parts = {
        "all": used,
        "last half": used[len(used) // 2 :],
        "first three quarters": used[: (3 * len(used) + 3) // 4],
    }
    if len(parts["last half"]) < FEWEST:
        return None
    fits = {}
    for name, part in parts.items():
        x, y = (np.array([point[key] for point in part]) for key in ("gigapixels", "loss"))
        floor, scale, power = fit(x, y)
        residual = float(np.sqrt(np.mean((_law(x, floor, scale, power) - y) ** 2)))
        at = {f"{goal:g}": float(_law(np.array(goal), floor, scale, power)) for goal in GOALS}
        fits[name] = {"floor": floor, "scale": scale, "power": power, "rmse": residual, "at": at}
    return fits


def _law(x: np.ndarray, floor: float, scale: float, power: float) -> np.ndarray:
    return floor + scale * x**-power


def _change(text: str) -> tuple[int, int]:
    """Read "STEP:N"."""
    step, _, count = text.partition(":")
    return int(step), int(count)


def main() -> None:
    """Read a run, fit, write one JSON file."""
    options = parser(__doc__, out="base-run", threads=False)
    options.add_argument("run", type=Path, help="run folder")
    options.add_argument(
        "--processes",
        type=_change,
        action="append",
        metavar="STEP:N",
        help="number of processes from a step on; may be repeated",
    )
    options.add_argument(
        "--since", type=int, default=0, help="first step of the fit, where the recipe changed"
    )
    options.add_argument("--before", type=float, default=0.0, help="gigapixels of its start")
    arguments = parse(options)
    changes = dict(arguments.processes or [])
    run = read_run(arguments.run, before=arguments.before, processes=changes)
    constant = [
        point
        for point in run["points"]
        if point["gigapixels"] <= run["constant"] and point["step"] >= arguments.since
    ]
    report = {**run, "forecast": forecast(constant, before=run["before"])}
    write_record(arguments.out, report)
    print(json.dumps({"last": run["points"][-1:], "forecast": report["forecast"]}, indent=1))


if __name__ == "__main__":
    main()
