"""Tables of README and model card, rendered from results.json."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptcodec.errors import DataError, not_found
from promptcodec.evaluation.codecs.registry import TITLES
from promptcodec.evaluation.metrics import METRICS, Metric
from promptcodec.io.atomic import write_atomically

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


SHOWN = ("VTM", "BPG 4:4:4", "mbt2018-mean", "cheng2020-attn", "ELIC (paper)")
"""Published curves of the table of rivals; documents have the others."""


def render_table(results: dict) -> str:
    """Markdown tables of one evaluation, rates and rivals, with a line on their origin.

    Args:
        results: result of `results.read_results`.
    """
    lines = [*_rates(results), ""]
    if compared := shown_comparisons(results):
        lines += [*_rivals(results["metrics"], compared), ""]
        lines += [
            "BD-rate: mean difference in bytes at equal quality, over the range in which both "
            'curves exist; "our bpp" are our rates at its ends, by PSNR. In brackets: 95 % '
            "intervals over pictures; published curves are averages and have none. n/a: the "
            "curves share no range, or a picture has no value.",
            "",
        ]
    return "\n".join([*lines, _caption(results)])


def shown_comparisons(results: dict) -> list[dict]:
    """Comparisons with each measured rival and with the published ones of `SHOWN`."""
    found = results.get("comparisons", ())
    return [each for each in found if not each["published"] or each["rival"] in SHOWN]


def render_quarters(results: dict) -> str:
    """Markdown tables of BD-rates by quarter of our rates, for every rival and metric.

    Args:
        results: result of `results.read_results`, with all comparisons.
    """
    lines = []
    for metric in results["metrics"]:
        rows = [each for each in results["comparisons"] if each["metric"] == metric]
        parts = next((r["deltas"]["segments"] for r in rows if r["deltas"]["segments"]), ())
        heads = [f"{part['low_bpp']:.2f} to {part['high_bpp']:.2f} bpp" for part in parts]
        header = [f"by {METRICS[metric]['title']}", "our bpp", "all", *heads]
        table = [header, ["---", *["---:"] * (len(header) - 1)]]
        for each in rows:
            own = each["deltas"]
            values = [own["bd_rate"], *(part["bd_rate"] for part in own["segments"])]
            values += [None] * (len(header) - 2 - len(values))
            table.append([_rival(each), _range(own), *map(_percent, values)])
        lines += [*_joined(table), ""]
    return "\n".join([*lines, _caption(results)])


def _rates(results: dict) -> list[str]:
    """A row for each rate; times only where a picture ran alone."""
    metrics = [METRICS[name] for name in results["metrics"]]
    alone = results.get("jobs", 1) == 1
    header = ["rate", "bpp", *(metric["raw"] for metric in metrics)]
    header += ["encode (s)", "decode (s)"] if alone else []
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for point in sorted(results["points"], key=lambda point: point["bpp"]):
        values = [(point.get(metric["field"]), metric["digits"]) for metric in metrics]
        if alone:
            values += [(point["encode_seconds"], 2), (point["decode_seconds"], 2)]
        shown = ["n/a" if value is None else f"{value:.{digits}f}" for value, digits in values]
        rows.append([point["label"], f"{point['bpp']:.3f}", *shown])
    return _joined(rows)


def _rivals(metrics: Sequence[Metric], compared: Sequence[dict]) -> list[str]:
    """A row for each rival, a column for each metric."""
    header = ["BD-rate against", "our bpp", *(f"by {METRICS[name]['title']}" for name in metrics)]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for name in dict.fromkeys(_rival(each) for each in compared):
        own = {each["metric"]: each["deltas"] for each in compared if _rival(each) == name}
        values = [own[metric]["bd_rate"] if metric in own else None for metric in metrics]
        rows.append([name, _range(own.get("psnr")), *map(_percent, values)])
    return _joined(rows)


def _rival(comparison: dict) -> str:
    name: str = comparison["rival"]
    if comparison["published"]:
        return f"{name.removesuffix(' (paper)')} (published)"
    return TITLES.get(name, name)


def _range(deltas: dict | None) -> str:
    if not deltas or not deltas.get("range_bpp"):  # older files have none
        return "n/a"
    return "{:.2f} to {:.2f}".format(*deltas["range_bpp"])


def _percent(estimate: dict | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "n/a"
    return f"{estimate['value']:+.1f} %{_interval(estimate)}"


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in rows]


def render_training(folder: str | Path) -> str:
    """Markdown list of the training of a base, from the records of `train-base`.

    Args:
        folder: base checkpoint with config.json and training.json, and with the records of earlier
            parts of its training in history/, in the order of their names.

    Raises:
        DataError: one of the files cannot be read.
    """
    folder = Path(folder)
    records = [*sorted((folder / "history").glob("*.json")), folder / "training.json"]
    with _records_of(folder):
        parts = [json.loads(path.read_text(encoding="utf-8")) for path in records]
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        lines = [
            f"- Rate index {config['rate_index']}, lambda {config['lmbda']}.",
            f"- Data: {parts[-1]['pictures']:,} pictures of `{parts[-1]['data']}`.",
        ]
        names = [f"Part {number}: " for number in range(1, len(parts) + 1)]
        pairs = zip(names if len(parts) > 1 else [""], parts, strict=True)
        return "\n".join([*lines, *(f"- {name}{_run_of(part)}" for name, part in pairs)])


@contextmanager
def _records_of(folder: str | Path) -> Iterator[None]:
    """Raise DataError for any error in reading training records."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            reason = f"{Path(error.filename or '').name}: {error.strerror}"
        message = (
            f"{folder} has no record of its training ({reason}): name a folder that training wrote"
        )
        raise DataError(not_found(folder, message)) from error


def _run_of(training: dict) -> str:
    """One run in a sentence."""
    recipe, machine, processes = training["recipe"], training["machine"], training["processes"]
    crops = recipe["batch"] * recipe["accumulate"] * processes
    codec = recipe.get("codec", {})
    kind = f"context {codec['context']}, " if "context" in codec else ""
    if codec.get("reconstruction", "middle") != "middle":
        kind += f"reconstruction {codec['reconstruction']}, "
    return (
        f"{training['steps']:,} steps of {crops} crops of {recipe['data']['crop']} px, {kind}"
        f"{recipe['optimizer']['name']}, peak learning rate "
        f"{recipe['optimizer']['learning_rate']}, {recipe['precision']}; "
        f"{training['hours']:.2f} hours, {_count(processes, 'process', 'processes')}, "
        f"{machine['cpu']}, {_count(machine['threads'], 'thread', 'threads')} each; "
        f"commit {training['commit'] or 'unknown'}, {str(training['date'])[:10]}."
    )


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def render_ladder(folder: str | Path) -> str:
    """Markdown table of the adapters of a ladder, from the records of `train-ladder`.

    Args:
        folder: folder with one folder for each rate.

    Raises:
        DataError: the record of an adapter is missing or cannot be read.
    """
    lines = [
        "| rate | lambda | started from | steps | with those before | crops | hours |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    with _records_of(folder):
        found: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {}
        for path in Path(folder).glob("*/adapter_config.json"):
            training = json.loads((path.parent / "training.json").read_text(encoding="utf-8"))
            start = training["recipe"]["init_from"]
            name = "the base" if start is None else Path(start).name
            config = json.loads(path.read_text(encoding="utf-8"))
            found[f"rate-{config['rate_index']}"] = (config, training, name)
        for config, training, start in sorted(found.values(), key=lambda f: f[0]["rate_index"]):
            recipe, chain, before = training["recipe"], training["steps"], start
            for _ in found:  # no chain is longer
                if before not in found:
                    break
                chain, before = chain + found[before][1]["steps"], found[before][2]
            crops = training["steps"] * recipe["batch"] * recipe["accumulate"]
            lines.append(
                f"| {config['rate_index']} | {config['lmbda']} | {start} | {training['steps']:,} "
                f"| {chain:,} | {crops * training['processes']:,} | {training['hours']:.2f} |"
            )
    return "\n".join(lines)


def update_markers(path: str | Path, table: str, *, name: str = "results") -> None:
    """Replace the text between two markers of a document, atomically.

    Args:
        path: Markdown file with the markers of `name`, each once and in that order.
        table: Markdown to put between them.
        name: name of the markers.

    Raises:
        DataError: the file cannot be read, or lacks the markers.
        OutputError: the file cannot be written.
    """
    before, own, after = split_markers(path, name=name)
    begin, end = _markers(name)
    updated = f"{begin}\n{table.strip()}\n{end}"
    if updated != own:
        write_atomically(path, f"{before}{updated}{after}".encode(), force=True)


def split_markers(path: str | Path, *, name: str = "results") -> tuple[str, str, str]:
    """The parts of a document before, between (with the markers), and after its two markers.

    Raises:
        DataError: the file cannot be read, or lacks the markers.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({error}): name a Markdown file"
        raise DataError(not_found(path, message)) from error
    begin, end = _markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise DataError(f"{path} has no place for {name}: add the lines {begin} and {end}")
    first, last = text.index(begin), text.index(end) + len(end)
    return text[:first], text[first:last], text[last:]


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def _caption(results: dict) -> str:
    facts = results["provenance"]
    machine = facts["machine"]
    count = len(results.get("picture_hashes") or results["points"][0]["pictures"])
    parts = [
        f"{count} pictures of `{results['folder']}`, from file bytes",
        f"{machine['cpu']}, {_count(machine['threads'], 'thread', 'threads')}, "
        f"{results['precision']}",
        f"base {results['base_hash'][:16] or 'unknown'}",
        f"commit {facts['commit'] or 'unknown'}",
        str(facts["date"])[:10],
        f"`{facts['command']}`",
    ]
    if compared := results.get("compared"):
        parts.append(f"compared anew by commit {compared['commit']}")
    if results.get("jobs", 1) > 1:
        parts.insert(2, f"{results['jobs']} processes, so that there are no times")
    if results["failures"]:
        parts.insert(1, f"{len(results['failures'])} more could not be evaluated")
    return "; ".join(parts) + "."


def _interval(estimate: dict) -> str:
    if estimate["low"] is None:
        return ""
    return f" ({estimate['low']:+.1f} to {estimate['high']:+.1f})"
