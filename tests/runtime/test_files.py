"""Graphs on disk: the same bytes each time, and refused where they do not belong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from promptcodec.api import Codec
from promptcodec.coding.base_file import read_stored_base
from promptcodec.errors import CheckpointError, ModelMismatchError, UsageError
from promptcodec.io.checkpoints import ADAPTER_CONFIG
from promptcodec.runtime import ort
from promptcodec.runtime.catalogue import NAMES
from promptcodec.runtime.export import models
from promptcodec.runtime.files import FOLDER, MANIFEST, read_graphs


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base / "base", tmp_path / "base"))


def test_export_is_reproducible(base: Path) -> None:
    config = read_stored_base(base / "base").config.codec
    files, made = read_graphs(base / "base", config), models(config)
    assert {name: files.read(name) for name in NAMES} == made
    assert sum(map(len, made.values())) < 200_000


def test_missing_graphs(copy: Path) -> None:
    (copy / FOLDER / "synthesise.onnx").unlink()
    codec = Codec.load(copy, [], engine="onnx")
    with pytest.raises(CheckpointError, match=r"no graph .*synthesise\.onnx.*promptcodec export"):
        codec.decode(codec.encode(b"P6 2 1 255 abcdef"))
    shutil.rmtree(copy / FOLDER)
    with pytest.raises(CheckpointError, match="has no graphs to run without torch"):
        Codec.load(copy, [], engine="onnx")


def test_a_changed_graph(copy: Path) -> None:
    path = copy / FOLDER / "analyse.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"analyse\.onnx was changed or damaged"):
        Codec.load(copy, [], engine="onnx").encode(b"P6 2 1 255 abcdef")


def test_graphs_of_another_shape(copy: Path) -> None:
    path = copy / FOLDER / MANIFEST
    facts = json.loads(path.read_text())
    facts["codec_sha256"] = "0" * 64
    path.write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match="graphs of another architecture"):
        Codec.load(copy, [], engine="onnx")
    path.write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        Codec.load(copy, [], engine="onnx")


def test_a_base_without_graphs_is_named(tiny_checkpoint: Path) -> None:
    codec = read_stored_base(tiny_checkpoint).config.codec
    segments = (codec.latent_channels,)
    context = replace(codec, context="econtext", context_channels=16, context_segments=segments)
    with pytest.raises(UsageError, match="scale 'context' has no graphs: it runs in torch"):
        models(replace(context, scale="context"))


def test_a_lack_of_memory_is_no_mismatch(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 1024")

    monkeypatch.setattr(ort.onnxruntime, "InferenceSession", full)
    with pytest.raises(MemoryError, match="Failed to allocate"):
        Codec.load(copy, [], engine="onnx").encode(b"P6 2 1 255 abcdef")


def test_an_adapter_of_another_shape(base: Path, tmp_path: Path) -> None:
    """An adapter that names this base and has not the shapes of its networks."""
    adapter = Path(shutil.copytree(base / "prompts" / "rate-2", tmp_path / "rate-2"))
    path = adapter / ADAPTER_CONFIG
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "rank": facts["rank"] + 1}))
    with pytest.raises(CheckpointError, match="it does not belong to its config"):
        Codec.load(base / "base", adapter, engine="onnx")
    path.write_text(json.dumps({**facts, "base_sha256": "0" * 64}))
    with pytest.raises(ModelMismatchError, match="belongs to base"):
        Codec.load(base / "base", adapter, engine="onnx")
