"""The report of an evaluation as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import published
from promptcodec.evaluation.codecs.registry import TITLES
from promptcodec.evaluation.comparison import ANCHOR, is_kodak
from promptcodec.evaluation.measure import Measurement
from promptcodec.evaluation.metrics import METRICS, Metric, to_db
from promptcodec.evaluation.reports.equal_size import Slide, at_equal_size
from promptcodec.evaluation.reports.html_page import write_page
from promptcodec.evaluation.results import OWN_NAME
from promptcodec.io.load import load_picture

MAX_CODECS = 3
"""Number of baselines on a slide."""
_SHOWN_AT_FIRST = (ANCHOR, "mbt2018-mean")  # of the published curves


def write_report(facts: dict, path: Path, *, slides: Sequence[Slide] = ()) -> None:
    """Write the report of one evaluation; an existing file is replaced.

    Args:
        facts: result of `results.as_json`.
        path: page to write.
        slides: pictures side by side.

    Raises:
        UsageError: the page would be too large.
        OutputError: the page cannot be written.
    """
    title = f"promptcodec on {len(facts['picture_hashes'])} pictures of {facts['folder']}"
    write_page(path, "report.html", title=title, data=_data(facts), slides=slides, force=True)


def choose_pictures(facts: dict, wanted: Sequence[str] = ()) -> list[str]:
    """Names of the pictures to show.

    Args:
        facts: result of `results.as_json`.
        wanted: names, with or without folder and suffix; empty is the pictures with the largest,
            median and smallest lead in PSNR over the first baseline at the rate that is shown (or
            the largest, median and smallest PSNR without a baseline).

    Raises:
        UsageError: a name is not among the measured pictures.
    """
    names = list(facts["picture_hashes"])
    failed = [each["picture"] for each in facts["failures"]]
    shown = [name for name in find_names(wanted, [*names, *failed]) if name in names]
    if shown:
        return shown
    point = facts["points"][_shown_point(len(facts["points"]))]
    own = {each["picture"]: each for each in point["pictures"]}

    def lead(name: str) -> float:
        """dB above the first baseline's nearest rate."""
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
    """Pictures by path, by file name, or by either without its suffix.

    Raises:
        UsageError: a name fits no picture, or several.
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


def make_slides(folder: Path, measurement: Measurement, names: Sequence[str]) -> list[Slide]:
    """Ours at one of its lower rates and the first baselines at equal bytes.

    Args:
        folder: folder of the pictures.
        measurement: codec and baselines.
        names: paths of pictures within the folder.
    """
    point = measurement.points[_shown_point(len(measurement.points))]
    codecs = dict(list(measurement.codecs.items())[:MAX_CODECS])
    pictures = (load_picture(folder / name, max_pixels=measurement.max_pixels) for name in names)
    views = (at_equal_size(picture, point, codecs) for picture in pictures)
    return [Slide(*each) for each in zip(names, views, strict=True)]


def _shown_point(count: int) -> int:
    """Index of a lower rate among `count`: at higher ones no difference is visible."""
    return (count - 1) // 3


def _data(facts: dict) -> dict:
    """Data of the page without its pictures."""
    metrics = [{"id": name, **METRICS[name]} for name in facts["metrics"]]
    compared = next((each for each in facts["comparisons"] if each["deltas"]["segments"]), None)
    segments = [
        {"low_bpp": s["low_bpp"], "title": f"{s['low_bpp']:.2f} to {s['high_bpp']:.2f} bpp"}
        for s in (compared["deltas"]["segments"] if compared else ())
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
        "alone": facts["jobs"] == 1,
        "notes": [
            *(f"{each['picture']}: {each['reason']}" for each in facts["failures"]),
            *facts["notes"],
        ],
        "facts": _facts(facts),
    }


def _curves(facts: dict) -> list[dict]:
    metrics = facts["metrics"]
    curves = [_curve(OWN_NAME, facts["points"], metrics)]
    curves += [_curve(each["name"], each["averages"], metrics) for each in facts["baselines"]]
    if is_kodak(facts["picture_hashes"]):
        for name, codec in published().items():
            columns = {key: values for key, values in codec.items() if key != "source"}
            rows = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            curves.append(_curve(name, rows, metrics, key="published"))
    return curves


def _curve(
    name: str, rows: Sequence[dict], metrics: Sequence[Metric], *, key: str = "field"
) -> dict:
    """Points of a codec for each metric that they have under its `key`."""
    is_published = key == "published"
    points = {metric: _points(rows, metric, METRICS[metric][key]) for metric in metrics}
    return {
        "id": f"{name}{' published' if is_published else ''}",
        "title": _title(name, published=is_published),
        "own": name == OWN_NAME,
        "published": is_published,
        "shown": not is_published or name in _SHOWN_AT_FIRST,
        "points": {metric: each for metric, each in points.items() if each},
    }


def _points(rows: Sequence[dict], metric: Metric, field: str) -> list[dict]:
    """Points by rising rate, in dB; "raw" is the value in the metric's own unit if it differs."""
    found = []
    for row in sorted(rows, key=lambda row: row["bpp"]):
        if row.get(field) is None:
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
