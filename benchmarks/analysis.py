"""What the results of `eval-task` and of the ledger say, as tables and a plot.

    promptcodec eval-task recipes/eval-classify.yaml --data DATA --out docs/results/analysis.json
    python benchmarks/analysis.py [--plot docs/analysis.png]     # draws accuracy over rate

`tables.py` fills docs/analysis.md by the functions here.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from promptcodec.evaluation.tasks import paired_difference

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
FROZEN, JOINT, JPEG = "frozen codec", "joint", "JPEG, trained on it"
LATENTS, DECODED = "head on latents", "decode, then classify"


def readers(report: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and points of every curve, lowest rate first."""
    for source in report["sources"]:
        names = source["settings"][0]["readers"]
        for name in names:
            points = [
                {k: row[k] for k in ("setting", "bpp", "bpp_payload", "psnr")}
                | row["readers"][name]
                for row in source["settings"]
            ]
            yield name, points


def curve(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Points of one reader."""
    return next(points for found, points in readers(report) if found == name)


def accuracy(report: dict[str, Any]) -> str:
    """Every reader at every setting, then what is compared in pairs."""
    lines = [
        "| path | setting | bpp | without headers | PSNR (dB) | accuracy (%) | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, points in readers(report):
        for point in points:
            seeds = [100 * value for value in point["seeds"]]
            spread = f"{min(seeds):.1f} to {max(seeds):.1f}" if len(seeds) > 1 else "1"
            lines.append(
                f"| {name} | {point['setting']:g} | {point['bpp']:.3f} "
                f"| {point['bpp_payload']:.3f} | {point['psnr']:.2f} "
                f"| {100 * point['accuracy']:.1f} | {spread} |"
            )
    facts = report["provenance"]
    lines += [
        "",
        f"{report['pictures']} pictures of {report['size']} px, {len(report['classes'])} classes, "
        f"from file bytes; commit {facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def comparisons(report: dict[str, Any]) -> str:
    """Differences in points with 95 % intervals over the same pictures."""
    latents, decoded, jpeg = (curve(report, name) for name in (LATENTS, DECODED, JPEG))
    lines = ["| comparison | at | points | 95 % interval |", "| --- | --- | ---: | ---: |"]

    def row(what: str, at: str, ours: dict[str, Any], others: dict[str, Any]) -> None:
        found = paired_difference(ours["right"], others["right"])
        lines.append(
            f"| {what} | {at} | {found.value:+.1f} | {found.low:+.1f} to {found.high:+.1f} |"
        )

    for ours, others in zip(latents, decoded, strict=True):
        at = f"rate {ours['setting']:g}, {ours['bpp']:.3f} bpp"
        row(f"{LATENTS} against {DECODED}", at, ours, others)
    lowest = jpeg[0]
    ours = max((p for p in latents if p["bpp"] <= lowest["bpp"]), key=lambda p: p["bpp"])
    at = f"{ours['bpp']:.3f} bpp against {lowest['bpp']:.3f} bpp"
    row(f"{LATENTS} against {JPEG}", at, ours, lowest)
    bare = lowest["bpp_payload"]
    under = [p for p in latents if p["bpp_payload"] <= bare]
    ours = max(under, key=lambda p: p["bpp_payload"]) if under else latents[0]
    at = f"{ours['bpp_payload']:.3f} bpp against {bare:.3f} bpp, both without headers"
    row(f"{LATENTS} against {JPEG}", at, ours, lowest)
    return "\n".join([*lines, "", *joint_gain(report)])


def joint_gain(report: dict[str, Any]) -> list[str]:
    """Joint training against the frozen codec and against a head trained as long, at equal bpp."""
    lines = [
        "| joint at | bpp | accuracy (%) | frozen at that bpp | head trained as long | PSNR (dB) "
        "| frozen at that bpp |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    frozen, control = curve(report, LATENTS), curve(report, "head trained as long")
    for point in curve(report, JOINT):
        at = point["bpp"]
        lines.append(
            f"| rate {point['setting']:g} | {at:.3f} | {100 * point['accuracy']:.1f} "
            f"| {100 * between(frozen, at, 'accuracy'):.1f} "
            f"| {100 * between(control, at, 'accuracy'):.1f} | {point['psnr']:.2f} "
            f"| {between(frozen, at, 'psnr'):.2f} |"
        )
    return lines


def between(points: list[dict[str, Any]], bpp: float, key: str) -> float:
    """A quantity of a curve at a rate, on a line over log(bpp); the end where it lies beyond."""
    rates = [np.log(point["bpp"]) for point in points]
    return float(np.interp(np.log(bpp), rates, [point[key] for point in points]))


def ledger(report: dict[str, Any]) -> str:
    """MACs, parameters and time of each path to a label."""
    lines = [
        "| server path | MMAC | of the latents' | parameters of the network | ms | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    server, cost = report["seconds"]["server"], report["cost"]["server"]
    first = cost["latents"]["mmac"]
    for name, timed in server.items():
        own = cost.get(name)
        counted = ("n/a", "n/a", "n/a")
        if own is not None:
            counted = (
                f"{own['mmac']:.0f}",
                f"{own['mmac'] / first:.2f}",
                f"{own['network_parameters']:,}",
            )
        lines.append(
            f"| {name} | {' | '.join(counted)} | {1000 * timed['seconds']['median']:.1f} "
            f"| {timed['ratio']['median']:.2f} |"
        )
    lines += [
        "",
        "| edge | MMAC | parameters | ms | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    edge = report["seconds"]["edge"]
    for name in dict.fromkeys([*report["cost"]["edge"], *edge]):
        own, timed = report["cost"]["edge"].get(name), edge.get(name)
        counted = (f"{own['mmac']:.1f}", f"{own['parameters']:,}") if own else ("n/a", "n/a")
        shown = ("", "")
        if timed:
            shown = f"{1000 * timed['seconds']['median']:.1f}", f"{timed['ratio']['median']:.2f}"
        lines.append(f"| {name} | {' | '.join((*counted, *shown))} |")
    facts = report["provenance"]
    lines += [
        "",
        f"One picture of {report['size']} px at rate {report['rate_index']:g}, from bytes to label "
        f"and from pixels to bytes; {facts['machine']['cpu']}, {facts['machine']['threads']} "
        f"thread; commit {facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def draw(report: dict[str, Any], path: Path) -> None:
    """Accuracy over rate of every reader."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, points in readers(report):
        classic = "," in name and not name.startswith("decode")
        axes.plot(
            [point["bpp"] for point in points],
            [100 * point["accuracy"] for point in points],
            marker="o" if not classic else ".",
            linestyle="-" if not classic else "--",
            label=name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("bpp, from file bytes")
    axes.set_ylabel("accuracy (%)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Draw the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, default=RESULTS.parent / "analysis.png")
    arguments = parser.parse_args()
    draw(json.loads((RESULTS / "analysis.json").read_text("utf-8")), arguments.plot)


if __name__ == "__main__":
    main()
