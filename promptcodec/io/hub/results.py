"""Measured figures beside weights, as a card tells them.

results.json    of `promptcodec eval` (points) or of `promptcodec eval-task` (sources)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import CheckpointError
from promptcodec.io.config_files import read_json

RESULTS = "results.json"
WEIGHTS = ("bases", "adapters", "heads", "tasks")
METRICS = {
    "bpp": "bpp",
    "psnr": "PSNR (dB)",
    "ms_ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA 2",
    "lpips": "LPIPS",
}


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Args:
        metric: key of the metric, "psnr" for instance.
        value: mean over the data.
        title: what was measured, with its setting.
        data: name of the pictures.
        split: name of the part of them; None is all.
    """

    metric: str
    value: float
    title: str
    data: str
    split: str | None = None


@dataclass(frozen=True)
class Weights:
    """Weights that were measured, by their hashes, hexadecimal.

    Args:
        bases: bases; empty where only classic codecs were measured.
        adapters: adapters.
        heads: files of weights of heads.
        tasks: files of weights of task prompts.
    """

    bases: frozenset[str]
    adapters: frozenset[str]
    heads: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Results:
    """A results file.

    Args:
        weights: what was measured; None if the file does not have the hashes.
        figures: measured values.
        table: Markdown table of them.
    """

    weights: Weights | None
    figures: tuple[Figure, ...]
    table: str

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, each once."""
        return list(dict.fromkeys(figure.metric for figure in self.figures))


def read_figures(path: Path) -> Results:
    """Read a results file.

    Raises:
        CheckpointError: it is not JSON, or neither of the two kinds.
    """
    facts = read_json(path, what="results")
    try:
        if "points" in facts:
            return _of_eval(facts)
        return _of_tasks(facts)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{path} is no results file: write it with `promptcodec eval --out` or `promptcodec "
            "eval-task --out`, or remove it"
        ) from None


def _of_eval(facts: Mapping[str, Any]) -> Results:
    points, data = facts["points"], str(facts["folder"])
    figures = []
    for point in points:
        for metric, title in METRICS.items():
            if (value := point.get(metric)) is not None:
                name = f"{title} at {point['label']}"
                figures.append(Figure(metric.replace("_", "-"), float(value), name, data))
    rows = [[p["label"], f"{p['bpp']:.3f}", f"{p['psnr']:.2f}"] for p in points]
    table = _table(["rate", "bpp", "PSNR (dB)"], rows)
    origin = facts["provenance"]
    base = str(facts.get("base_hash", ""))
    adapters = frozenset(facts.get("adapter_hashes", {}).values())
    table += f"\n\nPictures of `{data}`, from file bytes; {str(origin['date'])[:10]}; "
    return Results(
        weights=Weights(frozenset([base]), adapters) if base else None,
        figures=tuple(figures),
        table=table + f"`{origin['command']}`.",
    )


def _of_tasks(facts: Mapping[str, Any]) -> Results:
    data, split = str(facts["data"]), str(facts["split"])
    figures, rows = [], []
    for source, setting, reader, accuracy in _accuracies(facts):
        title = f"accuracy of {reader} on {source} at {setting:g}"
        figures.append(Figure("accuracy", accuracy, title, data, split))
        rows.append([source, f"{setting:g}", reader, f"{100 * accuracy:.1f}"])
    table = _table(["source", "setting", "classifier", "accuracy (%)"], rows)
    weights = _weights_of(facts["sources"])
    return Results(weights, tuple(figures), f"{table}\n\n`{data}`, {split}.")


def _weights_of(sources: Sequence[Mapping[str, Any]]) -> Weights | None:
    """Hashes of `eval-task`; None if a source has none."""
    if not all(f"{name}_sha256" in source for source in sources for name in WEIGHTS):
        return None
    found = ({x for s in sources for x in s[f"{name}_sha256"]} for name in WEIGHTS)
    return Weights(*map(frozenset, found))


def _accuracies(facts: Mapping[str, Any]) -> Iterator[tuple[str, float, str, float]]:
    for source in facts["sources"]:
        for row in source["settings"]:
            for reader, found in row["readers"].items():
                yield source["name"], float(row["setting"]), reader, float(found["accuracy"])


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
