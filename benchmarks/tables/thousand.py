"""Tables of a thousand classes: every path with the same network, from results of `eval-task`.

    promptcodec eval-task recipes/eval/eval-thousand-224.yaml --data D --out thousand-224.json
    promptcodec eval-task recipes/eval/eval-thousand-128.yaml --data D --out thousand-128.json

The files belong into docs/results.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from promptcodec.evaluation.classification import paired_difference, shares

OURS, DECODED = "head on latents", "decode, then classify"
FINE_TUNED = ", fine-tuned"
NOTE = (
    "Most of these pictures are training pictures of the network: accuracy is inflated for all "
    "paths alike, differences over the same pictures count."
)

Point = dict[str, Any]


def thousand(report: dict[str, Any]) -> str:
    """Differences of the head on latents from other paths, then every figure."""
    return "\n\n".join((comparisons(report), figures(report), NOTE))


def curves(report: dict[str, Any]) -> Iterator[tuple[str, list[Point]]]:
    """Name and points of every path, lowest rate first."""
    for source in report["sources"]:
        for name in source["settings"][0]["readers"]:
            yield name, [{**row, **row["readers"][name]} for row in source["settings"]]


def comparisons(report: dict[str, Any]) -> str:
    """Lead of the head in points of top-1, with 95 % intervals over the same pictures.

    Against decoding at each rate; against another codec at the size of its files, between two rates
    of ours, whole and without headers.
    """
    every = dict(curves(report))
    ours = every[OURS]
    lines = ["| head on latents against | at | points | 95 % interval |"]
    lines.append("| --- | --- | ---: | ---: |")
    for name in (DECODED, DECODED + FINE_TUNED):
        for own, other in zip(ours, every[name], strict=True):
            at = f"rate {own['setting']:g}, {own['bpp']:.3f} bpp"
            lines.append(_row(name, at, top1(own), top1(other)))
    others = [n for n in every if n.endswith(FINE_TUNED) and not n.startswith(DECODED)]
    for name in others:
        for key, note in (("bpp", ""), ("bpp_payload", " without headers")):
            for point in every[name]:
                if ours[0][key] <= point[key] <= ours[-1][key]:
                    at = f"{point[key]:.3f} bpp{note}"
                    lines.append(_row(name, at, at_rate(ours, point[key], key), top1(point)))
    return "\n".join(lines)


def figures(report: dict[str, Any]) -> str:
    """Every path at every setting."""
    lines = [
        "| path | setting | bpp | without headers | PSNR (dB) | top-1 (%) | top-5 (%) "
        "| among the classes of the set (%) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, points in curves(report):
        for point in points:
            quality = f"{point['psnr']:.2f}" if np.isfinite(point["psnr"]) else "n/a"
            found = (point["accuracy"], point["top5"]["accuracy"], point["among"]["accuracy"])
            cells = [f"{100 * value:.1f}" for value in found]
            lines.append(
                f"| {name} | {point['setting']:g} | {point['bpp']:.3f} "
                f"| {point['bpp_payload']:.3f} | {quality} | {' | '.join(cells)} |"
            )
    facts = report["provenance"]
    lines += [
        "",
        f"{report['pictures']} pictures of {report['size']} px, from file bytes; commit "
        f"{facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def top1(point: Point) -> np.ndarray:
    """Share of seeds with the right class first, of each picture."""
    return shares(point["right"])


def at_rate(points: list[Point], size: float, key: str) -> np.ndarray:
    """`top1` at a size of files, on a line over its logarithm between two rates."""
    rates = [np.log(point[key]) for point in points]
    place = float(np.interp(np.log(size), rates, np.arange(len(points))))
    low = min(int(place), len(points) - 2)
    return (1.0 - place + low) * top1(points[low]) + (place - low) * top1(points[low + 1])


def _row(what: str, at: str, ours: np.ndarray, others: np.ndarray) -> str:
    found = paired_difference(ours, others)
    return f"| {what} | {at} | {found.value:+.1f} | {found.low:+.1f} to {found.high:+.1f} |"
