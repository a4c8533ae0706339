"""The card of a repository: README.md with metadata in its YAML front matter.

what is there of it -> metadata that is missing is added, the text stays
nothing there       -> metadata, what it is, how to load it, results
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptcodec.errors import DataError, UsageError
from promptcodec.io.hub.front_matter import Document
from promptcodec.io.hub.results import RESULTS, Results

CARD = "README.md"
LIBRARY = "promptcodec"
UNKNOWN = "unknown"  # licence that nobody has stated


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Args:
        title: name of the repository without its owner.
        summary: what it holds, in a sentence.
        usage: a line of Python that loads it.
        pipeline_tag: task by the Hub's name.
        tags: further words for its search.
        metrics: metrics of such networks.
        licence: identifier of the licence; None if it is not stated here.
        licence_file: name of the file with the licence; None without one.
        of_base: whether it is added to a base, which is another repository.
        base_model: repository of that base; None if it is not stated here.
        datasets: names of the training data.
        training: lines on the training.
        results: results beside the weights.
    """

    title: str
    summary: str
    usage: str
    pipeline_tag: str
    tags: Sequence[str]
    metrics: Sequence[str]
    licence: str | None = None
    licence_file: str | None = None
    of_base: bool = False
    base_model: str | None = None
    datasets: Sequence[str] = ()
    training: Sequence[str] = ()
    results: Sequence[Results] = ()


@dataclass
class Card:
    """A finished card.

    Args:
        text: content of README.md.
        notes: what of its metadata is missing or contradictory, each in a few words.
    """

    text: str
    notes: list[str] = field(default_factory=list)


def make_card(readme: Path, facts: CardFacts) -> Card:
    """Complete a card, or write one.

    Args:
        readme: path of README.md, which need not exist.
        facts: what it tells.
    Raises:
        DataError: README.md is not UTF-8, or its metadata is not valid.
        UsageError: README.md states another licence than `facts`.
    """
    document = Document.read(readme) or Document(readme, _body(facts), {})
    merged, notes = merge(document.values, metadata_of(facts))
    notes += _missing(merged)
    return Card(document.content(merged), notes)


def renew_figures(readme: Path, results: Results) -> str:
    """Content of a card with new measured values in its metadata, where it has old ones.

    Args:
        readme: path of README.md.
        results: results beside it.
    Raises:
        DataError: README.md is not there or not UTF-8, or its metadata is not valid.
    """
    document = Document.read(readme)
    if document is None:
        raise DataError(f"{readme} is missing: write it with `promptcodec card`")
    values = dict(document.values)
    if values.get("model-index"):
        title = _title_of(values["model-index"], default=readme.parent.name)
        index = _model_index(title, str(values.get("pipeline_tag", "")), [results])
        values["model-index"] = index
    return document.content(values)


def _title_of(index: Any, *, default: str) -> str:
    """Name of the model in a model index."""
    try:
        return str(index[0]["name"])
    except (TypeError, KeyError, IndexError):
        return default


def _missing(merged: dict[str, Any]) -> list[str]:
    """Notes on what nothing here tells; a relation without a base is removed."""
    notes = []
    if merged["license"] == UNKNOWN:
        notes.append("its license is not stated: give --license, or write it into README.md")
    if "base_model" not in merged and merged.pop("base_model_relation", None):
        notes.append("its base_model is not stated: name the repository of the base by --base")
    return notes


def metadata_of(facts: CardFacts) -> dict[str, Any]:
    """Metadata of a card, by the Hub's keys, in the order of the front matter."""
    own = [each for results in facts.results for each in results.metrics]
    values: dict[str, Any] = {
        "license": facts.licence or ("other" if facts.licence_file else UNKNOWN),
        "license_link": None if facts.licence else facts.licence_file,
        "library_name": LIBRARY,
        "pipeline_tag": facts.pipeline_tag,
        "tags": list(facts.tags),
        "datasets": list(facts.datasets),
        "metrics": own or list(facts.metrics),
        "base_model": facts.base_model,
        "base_model_relation": "adapter" if facts.of_base else None,
        "model-index": _model_index(facts.title, facts.pipeline_tag, facts.results),
    }
    return {key: value for key, value in values.items() if value}


def _model_index(
    title: str, pipeline_tag: str, results: Sequence[Results]
) -> list[dict[str, Any]] | None:
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    found = [
        EvalResult(
            task_type=pipeline_tag,
            dataset_type=figure.data,
            dataset_name=figure.data,
            dataset_split=figure.split,
            metric_type=figure.metric,
            metric_name=figure.title,
            metric_value=round(figure.value, 6),
        )
        for each in results
        for figure in each.figures
    ]
    return eval_results_to_model_index(title, found) if found else None


def merge(stored: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Metadata of a card with what is missing of it; notes on contradictions.

    Raises:
        UsageError: two licences.
    """
    merged, notes = dict(stored), []
    for key, value in known.items():
        old = stored.get(key)
        if old in (None, "", []):
            if key != "license_link" or "license" not in stored:
                merged[key] = value
        elif isinstance(value, list) and key != "model-index":
            listed = old if isinstance(old, list) else [old]
            merged[key] = [*listed, *(each for each in value if each not in listed)]
        elif key == "license":
            _check_licence(str(old), str(value))
        elif old != value and key == "model-index":
            notes.append(f"README.md has other figures than {RESULTS}: `promptcodec card` helps")
        elif old != value:
            notes.append(f"README.md has {key} {old}, which is kept, where {value} is meant")
    return merged, notes


def _check_licence(stored: str, known: str) -> None:
    if known not in (UNKNOWN, "other") and stored.casefold() != known.casefold():
        raise UsageError(
            f"README.md states license {stored}, and --license {known}: correct one of them"
        )


def _body(facts: CardFacts) -> str:
    parts = [f"# {facts.title}", facts.summary, _block(facts.usage)]
    if facts.training:
        lines = "\n".join(f"- {line}" for line in facts.training)
        parts += ["## Training", _marked("training", lines)]
    if facts.results:
        tables = "\n\n".join(results.table for results in facts.results)
        parts += ["## Results", _marked("results", tables)]
    return "\n\n".join(parts) + "\n"


def _block(usage: str) -> str:
    return f"```python\nfrom promptcodec import Codec\n\n{usage}\n```"


def _marked(name: str, text: str) -> str:
    return f"<!-- {name}:begin -->\n{text}\n<!-- {name}:end -->"
