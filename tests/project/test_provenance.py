"""Figures come from commits of this history: results name them, clean ones."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

RESULTS = sorted((ROOT / "docs/results").glob("*.json"))
# Made before this rule, and made again with the base that follows.
OLDER = {
    "docs/results/exact-tiles.json",
    "docs/results/graphics.json",
    "docs/results/install.json",
    "docs/results/methods.json",
    "docs/results/rates.json",
    "docs/results/reliability.json",
}


def commits(record: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every commit that a record names, with its place."""
    if isinstance(record, dict):
        for key, value in record.items():
            named = key in ("commit", "commits")
            yield from named_in(value, place) if named else commits(value, f"{place}/{key}")
    elif isinstance(record, list):
        for number, value in enumerate(record):
            yield from commits(value, f"{place}/{number}")


def named_in(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    values = value.values() if isinstance(value, dict) else value
    for each in values if isinstance(values, list | type({}.values())) else [value]:
        yield place, each


def fault(commit: Any, known: set[str]) -> str | None:
    """What is wrong with a commit; None if nothing is."""
    if not isinstance(commit, str) or not commit:
        return f"{commit!r} is no commit"
    if commit.endswith("-dirty"):
        return f"{commit} has changes that were not committed"
    if not any(each.startswith(commit) for each in known):
        return f"{commit} is no ancestor of this commit"
    return None


@pytest.fixture(scope="module")
def known() -> set[str]:
    """All commits of this history."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run([*git, "rev-list", "HEAD"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no history: this is not a clone")
    shallow = subprocess.run(
        [*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True
    )
    if shallow.stdout.strip() == "true":
        pytest.skip("the history is cut off: this is a shallow clone")
    return set(found.stdout.split())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_results_name_commits_of_this_history(path: Path, known: set[str]) -> None:
    found = list(commits(json.loads(path.read_text(encoding="utf-8"))))
    assert found, "no commit is named"
    faults = [f"{place}: {why}" for place, c in found if (why := fault(c, known)) is not None]
    if path.relative_to(ROOT).as_posix() in OLDER:
        assert faults, "made again: take it out of OLDER"
        pytest.skip("older than this rule")
    assert not faults


@pytest.mark.parametrize("commit", [None, "", "0123456789ab", "HEAD"])
def test_what_is_no_commit_of_this_history(commit: Any, known: set[str]) -> None:
    assert fault(commit, known)
    own = min(known)
    assert fault(own[:12], known) is None
    assert fault(f"{own[:12]}-dirty", known)
