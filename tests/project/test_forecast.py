"""The forecast of a training run: what is read, what is fitted."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.base import forecast

RECIPE = {
    "batch": 4,
    "accumulate": 1,
    "steps": 100_000,
    "data": {"crop": 256, "validation_pictures": 24},
    "optimizer": {"decay_fraction": 0.2},
}


def write_run(folder: Path, losses: dict[int, float]) -> None:
    (folder / "run.json").write_text(json.dumps(RECIPE))
    records = [{"step": 50, "loss": 3.0}]
    for step, loss in losses.items():
        figures = {"loss": loss, "bpp_estimate": 1.0, "psnr": 34.0}
        records.append({"step": step, "validation": figures})
    # A resumed run has done its last steps twice.
    again = {"step": 50_000, "validation": {"loss": 9.0, "bpp_estimate": 1.0, "psnr": 34.0}}
    records.insert(1, again)
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def law(gigapixels: float) -> float:
    return 1.3 + 0.25 * gigapixels**-0.4


def test_a_law_is_found_again(tmp_path: Path) -> None:
    pixels = 4 * 256**2 / 1e9
    write_run(tmp_path, {step: law(step * pixels) for step in range(2000, 62_000, 2000)})
    run = forecast.read_run(tmp_path)
    assert run["constant"] == pytest.approx(80_000 * pixels)
    steps = [point["step"] for point in run["points"]]
    assert steps == sorted(steps) and len(steps) == 30
    assert all(point["loss"] < 2 for point in run["points"])
    fits = forecast.forecast(run["points"])
    assert fits is not None
    for found in fits.values():
        assert found["at"]["40"] == pytest.approx(law(40), abs=2e-3)
        assert found["at"]["80"] == pytest.approx(law(80), abs=2e-3)


def test_few_points_give_no_forecast() -> None:
    points = [{"gigapixels": x, "loss": law(x)} for x in np.linspace(1, 2, 10)]
    assert forecast.forecast(points) is None
    assert forecast.forecast([*points, {"gigapixels": 2.1, "loss": law(2.1)}]) is not None


def test_pictures_that_the_start_had_seen_count(tmp_path: Path) -> None:
    write_run(tmp_path, {2000: 1.4})
    alone, after = (forecast.read_run(tmp_path, before=seen) for seen in (0.0, 3.2))
    assert after["constant"] == pytest.approx(alone["constant"] + 3.2)
    seen = [run["points"][0]["gigapixels"] for run in (alone, after)]
    assert seen[1] == pytest.approx(seen[0] + 3.2)


def test_steps_of_more_processes_have_more_pictures(tmp_path: Path) -> None:
    write_run(tmp_path, {2000: 1.4, 4000: 1.3, 6000: 1.2})
    points = forecast.read_run(tmp_path, processes={3000: 2, 5000: 1})["points"]
    pixels = 4 * 256**2 / 1e9
    seen = {point["step"]: point["gigapixels"] / pixels for point in points}
    assert {s: seen[s] for s in (2000, 4000, 6000)} == pytest.approx(
        {2000: 2000, 4000: 5000, 6000: 8000}
    )
