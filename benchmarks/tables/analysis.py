"""Tables and plots of the results of `eval-task`, of the ledger and of aggregation.

    promptcodec eval-task recipes/eval/eval-classify.yaml --data D --out docs/results/analysis.json
    promptcodec eval-task recipes/eval/eval-joint.yaml --data D --out docs/results/joint.json
    promptcodec eval-task recipes/eval/eval-classic.yaml --data D --out docs/results/classic.json
    promptcodec eval-task recipes/eval/eval-cifar.yaml --data D --out docs/results/cifar.json
    python -m benchmarks.tables.analysis     # draws docs/analysis.png and docs/cifar.png

`benchmarks.tables.fill` puts the tables into docs/analysis.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, read_result
from promptcodec.evaluation.classification import paired_difference, shares

JOINT, JPEG = "joint", "JPEG, trained on it"
LATENTS, DECODED = "head on latents", "decode, then classify"
TAUGHT = "decode, then classify, with the same teacher"
BESIDE = ("joint", "classic")  # results of the same pictures that lie in files of their own
CONTROL = "frozen codec, head trained as long as joint"


def readers(report: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and points of every curve, lowest rate first.

    A codec that was trained several times is several sources, and one curve: each setting's rate
    and quality are averaged, and its seeds stand in one row.
    """
    curves: dict[str, list[list[dict[str, Any]]]] = {}
    beside = [report[name] for name in BESIDE if name in report]
    for source in [s for part in (report, *beside) for s in part["sources"]]:
        for name in source["settings"][0]["readers"]:
            points = [{**row, **row["readers"][name]} for row in source["settings"]]
            curves.setdefault(name, []).append(points)
    for name, runs in curves.items():
        yield name, [_merge(points) for points in zip(*runs, strict=True)]


def _merge(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One point of the same setting of several codecs."""
    seeds = [value for point in points for value in point["seeds"]]
    means = {k: float(np.mean([p[k] for p in points])) for k in ("bpp", "bpp_payload", "psnr")}
    return {
        "setting": points[0]["setting"],
        "gain_steps": points[0]["gain_steps"],
        **means,
        "accuracy": float(np.mean(seeds)),
        "seeds": seeds,
        "shares": shares([text for point in points for text in point["right"]]),
    }


def curve(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Points of one reader."""
    return next(points for found, points in readers(report) if found == name)


def accuracy(report: dict[str, Any]) -> str:
    """Every reader at every setting."""
    lines = [
        "| path | setting | bpp | without headers | PSNR (dB) | accuracy (%) | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, points in readers(report):
        for point in points:
            seeds = [100 * value for value in point["seeds"]]
            spread = f"{min(seeds):.1f} to {max(seeds):.1f}" if len(seeds) > 1 else "1"
            lines.append(
                f"| {name} | {_setting(point)} | {point['bpp']:.3f} "
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


def analysis(report: dict[str, Any]) -> str:
    """What is compared, then every figure."""
    return f"{comparisons(report)}\n\n{accuracy(report)}"


def cifar(report: dict[str, Any]) -> str:
    """Paths against JPEG, then every figure."""
    every = dict(readers(report))
    lines = ["| comparison | at | points | 95 % interval |", "| --- | --- | ---: | ---: |"]
    lines += against_jpeg(every[LATENTS], every[JPEG], LATENTS)
    return "\n".join([*lines, "", accuracy(report)])


def aggregation(report: dict[str, Any]) -> str:
    """PSNR of g_s with a head's features, and of the same network without them."""
    lines = [
        "| rate | bpp | frozen g_s (dB) | trained without features | with features | gained |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["rates"]:
        quality = row["psnr"]
        lines.append(
            f"| {row['rate_index']:g} | {row['bpp']:.4f} | {quality['codec']:.3f} "
            f"| {quality['control']:.3f} | {quality['features']:.3f} "
            f"| {quality['features'] - quality['control']:+.3f} |"
        )
    counts, facts = report["parameters"], report["provenance"]
    lines += [
        "",
        f"{report['pictures']} pictures; {counts['features']:,} parameters that fuse with features "
        f"and {counts['control']:,} without; commit {facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def _setting(point: dict[str, Any]) -> str:
    gain = point["gain_steps"]
    return f"{point['setting']:g}, gain {gain:g}" if gain else f"{point['setting']:g}"


def comparisons(report: dict[str, Any]) -> str:
    """Differences in points with 95 % intervals over the same pictures."""
    latents, jpeg = curve(report, LATENTS), curve(report, JPEG)
    lines = ["| comparison | at | points | 95 % interval |", "| --- | --- | ---: | ---: |"]
    for name in (DECODED, TAUGHT):
        for ours, others in zip(latents, curve(report, name), strict=True):
            at = f"rate {_setting(ours)}, {ours['bpp']:.3f} bpp"
            lines.append(_row(f"{LATENTS} against {name}", at, ours, others))
    every = dict(readers(report))
    for name in (LATENTS, JOINT):
        lines += against_jpeg(every[name], jpeg, name)
    return "\n".join([*lines, "", *joint_gain(report)])


def against_jpeg(
    points: list[dict[str, Any]], jpeg: list[dict[str, Any]], name: str
) -> Iterator[str]:
    """Rows of a path at no more bytes than JPEG's smallest files, whole and without headers."""
    lowest = jpeg[0]
    for key, note in (("bpp", ""), ("bpp_payload", ", both without headers")):
        under = [point for point in points if point[key] <= lowest[key]]
        if not under:
            at = f"{points[0][key]:.3f} bpp and up against {lowest[key]:.3f} bpp{note}"
            yield f"| {name} against {JPEG} | {at} | none | no common size |"
            continue
        ours = max(under, key=lambda point: point[key])
        at = f"{ours[key]:.3f} bpp against {lowest[key]:.3f} bpp{note}"
        yield _row(f"{name} against {JPEG}", at, ours, lowest)


def _row(what: str, at: str, ours: dict[str, Any], others: dict[str, Any]) -> str:
    found = paired_difference(ours["shares"], others["shares"])
    return f"| {what} | {at} | {found.value:+.1f} | {found.low:+.1f} to {found.high:+.1f} |"


def joint_gain(report: dict[str, Any]) -> list[str]:
    """Joint training against the frozen codec and against a head trained as long, at equal bpp."""
    lines = [
        "| joint at | bpp | accuracy (%) | points over the frozen codec | 95 % interval "
        "| over a head trained as long | 95 % interval | PSNR (dB) | over the frozen codec |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    frozen, control = curve(report, LATENTS), curve(report, CONTROL)
    for point in curve(report, JOINT):
        cells = [f"rate {point['setting']:g}", f"{point['bpp']:.3f}"]
        cells.append(f"{100 * point['accuracy']:.1f}")
        for other in (frozen, control):
            gain = paired_difference(point["shares"], between(other, point["bpp"], "shares"))
            cells += [f"{gain.value:+.1f}", f"{gain.low:+.1f} to {gain.high:+.1f}"]
        lost = point["psnr"] - float(between(frozen, point["bpp"], "psnr"))
        cells += [f"{point['psnr']:.2f}", f"{lost:+.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def between(points: list[dict[str, Any]], bpp: float, key: str) -> np.ndarray:
    """A quantity of a curve at a rate, on a line over log(bpp); the end where it lies beyond."""
    rates = [np.log(point["bpp"]) for point in points]
    place = float(np.interp(np.log(bpp), rates, np.arange(len(points))))
    low = min(int(place), len(points) - 2)
    weight = place - low
    first, second = np.asarray(points[low][key]), np.asarray(points[low + 1][key])
    return (1.0 - weight) * first + weight * second


def ledger(report: dict[str, Any]) -> str:
    """MACs, parameters and time of each path to a label."""
    lines = [
        f"| px | server path | MMAC | ratio | parameters of the network | ms | ratio "
        f"| ms, {report['batch']} files at once | ratio |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for at in report["sizes"]:
        server, cost = at["seconds"]["server"], at["cost"]["server"]
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
            batches = at["seconds"]["batch"].get(name)
            timings = [each for found in (timed, batches) for each in _timing(found)]
            lines.append(f"| {at['size']} | {name} | {' | '.join((*counted, *timings))} |")
    at = report["sizes"][0]
    lines += [
        "",
        f"| edge, {at['size']} px | MMAC | parameters | ms | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    edge = at["seconds"]["edge"]
    for name in dict.fromkeys([*at["cost"]["edge"], *edge]):
        own, timed = at["cost"]["edge"].get(name), edge.get(name)
        counted = (f"{own['mmac']:.1f}", f"{own['parameters']:,}") if own else ("n/a", "n/a")
        lines.append(f"| {name} | {' | '.join((*counted, *_timing(timed)))} |")
    facts = report["provenance"]
    lines += [
        "",
        f"One picture at rate {report['rate_index']:g}, from bytes to label and from pixels to "
        f"bytes; {report['batch']} files are copies of one, and their time is that of each; at "
        f"equal MACs: of the head and the network past g_s; {facts['machine']['cpu']}, "
        f"{facts['machine']['threads']} thread; commit {facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def _timing(timed: dict[str, Any] | None) -> tuple[str, str]:
    """Milliseconds a picture and the ratio to the first path; empty where none was taken."""
    if timed is None:
        return "", ""
    return f"{1000 * timed['seconds']['median']:.1f}", f"{timed['ratio']['median']:.2f}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Accuracy over rate of every reader."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    every = dict(readers(report))
    classic = [name for name in every if name.startswith(("JPEG", "WebP", "AVIF"))]
    own = [name for name in every if name not in classic]
    # Classic codecs have a panel of their own, beside what they compete with.
    panels = [own, [LATENTS, *classic]] if len(own) > 1 else [list(every)]
    figure = Figure(figsize=(6.5 * len(panels), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, names in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        for name in names:
            axes.plot(
                [point["bpp"] for point in every[name]],
                [100 * point["accuracy"] for point in every[name]],
                marker="o",
                markersize=4,
                linewidth=2 if name == LATENTS else 1.2,
                linestyle="--" if name.endswith("clean pictures") else "-",
                label=name,
            )
        axes.set_xscale("log")
        axes.set_xlabel("bpp, from file bytes")
        axes.set_ylabel("accuracy (%)")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Draw the results on record."""
    for name, beside in (("analysis", BESIDE), ("cifar", ())):
        if report := read_result(name, beside):
            draw(report, RESULTS.parent / f"{name}.png")


if __name__ == "__main__":
    main()
