"""What the card of a repository tells about its networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.api.parts import Checked
from promptcodec.coding.base_file import StoredBase
from promptcodec.config import CLASSIFY, SEGMENT
from promptcodec.io.checkpoints import ADAPTERS, BASE, HEADS, TASKS
from promptcodec.io.config_files import read_json
from promptcodec.io.hub.card import CardFacts
from promptcodec.io.hub.name import HubName
from promptcodec.io.hub.results import Results

RECORD = "training.json"
TAGS = ("image-compression", "learned-codec")  # of every card


@dataclass(frozen=True)
class Entry:
    """What a kind of network adds to a card.

    Args:
        pipeline_tag: task by the Hub's name.
        tags: words for its search.
        metrics: metrics of such networks.
        argument: its argument of `Codec.load`.
    """

    pipeline_tag: str
    tags: tuple[str, ...]
    metrics: tuple[str, ...]
    argument: str


CODING = ("bpp", "psnr")
KINDS = {
    BASE.folder: Entry("image-to-image", (), CODING, ""),
    ADAPTERS.folder: Entry("image-to-image", ("rate-adapter",), CODING, "prompts"),
    HEADS.folder: Entry("image-classification", (), ("accuracy",), "heads"),
    TASKS.folder: Entry("image-to-image", ("task-prompts",), CODING, "tasks"),
}
HEAD_TASKS = {
    CLASSIFY: Entry("image-classification", ("image-classification",), ("accuracy",), "heads"),
    SEGMENT: Entry("image-segmentation", ("image-segmentation",), ("mean_iou",), "heads"),
}


def facts_of(
    checked: Sequence[Checked],
    stored: StoredBase,
    *,
    repository: str,
    base: Path | None,
    base_name: HubName | None,
    licence: str | None,
    licence_file: str | None,
    results: Sequence[Results],
) -> CardFacts:
    """What a card tells.

    Args:
        checked: networks of the repository.
        stored: base of the networks.
        repository: owner/name, or the name alone.
        base: folder with the base of networks that come without one; None is the bundled one.
        base_name: repository of that base; None if it is not known.
        licence: identifier of the licence; None if it is not stated here.
        licence_file: name of the file with the licence; None without one.
        results: results beside the weights.
    """
    entries = [_entry(each) for each in checked]
    has_base = any(each.network.part is BASE for each in checked)
    arguments = _each(entry.argument for entry in entries)
    records = [(each, _record(each)) for each in checked]
    data = [str(record["data"]) for _, record in records if "data" in record]
    return CardFacts(
        title=repository.rpartition("/")[2],
        summary=_summary(checked, stored),
        usage=_usage(repository, [] if has_base else arguments, base, base_name),
        pipeline_tag=entries[0].pipeline_tag,
        tags=_each((*TAGS, *(tag for entry in entries for tag in entry.tags))),
        metrics=_each(metric for entry in entries for metric in entry.metrics),
        licence=licence and licence.lower(),
        licence_file=licence_file,
        of_base=not has_base,
        base_model=base_name.repository if base_name and not has_base else None,
        datasets=_each(data),
        training=[line for each, record in records if (line := _training(each, record))],
        results=results,
    )


def _entry(checked: Checked) -> Entry:
    part = checked.network.part
    return HEAD_TASKS[checked.config.task] if part is HEADS else KINDS[part.folder]


def _summary(checked: Sequence[Checked], stored: StoredBase) -> str:
    """Kinds of networks, and the base, in a sentence."""
    found: dict[str, list[Checked]] = {}
    for each in checked:
        found.setdefault(each.network.part.folder, []).append(each)
    parts = []
    if BASE.folder in found:
        parts.append(f"A base codec of rate {stored.config.rate_index}")
    if adapters := found.get(ADAPTERS.folder):
        rates = sorted({each.config.rate_index for each in adapters})
        parts.append(f"adapters for {_count(rates, 'rate')}")
    if heads := found.get(HEADS.folder):
        tasks = _each(each.config.task for each in heads)
        parts.append(f"{'heads' if len(heads) > 1 else 'a head'} to {' and to '.join(tasks)}")
    if tasks := found.get(TASKS.folder):
        parts.append(f"task prompts for {', '.join(each.config.task for each in tasks)}")
    listed = ", with ".join(parts)
    return (
        f"{listed[0].upper()}{listed[1:]}, for promptcodec, a learned picture codec. Base: "
        f"`{stored.sha256.hex()[:16]}`."
    )


def _count(numbers: list[int], what: str) -> str:
    return f"{what if len(numbers) == 1 else what + 's'} {', '.join(map(str, numbers))}"


def _usage(
    repository: str, arguments: Sequence[str], base: Path | None, name: HubName | None
) -> str:
    """The line of Python that loads a repository, by arguments beside a base or as the base."""
    given = [f'{argument}="{repository}"' for argument in arguments] or [f'"{repository}"']
    if arguments and base is not None:
        given = [f'"{name or "BASE"}"', *given]
    return f"codec = Codec.load({', '.join(given)})"


def _record(checked: Checked) -> dict[str, Any]:
    """Record of the training of a network; empty without one."""
    if RECORD not in checked.files:
        return {}
    values = read_json(checked.network.folder / RECORD, what="record of the training")
    return values if isinstance(values, dict) else {}


def _training(checked: Checked, record: dict[str, Any]) -> str:
    """A line on the training of a network; empty without a record."""
    if not isinstance(record.get("steps"), int) or not isinstance(record.get("pictures"), int):
        return ""
    network = checked.network
    return (
        f"`{network.path or network.part.folder}`: {record['steps']:,} steps on "
        f"{record['pictures']:,} pictures of `{record.get('data')}`, "
        f"{str(record.get('date'))[:10]}."
    )


def _each(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
