"""Heads on both engines: equal scores from equal latents, for every kind of head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import lively_head, tiny_head

from promptcodec.coding.head_config import HeadConfig
from promptcodec.coding.trunk import StemConfig
from promptcodec.config import CLASSIFY, SEGMENT
from promptcodec.errors import CheckpointError, ModelMismatchError, UsageError
from promptcodec.models.heads import predict
from promptcodec.models.heads.checkpoint import build_head, read_head, write_head
from promptcodec.runtime.export import export
from promptcodec.runtime.files import FOLDER
from promptcodec.runtime.heads import HeadFolders
from promptcodec.runtime.ort import OnnxModels

BASE = bytes.fromhex("ab" * 32)
SMALL = replace(tiny_head(base_sha256=BASE.hex()), temperature=0.7)


def segmenter(begins: int) -> HeadConfig:
    config = tiny_head(SEGMENT, begins=begins, base_sha256=BASE.hex())
    return replace(config, temperature=0.7)


KINDS = {
    "classify": SMALL,
    "coarse": replace(SMALL, trunk=tiny_head(begins=16).trunk),
    "finer": replace(SMALL, trunk=tiny_head(begins=4, channels=6).trunk),
    "whole": replace(SMALL, trunk=tiny_head(begins=1).trunk),
    "segment": segmenter(8),
    "segment-coarse": segmenter(16),
    "segment-finer": segmenter(4),
    "segment-whole": segmenter(1),
}
GRIDS = ((1, 1), (4, 8), (5, 9), (16, 12))


def make(folder: Path, config: HeadConfig) -> Path:
    """Write a head of random weights and its graph."""
    write_head(folder, lively_head(config), config=config)
    export(folder)
    return folder


def found(folder: Path) -> HeadFolders:
    return HeadFolders([folder], base_sha256=BASE, models=OnnxModels(1))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_torch(tmp_path: Path, kind: str) -> None:
    config = KINDS[kind]
    theirs = read_head(make(tmp_path, config), base_sha256=BASE)
    ours = found(tmp_path).head(config.task)
    assert ours.config == config
    generator = np.random.default_rng(1)
    lmbdas = (0.0001, 0.02, 0.18)
    for grid in GRIDS:
        y_hat = (3 * generator.standard_normal((3, 12, *grid))).astype(np.float32)
        with torch.inference_mode():
            expected = predict.scores(theirs, torch.from_numpy(y_hat), lmbda=lmbdas)
        scores = ours.scores(y_hat, lmbdas=lmbdas)
        assert scores.dtype == np.float32 and scores.std() > 0.1
        close = 1e-4 * max(1.0, scores.std())
        np.testing.assert_allclose(scores, expected.numpy() / 0.7, atol=close)


def test_a_head_that_is_trained_again_keeps_its_graph(tmp_path: Path) -> None:
    make(tmp_path, SMALL)
    other = replace(SMALL, labels=("a", "b", "c"), temperature=2.0)
    write_head(tmp_path, build_head(other), config=other)
    assert found(tmp_path).head(CLASSIFY).config.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ("a", "b")},
        {"stem": StemConfig(width=24, blocks=2)},
        {"trunk": tiny_head(begins=4).trunk},
        {"latent_channels": 11},
    ],
)
def test_the_graph_of_another_head(tmp_path: Path, changes: dict) -> None:
    make(tmp_path, SMALL)
    other = replace(SMALL, **changes)
    write_head(tmp_path, build_head(other), config=other)
    with pytest.raises(CheckpointError, match="holds the graphs of another architecture than"):
        found(tmp_path).head(CLASSIFY)


def test_a_damaged_graph(tmp_path: Path) -> None:
    path = make(tmp_path, SMALL) / FOLDER / "classify.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"classify\.onnx was changed or damaged.*export"):
        found(tmp_path).head(CLASSIFY)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no graph .*classify\.onnx.*promptcodec export"):
        found(tmp_path).head(CLASSIFY)
    (tmp_path / FOLDER / "graphs.json").unlink()
    with pytest.raises(CheckpointError, match="has no graphs to run without torch"):
        found(tmp_path).head(CLASSIFY)


def test_heads_that_are_not_there(tmp_path: Path) -> None:
    make(tmp_path / "a", SMALL)
    with pytest.raises(CheckpointError, match="no head to segment: name one with `--heads`"):
        found(tmp_path / "a").head(SEGMENT)
    with pytest.raises(ModelMismatchError, match="belongs to base abab"):
        HeadFolders([tmp_path / "a"], base_sha256=bytes(32), models=OnnxModels(1)).head(CLASSIFY)
    folders = [tmp_path / "a", make(tmp_path / "b", KINDS["whole"])]
    with pytest.raises(CheckpointError, match="2 heads to classify"):
        HeadFolders(folders, base_sha256=BASE, models=OnnxModels(1)).head(CLASSIFY)


def test_heads_without_graphs_are_named(tmp_path: Path) -> None:
    pixels = tiny_head(reads="pixels")
    make(tmp_path / "a", SMALL)
    with pytest.raises(UsageError, match=r"pixels has no graph: .*promptcodec\[train\]"):
        make(tmp_path / "b", pixels)
    with pytest.raises(UsageError, match="pixels has no graph"):
        export(tmp_path)


def test_a_folder_of_heads(tmp_path: Path) -> None:
    for name in ("whole", "segment"):
        config = KINDS[name]
        write_head(tmp_path / name, build_head(config), config=config)
    folders = [tmp_path / name / FOLDER for name in ("segment", "whole")]
    assert export(tmp_path) == folders
    assert all((folder / "graphs.json").is_file() for folder in folders)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        export(tmp_path / "nowhere")
