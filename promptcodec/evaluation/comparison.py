"""Set the measured points beside the baselines and, on Kodak, beside published curves."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import MIN_POINTS, Curve, published
from promptcodec.evaluation.bootstrap import Sample, deltas
from promptcodec.evaluation.codecs.sweep import BaselineResult
from promptcodec.evaluation.metrics import Metric, to_db
from promptcodec.evaluation.results import OWN_NAME, Comparison, PictureRecord, PointResult

KODAK = frozenset(f"kodim{number:02d}" for number in range(1, 25))
"""The published curves hold for exactly these pictures."""
ANCHOR = "VTM"
"""The published curve that BD-rates of a whole set are given against."""
_FIELDS: dict[Metric, str] = {"psnr": "psnr", "ms-ssim": "ms_ssim", "lpips": "lpips"}
_PUBLISHED: dict[Metric, str] = {"psnr": "psnr_rgb", "ms-ssim": "ms_ssim_rgb"}


def is_kodak(pictures: Iterable[str]) -> bool:
    """Whether these names are the 24 pictures of the published curves."""
    return {Path(picture).stem for picture in pictures} == KODAK


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
        points: of the codec; fewer than four make no curve.
        baselines: over the same pictures.
        metrics: that were measured.
        notes: appended to where a comparison is impossible.

    Returns:
        One for each rival and metric; empty without a curve.
    """
    if len(points) < MIN_POINTS:
        return ()
    kodak = is_kodak(record.picture for record in points[0].pictures)
    found = []
    for metric in metrics:
        ours = _own_sample(points, metric)
        if ours is None:
            notes.append(f"{metric} is not known for every picture: no BD-rate at equal {metric}")
            continue
        rivals: list[Sample | Curve] = [_peer_sample(each, metric) for each in baselines]
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


def _own_sample(points: Sequence[PointResult], metric: Metric) -> Sample | None:
    rates = [[record.bpp for record in point.pictures] for point in points]
    values = [[getattr(record, _FIELDS[metric]) for record in p.pictures] for p in points]
    return _sample(OWN_NAME, rates, values, metric)


def _peer_sample(baseline: BaselineResult, metric: Metric) -> Sample:
    """Its points are ordered by picture, the pictures as ours."""
    sweeps = [
        [point for point in baseline.pictures if point.quality == average.quality]
        for average in baseline.averages
    ]
    rates = [[point.bpp for point in same] for same in sweeps]
    values = [[getattr(point, _FIELDS[metric]) for point in same] for same in sweeps]
    found = _sample(baseline.name, rates, values, metric)
    assert found is not None  # measured on the same pictures as ours
    return found


def _sample(
    name: str, rates: list[list[float]], values: list[list[float | None]], metric: Metric
) -> Sample | None:
    """From lists by point and then picture; None where a value is missing."""
    known = [[to_db(metric, value) for value in row if value is not None] for row in values]
    if any(len(row) != len(rates[0]) for row in known):
        return None
    return Sample(name, np.array(rates).T, np.array(known).T)


def _published_curves(metric: Metric) -> list[Curve]:
    key = _PUBLISHED.get(metric)
    return [
        Curve(name, tuple(facts["bpp"]), tuple(to_db(metric, value) for value in facts[key]))
        for name, facts in published().items()
        if key in facts
    ]
