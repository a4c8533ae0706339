"""A stream and a codec that do not belong together: refused by hash before any symbol is read."""

from itertools import permutations

import numpy as np
import pytest
from places import GOLDEN_FOLDER, ROOT

from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding.entropy import rans
from promptcodec.errors import ModelMismatchError

PICTURE = np.full((20, 30, 3), 120, np.uint8)
BASES = ("base", "centroid", "econtext")
LADDERS = ((), (2,), (4,), (6,), (2, 4), (4, 6))


@pytest.fixture(scope="module")
def bases() -> dict[str, Codec]:
    return {name: Codec.load(GOLDEN_FOLDER / name) for name in BASES}


@pytest.fixture(scope="module")
def ladders(tiny_checkpoint, tiny_ladder) -> dict[tuple[int, ...], Codec]:
    return {
        rates: Codec.load(tiny_checkpoint, [tiny_ladder / f"rate-{rate}" for rate in rates])
        for rates in LADDERS
    }


@pytest.fixture
def no_symbols(monkeypatch):
    """Reading any symbol is a failure of the test."""

    def read(*_):
        raise AssertionError("a symbol was read")

    monkeypatch.setattr(rans, "decode_z", read)
    monkeypatch.setattr(rans, "decode_y", read)


@pytest.mark.parametrize(("writer", "reader"), list(permutations(BASES, 2)))
def test_every_pair_of_bases(bases, no_symbols, writer, reader):
    data = bases[writer].encode(PICTURE)
    with pytest.raises(ModelMismatchError) as caught:
        bases[reader].decode(data)
    for name in (writer, reader):
        assert bases[name].base_hash[:8].hex() in str(caught.value)


@pytest.mark.parametrize(("writer", "reader"), list(permutations(LADDERS, 2)))
def test_every_pair_of_ladders(ladders, monkeypatch, writer, reader):
    """Each stream of one decodes with the other just where that has the adapters it names."""
    there = {each.hashes for each in map(ladders[reader].at, reader)}
    installed = {digest[: bitstream.HASH_BYTES] for hashes in there for digest in hashes}
    between = [sum(writer) / 2] if len(writer) == 2 else []
    for rate in [*(writer or [None]), *between]:
        data = ladders[writer].encode(PICTURE, rate_index=rate)
        named = bitstream.parse_header(data).adapter_hashes
        missing = [digest for digest in named if digest not in installed]
        if not missing:
            assert ladders[reader].decode(data) == ladders[writer].decode(data)
            continue
        with monkeypatch.context() as patch:
            patch.setattr(rans, "decode_z", None)
            patch.setattr(rans, "decode_y", None)
            with pytest.raises(ModelMismatchError) as caught:
                ladders[reader].decode(data)
        for digest in (missing[0], *installed):
            assert digest.hex() in str(caught.value)
        assert installed or "there: none" in str(caught.value)


def test_a_stream_of_a_retired_base(bases, no_symbols, refused, tmp_path):
    """One line names the base and what decodes it, with the exit code of any other base."""
    stream = ROOT / "tests" / "retired" / "nano.pc"
    says = "base nano (5461287769bfc3b5), which this version does not have: decode it with"
    for action in ("decode", "decode_latents"):
        with pytest.raises(ModelMismatchError, match=r"at commit 3d9165a223e4$"):
            getattr(bases["base"], action)(stream)
    arguments = ("decode", stream, "-o", tmp_path / "out.png", "--base", GOLDEN_FOLDER / "base")
    refused(5, says, *arguments, folder=tmp_path)
