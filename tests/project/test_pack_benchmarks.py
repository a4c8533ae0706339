"""Benchmarks of packs: what is counted, and how it is printed."""

import numpy as np
import pytest

from benchmarks.packs import choice, saved
from benchmarks.tables import packs as tables
from promptcodec.packs.savings import Point

FACTS = {
    "base_sha256": "ab" * 32,
    "provenance": {"machine": {"cpu": "A CPU"}, "commit": "c0ffee", "command": "run"},
}


def row(kind: str, auto: str, costs: dict[str, float], seconds: float) -> dict:
    return {
        "kind": kind,
        "cost_bits": costs,
        "auto": {"pack": auto, "cost_bits": costs[auto]},
        "best": {"pack": min(costs, key=costs.__getitem__), "cost_bits": min(costs.values())},
        "seconds": {"plain": 1.0, "auto": seconds},
    }


def test_choices_are_right_within_what_nobody_can_tell() -> None:
    rows = [
        row("plain", "plain", {"plain": 100.0, "maps": 99.6}, 1.5),
        row("maps", "plain", {"plain": 100.0, "maps": 80.0}, 1.9),
        row("maps", "maps", {"plain": 100.0, "maps": 90.0}, 1.7),
    ]
    found = choice.summary_of(rows)
    assert found["right"] == {"auto": 2, "best": 3} and found["of_kind"] == 2
    assert found["cost_by_plain"]["auto"]["mean"] == pytest.approx(-0.1 / 3)
    assert found["cost_by_plain"]["best"]["most"] == pytest.approx(-0.004)
    assert found["time_by_plain"] == {"median": 1.7, "most": 1.9}
    report = {"summary": found, "packs": {"maps": [2]}, "engine": "onnx", **FACTS}
    assert "| auto | 2 of 3 | -3.3 % | +0.00 % |" in tables.chosen(report)
    assert "takes 1.70 times" in tables.chosen(report)


def test_other_codecs_at_equal_psnr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer of 6 dB a doubling, and points with half its rate."""
    curve = [Point(0.1 * 2**at, 30.0 + 6 * at) for at in (2, 0, 1)]
    monkeypatch.setattr(saved, "sweep", lambda *_, **__: curve)
    parts = [np.zeros((8, 8, 3), np.uint8)] * 5
    found = saved.against("webp", parts, {2: [Point(0.1, 36.0)] * 5})
    assert found[2]["value"] == pytest.approx(50.0)
    assert saved.lossless(parts, format="PNG") > 8 * 57 / 64


def test_the_tables() -> None:
    percent = {"value": 21.0, "low": 18.0, "high": 24.0}
    point = {"rate_index": 2, "percent": percent, "bpp": 0.3, "psnr": 36.0, "pictures": 24}
    pack = {
        "name": "maps",
        "bytes": 2_500_000,
        "trained_on": 90,
        "minutes": 31.6,
        "held_out": [point],
        "photographs": [point | {"percent": {"value": -3.0, "low": None, "high": None}}],
        "against": {"webp": {"2": percent}},
        "lossless_bpp": {"png": 2.0},
    }
    table = tables.saved({"packs": [pack], **FACTS})
    cells = "+21.0 % (+18.0 to +24.0) | -3.0 % | +21.0 % (+18.0 to +24.0) |"
    assert f"| maps | 2 | 0.300 | 36.00 | {cells}" in table
    assert "trained on 90 in 32 minutes, 2.5 MB; lossless, bpp: PNG 2.00." in table
    few = {"rates": [2], "rows": [{"pictures": 30, "held_out": [point]}], "pack": "maps"}
    table = tables.few(few | {"minutes": 20.0} | FACTS)
    assert "| 30 | +21.0 % (+18.0 to +24.0) | +21.0 % |" in table


def test_nothing_is_extrapolated_against_other_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = [Point(0.2, 30.0), Point(0.4, 33.0), Point(0.8, 36.0)]
    monkeypatch.setattr(saved, "sweep", lambda *_, **__: curve)
    parts = [np.zeros((8, 8, 3), np.uint8)] * 2
    points = {1: [Point(0.2, 33.0), Point(0.2, 33.0)], 2: [Point(0.2, 33.0), Point(0.9, 36.1)]}
    found = saved.against("webp", parts, points)
    assert found[1] is not None and found[1]["value"] == pytest.approx(50.0)
    assert found[2] is None
    assert tables._percent(found[2]) == "n/a"
