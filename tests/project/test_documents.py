"""Every table of the documents says what its result file says; files are of the shipped weights."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from benchmarks.tables import fill as tables
from promptcodec.evaluation.reports.markdown import render_ladder, render_table, render_training
from promptcodec.evaluation.results import read_results

CHECKPOINT = ROOT / "checkpoints" / "nano"
KODAK = ROOT / "docs" / "results" / "kodak.json"
RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("checkpoints/*/README.md")]
OTHER_TABLES = {"errors", "results", "training", "ladder"}  # tested below by name
BASES = ("base_sha256", "base_hash")
UNNAMED = {
    # Of no weights, or of weights made for the measurement.
    *("anchors.json", "base-cost.json", "base-growth.json", "base-run-small.json"),
    *("base-run.json", "base-search.json", "emulated.json", "fuzz-guided.json", "fuzz-onnx.json"),
    *("fuzz.json", "install.json", "items.json", "mutations.json", "same-bytes.json"),
    *("shards.json", "throughput.json"),
    # Of hashes under other names.
    *("analysis.json", "cifar.json", "classic.json", "corpus.json", "joint.json"),
    # Made before this rule, and made again with the base that follows.
    *("context.json", "determinism.json", "reliability.json", "speed.json"),
}
"""Records that do not name the base they are of."""


def between(document: Path, name: str) -> str:
    text = document.read_text(encoding="utf-8")
    found = re.search(f"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.DOTALL)
    assert found, f"{document} has no place for {name}"
    return found[1].strip()


@pytest.mark.parametrize("name", tables.TABLES)
def test_tables_of_benchmarks(name: str) -> None:
    """A table without its record is empty: nothing is typed by hand."""
    document, render = tables.TABLES[name]
    record = tables.read(name)
    assert between(document, name) == (render(record).strip() if record else "")


def test_every_table_is_one_of_these() -> None:
    """A table that no record makes would be typed by hand; one without a place is not shown."""
    places = [
        (path, name)
        for path in DOCUMENTS
        for name in re.findall(r"<!-- ([\w-]+):begin -->", path.read_text(encoding="utf-8"))
    ]
    assert {name for _, name in places} == {*tables.TABLES, *OTHER_TABLES}
    once = [(path, name) for path, name in places if name in tables.TABLES]
    assert sorted(once) == sorted((path, name) for name, (path, _) in tables.TABLES.items())


def test_table_of_errors() -> None:
    assert between(ROOT / "docs" / "errors.md", "errors") == tables.errors()


@pytest.mark.parametrize("document", ["README.md", "checkpoints/nano/README.md"])
def test_tables_of_the_evaluation(document: str) -> None:
    for path in (CHECKPOINT / "results.json", KODAK):
        table = render_table(read_results(path))
        assert between(ROOT / document, "results") == table.strip()


def test_the_checkpoint_has_a_summary_of_its_evaluation() -> None:
    path = CHECKPOINT / "results.json"
    assert read_results(path) == tables.summary_of(read_results(KODAK))
    assert path.stat().st_size < 20_000  # it is in the wheel


def test_the_card_says_how_the_weights_were_trained() -> None:
    card = CHECKPOINT / "README.md"
    assert between(card, "training") == render_training(CHECKPOINT / "base").strip()
    assert between(card, "ladder") == render_ladder(CHECKPOINT / "prompts").strip()


def hashes(record: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Values under the given keys, wherever they are in a record."""
    if isinstance(record, dict):
        for key, value in record.items():
            if key in keys:
                yield from value.values() if isinstance(value, dict) else [value]
            else:
                yield from hashes(value, keys)
    elif isinstance(record, list):
        for value in record:
            yield from hashes(value, keys)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_results_are_of_the_shipped_weights(path: Path) -> None:
    from promptcodec.coding.adapter_file import adapter_digest
    from promptcodec.models.checkpoint import read_base

    record = json.loads(path.read_text(encoding="utf-8"))
    own = read_base(CHECKPOINT / "base").sha256.hex()
    adapters = {adapter_digest(folder).hex() for folder in (CHECKPOINT / "prompts").iterdir()}
    others = {each for each in hashes(record, BASES) if each} - {own}
    others |= set(hashes(record, ("adapter_hashes", "adapters_sha256"))) - adapters
    assert not others
    assert any(hashes(record, BASES)) == (path.name not in UNNAMED)


def test_the_shipped_head_is_of_the_shipped_base() -> None:
    from promptcodec.api import Codec

    folder = CHECKPOINT / "heads" / "segment"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    labels = Codec.load().labels("segment")
    assert json.loads((folder / "training.json").read_text())["recipe"]["labels"] == list(labels)
