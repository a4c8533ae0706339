"""Training writes graphs beside bases and heads, where there can be some."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_head

from promptcodec.config import CLASSIFY, BaseConfig
from promptcodec.models.checkpoint import read_base, write_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.training.graphs import write_graphs


def test_of_all_that_a_run_wrote(
    tiny_checkpoint: Path, tiny_heads: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without = shutil.ignore_patterns("graphs")
    shutil.copytree(tiny_checkpoint, tmp_path / "base", ignore=without)
    shutil.copytree(tiny_heads / CLASSIFY, tmp_path / "heads" / CLASSIFY, ignore=without)
    pixels = tiny_head(reads="pixels")
    write_head(tmp_path / "heads" / "pixels", build_head(pixels), config=pixels)
    write_graphs(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("graphs.json")}
    assert found == {"base/graphs/graphs.json", "heads/classify/graphs/graphs.json"}
    assert not caplog.records


def test_a_base_without_graphs_is_written_all_the_same(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = read_base(tiny_checkpoint).config.codec
    context = {"context": "econtext", "context_segments": (tiny.latent_channels,)}
    codec = replace(tiny, **context, context_channels=16, scale="context")
    write_base(tmp_path, CodecModel(codec), config=BaseConfig(codec=codec))
    with caplog.at_level(logging.WARNING):
        write_graphs(tmp_path)
    assert not (tmp_path / "graphs").exists()
    assert f"{tmp_path}: a base with scale 'context' has no graphs" in caplog.text
