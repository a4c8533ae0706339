"""Faults that people met elsewhere, and whether the tests against them pass here.

    python -m benchmarks.reliability.items [--only NAME] [--out docs/results/items.json]

items.yaml has each subject with its tests. Subjects that are not asked for keep their record.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.common import parser, read_record, write_json
from promptcodec.io.provenance import provenance

ITEMS = Path(__file__).with_name("items.yaml")


class Outcomes:
    """A plugin of pytest that counts outcomes.

    Attributes:
        counts: number of tests by outcome; a test that does not run for want of a device or a
            program is "skipped".
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a test when it was called, or when it could not be."""
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1

    def pytest_deselected(self, items: list[Any]) -> None:
        """Count tests that need another machine."""
        self.counts["skipped"] += sum(item.get_closest_marker("gpu") is not None for item in items)


def run(tests: list[str]) -> dict[str, int]:
    """Numbers of tests that passed, failed and did not run.

    Args:
        tests: files, classes and functions as pytest names them.
    """
    outcomes = Outcomes()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[outcomes])
    found = {name: outcomes.counts[name] for name in ("passed", "failed", "skipped")}
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not found["failed"]:
        found["failed"] = 1  # a name of nothing, for instance
    return found


def main() -> None:
    """Run the tests of the subjects that were asked for and write the record."""
    items = yaml.safe_load(ITEMS.read_text("utf-8"))
    options = parser(__doc__, out="items", threads=False)
    options.add_argument("--only", choices=items, action="append")
    arguments = options.parse_args()
    report, began = read_record(arguments.out), provenance()
    report = {name: found for name, found in report.items() if name in items}
    for name in arguments.only or items:
        report[name] = items[name] | {"result": run(items[name]["tests"]), "provenance": began}
        write_json(arguments.out, {each: report[each] for each in items if each in report})


if __name__ == "__main__":
    main()
