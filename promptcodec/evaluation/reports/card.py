"""A card that is there, brought up to date with the files beside it."""

from __future__ import annotations

from pathlib import Path

from promptcodec.api.parts import check, networks_of
from promptcodec.api.push import checked_results
from promptcodec.evaluation.reports.markdown import (
    render_ladder,
    render_table,
    render_training,
    update_markers,
)
from promptcodec.evaluation.results import read_results
from promptcodec.io.atomic import write_atomically
from promptcodec.io.checkpoints import BASE
from promptcodec.io.hub.card import CARD, renew_figures
from promptcodec.io.hub.results import RESULTS, read_figures


def update_card(folder: Path) -> None:
    """Fill the tables of a card, and the measured values of its metadata, where it has some.

    Args:
        folder: folder with README.md, results.json, base/ and maybe prompts/.
    Raises:
        CheckpointError: results of other weights.
        DataError: one of the files cannot be read, or README.md has no place for a table.
        OutputError: README.md cannot be written.
    """
    readme = folder / CARD
    if (folder / BASE.folder / BASE.weights).is_file():
        checked_results(folder / RESULTS, *check(networks_of(folder), None))
    update_markers(readme, render_training(folder / "base"), name="training")
    if (folder / "prompts").is_dir():
        update_markers(readme, render_ladder(folder / "prompts"), name="ladder")
    update_markers(readme, render_table(read_results(folder / RESULTS)))
    text = renew_figures(readme, read_figures(folder / RESULTS))
    if text.encode() != readme.read_bytes():
        write_atomically(readme, text.encode(), force=True)
