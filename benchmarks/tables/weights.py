"""Weights of records: tables that are compared with each other must be of the same codec and heads.

Every record has `weights`, or, of `eval-task`, those of its source "frozen codec".
"""

from collections.abc import Iterable, Mapping
from typing import Any

from promptcodec.errors import UsageError

FROZEN = "frozen codec"
KINDS = {"bases_sha256": "base", "adapters_sha256": "adapters"}


def weights_of(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hashes of a record: of bases, adapters, and of heads by their name.

    Raises:
        UsageError: the record has none.
    """
    found = report.get("weights")
    if found is None:
        found = next((s for s in report.get("sources", ()) if s["name"] == FROZEN), None)
    if found is None or "readers_sha256" not in found:
        raise UsageError("a record has no hashes of its weights: measure it again")
    return found


def check_alike(name: str, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a record of other weights than those that it is compared with.

    Args:
        name: name of the record.
        reports: it, and the others, by name.
    Raises:
        UsageError: base or adapters differ, or heads of one name.
    """
    own = weights_of(reports[name])
    for other, report in reports.items():
        if (what := difference(own, weights_of(report))) is not None:
            raise UsageError(
                f"docs/results/{name}.json and {other}.json are compared and differ in {what}: "
                "measure the older one again"
            )


def difference(ours: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """What differs, in words; None if nothing does."""
    for key, title in KINDS.items():
        if sorted(ours[key]) != sorted(others[key]):
            return title
    heads = ours["readers_sha256"], others["readers_sha256"]
    return next((f"the head {name!r}" for name in shared(*heads) if heads[0][name] != heads[1][name]),
                None)  # fmt: skip


def shared(ours: Iterable[str], others: Iterable[str]) -> list[str]:
    """Names in both."""
    return sorted(set(ours) & set(others))
