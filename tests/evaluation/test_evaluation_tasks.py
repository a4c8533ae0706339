"""Accuracy over rate, from files; payloads."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import lively_head, tiny_head

from promptcodec.coding.head_config import PIXELS
from promptcodec.errors import StreamError
from promptcodec.evaluation.classification import Files, predict
from promptcodec.evaluation.codecs.payload import payload_bytes
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.io.hub.results import read_figures
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import read_head, write_head


@pytest.fixture(scope="module")
def heads(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained classifiers of the two colours, on latents and on pixels."""
    codec = TorchCodec.load(tiny_checkpoint, [])
    folder = tmp_path_factory.mktemp("heads")
    latents = tiny_head(
        labels=("blue", "red"),
        latent_channels=codec.config.codec.latent_channels,
        base_sha256=codec.base_hash.hex(),
    )
    pixels = tiny_head(labels=("blue", "red"), reads=PIXELS)
    for name, config in (("latents", latents), ("pixels", pixels)):
        write_head(folder / name, lively_head(config), config=config)
    return folder


@pytest.fixture
def recipe(tiny_checkpoint: Path, tiny_ladder: Path, heads: Path, tmp_path: Path) -> Path:
    readers = [{"name": n, "heads": [str(heads / n)] * 2} for n in ("latents", "pixels")]
    ours = {"name": "ours", "base": str(tiny_checkpoint), "prompts": str(tiny_ladder)}
    sources = [
        {**ours, "settings": [2, 2, 4], "gain_steps": [-4, 0, 0], "readers": readers},
        {"name": "JPEG", "format": "jpeg", "settings": [10, 50], "readers": readers[1:]},
    ]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"split": "val", "size": 64, "sources": sources}))
    return path


def test_every_reader_of_every_source_is_measured(
    run, recipe: Path, labelled_pictures: Path, tiny_checkpoint: Path, heads: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    assert run("eval-task", recipe, "--data", labelled_pictures, "-o", out).code == 0
    report = json.loads(out.read_text())
    assert report["pictures"] == 8 and report["classes"] == ["blue", "red"]
    ours, jpeg = report["sources"]
    assert [row["setting"] for row in ours["settings"]] == [2, 2, 4]
    assert [row["gain_steps"] for row in ours["settings"]] == [-4, 0, 0]
    rates = [row["bpp"] for row in ours["settings"]]
    assert rates == sorted(rates)
    for source, names in ((ours, {"latents", "pixels"}), (jpeg, {"pixels"})):
        for row in source["settings"]:
            assert 0 < row["bpp_payload"] < row["bpp"] and row["psnr"] > 4
            assert set(row["readers"]) == names
            for reader in row["readers"].values():
                assert len(reader["right"]) == len(reader["seeds"]) == 2
                assert reader["accuracy"] == reader["right"][0].count("1") / 8
                assert 0.0 <= reader["calibration_error"] <= 1.0
                assert "top5" not in reader  # all classes are those of the set
    found = read_figures(out).weights
    assert found is not None
    assert found.bases == {TorchCodec.load(tiny_checkpoint, []).base_hash.hex()}
    assert len(found.adapters) == 3 and not found.tasks and jpeg["bases_sha256"] == []
    weights = heads / "latents" / "head_model.safetensors"
    assert sha256_of(weights) in found.heads and len(found.heads) == 2
    assert ours["readers_sha256"]["latents"] == [sha256_of(weights)] * 2
    again = run("eval-task", recipe, "--data", labelled_pictures, "--json")
    assert json.loads(again.out)["sources"] == report["sources"]


def test_predictions_from_a_file_are_those_of_the_forward_pass(
    tiny_checkpoint: Path, heads: Path
) -> None:
    codec = TorchCodec.load(tiny_checkpoint, [], heads=heads / "latents")
    data = codec.encode(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    head = read_head(heads / "latents", base_sha256=codec.base_hash)
    files = Files([data], torch.empty(1), codec.at().lmbda, codec.latents(data))
    (place,) = predict(head, files).argmax(dim=1).tolist()
    assert codec.classify(data, top=1)[0].label == ("blue", "red")[place]


def test_a_head_of_more_classes_than_the_set(
    run, recipe: Path, labelled_pictures: Path, tmp_path: Path
) -> None:
    labels = ("Blue", "lamp", "red", "sea", "sky", "tree")
    config = replace(tiny_head(labels=labels, reads=PIXELS), temperature=2.0)
    model = lively_head(config)
    with torch.no_grad():
        bias = torch.tensor([1.0, 9.0, 2.0, 8.0, 0.0, 0.0])
        model.trunk.out.bias.copy_(bias)  # type: ignore[union-attr]
        model.trunk.out.weight.zero_()  # type: ignore[union-attr]
    write_head(tmp_path / "many", model, config=config)
    readers = [{"name": "many", "heads": [str(tmp_path / "many")]}]
    source = {"name": "original", "format": "original", "settings": [0], "readers": readers}
    facts = {"split": "val", "size": 64, "sources": [source]}
    recipe.write_text(yaml.safe_dump(facts))
    out = tmp_path / "results.json"
    assert run("eval-task", recipe, "--data", labelled_pictures, "-o", out).code == 0
    (row,) = json.loads(out.read_text())["sources"][0]["settings"]
    assert row["bpp"] == row["bpp_payload"] == 24.0
    found = row["readers"]["many"]
    assert found["accuracy"] == 0.0  # always "lamp"
    assert found["top5"]["accuracy"] == 1.0
    assert found["among"]["right"] == ["00001111"]  # always red of the two
    # Never right, and as sure of it as its temperature lets it be.
    assert found["calibration_error"] == pytest.approx(float((bias / 2).softmax(0)[1]), abs=1e-3)


def edited(path: Path, **changes: object) -> Path:
    facts = yaml.safe_load(path.read_text())
    facts["sources"][1] |= changes
    path.write_text(yaml.safe_dump(facts))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "gif"}, "format is 'gif'"),
        ({"settings": []}, "need settings"),
        ({"gain_steps": [-8]}, "1 gain_steps for 2 settings"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"readers": [{"name": "x", "heads": ["nowhere"]}]}, "no head at nowhere"),
    ],
)
def test_recipes_that_do_not_fit(
    refused, recipe: Path, labelled_pictures: Path, changes: dict, says: str, tmp_path: Path
) -> None:
    path = edited(recipe, **changes)
    code = 7 if "nowhere" in says else 2
    refused(code, says, "eval-task", path, "--data", labelled_pictures, folder=tmp_path)


def test_heads_of_other_classes_are_refused(
    refused, recipe: Path, tiny_heads: Path, labelled_pictures: Path, tmp_path: Path
) -> None:
    facts = yaml.safe_load(recipe.read_text())
    facts["sources"][0]["readers"] = [{"name": "x", "heads": [str(tiny_heads / "classify")]}]
    recipe.write_text(yaml.safe_dump(facts))
    command = ("eval-task", recipe, "--data", labelled_pictures)
    refused(2, "has 3 classes to classify, and the set has 2", *command, folder=tmp_path)


def test_payloads(tiny_codec: TorchCodec) -> None:
    rng = np.random.default_rng(4)
    picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    flat = Image.new("RGB", (64, 64), (9, 99, 199))
    for kind in ("JPEG", "WEBP", "AVIF"):
        sizes = []
        for shown in (picture, flat):
            buffer = io.BytesIO()
            shown.save(buffer, kind, quality=30)
            data = buffer.getvalue()
            sizes.append((len(data), payload_bytes(data)))
        # What is not payload is the same for both, but for a few bytes of sizes and tables.
        overhead = [whole - bare for whole, bare in sizes]
        assert min(overhead) > 20 and abs(overhead[0] - overhead[1]) < 16, kind
        assert 0 < sizes[1][1] < 100 < sizes[0][1], kind
    with_metadata = io.BytesIO()
    plain = io.BytesIO()
    picture.save(plain, "JPEG", quality=30)
    picture.save(with_metadata, "JPEG", quality=30, comment=b"x" * 999, icc_profile=b"y" * 999)
    assert payload_bytes(with_metadata.getvalue()) == payload_bytes(plain.getvalue())
    ours = tiny_codec.encode(picture)
    assert 0 < payload_bytes(ours) < len(ours)
    with pytest.raises(StreamError, match="its payload is not known"):
        payload_bytes(b"GIF89a..........")
