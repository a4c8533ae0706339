"""The manifest of a result: settings, sums, and every file with its hash.

A destination has its rows in files `*.parquet` or `*.tar`, this manifest in `_manifest.json`, name
and reason of each row that failed in `_failures.jsonl`, and in `_parts/` the record of each file,
which a restart reads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptcodec.corpus.job import RECORDS, Part
from promptcodec.corpus.places import Place
from promptcodec.corpus.sources import Source
from promptcodec.corpus.tally import Tally
from promptcodec.corpus.tasks import Task
from promptcodec.errors import DataError, OutputError
from promptcodec.io.provenance import provenance

MANIFEST, FAILURES = "_manifest.json", "_failures.jsonl"
SCHEMA = "promptcodec.corpus-manifest/1"
OURS = re.compile(rf"{RECORDS}/.*\.json|[^/]*-\d{{6}}\.(parquet|tar)")


@dataclass(frozen=True)
class ShardFault:
    """A shard that was not read to its end.

    Args:
        shard: its name.
        reason: what is wrong with it.
    """

    shard: str
    reason: str


@dataclass
class Result:
    """What a job made.

    Args:
        tally: sums over all rows.
        parts: records of all files.
        faults: shards that were not read to their end.
        finished: number of files that an earlier run had made.
        rows: rows that were done in this run.
        seconds: time of this run.
    """

    tally: Tally = field(default_factory=Tally)
    parts: list[Part] = field(default_factory=list)
    faults: list[ShardFault] = field(default_factory=list)
    finished: int = 0
    rows: int = 0
    seconds: float = 0.0


def settings_of(
    task: Task, identity: Mapping[str, Any], source: Source, *, kind: str, rows: int
) -> dict[str, Any]:
    """Settings that every row of a result depends on.

    Args:
        task: task with its settings.
        identity: engine and hashes, by `job.identity_of`.
        source: pictures or streams.
        kind: format of the files.
        rows: rows in a file.
    """
    return {
        "task": task.settings(),
        "codec": dict(identity),
        "source": source.place.absolute,
        "column": source.column,
        "format": kind,
        "rows_per_file": rows,
    }


def digest_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, hexadecimal."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def begin(destination: Place, settings: Mapping[str, Any]) -> None:
    """Start a result, or go on with one of the same settings.

    Raises:
        OutputError: the destination is a file, a folder with other files, or a result of other
            settings.
    """
    if destination.size() is not None:
        raise OutputError(f"{destination} is a file: name an empty or a new folder")
    started = (destination / MANIFEST).size() is not None
    if not started and destination.files():
        raise OutputError(
            f"{destination} has files that are none of a corpus: name an empty or a new folder"
        )
    if not started or not (destination / RECORDS).files():  # nothing is lost
        values = {"complete": False, "settings": settings, "made_by": provenance()}
        _write(destination / MANIFEST, values)
        return
    before = read_manifest(destination)["settings"]
    if differing := _differences(before, json.loads(json.dumps(settings))):
        raise OutputError(
            f"{destination} is a corpus of other settings ({'; '.join(differing)}): name another "
            "destination, or give the settings that it has"
        )


def finish(destination: Place, settings: Mapping[str, Any], result: Result) -> None:
    """Write the manifest and the list of failures of a result that is complete.

    Raises:
        OutputError: another command has begun a result of other settings there in the meantime.
    """
    if digest_of(read_manifest(destination)["settings"]) != digest_of(settings):
        raise OutputError(
            f"{destination} was begun anew by a command with other settings: give each command a "
            "destination of its own, and this one again"
        )
    parts = sorted(result.parts, key=lambda part: part.file)
    if not result.faults:
        _remove_others(destination, {part.file for part in parts})
    failures = [json.dumps(f | {"file": part.file}) for part in parts for f in part.failures]
    text = "".join(f"{line}\n" for line in failures)
    (destination / FAILURES).write(lambda file: file.write(text.encode()))
    _write(
        destination / MANIFEST,
        {
            "complete": not result.faults,
            "settings": settings,
            "totals": result.tally.as_dict(),
            "shard_faults": [{"shard": f.shard, "reason": f.reason} for f in result.faults],
            "files": [_facts(part) for part in parts],
            "made_by": provenance(),
        },
    )


def read_manifest(destination: Place) -> dict[str, Any]:
    """The manifest of a result.

    Raises:
        DataError: there is none, or it is damaged.
    """
    place = destination / MANIFEST
    try:
        values = json.loads(place.read())
        if values["schema"] == SCHEMA and isinstance(values["settings"], dict):
            return values
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{place} is no manifest of a corpus: name another folder, or remove it")


def check_complete(source: Place) -> None:
    """Refuse a source that is a result whose making has not ended."""
    if (source / MANIFEST).size() is None:
        return
    values = read_manifest(source)
    if faults := values.get("shard_faults"):
        shard, reason = str(faults[0]["shard"]), str(faults[0]["reason"])
        raise DataError(
            f"{source} is a corpus without all of its source ({shard}: {reason}): mend that and "
            f"give its command again, or name the files that there are: '{source}/*"
            f".{values['settings']['format']}'"
        )
    if not values.get("complete"):
        raise DataError(
            f"{source} is a corpus that is not complete: give the command that makes it again, "
            "which goes on where it stopped"
        )


def totals(source: Place) -> Tally | None:
    """Sums on record over a complete result; None for any other source."""
    if (source / MANIFEST).size() is None:
        return None
    values = read_manifest(source)
    return Tally.of(values["totals"]) if values.get("complete") else None


def _facts(part: Part) -> dict[str, Any]:
    rows, failed = part.tally["rows"], part.tally["failed"]
    facts = {"file": part.file, "rows": rows, "failed": failed}
    return facts | {"bytes": part.bytes, "sha256": part.sha256}


def _write(place: Place, values: Mapping[str, Any]) -> None:
    text = json.dumps({"schema": SCHEMA} | dict(values), indent=1)
    place.write(lambda file: file.write(text.encode()))


def _remove_others(destination: Place, files: set[str]) -> None:
    """Remove files of blocks that the source has no longer, with or without their records."""
    kept = {f"{RECORDS}/{file.rpartition('.')[0]}.json" for file in files} | files
    for file in destination.files() or []:
        if OURS.fullmatch(file.name) and file.name not in kept:
            (destination / file.name).remove()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> Sequence[str]:
    """Settings that differ, each as `name: before, now`."""
    found: list[str] = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{at}{name}.")
        elif old != new:
            found.append(f"{at}{name} {_shown(old)} there, {_shown(new)} here")
    return found


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
