"""Comparison of our curve with those of baselines and, on Kodak, with published ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import published
from promptcodec.evaluation.bdrate import MIN_POINTS, Curve
from promptcodec.evaluation.bootstrap import Sample, deltas
from promptcodec.evaluation.codecs.sweep import BaselinePicture, BaselineResult
from promptcodec.evaluation.metrics import METRICS, Metric, to_db
from promptcodec.evaluation.results import OWN_NAME, Comparison, PictureRecord, PointResult

KODAK = frozenset(f"kodim{number:02d}" for number in range(1, 25))
"""Names of the pictures of the published curves, without suffix."""
ANCHOR = "VTM"
"""The published curve that the BD-rates of a whole set refer to."""


def is_kodak(pictures: Iterable[str]) -> bool:
    """Whether these names are the 24 pictures of the published curves."""
    return {Path(picture).stem for picture in pictures} == KODAK


def psnr_above(
    records: Sequence[PictureRecord], baselines: Sequence[BaselineResult], *, notes: list[str]
) -> dict[str, float | None]:
    """PSNR of one rate point above each baseline at the same average bpp.

    Args:
        records: records of all pictures at one rate point.
        baselines: results over the same pictures.
        notes: list to which a line for each impossible comparison is appended.

    Returns:
        Differences in dB by name of the baseline; None if its curve does not reach that rate.
    """
    rate = float(np.mean([record.bpp for record in records]))
    quality = float(np.mean([record.psnr for record in records]))
    above: dict[str, float | None] = {}
    for each in baselines:
        try:
            above[each.name] = quality - each.curve().psnr_at(rate)
        except UsageError as error:
            above[each.name] = None
            notes.append(str(error))
    return above


def compare_all(
    points: Sequence[PointResult],
    baselines: Sequence[BaselineResult],
    *,
    metrics: Sequence[Metric] = ("psnr",),
    notes: list[str],
) -> tuple[Comparison, ...]:
    """Our curve against each baseline and, where the set is Kodak, each published curve.

    Args:
        points: points of the codec; fewer than four make no curve.
        baselines: results over the same pictures.
        metrics: names of the measured metrics.
        notes: list to which a line for each impossible comparison is appended.

    Returns:
        One comparison for each rival and metric; none without a curve.
    """
    if len(points) < MIN_POINTS:
        return ()
    kodak = is_kodak(record.picture for record in points[0].pictures)
    found = []
    for metric in metrics:
        ours = _sample(OWN_NAME, [point.pictures for point in points], metric)
        if ours is None:
            notes.append(f"{metric} is not known for every picture: no BD-rate at equal {metric}")
            continue
        rivals: list[Sample | Curve] = [_baseline_sample(each, metric) for each in baselines]
        rivals += _published_curves(metric) if kodak else []
        for rival in rivals:
            compared = deltas(ours, rival)
            if compared.reason:
                notes.append(compared.reason)
            found.append(Comparison(rival.name, metric, isinstance(rival, Curve), compared))
    return tuple(found)


def bd_rates(comparisons: Sequence[Comparison]) -> dict[str, float | None]:
    """BD-rate at equal PSNR against each baseline and against the published anchor."""
    return {
        each.rival: each.deltas.bd_rate.value
        for each in comparisons
        if each.metric == "psnr" and (not each.published or each.rival == ANCHOR)
    }


def _sample(
    name: str, sweeps: Sequence[Sequence[PictureRecord | BaselinePicture]], metric: Metric
) -> Sample | None:
    """Rates and qualities of records by point, then by picture; None if a value is missing."""
    values = [[getattr(record, METRICS[metric]["field"]) for record in row] for row in sweeps]
    if any(None in row for row in values):
        return None
    rates = [[record.bpp for record in row] for row in sweeps]
    return Sample(name, np.array(rates).T, np.array(values).T, metric)


def _baseline_sample(baseline: BaselineResult, metric: Metric) -> Sample:
    sweeps = [
        [point for point in baseline.pictures if point.quality == average.quality]
        for average in baseline.averages
    ]
    found = _sample(baseline.name, sweeps, metric)
    assert found is not None  # measured on the same pictures as ours
    return found


def _published_curves(metric: Metric) -> list[Curve]:
    key = METRICS[metric]["published"]
    return [
        Curve(name, tuple(facts["bpp"]), tuple(to_db(metric, value) for value in facts[key]))
        for name, facts in published().items()
        if key in facts
    ]
