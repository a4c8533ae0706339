"""Tables for README and model card, rendered from results.json and never typed by hand."""

import json
from pathlib import Path

from promptcodec.errors import DataError
from promptcodec.files import write_atomically

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"

_NAMES = {"jpeg": "JPEG", "jpeg-444": "JPEG 4:4:4", "webp": "WebP"}


def render_table(results: dict) -> str:
    """Markdown table of one evaluation, with a line that says where it comes from.

    Args:
        results: as `results.read_results` gives it.
    """
    rivals = [baseline["name"] for baseline in results["baselines"]]
    header = ["rate", "bpp", "PSNR (dB)"]
    header += [f"above {_NAMES.get(name, name)} (dB)" for name in rivals]
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
    bd_rates = [
        f"{value:+.1f} % against {_NAMES.get(name, name)}"
        for name, value in results["bd_rate"].items()
        if value is not None
    ]
    if bd_rates:
        lines += ["", f"BD-rate: {', '.join(bd_rates)}."]
    return "\n".join([*lines, "", _caption(results)])


def render_training(folder: str | Path) -> str:
    """Markdown list of how a base was trained, from what `train-base` left beside it.

    Args:
        folder: of a base checkpoint, with config.json and training.json.

    Raises:
        DataError: one of the files cannot be read.
    """
    try:
        training = json.loads((Path(folder) / "training.json").read_text(encoding="utf-8"))
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        recipe = training["recipe"]
        crop, batch = recipe["data"]["crop"], recipe["batch"] * recipe["accumulate"]
        processes = training["processes"]
        return "\n".join(
            [
                f"- Rate index {config['rate_index']}, lambda {config['lmbda']}.",
                f"- Data: {training['pictures']:,} pictures of `{training['data']}`.",
                f"- {training['steps']:,} steps of {batch * processes} crops of {crop} px, "
                f"{recipe['optimizer']['name']}, peak learning rate "
                f"{recipe['optimizer']['learning_rate']}, {recipe['precision']}.",
                f"- {training['hours']:.2f} hours, {processes} process"
                f"{'es' if processes > 1 else ''}, {training['machine']['cpu']}, "
                f"{training['machine']['threads']} thread"
                f"{'s' if training['machine']['threads'] > 1 else ''} each.",
                f"- Commit {training['commit'] or 'unknown'}, {str(training['date'])[:10]}.",
            ]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} does not say how it was trained: {error!r}") from error


def update_markers(path: str | Path, table: str, *, name: str = "results") -> None:
    """Replace what stands between the two markers of a document, whole or not at all.

    Args:
        path: Markdown file with the markers of `name`, each once and in that order.
        table: Markdown.
        name: of the markers.

    Raises:
        DataError: the file cannot be read, or lacks the markers.
        OutputError: it cannot be written.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): name a Markdown file") from error
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise DataError(f"{path} has no place for {name}: add the lines {begin} and {end}")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    updated = f"{before}{begin}\n{table.strip()}\n{end}{after}"
    if updated != text:
        write_atomically(path, updated.encode(), force=True)


def _caption(results: dict) -> str:
    facts = results["provenance"]
    machine = facts["machine"]
    count = len(results["points"][0]["pictures"])
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


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.2f}"
