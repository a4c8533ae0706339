"""Plot of the rate-distortion curves of one evaluation."""

import io
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import kodak_anchors
from promptcodec.evaluation.codecs.registry import TITLES
from promptcodec.evaluation.comparison import is_kodak
from promptcodec.io.atomic import check_output, write_atomically

SUFFIXES = (".png", ".svg", ".pdf")
PUBLISHED = ("VTM", "mbt2018-mean")  # drawn if the set is Kodak


def check_plot(path: Path) -> None:
    """Refuse a path that could not be written later.

    Raises:
        UsageError: an unsupported suffix.
        OutputError: it cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: curves are drawn as {', '.join(SUFFIXES)}: choose one of them")
    check_output(path, force=True)


def plot_curves(results: dict, path: str | Path) -> None:
    """Draw PSNR over bpp for the codec, the baselines and, on Kodak, published curves.

    Args:
        results: result of `results.read_results`.
        path: picture to write; its suffix selects the format.

    Raises:
        UsageError: an unsupported suffix.
        OutputError: it cannot be written.
    """
    path = Path(path)
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # slow to import; only a plot needs it

    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = sorted(results["points"], key=lambda point: point["bpp"])
    own = _columns(points)
    axes.plot(*own, marker="o", linewidth=2, label="promptcodec", zorder=3)
    trained = [point for point in points if "gain" not in point["label"]]
    axes.plot(
        *_columns(trained),
        linestyle="none",
        marker="*",
        markersize=14,
        color="black",
        label="trained rate",
        zorder=4,
    )
    for baseline in results["baselines"]:
        name = TITLES.get(baseline["name"], baseline["name"])
        axes.plot(*_columns(baseline["averages"]), marker=".", label=name)
    if is_kodak(picture["picture"] for picture in points[0]["pictures"]):
        for curve in (kodak_anchors()[name] for name in PUBLISHED):
            axes.plot(curve.bpp, curve.psnr, linestyle="--", label=f"{curve.name} (published)")
    axes.set_xlim(0, max(2.0, 1.15 * own[0][-1]))
    axes.set_ylim(min(own[1]) - 4, max(own[1]) + 4)
    axes.set_xlabel("bits per pixel, from file bytes")
    axes.set_ylabel("PSNR of RGB (dB)")
    axes.set_title(f"{len(points[0]['pictures'])} pictures of {results['folder']}")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower()[1:], dpi=110)
    write_atomically(path, buffer.getvalue(), force=True)


def _columns(points: list[dict]) -> list[list[float]]:
    return [[point[key] for point in points] for key in ("bpp", "psnr")]
