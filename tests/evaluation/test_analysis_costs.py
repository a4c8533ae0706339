"""What labels cost: the ledger, its rivals, heads without the context; sets that are built."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import lively_head, tiny_head
from torch import nn

from benchmarks.analysis import aggregation, cifar_set, costs, ledger, rivals, without_context
from benchmarks.analysis.turns import Turns, facts_of, in_turn
from benchmarks.speed import startup
from benchmarks.tables import analysis as tables
from benchmarks.tables.accuracy import DECODED, LATENTS
from promptcodec.config import CodecConfig
from promptcodec.evaluation.speed.complexity import count_macs
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.models.codec import TorchCodec
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.heads.checkpoint import read_head, write_head
from promptcodec.runtime.export import export
from promptcodec.training.aggregation import AggregationTask, AggregationTrainingConfig
from promptcodec.training.config import DataConfig
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.trainer import run_training

ANIMALS = ("cat", "dog", "fish")


@pytest.fixture(scope="module")
def heads(tiny_codec: TorchCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained but lively heads: of animals and of colours on latents, of animals on pixels."""
    folder = tmp_path_factory.mktemp("heads")
    known = {
        "begins": 1,
        "latent_channels": tiny_codec.config.codec.latent_channels,
        "base_sha256": tiny_codec.base_hash.hex(),
    }
    heads = {
        "latents": tiny_head(labels=ANIMALS, **known),
        "colours": tiny_head(labels=("blue", "red"), **known),
        "pixels": tiny_head(labels=ANIMALS, reads="pixels"),
    }
    for name, config in heads.items():
        write_head(folder / name, lively_head(config), config=config)
    export(folder / "latents")
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("picture") / "photo.png"
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(rgb).resize((96, 64)).save(place)
    return place


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, words)])
    script.main()


def test_wall_and_processor_seconds_in_turn() -> None:
    order: list[str] = []

    def wait() -> None:
        order.append("wait")
        time.sleep(0.02)

    def work() -> None:
        order.append("work")
        began = time.process_time()
        while time.process_time() < began + 0.02:
            pass

    turns = in_turn({"wait": wait, "work": work}, repeats=2, warm_up=1)
    assert order == ["wait", "work"] * 3
    assert len(turns["wait"].wall) == len(turns["work"].cpu) == 2
    assert min(turns["wait"].wall) >= 0.02 > 2 * max(turns["wait"].cpu)
    assert min(turns["work"].cpu) >= 0.02


def test_ratios_are_those_of_the_named_rival() -> None:
    turns = {"a": Turns([2.0, 4.0], [1.0, 1.0]), "b": Turns([4.0, 8.0], [3.0, 3.0])}
    found = facts_of(turns, against={"a": ["a"], "b": ["a"]}, pictures=4)
    assert found["b"]["ratio"]["a"]["median"] == 2.0
    assert found["b"]["cpu_ratio"]["a"]["median"] == 3.0
    assert found["b"]["seconds"]["median"] == 1.5 and found["a"]["cpu_seconds"]["median"] == 0.25


def test_costs_are_sums_of_their_parts(tiny_checkpoint: Path, heads: Path) -> None:
    codec = TorchCodec.load(tiny_checkpoint, heads=heads / "latents")
    latents = codec.head("classify").model
    pixels = read_head(heads / "pixels", base_sha256=b"").model
    found = costs.server_cost(codec, latents=latents, pixels=pixels, size=100)
    parts = costs.codec_mmac(codec, size=100)
    assert parts == costs.codec_mmac(codec, size=128)  # padded to multiples of 64
    shared = sum(parts[name] for name in ("scale path", "h_means", "context"))
    network = count_macs(pixels, torch.zeros(1, 3, 100, 100), torch.ones(1)) / 1e6
    assert found["classic"]["mmac"] == pytest.approx(network)
    assert found["decoded"]["mmac"] == pytest.approx(network + parts["g_s"] + shared)
    assert found["latents"]["parts"]["entropy_model"] == pytest.approx(shared)
    assert found["latents"]["parts"]["network"] > network  # of 112 px, with the stem
    edge = costs.edge_cost(codec, {"rival": torch.nn.Conv2d(3, 5, 1)}, size=64)
    whole = costs.codec_mmac(codec, size=64)
    assert edge["g_a and h_a"]["mmac"] == pytest.approx(whole["g_a"] + whole["h_a"])
    assert edge["encode"]["mmac"] == pytest.approx(whole["encoding"])
    assert edge["rival"] == {"mmac": 64 * 64 * 15 / 1e6, "parameters": 20}


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    ).eval()


def test_every_form_of_a_rival_is_that_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_network(), torch.rand(1, 3, 24, 24)
    actions = dict(rivals.forms(model, x))
    assert len(actions) == 6
    for action in actions.values():
        torch.testing.assert_close(action(), model(x).detach(), atol=1e-5, rtol=1e-4)
    slow = {name: 2.0 for name in actions} | {"frozen": 1.0}
    monkeypatch.setattr(
        rivals, "in_turn",
        lambda given, **_: {name: Turns([slow[name]], [0.0]) for name in given},
    )  # fmt: skip
    assert rivals.fastest(model, x)[0] == "frozen"


def test_the_ledger(
    tiny_checkpoint: Path,
    heads: Path,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "mobile_networks", lambda **_: {"MobileNet": small_network()})
    out = tmp_path / "ledger.json"
    run(
        ledger, monkeypatch,
        *(picture, "--pixels", heads / "pixels", "--heads", heads / "latents"),
        *("--base", tiny_checkpoint, "--rate", "4", "--sizes", "64", "--batches", "1,2"),
        *("--repeats", "2", "--out", out),
    )  # fmt: skip
    report = json.loads(out.read_text())
    own = report["weights"]
    assert own["bases_sha256"] == [TorchCodec.load(tiny_checkpoint).base_hash.hex()]
    assert own["readers_sha256"] == {
        name: [sha256_of(heads / folder / "head_model.safetensors")]
        for name, folder in ((LATENTS, "latents"), (DECODED, "pixels"))
    }
    (at,) = report["sizes"]
    assert set(at["server"]) == {"1", "2"}
    for rows in at["server"].values():
        against = {name: list(found["ratio"]) for name, found in rows.items()}
        assert against == {
            "latents, in torch": ["latents, in torch"],
            "decode in torch, then classify in torch": ["latents, in torch"],
            "latents, on ONNX Runtime": ["latents, on ONNX Runtime"],
            "decode on ONNX Runtime, then classify in torch": ["latents, on ONNX Runtime"],
            "JPEG, then classify in torch": ["latents, in torch"],
        }
        assert rows["latents, in torch"]["ratio"]["latents, in torch"]["median"] == 1.0
    ours = ["encode, in torch", "encode, on ONNX Runtime"]
    assert list(at["edge"]) == [*ours, "MobileNet", "JPEG", "WebP", "AVIF"]
    assert all(list(found["ratio"]) == ours for found in at["edge"].values())
    text = tables.ledger(report)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    cost = at["server_cost"]
    for name, key in (("decode, then classify", "decoded"), ("JPEG, then classify", "classic")):
        (row,) = [row for row in rows if row[0] == name]
        ratio = cost[key]["mmac"] / cost["latents"]["mmac"]
        assert row[5:7] == [f"{cost[key]['mmac']:.1f}", f"{ratio:.2f}"]
    encoders = [row for row in rows if row[0].startswith("encode, ")]
    assert [row[2] for row in encoders] == [f"{at['edge_cost']['encode']['mmac']:.1f}"] * 2
    assert encoders[0][6] == "1.00" and encoders[1][7] == "1.00"
    timed = [row for row in rows if row[0] == "latents, on ONNX Runtime"]
    assert [row[1:3] for row in timed] == [["64", "1"], ["64", "2"]]
    assert "MobileNet at 64 px " in text and rows[2][0] == "latents"


def test_paths_of_the_ledger_give_the_labels_of_the_codec(
    tiny_checkpoint: Path, heads: Path, picture: Path
) -> None:
    codec = TorchCodec.load(tiny_checkpoint, heads=heads / "latents")
    pixels = read_head(heads / "pixels", base_sha256=b"")
    paths = ledger.Paths({ledger.TORCH: codec}, codec, pixels, 4.0)
    data = codec.encode(picture)
    actions, _ = paths.server(data, b"", count=2)
    own = codec.classify(data)
    for found in actions["latents, in torch"]():  # type: ignore[attr-defined]
        assert [label for label, _ in found] == [label for label, _ in own]
        assert [p for _, p in found] == pytest.approx([p for _, p in own], abs=1e-5)
    shown = torch.from_numpy(np.array(codec.decode(data))).permute(2, 0, 1)[None] / 255.0
    wanted = pixels.model(shown, torch.ones(1)).detach()
    found = actions["decode in torch, then classify in torch"]()
    torch.testing.assert_close(found, wanted.expand(2, -1), atol=1e-4, rtol=1e-4)


# -- without the context ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "checkerboard", "econtext"])
def test_means_of_a_context_that_has_seen_nothing(kind: str) -> None:
    more = {"context_segments": (2, 4), "context_window": 4} if kind == "econtext" else {}
    config = CodecConfig(
        latent_channels=6, detail_channels=2, hyper_channels=4, head_channels=4,
        context=kind, context_channels=8, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    model = CodecModel(config)
    for parameter in model.context.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features = torch.randn(1, 4, 8, 8)
    blank, other = torch.zeros(1, 6, 8, 8), torch.randn(1, 6, 8, 8)
    with torch.no_grad():
        found = without_context.means_alone(model, features)
        wanted = model.context.parallel(features, blank)[0]
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        seen = model.context.parallel(features, other)[0]
    assert (kind == "none") == torch.allclose(found, seen)


def test_labels_without_the_context(
    tiny_checkpoint: Path,
    tiny_ladder: Path,
    heads: Path,
    labelled_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder, heads=heads / "colours")
    rgb = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 3, 64, 80), np.uint8))
    known, alone = without_context.both(codec, rgb, rate=4.0)
    data = [codec.encode(each.permute(1, 2, 0).numpy(), rate_index=4) for each in rgb]
    torch.testing.assert_close(known, torch.cat([codec.latents(d) for d in data])[:, :, :4, :5])
    assert alone.shape == known.shape and not torch.allclose(alone, known)
    out = tmp_path / "out.json"
    run(
        without_context, monkeypatch,
        *(labelled_pictures, "--base", tiny_checkpoint, "--prompts", tiny_ladder),
        *("--heads", heads / "colours", "--size", "64", "--rates", "2,4", "--batch", "2"),
        *("--repeats", "2", "--out", out),
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert report["pictures"] == 8 and report["context"] == codec.config.codec.context
    for at in report["rates"]:
        gap = at["without"]["accuracy"] - at["with"]["accuracy"]
        assert at["difference"]["value"] == pytest.approx(100 * gap)
    assert len(report["weights"]["adapters_sha256"]) == 3
    text = tables.without_context(report)
    assert f"| 4 | {100 * report['rates'][1]['with']['accuracy']:.1f} |" in text
    assert "| y_hat from z and symbols alone |" in text and "batches of 2" in text


# -- aggregation, cold starts, sets ----------------------------------------------------------------


def test_aggregation_is_compared_with_its_control(
    tiny_checkpoint: Path,
    heads: Path,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        rgb = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(rgb).resize((72, 72)).save(tmp_path / f"pictures/{number}.png")
    folders = {}
    for features in (True, False):
        config = AggregationTrainingConfig(
            base=str(tiny_checkpoint), head=str(heads / "latents"), features=features,
            rates=(4.0,), steps=1, batch=1, precision="no",
            data=DataConfig(crop=64, validation_pictures=1),
        )  # fmt: skip
        task = AggregationTask(config)
        place = tmp_path / str(features)
        folders[features] = run_training(task, data=tmp_path / "pictures", out=place, device="cpu")
    out, load = tmp_path / "out.json", TorchCodec.load
    monkeypatch.setattr(
        aggregation, "TorchCodec",
        SimpleNamespace(load=lambda heads: load(tiny_checkpoint, heads=heads)),
    )  # fmt: skip
    run(
        aggregation, monkeypatch, picture.parent,
        *("--features", folders[True], "--control", folders[False]),
        *("--heads", heads / "latents", "--rates", "4", "--out", out),
    )  # fmt: skip
    report = json.loads(out.read_text())
    (at,) = report["rates"]
    assert set(at["psnr"]) == {"codec", "features", "control"}
    assert report["weights"]["readers_sha256"].keys() == {LATENTS}
    gained = at["psnr"]["features"] - at["psnr"]["control"]
    assert f"| {gained:+.3f} |" in tables.aggregation(report)


def test_a_cold_label_is_a_row(
    tiny_checkpoint: Path, heads: Path, picture: Path, tmp_path: Path, monkeypatch
) -> None:
    words: list[tuple[str, ...]] = []

    def note(arguments, *, interpreter) -> tuple[float, float]:
        words.append((str(interpreter), *arguments))
        return 1.0, 0.5

    monkeypatch.setattr(startup, "_time", note)
    found = startup.measure(
        picture, base=str(tiny_checkpoint), repeats=2, folder=tmp_path,
        heads=str(heads / "latents"), light=Path("light/python"),
    )  # fmt: skip
    assert {"classify", "classify, light install", "decode, light install"} <= set(
        found["wall_seconds"]
    )
    own = [each[1:] for each in words if "classify" in each]
    assert {each[0] for each in words if "classify" in each} == {sys.executable, "light/python"}
    assert len(own) == 6 and set(own) == {
        ("-m", "promptcodec", "classify", str(tmp_path / "stream.pc"), "--base",
         str(tiny_checkpoint), "--heads", str(heads / "latents")),
    }  # fmt: skip
    without = startup.measure(picture, base=str(tiny_checkpoint), repeats=1, folder=tmp_path)
    assert set(without["wall_seconds"]) == {"decode", "info", "help", "python", "import torch"}
    done = subprocess.run([sys.executable, *own[0]], capture_output=True, text=True, check=True)
    assert any(label in done.stdout for label in ANIMALS)


def test_the_set_of_small_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = {"train": rng.integers(0, 10, 1041), "test": np.arange(10)}
    known = {}
    for split, own in labels.items():
        pictures = rng.integers(0, 256, (len(own), 32, 32, 3), np.uint8)
        known[split] = pictures
        for number, part in enumerate(np.split(pictures, range(1000, len(own), 1000))):
            rows = -(-len(part) // 40)
            sprites = np.zeros((rows * 32, 40 * 32, 3), np.uint8)
            for place, picture in enumerate(part):
                top, left = 32 * (place // 40), 32 * (place % 40)
                sprites[top : top + 32, left : left + 32] = picture
            name = f"cifar10_lossless_{split}_{number:02d}.webp"
            Image.fromarray(sprites).save(tmp_path / name, lossless=True)
    np.savez(
        tmp_path / "cifar10_lossless_index.npz",
        **{f"{split}_labels": own for split, own in labels.items()},
    )
    run(cifar_set, monkeypatch, tmp_path, tmp_path / "set.zip")
    found = read_labelled(tmp_path / "set.zip", split="val")
    assert found.classes == tuple(sorted(cifar_set.CLASSES))
    for name, picture in zip(found.names, found.pictures, strict=True):
        label, file = name.split("/")
        number = int(Path(file).stem)
        assert cifar_set.CLASSES[labels["test"][number]] == label
        np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), known["test"][number])
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        last = cifar_set.CLASSES[labels["train"][1040]]
        with archive.open(f"train/{last}/1040.png") as file:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), known["train"][1040])
        assert len(archive.namelist()) == 1051
