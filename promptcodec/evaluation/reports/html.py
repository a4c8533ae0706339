"""The report of an evaluation as one HTML file."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import published
from promptcodec.evaluation.bootstrap import EDGES
from promptcodec.evaluation.codecs.registry import TITLES
from promptcodec.evaluation.comparison import ANCHOR, is_kodak
from promptcodec.evaluation.measure import Measurement
from promptcodec.evaluation.metrics import Metric, to_db
from promptcodec.evaluation.reports.equal_size import views
from promptcodec.evaluation.reports.html_page import Slide, write_page
from promptcodec.evaluation.results import OWN_NAME
from promptcodec.io.load import load_picture

MAX_PEERS = 3
"""Peers on a slide beside ours: more of them would crowd out pictures."""
_SHOWN_AT_FIRST = (ANCHOR, "mbt2018-mean")  # of the published curves

METRICS: dict[Metric, dict] = {
    "psnr": {
        "title": "PSNR",
        "axis": "PSNR of RGB (dB)",
        "raw": "PSNR (dB)",
        "field": "psnr",
        "digits": 2,
        "published": "psnr_rgb",
    },
    "ms-ssim": {
        "title": "MS-SSIM",
        "axis": "MS-SSIM of RGB, -10 log10(1 - x) (dB)",
        "raw": "MS-SSIM",
        "field": "ms_ssim",
        "digits": 4,
        "published": "ms_ssim_rgb",
    },
    "lpips": {
        "title": "LPIPS",
        "axis": "LPIPS, -10 log10(x) (dB)",
        "raw": "LPIPS",
        "field": "lpips",
        "digits": 4,
        "published": "",
    },
}


def write_report(facts: dict, path: Path, *, slides: Sequence[Slide] = ()) -> None:
    """Write the report of one evaluation; an existing file is replaced.

    Args:
        facts: as `results.as_json` gives them.
        path: of the page.
        slides: pictures side by side.

    Raises:
        UsageError: the page would be too large.
        OutputError: it cannot be written.
    """
    title = f"promptcodec on {len(facts['picture_hashes'])} pictures of {facts['folder']}"
    write_page(path, "report.html", title=title, data=_data(facts), slides=slides, force=True)


def choose_pictures(facts: dict, wanted: Sequence[str] = ()) -> list[str]:
    """Which pictures to look at.

    Args:
        facts: as `results.as_json` gives them.
        wanted: names, with or without folder and suffix; none takes the pictures on which the
            rate that is shown does best, middling and worst against the first peer (by PSNR alone
            where there is none).

    Raises:
        UsageError: a name that was not measured.
    """
    names = list(facts["picture_hashes"])
    failed = [each["picture"] for each in facts["failures"]]
    shown = [name for name in find_names(wanted, [*names, *failed]) if name in names]
    if shown:
        return shown
    point = facts["points"][_shown_point(len(facts["points"]))]
    own = {each["picture"]: each for each in point["pictures"]}

    def lead(name: str) -> float:
        """dB above the first peer's nearest rate."""
        rivals = [
            each
            for baseline in facts["baselines"][:1]
            for each in baseline["pictures"]
            if each["picture"] == name
        ]
        near = min(rivals, key=lambda each: abs(each["bpp"] - own[name]["bpp"]), default=None)
        return own[name]["psnr"] - (near["psnr"] if near else 0.0)

    ranked = sorted(names, key=lead)
    picks = [ranked[-1], ranked[len(ranked) // 2], ranked[0]]
    return list(dict.fromkeys(picks))


def find_names(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    """Pictures as a user names them, by path, file name, or either without its suffix.

    Raises:
        UsageError: there is none of that name, or several.
    """
    chosen = []
    for wish in wanted:
        found = [name for name in names if wish in _short_names(name)]
        if wish in names or len(found) == 1:
            chosen.append(wish if wish in names else found[0])
        elif found:
            raise UsageError(f"{wish!r} is {' or '.join(found[:2])}: name one with its folder")
        else:
            raise UsageError(f"no picture {wish!r} is measured: name one of the folder's")
    return chosen


def _short_names(name: str) -> set[str]:
    path = Path(name)
    return {name, path.name, path.stem, path.with_suffix("").as_posix()}


def make_slides(
    folder: Path, measurement: Measurement, names: Sequence[str], *, points: Sequence[str] = ()
) -> list[Slide]:
    """Ours and the first peers at equal bytes.

    Args:
        folder: of the pictures.
        measurement: codec and peers.
        names: of the pictures.
        points: labels of our rates; none takes one of the lower ones.
    """
    chosen = [point for point in measurement.points if point.label in points]
    chosen = chosen or [measurement.points[_shown_point(len(measurement.points))]]
    peers = dict(list(measurement.peers.items())[:MAX_PEERS])
    return [
        Slide(
            name if len(chosen) == 1 else f"{name}, {point.label}",
            views(load_picture(folder / name, max_pixels=measurement.max_pixels), point, peers),
        )
        for name in names
        for point in chosen
    ]


def _shown_point(count: int) -> int:
    """A lower rate of the ladder: higher up nobody sees a difference."""
    return (count - 1) // 3


def _data(facts: dict) -> dict:
    """All that the page shows, apart from its pictures."""
    metrics = [{"id": name, **METRICS[name]} for name in facts["metrics"]]
    segments = [
        {"low_bpp": low, "title": _segment_title(low, high)} for low, high in pairwise(EDGES)
    ]
    return {
        "metrics": metrics,
        "segments": segments,
        "curves": _curves(facts),
        "comparisons": [
            {
                "title": _title(each["rival"], published=each["published"]),
                "metric": each["metric"],
                **each["deltas"],
            }
            for each in facts["comparisons"]
        ],
        "points": facts["points"],
        "notes": [
            *(f"{each['picture']}: {each['reason']}" for each in facts["failures"]),
            *facts["notes"],
        ],
        "facts": _facts(facts),
    }


def _segment_title(low: float, high: float) -> str:
    if low == EDGES[0]:
        return f"below {high:g} bpp"
    return f"above {low:g} bpp" if high == EDGES[-1] else f"{low:g} to {high:g} bpp"


def _curves(facts: dict) -> list[dict]:
    metrics: list[Metric] = facts["metrics"]
    own = {metric: _points(facts["points"], metric, METRICS[metric]["field"]) for metric in metrics}
    curves = [_curve(OWN_NAME, own, own=True)]
    for baseline in facts["baselines"]:
        points = {m: _points(baseline["averages"], m, METRICS[m]["field"]) for m in metrics}
        curves.append(_curve(baseline["name"], points))
    if is_kodak(facts["picture_hashes"]):
        for name, codec in published().items():
            points = {}
            for metric in metrics:
                values = codec.get(METRICS[metric]["published"])
                if values:
                    rows = [
                        {"bpp": rate, "value": value}
                        for rate, value in zip(codec["bpp"], values, strict=True)
                    ]
                    points[metric] = _points(rows, metric, "value")
            curves.append(_curve(name, points, published=True))
    return curves


def _curve(name: str, points: dict, *, own: bool = False, published: bool = False) -> dict:
    return {
        "id": f"{name}{' published' if published else ''}",
        "title": _title(name, published=published),
        "own": own,
        "published": published,
        "shown": not published or name in _SHOWN_AT_FIRST,
        "points": {metric: each for metric, each in points.items() if each},
    }


def _points(rows: Sequence[dict], metric: Metric, field: str) -> list[dict]:
    """By rising rate, in dB; "raw" is the value in the metric's own unit where that differs."""
    found = []
    for row in sorted(rows, key=lambda row: row["bpp"]):
        if row[field] is None:
            return []
        point = {"bpp": row["bpp"], "value": to_db(metric, row[field])}
        if metric != "psnr":
            point["raw"] = row[field]
        if "label" in row or "quality" in row:
            point["label"] = row.get("label") or f"quality {row['quality']}"
        found.append(point)
    return found


def _title(name: str, *, published: bool) -> str:
    return f"{name} (published)" if published else TITLES.get(name, name)


def _facts(facts: dict) -> list[tuple[str, str]]:
    source, machine = facts["provenance"], facts["provenance"]["machine"]
    rows = [
        ("command", source["command"]),
        ("date", source["date"]),
        ("commit", source["commit"] or "unknown"),
        ("base", facts["base_hash"]),
        *((f"adapter {name}", digest) for name, digest in facts["adapter_hashes"].items()),
        ("machine", f"{machine['cpu']}, {machine['processors']} processors, {machine['system']}"),
        ("run as", f"{facts['jobs']} processes, {machine['threads']} threads each"),
        ("arithmetic", facts["precision"]),
        ("largest process", f"{facts['peak_rss_mb']:.0f} MB"),
        ("versions", _listed(source["versions"])),
        *(
            (f"options of {TITLES.get(each['name'], each['name'])}", _listed(each["options"]))
            for each in facts["baselines"]
        ),
        *((name, f"SHA-256 {digest}") for name, digest in facts["picture_hashes"].items()),
    ]
    if any(curve["published"] for curve in facts["comparisons"]):
        rows.append(("published points", _listed({n: c["source"] for n, c in published().items()})))
    return [(name, str(value)) for name, value in rows]


def _listed(values: dict) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
