"""Every table of the documentation says what its result file says."""

import json
import re
from pathlib import Path

import pytest
from places import ROOT

from benchmarks.tables import fill as tables
from promptcodec.evaluation.reports.markdown import render_ladder, render_table, render_training
from promptcodec.evaluation.results import read_results

CHECKPOINT = ROOT / "checkpoints" / "small"
KODAK = ROOT / "docs" / "results" / "kodak.json"


def between(document: Path, name: str) -> str:
    text = document.read_text(encoding="utf-8")
    found = re.search(f"<!-- {name}:begin -->\n(.*?)\n<!-- {name}:end -->", text, re.DOTALL)
    assert found, f"{document} has no place for {name}, or none has been filled in"
    return found[1]


@pytest.mark.parametrize(
    "name",
    [
        "context",
        "effort",
        "rates",
        "methods",
        "reliability",
        "segmentation",
        "anchors",
        "analysis",
        "cifar",
        "ledger",
        "aggregation",
        "z-tables",
        "throughput",
        "shards",
        "base-search",
        "graphics",
        "exact-tiles",
    ],
)
def test_tables_of_benchmarks(name: str) -> None:
    document, render = tables.TABLES[name]
    assert between(document, name) == render(tables.read(name)).strip()


def test_table_of_errors() -> None:
    assert between(ROOT / "docs" / "errors.md", "errors") == tables.errors()


@pytest.mark.parametrize("document", ["README.md", "checkpoints/small/README.md"])
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


def test_results_are_of_the_shipped_weights() -> None:
    from promptcodec.models.checkpoint import read_base

    own = read_base(CHECKPOINT / "base").sha256.hex()
    assert read_results(CHECKPOINT / "results.json")["base_hash"] == own
    results = ROOT / "docs" / "results"
    assert json.loads((results / "rates.json").read_text())["identity"]["base_sha256"] == own
    assert json.loads((results / "segmentation.json").read_text())["base_sha256"] == own
    assert json.loads((results / "ledger.json").read_text())["base_sha256"] == own
    assert json.loads((results / "effort.json").read_text())["settings"]["base_sha256"] == own


def test_the_shipped_head_is_of_the_shipped_base() -> None:
    from promptcodec.api import Codec

    folder = CHECKPOINT / "heads" / "segment"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    labels = Codec.load().labels("segment")
    assert json.loads((folder / "training.json").read_text())["recipe"]["labels"] == list(labels)
