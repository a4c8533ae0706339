"""The script behind docs/reliability.md: its tree of pictures, its page, and a small run of it."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image
from places import ASSETS, ROOT

from benchmarks.reliability import items
from benchmarks.reliability import pictures as mixed
from benchmarks.reliability import run as reliability
from benchmarks.tables import reliability as page
from benchmarks.tables.items import render as render_items
from promptcodec.errors import PictureError
from promptcodec.io.load import load_picture


def test_the_tree_is_mixed_and_the_same_each_time(tmp_path):
    tree = mixed.write_tree(ASSETS, tmp_path / "a", count=100)
    assert mixed.write_tree(ASSETS, tmp_path / "b", count=100) == tree
    for path in (tmp_path / "a").rglob("*.*"):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()
    assert len(tree.good) == 98 and len(tree.broken) == 2
    kinds = set()
    for name, size in tree.good.items():
        picture = load_picture(tmp_path / "a" / name)
        assert (picture.width, picture.height) == size
        kinds.add((Path(name).suffix, picture.grey, picture.alpha is not None))
    assert len(kinds) > 12
    for name in tree.broken:
        with pytest.raises(PictureError):
            load_picture(tmp_path / "a" / name)


def test_photographs_come_from_archives_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(next(ASSETS.glob("*.png")), "deep/a.png")
        archive.writestr("notes.txt", "no picture")
    found = mixed.photographs(tmp_path)
    assert next(found) == next(found) == next(ASSETS.glob("*.png")).read_bytes()
    with pytest.raises(SystemExit):
        next(mixed.photographs(tmp_path / "none"))


def test_the_page_says_what_was_not_run():
    lines = page.render({}).splitlines()
    assert len(lines) == 2 + len(page.TARGETS)
    assert all(page.ABSENT in line for line in lines[2:])


def test_the_page_shows_every_part():
    found = {"passed": 7, "skipped": 1, "failed": 2, "command": "pytest x"}
    report = {"tests": {"result": {name: found for name in page.TARGETS if name[0] == "R"}}}
    fuzz = {"total": 1234567, "cpu_seconds": 7200, "findings": [], "slowest_seconds": 0.5}
    fuzz |= {"peak_extra_mb": 3.0, "runs": [{"provenance": {"command": "run.py"}}]}
    text = page.render(report | {"fuzz": fuzz})
    assert "| R9 | an output is old or new, never half | 7 tests pass, 2 fail, 1 skipped |" in text
    assert text.count("1,234,567 executions, 2.0 hours of a processor: 0 findings") == 1


def test_every_test_of_a_subject_exists():
    found = yaml.safe_load(items.ITEMS.read_text("utf-8"))
    assert len(found) == 15 and all(item["now"] and item["tests"] for item in found.values())
    for test in (test for item in found.values() for test in item["tests"]):
        file, *names = test.split("::")
        text = (ROOT / file).read_text("utf-8")
        assert all(f"class {name}:" in text or f"def {name}(" in text for name in names), test


def test_outcomes_are_counted_once():
    counted = items.Outcomes()
    for when, outcome in (
        ("setup", "passed"), ("call", "passed"), ("teardown", "passed"),
        ("setup", "passed"), ("call", "failed"), ("teardown", "passed"),
        ("setup", "skipped"), ("teardown", "passed"),
        ("setup", "failed"), ("teardown", "passed"),
    ):  # fmt: skip
        counted.pytest_runtest_logreport(SimpleNamespace(when=when, outcome=outcome))
    assert counted.counts == {"passed": 1, "failed": 2, "skipped": 1}


def test_a_failure_is_in_the_table():
    provenance = {"machine": {"cpu": "this one"}, "commit": 40 * "a", "command": "items.py"}
    result = {"passed": 7, "failed": 1, "skipped": 2}
    item = {"now": "it is", "tests": ["tests/a.py", "tests/b.py::c"], "result": result}
    text = render_items({"one": item | {"provenance": provenance}})
    assert "| one | it is | `a.py`, `b.py::c` | 1 failed, 7 passed, 2 skipped |" in text
    assert text.endswith("this one; commit aaaaaaaaaaaa; `items.py`.")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_run(tmp_path):
    """Every part that needs no photographs in numbers, with a tiny codec and few pictures."""
    report = {}
    for name in ("many", "seams", "region", "large", "partial"):
        folder = tmp_path / name
        folder.mkdir()
        base = str(ROOT / "tests" / "golden" / "base")
        settings = reliability.Settings(ASSETS, base, 30, 700, folder)
        report[name] = {
            "result": reliability.PARTS[name](settings),
            "provenance": {"command": f"reliability.py --parts {name}"},
        }
    many = report["many"]["result"]
    assert (many["pictures"], many["broken"], many["listed"], many["lost"]) == (30, 1, 1, 0)
    assert many["listed_are_the_broken"] and many["redone_after_the_kill"] == 0
    assert many["finished_before_the_kill"] >= many["reported_before_the_kill"] == 14
    assert many["third_run_did"] == 0
    assert many["streams"] == many["decoded"] == many["same_bytes_for_one_process"] == 29
    assert report["region"]["result"]["max_difference"] <= 1
    assert report["region"]["result"]["read_percent"] < 30
    assert 0 < report["large"]["result"]["decode_peak_gb"] < 4
    text = page.render(report)
    assert "30 pictures, 1 broken and 1 listed" in text and text.count(page.ABSENT) == 12
    with Image.open(tmp_path / "large" / "large.png") as image:
        assert image.size == (700, 700)
