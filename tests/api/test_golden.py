"""Streams that were written once and must decode for ever, with bases and adapters of their own.

The decoded symbols and table indexes must match their hashes on every machine; the picture may
differ by one level. `pytest tests/api/test_golden.py --add-golden` writes the streams of `GOLDEN`
that are not there yet and never replaces one.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden_streams import (
    FOLDER,
    GOLDEN,
    HASHES,
    add_missing,
    boxes_of,
    describe,
    load,
    prompt_folders,
)
from PIL import Image

from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.tiling import Box
from promptcodec.runtime.export import export


@pytest.fixture(scope="module", autouse=True)
def added(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--add-golden"):
        add_missing()


@pytest.fixture(scope="module", params=["torch", "onnx"])
def codecs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, PictureCodec]:
    if request.param == "torch":
        return {name: load(name) for name in GOLDEN}
    folder = tmp_path_factory.mktemp("graphs")
    for base in {golden.base for golden in GOLDEN.values()}:
        export(Path(shutil.copytree(FOLDER / base, folder / base)))
    return {
        name: Codec.load(folder / golden.base, prompt_folders(name), engine="onnx")
        for name, golden in GOLDEN.items()
    }


def stream(name: str) -> bytes:
    return (FOLDER / f"{name}.pc").read_bytes()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_stream(codecs: dict[str, PictureCodec], name: str) -> None:
    assert describe(codecs[name], stream(name)) == json.loads(HASHES.read_text())[name]
    with Image.open(FOLDER / f"{name}.png") as kept:
        expected = np.asarray(kept).astype(int)
    difference = np.abs(np.asarray(codecs[name].decode(stream(name))).astype(int) - expected)
    assert difference.max() <= 1
    container = bitstream.parse(stream(name))
    boxes = boxes_of(container)
    for number in container.exact_tiles:
        assert not difference[boxes[number].slices(Box(0, 0, *expected.shape[:2]))].any()


def test_golden_metadata_comes_back(codecs: dict[str, PictureCodec]) -> None:
    picture = codecs["metadata"].decode(stream("metadata"))
    assert picture.getexif()[0x010E] == "a golden picture"
    info = codecs["chunks"].decode(stream("chunks")).info
    assert info["xmp"].startswith(b"<x:xmpmeta") and len(info["icc_profile"]) > 128


def test_golden_streams_walk_every_path(codecs: dict[str, PictureCodec]) -> None:
    latents = {name: codecs[name].decode_latents(stream(name)) for name in GOLDEN}
    indexes = np.concatenate([x.indexes.ravel() for x in latents.values()])
    assert (indexes == 0).any() and (indexes == 63).any()
    assert not latents["certain"].indexes.any()
    containers = {name: bitstream.parse(stream(name)) for name in GOLDEN}
    kinds = {chunk.kind for container in containers.values() for chunk in container.chunks}
    assert kinds == {*bitstream.CHUNK_KINDS, b"note", b"reso"}
    assert {len(container.adapter_hashes) for container in containers.values()} == {0, 1, 2}
    assert min(c.gain for c in containers.values()) < 0 < max(c.gain for c in containers.values())
    assert containers["no-words"].tiles[0].z == b"" == containers["certain"].tiles[0].y[1:]
    # Escapes: bytes of the section, which a varint of one byte counts here.
    latents = [tile for c in containers.values() for tile in c.tiles[:1] if not tile.is_exact]
    assert sum(tile.y[0] for tile in latents) > 100
    kinds = {(c.version, tile.is_exact) for c in containers.values() for tile in c.tiles}
    assert kinds == {(1, False), (2, False), (2, True)}


def test_every_golden_file_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.pc")} == set(GOLDEN)
    assert set(json.loads(HASHES.read_text())) == set(GOLDEN)
