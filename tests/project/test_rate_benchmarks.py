"""Benchmarks of rates on small or made-up measurements, and the tables that they make."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from places import ASSETS

from benchmarks import common
from benchmarks.base import half_hour
from benchmarks.rates import curve, effort, methods
from benchmarks.tables import rates as tables
from promptcodec.evaluation.bootstrap import Sample
from promptcodec.io.provenance import provenance

PSNR = np.array([28.0, 31.0, 34.0, 37.0])
BPP = np.array([0.2, 0.4, 0.8, 1.6])


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two photographs of 160x130 px."""
    paths = []
    with Image.open(ASSETS / "coffee.png") as opened:
        for number in range(2):
            box = (160 * number, 0, 160 * number + 160, 130)
            paths.append(tmp_path / f"{number}.png")
            opened.convert("RGB").crop(box).save(paths[-1])
    return paths


class TestContinuedRecords:
    @pytest.mark.parametrize(
        "what", ["commit", "changes", "machine", "settings", "pictures", "base"]
    )
    def test_another_run_begins_anew(
        self,
        what: str,
        tiny_codec,
        pictures: list[Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path, settings = tmp_path / "record.json", {"gains": (1, 2)}
        first = common.identity(tiny_codec, pictures, **settings)
        common.write_json(path, {"identity": first, "done": 1})
        again = common.identity(tiny_codec, pictures, **settings)
        assert common.continued(path, again)["done"] == 1
        if what in ("commit", "changes", "machine"):
            monkeypatch.setattr(common, what, lambda **_: "another")
        elif what == "settings":
            settings = {"gains": (1, 3)}
        elif what == "pictures":
            Image.new("RGB", (9, 9)).save(pictures[1])
        else:
            path.write_text(path.read_text().replace(tiny_codec.base_hash.hex(), "ab" * 32))
        other = common.identity(tiny_codec, pictures, **settings)
        assert common.continued(path, other) == {"identity": other}

    def test_adapters_are_part_of_it(
        self, tiny_codec, tiny_checkpoint, tiny_ladder, pictures
    ) -> None:
        from promptcodec.models.codec import TorchCodec

        ladder = TorchCodec.load(tiny_checkpoint, tiny_ladder)
        found = [common.identity(codec, pictures) for codec in (tiny_codec, ladder)]
        assert found[0]["base_sha256"] == found[1]["base_sha256"]
        assert len(found[1]["adapters_sha256"]) == len(list(tiny_ladder.iterdir()))
        assert found[0] != found[1]


class TestEffort:
    def record(self, factor: float, *, psnr: float = 34.0) -> dict[str, dict[str, float]]:
        """A picture whose effort 6 takes a factor of the rate that the plain curve has there."""

        def point(bpp: float) -> dict[str, float]:
            return {"bpp": bpp, "psnr": 34.0 + 6.0 * float(np.log2(bpp)), "encode_seconds": 1.0}

        plain = {effort.key_of(4, 0, gain): point(2.0 ** (gain / 6)) for gain in effort.GAINS}
        better = point(2.0 ** ((psnr - 34.0) / 6)) | {"psnr": psnr}
        better["bpp"] *= factor
        return plain | {effort.key_of(4, 6, 0.0): better}

    def test_rates_are_compared_at_equal_psnr(self) -> None:
        records = {str(k): self.record(f) for k, f in enumerate((0.9, 0.9, 0.8, 0.8, 0.85, 0.85))}
        rows = effort.summarise(records, rates=[4.0], levels=[0, 6])
        assert [row["effort"] for row in rows] == [0, 6]
        assert rows[0]["rate_change_percent"]["value"] == pytest.approx(0.0, abs=1e-9)
        found = rows[1]["rate_change_percent"]
        assert found["value"] == pytest.approx(-15.0)
        assert -20.0 <= found["low"] < -15.0 < found["high"] <= -10.0
        assert rows[1]["worst_percent"] == pytest.approx(-10.0)

    def test_a_level_off_the_curve_has_no_figure(self) -> None:
        records = {"a": self.record(0.9), "b": self.record(0.9, psnr=99.0)}
        (row,) = effort.summarise(records, rates=[4.0], levels=[6])
        assert row["rate_change_percent"] is None and row["outside"] == 1
        report = {
            "levels": [row],
            "load_average_before": 0.5,
            "pictures": records,
            "identity": {"settings": {"precision": "float32"}, "base_sha256": "ab" * 32},
            "provenance": provenance(threads=1),
        }
        assert "| 4 | 6 | " in tables.effort(report) and "| n/a | n/a |" in tables.effort(report)

    def test_a_stopped_run_goes_on(
        self, tiny_checkpoint, tiny_ladder, pictures, tmp_path, monkeypatch
    ) -> None:
        asked: list[tuple] = []

        def measure(codec, path: Path, *, rate: float, effort: int, gain_steps: float) -> dict:
            asked.append((path.name, rate, effort, gain_steps))
            value = 0.5 * 2.0 ** (gain_steps / 6)
            return {"bpp": value, "psnr": 30.0 + gain_steps, "encode_seconds": 1.0}

        monkeypatch.setattr(effort, "measure", measure)
        out = tmp_path / "effort.json"
        words = ["x", str(tmp_path), "--base", str(tiny_checkpoint), "--prompts", str(tiny_ladder)]
        words += ["--rates", "2,4", "--levels", "0,3", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", words)
        effort.main()
        assert {each[1] for each in asked} == {2.0, 4.0}
        assert len(asked) == len(set(asked)) == 2 * 2 * (len(effort.GAINS) + 1)
        record = json.loads(out.read_text())
        del record["pictures"]["1.png"]
        out.write_text(json.dumps(record))
        asked.clear()
        effort.main()
        assert {each[0] for each in asked} == {"1.png"}
        assert "| 2 | 3 |" in tables.effort(json.loads(out.read_text()))


class TestTargets:
    def test_small_pictures_end_at_the_nearest(self, tiny_codec, pictures, monkeypatch) -> None:
        codec = tiny_codec
        size = len(
            codec.encode(np.asarray(Image.open(pictures[0]))[33:97, 48:112], graphics="never")
        )
        targets = ((64, {"target_bytes": size}), (None, {"target_psnr": 99.0}))
        monkeypatch.setattr(curve, "TARGETS", targets)
        reached, out = curve.targets(codec, pictures[:1])
        assert (reached["side"], reached["met"], reached["nearest"]) == (64, 1, 0)
        assert reached["unit"] == "%" and abs(reached["lowest_miss"]) <= 1.0
        assert (out["met"], len(out["unreachable"])) == (0, 1)
        rows = [tables._target(row) for row in (reached, out)]
        assert rows[0].startswith(f"| target_bytes {size} | 64x64 px | 1 | 0 | 0 | ")
        assert rows[1] == "| target_psnr 99 | whole | 0 | 0 | 1 | n/a | n/a | n/a |"

    @pytest.mark.parametrize(
        ("wanted", "miss", "met"),
        [
            ({"target_bpp": 1.0}, 0.9, 1),
            ({"target_bpp": 1.0}, 1.1, 0),
            ({"target_bpp": 1.0, "strict": True}, 0.1, 0),
            ({"target_bpp": 1.0, "strict": True}, -0.9, 1),
            ({"target_psnr": 30.0}, 0.06, 0),
            ({"target_psnr": 30.0}, -0.05, 1),
        ],
    )
    def test_met_is_within_the_tolerance(self, wanted, miss, met, tiny_codec, monkeypatch) -> None:
        monkeypatch.setattr(curve, "TARGETS", ((None, wanted),))
        monkeypatch.setattr(curve, "_target", lambda *_, **__: {"miss": miss, "passes": 1})
        (row,) = curve.targets(tiny_codec, [Path("x")])
        assert (row["met"], row["nearest"]) == (met, 1 - met)

    def test_there_are_targets_of_every_kind_for_small_pictures(self) -> None:
        for side in (None, 64, 128):
            kinds = {kind for own, wanted in curve.TARGETS if own == side for kind in wanted}
            assert {"target_bpp", "target_bytes", "target_psnr"} <= kinds


def point(name: str, index: int, *, factor: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """A method at a rate of six pictures, which takes a factor of the plain rate."""
    hard = np.linspace(0.8, 1.2, 6)
    gains = [
        {
            "bpp": (factor * hard * BPP[index] * 2.0 ** (gain / 6)).tolist(),
            "psnr": (PSNR[index] + gain / 2 + hard).tolist(),
        }
        for gain in methods.GAINS
    ]
    return {"method": name, "rate_index": index, "seed": seed, "gains": gains}


class TestMethods:
    def points(self) -> list[dict[str, Any]]:
        own = [point("base", k) for k in range(4)]
        seeds = [point("base", 1, factor=f, seed=k) for k, f in enumerate((1.002, 0.995), 1)]
        return [*own, *seeds, *(point("lpm", k, factor=1.05 if k else 1.004) for k in range(4))]

    def test_rates_are_read_at_the_psnr_of_the_ceiling(self) -> None:
        moved = point("lpm", 2, factor=1.1)
        found = methods.at_equal_psnr(moved, point("base", 2))
        assert [found.low, found.value, found.high] == pytest.approx([10.0] * 3)
        # Half a gain better: the rate is read between two of the measured ones.
        for gain in moved["gains"]:
            gain["psnr"] = [value + 0.25 for value in gain["psnr"]]
        found = methods.at_equal_psnr(moved, point("base", 2))
        assert found.value == pytest.approx(100 * (1.1 * 2 ** (-0.5 / 6) - 1))
        for gain in moved["gains"]:
            gain["psnr"] = [value + 5.0 for value in gain["psnr"]]
        assert methods.at_equal_psnr(moved, point("base", 2)).value is None  # not extrapolated

    def test_seeds_show_what_is_noise(self) -> None:
        noise = methods.noise_of([p for p in self.points() if p["method"] == "base"])
        assert noise == {1: pytest.approx(100 * (1.002 / 0.995 - 1), abs=0.01)}
        compared = methods.compare(self.points(), "base")
        assert [row["method"] for row in compared] == ["base", "lpm"]
        assert compared[0]["deltas"]["bd_rate"]["value"] == 0.0
        found = compared[1]["deltas"]
        assert 0.4 < found["bd_rate"]["value"] < 5.0 and found["bd_rate"]["low"] is not None
        assert [round(s["bd_rate"]["value"], 1) for s in found["segments"]][-1] == 5.0
        facts = {
            "steps": 3,
            "parameters": 12,
            "chosen": {str(k): "muon 0.001" for k in range(4)},
            "last_fifth_percent": {"0": 0.1, "1": None},
        }
        report = {
            "base_sha256": "ab" * 32,
            "ceiling": "base",
            "search_share": 0.25,
            "noise_percent": noise,
            "comparisons": compared,
            "methods": [{"method": {"name": name}, **facts} for name in ("base", "lpm")],
            "provenance": provenance(threads=1),
        }
        lines = tables.methods(json.loads(json.dumps(report))).splitlines()
        row = next(line for line in lines if line.startswith("| lpm | 12 | 3 |")).split(" | ")
        assert row[3] == "+0.40 % (+0.40 to +0.40), noise"
        assert row[4] == "+5.00 % (+5.00 to +5.00)"
        assert "| base | 12 | 3 | reference | reference | reference | reference |" in lines
        assert "differ by up to 0.70 % at rate 1" in lines[-3]

    def test_runs_of_a_comparison_are_measured_and_kept(
        self, tiny_checkpoint, tiny_ladder, pictures, tmp_path, monkeypatch
    ) -> None:
        from promptcodec.api import Codec

        codec = Codec.load(tiny_checkpoint, tiny_ladder, engine="torch")
        rate = next(iter(codec.ladder.adapters))
        run = methods.Run("m", rate, 0, codec)
        found = methods.measure(run, pictures)
        assert len(found["gains"]) == len(methods.GAINS)
        rates = [np.mean(gain["bpp"]) for gain in found["gains"]]
        assert rates == sorted(rates) and len(found["gains"][0]["psnr"]) == 2
        assert run.key.startswith(f"m, rate {rate}, seed 0, {codec.base_hash.hex()[:16]} ")


class TestHalfHour:
    def test_psnr_is_compared_at_equal_rate(self) -> None:
        hard = np.linspace(-1.0, 1.0, 6)[:, None]
        jpeg = Sample("jpeg", np.tile(BPP, (6, 1)), PSNR + hard)
        ours = {"bpp": [0.4] * 6, "psnr": (32.5 + hard[:, 0]).tolist()}
        found = half_hour.above(ours, jpeg)
        assert [found.low, found.value, found.high] == pytest.approx([1.5] * 3)
        assert half_hour.above(ours | {"bpp": [0.1] * 6}, jpeg).value is None

    def test_nothing_is_taken_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        words = ["x", "data", str(tmp_path), "--run", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit, match="exists: name a new folder"):
            half_hour.main()

    def test_the_line_says_what_was_measured(
        self, tiny_checkpoint, pictures, tmp_path, monkeypatch
    ) -> None:
        def train(recipe: Path, *, data: Path, run: Path, minutes: float) -> None:
            assert minutes == 30.0 and recipe.is_file()
            run.mkdir()
            (run / "base").symlink_to(tiny_checkpoint)

        record = {"machine": provenance(threads=1)["machine"]}
        monkeypatch.setattr(half_hour, "train", train)
        monkeypatch.setattr(half_hour, "read_record", lambda base: record)
        out = tmp_path / "out.json"
        words = ["x", "data", str(tmp_path), "--run", str(tmp_path / "run"), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", words)
        half_hour.main()
        line = tables.half_hour(json.loads(out.read_text()))
        assert line.startswith("From nothing: 30 minutes of `train-base` on one thread")
        assert "on 2 pictures of" in line and "JPEG" in line
