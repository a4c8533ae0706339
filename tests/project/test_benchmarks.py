"""The parts of the benchmarks that figures depend on; running them whole takes minutes."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_streams import FOLDER, load
from PIL import Image

from benchmarks.rates import context as context_benchmark
from benchmarks.rates import z_tables
from benchmarks.reliability import determinism
from benchmarks.shards import crops as shard_crops
from promptcodec.bitstream import parse
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.z_tables import ZTables
from promptcodec.evaluation.codecs import compressai_timing
from promptcodec.evaluation.speed import timing
from promptcodec.io import provenance, samples
from promptcodec.models.codec import TorchCodec
from promptcodec.training.data.shards import find_shards, open_shards


def test_actions_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    actions = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = timing.in_turn(actions, repeats=3, warm_up=2)
    assert order == ["a", "b"] * 5
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine slowed down fourfold for the last pair: both values move, their ratio does not.
    summary = timing.ratio([4.0, 4.0, 16.0], [2.0, 2.0, 8.0])
    assert (summary.low, summary.median, summary.high) == (2.0, 2.0, 2.0)
    assert not summary.noisy
    assert timing.summarise([1.0, 2.0, 3.0]).noisy


@pytest.mark.parametrize(("ours", "quality"), [(0.01, 1), (0.46, 4), (0.54, 4), (0.56, 5), (9, 8)])
def test_the_peer_is_that_of_the_nearest_rate(ours: float, quality: int) -> None:
    assert compressai_timing.nearest_quality(ours) == quality


def test_deviations_have_the_entropy_of_a_rate() -> None:
    deviations = compressai_timing.typical_deviations(192, bpp=0.66)
    assert deviations[-1] / deviations[0] == pytest.approx(compressai_timing.SPREAD)
    # Entropy by counting rounded samples, independent of the integral that was solved for.
    rng = np.random.default_rng(0)
    bits = 0.0
    for deviation in deviations:
        _, counts = np.unique(np.rint(rng.normal(0, deviation, 20_000)), return_counts=True)
        p = counts / counts.sum()
        bits -= float((p * np.log2(p)).sum())
    assert bits / 256 == pytest.approx(0.66, rel=0.02)


def test_photographs_repeat_and_gain_noise_only_when_they_grow(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    Image.new("RGB", (40, 30), (90, 120, 150)).save(path)
    small = samples.photograph(path, width=20, height=10)
    large = samples.photograph(path, width=80, height=60)
    assert small.shape == (10, 20, 3)
    assert small.std(axis=(0, 1)).max() == 0
    assert 2 < large.std(axis=(0, 1)).min() < 4
    np.testing.assert_array_equal(large, samples.photograph(path, width=80, height=60))


@pytest.mark.parametrize("batch", [1, 3])
def test_step_by_step_decoding_reads_what_the_codec_reads(batch: int, tiny_codec) -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (70, 150, 3), np.uint8)
    data = tiny_codec.encode(rgb, gain_steps=2.5)
    expected = tiny_codec.decode_latents(data)
    variant = determinism.Variant("any", batch=batch)
    decoded = determinism.decode(tiny_codec, parse(data), variant)
    np.testing.assert_array_equal(decoded.indexes, expected.indexes[0])
    np.testing.assert_array_equal(decoded.symbols, expected.symbols[0])
    assert np.abs(decoded.symbols).max() > 0
    picture = np.asarray(tiny_codec.decode(data)).astype(int)
    assert np.abs(decoded.rgb - picture).max() <= 1


def test_step_by_step_decoding_knows_the_sets() -> None:
    codec, data = load("sets"), (FOLDER / "sets.pc").read_bytes()
    decoded = determinism.decode(codec, parse(data), determinism.Variant("any"))
    expected = codec.decode_latents(data).symbols[0]
    np.testing.assert_array_equal(decoded.symbols, expected)


def test_neighbours_in_the_batch_are_other_latents() -> None:
    latent = torch.arange(24).view(2, 3, 4)
    batch = determinism.among_others(latent, 3)
    assert [torch.equal(entry, latent) for entry in batch] == [False, True, False]
    assert torch.equal(determinism.among_others(latent, 1)[0], latent)


def test_one_different_hash_or_two_levels_fail() -> None:
    plain = determinism.Variant("plain")
    half = determinism.Variant("half", bfloat16=True)
    hashes = {"indexes": "a", "symbols": "b"}
    grey = np.full((2, 2, 3), 100, np.uint8)

    def passed(variant, *, report=hashes, levels: int = 0) -> bool:
        pictures = (grey + np.uint8(levels), grey)
        return determinism.judge(variant, report, hashes, pictures=pictures).passed

    assert passed(plain)
    assert passed(plain, levels=1)
    assert not passed(plain, levels=2)
    assert passed(half, levels=2)  # pixels of bfloat16 are no promise, its symbols are
    for changed in ("indexes", "symbols"):
        assert not passed(half, report={**hashes, changed: "x"})


def test_peak_memory_is_not_inherited_from_a_large_parent() -> None:
    own = provenance.peak_rss_mb()  # torch is loaded here
    code = "from promptcodec.io import provenance; print(provenance.peak_rss_mb())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 < float(run.stdout) < 60 < own


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of 30 pictures from 15 sources, and one that is no photograph."""
    rng, items = np.random.default_rng(6), []
    with zipfile.ZipFile(tmp_path / "part.zip", "w") as archive:
        for number in range(30):
            name = f"{'ab'[number % 2]}{number // 2}.png"
            noise = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
            data = io.BytesIO()
            noise.resize((70, 64), Image.Resampling.BICUBIC).save(data, "png")
            archive.writestr(name, data.getvalue())
            items.append({"file": name, "src": "somewhere", "path": str(number // 2)})
        archive.writestr("syn_1.png", data.getvalue())
    (tmp_path / "manifest.json").write_text(json.dumps({"items": items}))
    return tmp_path


def test_tables_of_z_are_measured_on_other_sources(
    pack: Path, tiny_checkpoint: Path, tiny_ladder: Path
) -> None:
    sides: dict[str, set[bool]] = {}
    for name, place, held in z_tables.chosen([pack], pictures=30):
        assert name == pack.name
        sides.setdefault(place.member[1:], set()).add(held)
    assert len(sides) == 15 and all(len(side) == 1 for side in sides.values())
    assert {True, False} == set.union(*sides.values())
    assert len(list(z_tables.chosen([pack], pictures=10))) == 10
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    fitted, held = z_tables.look(codec, [pack], rates=[2], pictures=30)
    assert len(fitted[2].tiles) + len(held[2].tiles) == 30
    row = z_tables.measure(codec, rate=2, fitted=fitted[2], held=held[2])
    base = ZTables(codec.tables.z)
    assert row["z_bits"] == pytest.approx(sum(base.bits(z) for z in held[2].tiles))
    one = row["sets"][0]
    assert [each["asked"] for each in row["sets"]] == [1, 2, 4]
    assert one["z_percent"] == pytest.approx(100 * (one["z_bits"] / row["z_bits"] - 1))
    assert one["z_percent_by_pack"] == {pack.name: pytest.approx(one["z_percent"])}
    before, after = row["y_bits"] + row["z_bits"], row["y_bits"] + one["z_bits"]
    assert one["total_percent"] == pytest.approx(100 * (after / before - 1))
    assert one["stored_bytes"] < one["full_bytes"] == 4 * 4 * 256
    y_bits = 0.0
    for _, place, out in z_tables.chosen([pack], pictures=30):
        if out:
            latents = codec.decode_latents(codec.encode(place.read(), rate_index=2))
            y_bits += rans.estimate_bits(latents, codec.tables)[0]
    assert row["y_bits"] == pytest.approx(y_bits, rel=0.01)


def test_a_serial_scan_gives_the_means_of_the_groups() -> None:
    from promptcodec.config import CodecConfig
    from promptcodec.models.codec_model import build_context

    config = CodecConfig(
        latent_channels=6,
        detail_channels=2,
        hyper_channels=4,
        head_channels=4,
        context="econtext",
        context_channels=8,
        context_segments=(2, 4),
        context_window=4,
    )
    torch.manual_seed(0)
    context = build_context(config)
    for parameter in context.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    report = context_benchmark.serial(context, torch.randn(1, 4, 4, 8), torch.randn(1, 6, 4, 8))
    assert report["largest_difference_of_means"] < 1e-4
    assert report["steps"] == {"serial": 64, "grouped": 4}
    assert report["macs_ratio"] > 40
    cached = context_benchmark.cache(context, torch.randn(1, 4, 8, 8), repeats=1)
    assert cached["macs_ratio"] > 1.3


def test_shards_of_crops_are_distinct_and_repeat(tmp_path: Path, monkeypatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, edge in enumerate((70, 30, 80)):
            noise = np.random.default_rng(number).integers(0, 256, (edge, edge, 3), np.uint8)
            file = io.BytesIO()
            Image.fromarray(noise).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
    assert [len(p) for p in shard_crops.read_pictures(tmp_path, 9, edge=64)] == [70, 80]
    monkeypatch.setattr(shard_crops, "SHARD", 4)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shard_crops.write_crops(tmp_path, tmp_path / name, count=10, edge=64, pictures=2)
    found = [open_shards(find_shards(tmp_path / name), ()) for name in ("one", "two")]
    assert [shard.pictures for shard in found[0]] == [4, 4, 2]
    files = [[place.read() for shard in shards for place in shard.walk()] for shards in found]
    assert files[0] == files[1] and len(set(files[0])) == 10
    assert Image.open(io.BytesIO(files[0][9])).size == (64, 64)
