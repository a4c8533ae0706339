"""FORMAT.md is enough: a parser written from it alone reads every golden stream to the symbols."""

import ast
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import stranger
import stranger_files
import torch
from golden_streams import FOLDER, GOLDEN, HASHES, load
from places import ROOT
from stranger_files import Refused

FORMAT = (ROOT / "FORMAT.md").read_text(encoding="utf-8")
ADAPTERS = [stranger_files.read_adapter(path) for path in sorted((FOLDER / "prompts").iterdir())]


def read(name: str, data: bytes | None = None) -> list[stranger.Symbols]:
    stream = stranger.parse((FOLDER / f"{name}.pc").read_bytes() if data is None else data)
    return stranger.decode(stream, stranger_files.read_base(FOLDER / GOLDEN[name].base), ADAPTERS)


def together(name: str, tiles: list[stranger.Symbols], part: str) -> np.ndarray:
    """One array of a picture from those of its tiles."""
    stream = stranger.parse((FOLDER / f"{name}.pc").read_bytes())
    lefts = sorted({tile.left for tile in stream.tiles})
    arrays = [getattr(tile, part) for tile in tiles]
    rows = [arrays[i : i + len(lefts)] for i in range(0, len(arrays), len(lefts))]
    return np.concatenate([np.concatenate(row, axis=2) for row in rows], axis=1)


@pytest.mark.parametrize("name", GOLDEN)
def test_symbols_are_those_on_record(name: str) -> None:
    known, tiles = json.loads(HASHES.read_text())[name], read(name)
    stream = stranger.parse((FOLDER / f"{name}.pc").read_bytes())
    exact = [stranger.exact_pixels(tile) for tile in stream.tiles if tile.webp is not None]
    kinds = {"z": np.int16, "indexes": np.uint8, "symbols": np.int32}
    for part, kind in kinds.items():
        if exact:
            arrays = [getattr(tile, part) for tile in tiles]
        else:
            arrays = [together(name, tiles, part)]
        found = b"".join(array.astype(kind).tobytes() for array in arrays)
        assert hashlib.sha256(found).hexdigest() == known[part], part
    if exact:
        found = b"".join(pixels.tobytes() for pixels in exact)
        assert hashlib.sha256(found).hexdigest() == known["exact"]
    assert [stream.width, stream.height] == known["size"]
    assert stream.grey == known["mode"].startswith("L")
    assert (b"ALPH" in stream.chunks) == known["mode"].endswith("A")


@pytest.mark.parametrize("name", ["centroid", "rgb"])
def test_rebuilt_residuals(name: str) -> None:
    codec = load(name)
    latents = codec.decode_latents((FOLDER / f"{name}.pc").read_bytes())
    symbols, indexes = map(torch.from_numpy, (latents.symbols, latents.indexes))
    ours = codec.model.rebuild(symbols.float(), indexes)[0].numpy()
    (tile,) = read(name)
    assert np.allclose(tile.rebuilt, ours, atol=1e-5)
    assert (tile.rebuilt != tile.symbols).any() == (name == "centroid")


def test_hashes_of_bases_and_adapters() -> None:
    for name in {golden.base for golden in GOLDEN.values()}:
        codec = load(next(n for n, golden in GOLDEN.items() if golden.base == name))
        assert stranger_files.read_base(FOLDER / name).digest == codec.base_hash
    codecs = [load(name) for name in ("between", "sets-middle")]
    known = {a.sha256: a for codec in codecs for a in codec.ladder.adapters.values()}
    assert {adapter.digest for adapter in ADAPTERS} == set(known)
    for adapter in ADAPTERS:
        ours = [each.frequencies for each in known[adapter.digest].z_sets]
        assert np.array_equal(ours, adapter.sets)


def test_what_must_be_refused_is_refused_by_both() -> None:
    data = (FOLDER / "noise.pc").read_bytes()
    codec = load("noise")
    assert np.array_equal(read("noise")[0].symbols, codec.decode_latents(data).symbols[0])
    for position in range(0, len(data), 3):
        damaged = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
        with pytest.raises(Refused):
            read("noise", damaged)
        with pytest.raises(ValueError):
            codec.decode_latents(damaged)


def test_it_is_independent() -> None:
    roots = set()
    for file in (str(stranger.__file__), str(stranger_files.__file__)):
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add(str(node.module).split(".")[0])
    assert roots - sys.stdlib_module_names == {"numpy", "PIL", "stranger_files"}


def test_the_specification_lists_what_the_hash_leaves_out() -> None:
    from dataclasses import fields

    from promptcodec.config import CodecConfig

    listed = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", FORMAT, re.MULTILINE))
    added = {f.name: f.default for f in fields(CodecConfig) if f.metadata.get("added")}
    assert {k: json.loads(v) for k, v in listed.items()} == json.loads(json.dumps(added))
    assert json.loads(json.dumps(stranger_files.ADDED)) == json.loads(json.dumps(added))


def test_names_of_types_are_those_of_torch() -> None:
    for kind in stranger_files.TORCH_NAMES.values():
        assert f"`torch.{kind}`" in FORMAT
        assert str(getattr(torch, kind)) == f"torch.{kind}"
