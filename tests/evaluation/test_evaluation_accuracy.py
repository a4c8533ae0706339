"""Calibration, differences over the same pictures, equal sizes, and the tables made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import common
from benchmarks.tables import accuracy as tables
from benchmarks.tables import fill
from benchmarks.tables.weights import check_alike
from promptcodec.errors import UsageError
from promptcodec.evaluation.accuracy import at_size, calibration_error, paired_difference, shares


def test_calibration_error() -> None:
    # Two bins of 15: (0.4, 0.4667] with a half right, (0.9333, 1] with all right.
    confidence, right = np.array([0.45, 0.45, 0.95, 1.0]), np.array([True, False, True, True])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.025)
    # A bin is open below: 6/15 belongs to the one that ends there, as 0.39 does.
    confidence, right = np.array([6 / 15, 0.39]), np.array([True, False])
    assert calibration_error(confidence, right) == pytest.approx(abs(0.5 - confidence.mean()))
    rng = np.random.default_rng(0)
    likely = rng.uniform(0.1, 1.0, 40_000)
    assert calibration_error(likely, rng.random(40_000) < likely) < 0.01
    assert calibration_error(likely, rng.random(40_000) < likely**2) > 0.1


def test_paired_differences() -> None:
    same = paired_difference(shares(["1100"] * 2), shares(["1100"]))
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    rng = np.random.default_rng(0)
    others = rng.random(400) < 0.7
    ours = others | (rng.random(400) < 0.2)
    texts = ["".join("01"[int(value)] for value in row) for row in (ours, others)]
    found = paired_difference(shares(texts[:1]), shares(texts[1:]))
    assert found.value == pytest.approx(100 * (ours.mean() - others.mean()))
    assert found.low is not None and found.high is not None
    assert 0 < found.low < found.value < found.high < 15
    turned = paired_difference(shares(texts[1:]), shares(texts[:1]))
    assert turned.value == pytest.approx(-found.value)


def test_a_curve_is_read_between_two_points_and_nowhere_else() -> None:
    sizes, values = [1.0, 4.0, 8.0], [np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.zeros(2)]
    np.testing.assert_allclose(at_size(sizes, values, 2.0), [0.5, 1.0])
    for size, wanted in zip(sizes, values, strict=True):
        np.testing.assert_array_equal(at_size(sizes, values, size), wanted)
    assert at_size(sizes, values, 0.999) is None and at_size(sizes, values, 8.001) is None
    assert at_size([2.0], [3.0], 2.0) == 3.0 and at_size([2.0], [3.0], 2.1) is None
    for wrong in ([1.0, 1.0, 2.0], [1.0, 3.0, 2.0]):
        with pytest.raises(UsageError, match=r"sizes are 1\.0000.*need increasing ones"):
            at_size(wrong, values, 1.5)


# -- tables ----------------------------------------------------------------------------------------

HASHES = {"bases_sha256": ["aa"], "adapters_sha256": ["bb"], "readers_sha256": {}}


def source(
    *names: str, points: dict[float, str], bare: float = 0.5, **facts: Any
) -> dict[str, Any]:
    """A source of `eval-task`: right pictures by bpp, the same for each reader.

    Args:
        names: readers.
        points: right pictures, as 0 and 1, by bpp.
        bare: share of the files that is no header.
        facts: hashes.
    """
    rows = []
    for place, (bpp, right) in enumerate(points.items()):
        found = {
            "accuracy": right.count("1") / len(right),
            "right": [right],
            "calibration_error": 0.125,
        }
        more = {"top5": {"accuracy": 1.0}, "among": {"accuracy": 0.9}}
        readers = dict.fromkeys(names, found | more)
        sizes = {"bpp": bpp, "bpp_payload": bare * bpp}
        rows.append({"setting": place, "gain_steps": 0.0, **sizes, "psnr": 20 + bpp,
                     "readers": readers})  # fmt: skip
    return {"name": names[0], **HASHES, **facts, "settings": rows}


def report_of(*sources: dict[str, Any]) -> dict[str, Any]:
    facts = {"commit": "abc", "command": "eval-task"}
    return {"sources": list(sources), "pictures": 4, "size": 64, "provenance": facts}


def cells(text: str, first: str) -> list[list[str]]:
    """Rows of a table whose first cell is given."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row[1:] for row in rows if row[0] == first]


def test_paths_of_a_thousand_classes() -> None:
    decoded = tables.DECODED + tables.FINE_TUNED
    report = report_of(
        source(tables.LATENTS, points={1.0: "1000", 4.0: "1111"}),
        source(tables.DECODED, decoded, points={1.0: "0100", 4.0: "1110"}),
        source("JPEG, fine-tuned", points={2.0: "0000", 9.0: "1111"}, bare=0.25),
        source("original pictures", points={24.0: "1111"}),
    )
    report["sources"][3]["settings"][0]["psnr"] = 100.0
    every = tables.curves(report)
    same = tables.against_same_files(every, tables.LATENTS, (tables.DECODED, decoded))
    assert [row[2] for row in cells(same, tables.DECODED)] == ["+0.0", "+25.0"]
    # Halfway between two rates on the logarithm: 1 and (1 + 4) / 2 of four pictures are right.
    others = tables.against_others(every, tables.LATENTS, tables.classic(every))
    near, far = cells(others, "JPEG, fine-tuned")
    assert near[:3] == ["0", "2.000", "+62.5"] and near[4:6] == ["0.500", "+25.0"]
    assert far[1:3] == ["9.000", "n/a"] and far[4:6] == ["2.250", "n/a"]
    text = tables.thousand(report)
    (whole,) = cells(text, "original pictures")
    assert whole == ["0", "24.000", "12.000", "n/a", "100.0", "100.0", "90.0", "12.5"]
    (ours,) = [row for row in cells(text, tables.LATENTS) if row[1] == "4.000"]
    assert ours[3:] == ["24.00", "100.0", "100.0", "90.0", "12.5"]
    assert text.endswith(tables.KNOWN) and same in text and others in text
    assert tables.thousand_seen(report).endswith(tables.SEEN)


def test_joint_curves_are_compared_at_equal_size() -> None:
    report = report_of(
        source(tables.LATENTS, tables.CONTROL, points={1.0: "1000", 4.0: "1110"}),
        source(tables.JOINT, points={0.5: "1111", 2.0: "1111"}),
        source(*tables.TASKS, points={4.0: "1111", 5.0: "1111"}),
    )
    text = tables.joint(report)
    beyond, between = cells(text, tables.JOINT)[:2]
    assert beyond[3] == beyond[5] == beyond[8] == "n/a"
    assert between[1:4] == ["2.000", "100.0", "+50.0"] and between[5] == "+50.0"
    assert between[7:] == ["22.00", "-0.50"]  # 21 and 24 dB, halfway
    rows = cells(text, tables.TASKS[0])
    assert rows[0][3] == "+25.0" and rows[1][3] == "n/a"


def test_the_edge_codec_is_compared_with_jpeg_and_itself() -> None:
    frozen = f"{tables.FROZEN_EDGE}, {tables.CONTROL}"
    report = report_of(
        source(tables.EDGE, points={1.0: "1100", 4.0: "1111"}),
        source(tables.FROZEN_EDGE, frozen, points={1.0: "0000", 4.0: "1100"}),
        source("JPEG", "JPEG, fine-tuned", points={1.0: "1000"}),
    )
    text = tables.edge(report)
    assert cells(text, "JPEG")[0][:3] == cells(text, "JPEG, fine-tuned")[0][:3]
    assert cells(text, "JPEG")[0][2] == "+25.0"
    assert [row[3] for row in cells(text, tables.EDGE)[:2]] == ["+50.0", "+50.0"]


def test_ten_classes_have_no_five_best() -> None:
    report = report_of(
        source(tables.CIFAR_LATENTS, tables.CIFAR_DECODED, points={1.0: "1100", 2.0: "1111"}),
        source(*tables.CIFAR_CLASSIC, points={1.0: "1000"}),
    )
    for each in report["sources"]:
        for row in each["settings"]:
            for reader in row["readers"].values():
                reader.pop("top5", None), reader.pop("among", None)
    text = tables.cifar(report)
    assert cells(text, tables.CIFAR_CLASSIC[0])[0][2] == "+25.0"
    assert cells(text, tables.CIFAR_CLASSIC[0])[1][5:7] == ["n/a", "n/a"]
    assert text.endswith(tables.SMALL)


def test_a_picture_of_the_curves(tmp_path: Path) -> None:
    report = report_of(source(tables.LATENTS, points={1.0: "1000", 4.0: "1111"}))
    tables.draw({"one": report, "two": report}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


# -- records ---------------------------------------------------------------------------------------


def of_weights(**changes: Any) -> dict[str, Any]:
    heads = {tables.LATENTS: ["cc"]} | changes.pop("heads", {})
    return {"weights": HASHES | {"readers_sha256": heads} | changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bases_sha256": ["ff"]}, "differ in base"),
        ({"adapters_sha256": ["bb", "ff"]}, "differ in adapters"),
        ({"heads": {tables.LATENTS: ["ff"]}}, "differ in the head 'head on latents'"),
    ],
)
def test_neighbours_of_other_weights_are_refused(changes: dict[str, Any], says: str) -> None:
    evaluated = report_of(
        source("frozen codec", points={1.0: "1"}, readers_sha256={tables.LATENTS: ["cc"]}),
        source("other codec", points={1.0: "1"}, bases_sha256=["another"]),
    )
    alike = {"thousand-224": evaluated, "ledger": of_weights(heads={"another": ["dd"]})}
    check_alike(alike, source="frozen codec")
    with pytest.raises(UsageError, match=says):
        check_alike(alike | {"joint": of_weights(**changes)}, source="frozen codec")
    with pytest.raises(UsageError, match="no hashes"):
        check_alike(alike | {"old": {"base_sha256": "aa"}}, source="frozen codec")


def test_documents_are_left_alone_where_records_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(fill, "update_markers", lambda *_, **__: pytest.fail("a table was filled"))
    for name, changes in (("ledger", {}), ("segmentation", {"bases_sha256": ["ff"]})):
        (tmp_path / f"{name}.json").write_text(json.dumps(of_weights(**changes)))
    with pytest.raises(UsageError, match="stand side by side and differ in base"):
        fill.fill()
    edge = {"edge": of_weights(), "ledger-edge": of_weights(adapters_sha256=["ff"])}
    for name, record in edge.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "segmentation.json").unlink()
    with pytest.raises(UsageError, match=r"edge.json.*differ in adapters"):
        fill.check()


def test_a_record_is_missing_where_only_its_neighbours_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    (tmp_path / "beside.json").write_text('{"runs": 3}')
    assert common.read_result("own", ("beside", "none")) == {}
    (tmp_path / "own.json").write_text('{"runs": 2}')
    found = common.read_result("own", ("beside", "none"))
    assert found == {"runs": 2, "beside": {"runs": 3}}
