"""`promptcodec bench`: pairs, ratios, warnings, refusals."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from promptcodec.cli.main import main
from promptcodec.errors import UsageError
from promptcodec.evaluation.codecs import compressai_timing
from promptcodec.evaluation.speed import bench as benching
from promptcodec.evaluation.speed.bench import bench
from promptcodec.io import samples


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return samples.photograph(samples.bundled(), width=128, height=64)


def test_ratios_are_of_pairs_and_every_value_is_kept(tiny_checkpoint: Path, rgb) -> None:
    lines: list[str] = []
    facts = bench(
        rgb,
        base=str(tiny_checkpoint),
        peers=("jpeg", "webp"),
        engines=("onnx", "torch"),
        threads=(1,),
        repeats=3,
        report=lines.append,
    )
    (found,) = facts["comparisons"]
    names = [
        f"{n} {way}" for way in ("encode", "decode") for n in ("onnx", "torch", "jpeg", "webp")
    ]
    assert list(found["seconds"]) == names
    for name in ("torch encode", "jpeg encode", "webp decode"):
        own = found["seconds"][f"onnx {name.split()[1]}"]["values"]
        pairs = [a / b for a, b in zip(found["seconds"][name]["values"], own, strict=True)]
        assert found["peer_over_ours"][name]["values"] == tuple(pairs) and len(pairs) == 3
    assert 0 < found["bpp"]["webp"] <= found["bpp"]["onnx"] == found["bpp"]["torch"]
    assert found["settings"]["webp"].startswith("quality ")
    assert found["engine"] == "onnx" and set(found["decode_parts_seconds"]) == {"onnx", "torch"}
    assert len(lines) == 6 and "to encode (quartiles" in lines[0]
    assert json.loads(json.dumps(facts))["size"] == [128, 64]
    assert len(facts["base_sha256"]) == 64 and facts["load_average_after"] >= 0


def test_a_noisy_machine_is_said_to_be_noisy() -> None:
    quiet = {"noisy": []}
    assert benching._warnings([quiet], load=0.1) == []
    (warning,) = benching._warnings([quiet, {"noisy": ["onnx encode"]}], load=0.1)
    assert "noisy" in warning and "onnx encode" in warning
    (warning,) = benching._warnings([quiet], load=2.0)
    assert "load average 2.0" in warning


def test_peers_and_sizes_are_checked_first(rgb, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no peer 'av2' is timed"):
        bench(rgb, base="/nowhere", peers=("av2",))
    with pytest.raises(UsageError, match="multiples of 64"):
        bench(rgb[:50], base="/nowhere", peers=(benching.MODEL,))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"cannot run: CompressAI is not installed: pip install"):
        bench(rgb, base="/nowhere", peers=(benching.MODEL,))


def test_the_command_prints_a_table_and_writes_json(
    tiny_checkpoint: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benching, "WIDTH", 128)
    monkeypatch.setattr(benching, "HEIGHT", 64)
    out = tmp_path / "speed.json"
    words = ["bench", "--peers", "jpeg", "--repeats", "2", "--base", str(tiny_checkpoint)]
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "float32, 1 threads, jpeg encode" in printed.out and "MB at most" in printed.out
    assert "times as long as ours (onnx) to encode" in printed.err
    facts = json.loads(out.read_text())
    assert facts["memory"][0]["peak_rss_mb"] > 50
    assert main([*words, "--out", str(out)]) == 8  # not without --force
    assert main(["bench", "--threads", "0"]) == 2
    assert main(["bench", "--peers", "av2"]) == 2
    assert main(["bench", "--engine", "onnx,caffe"]) == 2


@pytest.mark.peers
@pytest.mark.parametrize("ours", [0.3, 1.2])
def test_the_learned_peer_takes_the_rate_next_to_ours(ours: float, rgb) -> None:
    limit = round(ours * rgb.shape[0] * rgb.shape[1] / 8)
    found = benching._model_actions(rgb, limit=limit, precision="float32", threads=1)
    assert found.setting == f"quality {compressai_timing.nearest_quality(ours)}"
    rate = 8 * found.size / (rgb.shape[0] * rgb.shape[1])
    assert rate == pytest.approx(ours, rel=0.25)
