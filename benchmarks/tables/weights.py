"""Weights of records: tables that stand side by side must be of the same codec and heads.

A record has `weights`; of `eval-task`, those of one of its sources.
"""

from collections.abc import Mapping
from typing import Any

from promptcodec.errors import UsageError

KINDS = {"bases_sha256": "base", "adapters_sha256": "adapters"}


def weights_of(report: Mapping[str, Any], *, source: str) -> Mapping[str, Any]:
    """Hashes of a record: of bases, of adapters, and of heads by their name.

    Args:
        report: record.
        source: name of the source, of a record of `eval-task`.
    Raises:
        UsageError: the record has none.
    """
    found = report.get("weights")
    if found is None:
        found = next((each for each in report.get("sources", ()) if each["name"] == source), {})
    if "readers_sha256" not in found:
        raise UsageError("the record has no hashes of its weights: measure it again")
    return found


def check_alike(reports: Mapping[str, Mapping[str, Any]], *, source: str) -> None:
    """Refuse records of other weights than their neighbours.

    Args:
        reports: records by name.
        source: name of the source, of records of `eval-task`.
    Raises:
        UsageError: base or adapters differ, or heads of one name; or a record has no hashes.
    """
    found = {name: weights_of(report, source=source) for name, report in reports.items()}
    for name, own in found.items():
        for other, theirs in found.items():
            if (what := difference(own, theirs)) is not None:
                raise UsageError(
                    f"docs/results/{name}.json and {other}.json stand side by side and differ in "
                    f"{what}: measure the older one again"
                )


def difference(ours: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """What differs, in words; None if nothing does."""
    for key, title in KINDS.items():
        if sorted(ours[key]) != sorted(others[key]):
            return title
    heads, theirs = ours["readers_sha256"], others["readers_sha256"]
    for name in heads:
        if name in theirs and heads[name] != theirs[name]:
            return f"the head {name!r}"
    return None
