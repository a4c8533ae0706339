"""Tables of README and model card, rendered from results.json."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptcodec.errors import DataError, not_found
from promptcodec.evaluation.codecs.registry import TITLES
from promptcodec.io.atomic import write_atomically

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def render_table(results: dict) -> str:
    """Markdown table of one evaluation, with a line on its origin.

    Args:
        results: result of `results.read_results`.
    """
    rivals = [baseline["name"] for baseline in results["baselines"]]
    header = ["rate", "bpp", "PSNR (dB)"]
    header += [f"above {TITLES.get(name, name)} (dB)" for name in rivals]
    header += ["encode (s)", "decode (s)"]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for point in sorted(results["points"], key=lambda point: point["bpp"]):
        rows.append(
            [
                point["label"],
                f"{point['bpp']:.3f}",
                f"{point['psnr']:.2f}",
                *[_signed(point["psnr_above"].get(name)) for name in rivals],
                f"{point['encode_seconds']:.2f}",
                f"{point['decode_seconds']:.2f}",
            ]
        )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    intervals = {
        each["rival"]: each["deltas"]["bd_rate"]
        for each in results.get("comparisons", ())
        if each["metric"] == "psnr"
    }
    bd_rates = [
        f"{value:+.1f} %{_interval(intervals.get(name))} against {TITLES.get(name, name)}"
        for name, value in results["bd_rate"].items()
        if value is not None
    ]
    if bd_rates:
        ranges = " In brackets: 95 % intervals over pictures." if "(" in "".join(bd_rates) else ""
        lines += ["", f"BD-rate: {', '.join(bd_rates)}.{ranges}"]
    return "\n".join([*lines, "", _caption(results)])


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
        f"{machine['cpu']}, {machine['threads']} threads, {results['precision']}",
        f"base {results['base_hash'][:16] or 'unknown'}",
        f"commit {facts['commit'] or 'unknown'}",
        str(facts["date"])[:10],
        f"`{facts['command']}`",
    ]
    if results["failures"]:
        parts.insert(1, f"{len(results['failures'])} more could not be evaluated")
    return "; ".join(parts) + "."


def _interval(estimate: dict | None) -> str:
    if estimate is None or estimate["low"] is None:
        return ""
    return f" ({estimate['low']:+.1f} to {estimate['high']:+.1f})"


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.2f}"
