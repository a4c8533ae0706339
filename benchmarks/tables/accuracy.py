"""Tables and plot of accuracy over rate, from results of `eval-task`.

    promptcodec eval-task recipes/eval/eval-NAME.yaml --data DATA --out docs/results/NAME.json
    python -m benchmarks.tables.accuracy     # draws docs/analysis.png

NAME is thousand-224, thousand-128, thousand-673, cifar, joint or edge. `benchmarks.tables.fill`
puts the tables into docs/analysis.md. A lead is in points of top-1, over the same pictures; where
sizes of files differ, a curve is read between two of its points, and nowhere else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, read_result
from promptcodec.evaluation.accuracy import at_size, paired_difference, shares
from promptcodec.evaluation.metrics import MAX_PSNR

Point = dict[str, Any]
Curves = dict[str, list[Point]]

LATENTS, DECODED, FINE_TUNED = "head on latents", "decode, then classify", ", fine-tuned"
CLASSIC = ("JPEG", "progressive JPEG", "WebP", "AVIF")
CIFAR_LATENTS, CIFAR_DECODED = "latents, ten classes", "decoded first, ten classes"
CIFAR_CLASSIC = ("JPEG, ten classes", "progressive JPEG, ten classes")
CONTROL, JOINT = "head trained as long", "joint"
TASKS = ("task prompts", "task prompts, head trained as long")
EDGE, FROZEN_EDGE = "edge codec", "frozen edge codec"
SIZES = ("bpp", "bpp_payload")  # whole files, and without headers
NONE = "n/a"
KNOWN = (
    "Most of these pictures are training pictures of the network: accuracy is inflated for all "
    "paths alike, differences over the same pictures count."
)
SEEN = (
    "The codec, unlike the head, was trained on these pictures, so that other codecs are not "
    "compared here."
)
SMALL = "The standard error of an accuracy is about a point."


def thousand(report: dict[str, Any]) -> str:
    """The head on latents against every other path, then every figure."""
    every = curves(report)
    parts = [against_same_files(every, LATENTS, (DECODED, DECODED + FINE_TUNED))]
    parts += [against_others(every, LATENTS, classic(every)), figures(report), KNOWN]
    return "\n\n".join(part for part in parts if part)


def thousand_seen(report: dict[str, Any]) -> str:
    """As `thousand`, of pictures that the codec was trained on."""
    return f"{thousand(report)} {SEEN}"


def cifar(report: dict[str, Any]) -> str:
    """Latents against decoded pixels and JPEG at 32 px, then every figure."""
    every = curves(report)
    same = against_same_files(every, CIFAR_LATENTS, (CIFAR_DECODED,))
    others = against_others(every, CIFAR_LATENTS, CIFAR_CLASSIC)
    return "\n\n".join((same, others, figures(report), SMALL))


def joint(report: dict[str, Any]) -> str:
    """Joint training and task prompts against the frozen codec, then every figure."""
    every = curves(report)
    gains = at_equal_size(every, (JOINT, *TASKS), (LATENTS, CONTROL))
    return "\n\n".join((gains, figures(report), KNOWN))


def edge(report: dict[str, Any]) -> str:
    """The edge codec against JPEG, and against itself before training for the network."""
    every = curves(report)
    jpeg = against_others(every, EDGE, classic(every))
    frozen = (FROZEN_EDGE, f"{FROZEN_EDGE}, {CONTROL}")
    gains = at_equal_size(every, (EDGE,), frozen)
    return "\n\n".join((jpeg, gains, figures(report), KNOWN))


def curves(report: dict[str, Any]) -> Curves:
    """Points of every path by its name, lowest rate first."""
    return {
        name: [{**row, **row["readers"][name]} for row in source["settings"]]
        for source in report["sources"]
        for name in source["settings"][0]["readers"]
    }


def classic(every: Curves) -> list[str]:
    """Paths of classic codecs, each as it is and fine-tuned."""
    return [name for name in every if name.removesuffix(FINE_TUNED) in CLASSIC]


def against_same_files(every: Curves, ours: str, others: Sequence[str]) -> str:
    """Lead of a path over others that read the same files."""
    lines = table(f"{ours} against", "setting", "bpp", "points", "95 % interval")
    for name in others:
        for own, other in zip(every[ours], every[name], strict=True):
            lead = difference(top1(own), top1(other))
            lines.append(row(name, setting(own), f"{own['bpp']:.3f}", *lead))
    return "\n".join(lines)


def against_others(every: Curves, ours: str, others: Sequence[str]) -> str:
    """Lead of a path at the size of each file of others, whole and without headers; "" of none."""
    if not others:
        return ""
    kinds = [kind for note in ("", " without headers") for kind in
             (f"bpp{note}", "points", "95 % interval")]  # fmt: skip
    lines = table(f"{ours} against", "setting", *kinds)
    for name in others:
        for point in every[name]:
            cells = []
            for key in SIZES:
                own = read_at(every[ours], point, key)
                lead = difference(own, top1(point))
                cells += [f"{point[key]:.3f}", *lead]
            lines.append(row(name, setting(point), *cells))
    return "\n".join(lines)


def at_equal_size(every: Curves, ours: Sequence[str], others: Sequence[str]) -> str:
    """Lead of each point of some paths over others at its size, with the PSNR beside it."""
    over = [cell for name in others for cell in (f"over {name}", "95 % interval")]
    lines = table("path", "setting", "bpp", "top-1 (%)", *over, "PSNR (dB)", f"over {others[0]}")
    for name in ours:
        for point in every[name]:
            cells = [f"{point['bpp']:.3f}", f"{100 * point['accuracy']:.1f}"]
            for other in others:
                theirs = read_at(every[other], point, "bpp")
                cells += difference(top1(point), theirs)
            quality = at_size(
                sizes(every[others[0]]), [p["psnr"] for p in every[others[0]]], point["bpp"]
            )
            gained = NONE if quality is None else f"{point['psnr'] - float(quality):+.2f}"
            lines.append(row(name, setting(point), *cells, f"{point['psnr']:.2f}", gained))
    return "\n".join(lines)


def figures(report: dict[str, Any]) -> str:
    """Every path at every setting."""
    lines = table(
        *("path", "setting", "bpp", "without headers", "PSNR (dB)", "top-1 (%)", "top-5 (%)"),
        *("among the classes of the set (%)", "calibration error (%)"),
    )
    for name, points in curves(report).items():
        for point in points:
            quality = f"{point['psnr']:.2f}" if point["psnr"] < MAX_PSNR else NONE
            shown = (point, point.get("top5"), point.get("among"))
            accuracies = [NONE if each is None else f"{100 * each['accuracy']:.1f}"
                          for each in shown]  # fmt: skip
            rates = [f"{point[key]:.3f}" for key in SIZES]
            error = f"{100 * point['calibration_error']:.1f}"
            lines.append(row(name, setting(point), *rates, quality, *accuracies, error))
    facts = report["provenance"]
    lines += [
        "",
        f"{report['pictures']} pictures of {report['size']} px, from file bytes; expected "
        f"calibration error over 15 bins of confidence; commit {facts['commit']}; "
        f"`{facts['command']}`.",
    ]
    return "\n".join(lines)


def top1(point: Point) -> np.ndarray:
    """Share of seeds with the right class first, of each picture."""
    return shares(point["right"])


def sizes(points: Sequence[Point], key: str = "bpp") -> list[float]:
    """Sizes of the files of a curve."""
    return [point[key] for point in points]


def read_at(points: Sequence[Point], other: Point, key: str) -> np.ndarray | None:
    """`top1` of a curve at the size of another point; None outside of the curve."""
    return at_size(sizes(points, key), [top1(point) for point in points], other[key])


def difference(ours: np.ndarray | None, others: np.ndarray | None) -> tuple[str, str]:
    """Lead and interval as cells; n/a where a curve does not reach."""
    if ours is None or others is None:
        return NONE, ""
    found = paired_difference(ours, others)
    return f"{found.value:+.1f}", f"{found.low:+.1f} to {found.high:+.1f}"


def setting(point: Point) -> str:
    """Setting of a point with its gain."""
    gain = point.get("gain_steps")
    return f"{point['setting']:g}, gain {gain:+g}" if gain else f"{point['setting']:g}"


def table(first: str, *others: str) -> list[str]:
    """Head of a table: the first column is text, the others are figures."""
    return [row(first, *others), f"| --- |{' ---: |' * len(others)}"]


def row(*cells: str) -> str:
    """Row of a table."""
    return f"| {' | '.join(cells)} |"


def draw(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """Accuracy over rate of every path, a panel a report."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(reports), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(reports), squeeze=False)[0]
    for axes, (title, report) in zip(panels, reports.items(), strict=True):
        for name, points in plotted(report):
            rates = sizes(points)
            accuracies = [100 * point["accuracy"] for point in points]
            axes.plot(rates, accuracies, marker="o", markersize=4, linewidth=1.2, label=name)
        axes.set(xscale="log", xlabel="bpp, from file bytes", ylabel="top-1 (%)", title=title)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def plotted(report: dict[str, Any]) -> Iterator[tuple[str, list[Point]]]:
    """Paths with more than one point."""
    for name, points in curves(report).items():
        if len(points) > 1:
            yield name, points


def main() -> None:
    """Draw the results on record."""
    names = ("thousand-224", "thousand-128", "edge", "cifar")
    reports = {name: report for name in names if (report := read_result(name))}
    if reports:
        draw(reports, RESULTS.parent / "analysis.png")


if __name__ == "__main__":
    main()
