"""Figures come from commits of this history: results name them, clean ones."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from promptcodec.io import provenance

RESULTS = sorted(
    [
        *(ROOT / "docs/results").glob("*.json"),
        *(ROOT / "checkpoints").glob("*/results.json"),
        *(ROOT / "checkpoints").glob("**/training.json"),
    ]
)
# Made before this rule, and made again with the base that follows.
OLDER = (
    "checkpoints/nano/base/",
    "checkpoints/nano/prompts/",
    "docs/results/exact-tiles.json",
    "docs/results/graphics.json",
    "docs/results/install.json",
    "docs/results/reliability.json",
)
COMMITS = ("commit", "other_commit", "commits")


def origins(record: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a record, rows included, that names a commit, with its place."""
    if isinstance(record, dict):
        if set(COMMITS) & set(record):
            yield place, record
        for key, value in record.items():
            yield from origins(value, f"{place}/{key}")
    elif isinstance(record, list):
        for number, value in enumerate(record):
            yield from origins(value, f"{place}/{number}")


def several(commits: Any) -> list[Any]:
    if isinstance(commits, dict):
        return list(commits.values())
    return commits if isinstance(commits, list) else [commits]


def faults_of(record: Any, known: set[str]) -> list[str]:
    """What is wrong with the origin of a record; at least one part has commit, machine and date."""
    found = list(origins(record))
    faults = [
        f"{place}: {why}"
        for place, part in found
        for key in COMMITS
        if key in part
        for commit in several(part[key])
        if (why := fault(commit, known)) is not None
    ]
    for place, part in found:
        # Whatever has its date has all of its origin; an identity alone has none.
        if "date" in part and not (part["date"] and (part.get("machine") or {}).get("cpu")):
            faults.append(f"{place}: there is no date or no machine")
    if not any("date" in part for _, part in found):
        faults.append("no commit with a date and a machine is named")
    return faults


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


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_results_name_commits_of_this_history(path: Path, known: set[str]) -> None:
    faults = faults_of(json.loads(path.read_text(encoding="utf-8")), known)
    if path.relative_to(ROOT).as_posix().startswith(OLDER):
        assert faults, "made again: take it out of OLDER"
        pytest.skip("older than this rule")
    assert not faults


def test_older_records_are_there() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in RESULTS]
    assert [each for each in OLDER if not any(name.startswith(each) for name in names)] == []


def test_every_part_of_a_record_is_looked_at(known: set[str]) -> None:
    good = {"commit": min(known), "date": "2026-01-02T03:04:05", "machine": {"cpu": "x"}}
    assert faults_of({"provenance": good, "rows": [{"provenance": good}]}, known) == []
    dirty = f"{min(known)}-dirty"
    for change in ({"commit": None}, {"commit": dirty}, {"date": None}, {"machine": None}):
        rows = [{"provenance": good}, {"provenance": good | change}]
        (found,) = faults_of({"provenance": good, "rows": rows}, known)
        assert found.startswith("/rows/1/provenance: ")
    assert faults_of({"other_commit": "0123456789ab", **good}, known)
    assert faults_of({"rows": [1, 2]}, known) == ["no commit with a date and a machine is named"]


@pytest.mark.parametrize("commit", [None, "", "0123456789ab", "HEAD"])
def test_what_is_no_commit_of_this_history(commit: Any, known: set[str]) -> None:
    assert fault(commit, known)
    own = min(known)
    assert fault(own[:12], known) is None
    assert fault(f"{own[:12]}-dirty", known)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with the module of provenance, which is asked about it."""
    module = tmp_path / "promptcodec" / "io" / "provenance.py"
    module.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, module)
    for name in ("README.md", "docs/results/a.json", "docs/a.png", "checkpoints/x/results.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    (tmp_path / "recipe.yaml").write_text("before")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "_HERE", module)
    return tmp_path


def state() -> tuple[str | None, str]:
    for asked in (provenance.commit, provenance.changes):
        asked.cache_clear()
    found = provenance.commit(), provenance.changes()
    for asked in (provenance.commit, provenance.changes):
        asked.cache_clear()
    return found


def test_documents_make_no_commit_dirty(checkout: Path) -> None:
    clean = state()
    assert clean[0] and len(clean[0]) == 12 and clean[1] == ""
    for name in ("README.md", "docs/results/a.json", "docs/a.png", "checkpoints/x/results.json"):
        (checkout / name).write_text("after")
    assert state() == clean


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "promptcodec/io/provenance.py", "promptcodec/new.py"]
)
def test_what_figures_depend_on_makes_a_commit_dirty(checkout: Path, name: str) -> None:
    """Code that is not in the commit counts as well; two states of it are told apart."""
    clean = state()
    (checkout / name).write_text("x = 1")
    first = state()
    assert first[0] == f"{clean[0]}-dirty" and first[1]
    (checkout / name).write_text("x = 2")
    assert state()[0] == first[0] and state()[1] != first[1]


def test_the_commit_of_a_run_is_that_of_its_start(checkout: Path) -> None:
    provenance.commit.cache_clear()
    try:
        began = provenance.commit()
        (checkout / "recipe.yaml").write_text("after")
        assert provenance.commit() == began
    finally:
        provenance.commit.cache_clear()
