"""Set the measured points beside the baselines and, on Kodak, beside the published VTM."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluation.baselines import BaselineResult
from promptcodec.evaluation.bdrate import MIN_POINTS, Curve, bd_rate, kodak_anchors
from promptcodec.evaluation.results import PictureRecord, PointResult

KODAK = frozenset(f"kodim{number:02d}" for number in range(1, 25))
"""The published curves hold for exactly these pictures."""


def psnr_above(
    records: Sequence[PictureRecord], baselines: Sequence[BaselineResult], *, notes: list[str]
) -> dict[str, float | None]:
    """How far one rate point lies above each baseline at the same average bpp.

    Args:
        records: of all pictures at one rate point.
        baselines: over the same pictures.
        notes: appended to where a comparison is impossible.

    Returns:
        dB by name of the baseline; None where its curve does not reach that rate.
    """
    rate = float(np.mean([record.bpp for record in records]))
    quality = float(np.mean([record.psnr for record in records]))

    def above(baseline: BaselineResult) -> float:
        return quality - baseline.curve().psnr_at(rate)

    return {each.name: _attempt(partial(above, each), notes) for each in baselines}


def bd_rates(
    points: Sequence[PointResult], baselines: Sequence[BaselineResult], *, notes: list[str]
) -> dict[str, float | None]:
    """BD-rate of the whole curve against each baseline, and VTM where the set is Kodak.

    Args:
        points: of the codec; fewer than four make no curve.
        baselines: over the same pictures.
        notes: appended to where a comparison is impossible.

    Returns:
        Per cent by name; empty without a curve.
    """
    if len(points) < MIN_POINTS:
        return {}
    rivals: dict[str, Callable[[], Curve]] = {each.name: each.curve for each in baselines}
    if {Path(record.picture).stem for record in points[0].pictures} == KODAK:
        rivals["VTM"] = lambda: kodak_anchors()["VTM"]

    def against(rival: Callable[[], Curve]) -> float:
        ours = Curve("promptcodec", tuple(p.bpp for p in points), tuple(p.psnr for p in points))
        return bd_rate(ours, rival())

    return {name: _attempt(partial(against, rival), notes) for name, rival in rivals.items()}


def _attempt(compare: Callable[[], float], notes: list[str]) -> float | None:
    """A comparison that the curves may not allow; why not goes to the notes."""
    try:
        return compare()
    except UsageError as error:
        notes.append(str(error))
        return None
