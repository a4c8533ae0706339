"""A folder with base/, prompts/ and heads/ is a codec, and each of its parts can be named by it."""

import json
import shutil
from pathlib import Path

import pytest

from promptcodec import Codec
from promptcodec.errors import CheckpointError
from promptcodec.io.checkpoints import bundled


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tiny_ladder, tiny_heads, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("codec")
    for source, name in (
        (tiny_checkpoint, "base"),
        (tiny_ladder, "prompts"),
        (tiny_heads, "heads"),
    ):
        shutil.copytree(source, root / name)
    return root


def rates(codec: Codec) -> list[float]:
    return [rate.index for rate in codec.rates]


def test_base_ladder_and_heads(folder: Path) -> None:
    codec = Codec.load(folder)
    assert rates(codec) == [2, 4, 6]
    assert codec.labels("classify") == ("cat", "dog", "fish")
    assert rates(Codec.load(folder, prompts=[])) == [4]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_for_each_engine(folder: Path, engine: str) -> None:
    codec = Codec.load(folder, engine=engine)
    assert rates(codec) == [2, 4, 6] and codec.labels("segment") == ("road", "sky")


def test_parts_by_the_codecs_folder(folder: Path) -> None:
    codec = Codec.load(folder / "base", folder, heads=folder)
    assert rates(codec) == [2, 4, 6]
    assert codec.labels("segment") == ("road", "sky")


def test_a_base_alone_has_no_adapters(folder: Path) -> None:
    codec = Codec.load(folder / "base")
    assert rates(codec) == [4]
    with pytest.raises(CheckpointError, match="no head to classify"):
        codec.labels("classify")


def test_the_bundled_codec_is_such_a_folder() -> None:
    assert rates(Codec.load(bundled())) == rates(Codec.load())


def test_on_the_command_line(folder: Path, run) -> None:
    result = json.loads(run("rates", "--base", folder, "--json").out)
    assert [rate["rate_index"] for rate in result["rates"]] == [2, 4, 6]
    alone = json.loads(run("rates", "--base", folder / "base", "--json").out)
    assert [rate["folder"] for rate in alone["rates"]] == [None]


def test_addresses_are_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"https://host/owner/name: .* give owner/name"):
        Codec.load("https://host/owner/name")
