"""Tables for README and model card, rendered from results.json and never typed by hand."""

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


def update_markers(path: str | Path, table: str) -> None:
    """Replace what stands between the two markers of a document, whole or not at all.

    Args:
        path: Markdown file with `BEGIN` and `END`, each once and in that order.
        table: Markdown.

    Raises:
        DataError: the file cannot be read, or lacks the markers.
        OutputError: it cannot be written.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): name a Markdown file") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise DataError(f"{path} has no place for results: add the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    updated = f"{before}{BEGIN}\n{table.strip()}\n{END}{after}"
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
