"""Adapters with tables of z: what is coded with which set, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_streams import FOLDER, made_sets
from safetensors.torch import load_file, save_file

from promptcodec import bitstream
from promptcodec.coding.adapter_file import adapter_digest
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.rans import EntropyTables, encode_z
from promptcodec.coding.entropy.z_tables import (
    SPANS,
    TABLES,
    ZTables,
    pack_sets,
)
from promptcodec.coding.gains import Gains
from promptcodec.errors import CheckpointError, StreamError
from promptcodec.models import engine
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec

CHANNELS = 4  # of z, in the golden base
PICTURE = np.random.default_rng(3).integers(0, 256, (70, 90, 3), np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> dict[int, Path]:
    """Adapters of rates 2, 4 and 6; 4 has three sets, 6 one."""
    base = read_base(FOLDER / "base")
    for index, sets in ((2, 0), (4, 3), (6, 1)):
        source = FOLDER / "prompts" / f"rate-{index}"
        adapter = read_adapter(source, base=base)
        write_adapter(
            tmp_path / str(index),
            adapter.network,
            config=adapter.config,
            z_sets=made_sets(CHANNELS, sets),
        )
    return {index: tmp_path / str(index) for index in (2, 4, 6)}


@pytest.fixture
def codec(folders: dict[int, Path]) -> TorchCodec:
    return TorchCodec.load(FOLDER / "base", list(folders.values()))


def profile(data: bytes) -> int:
    return bitstream.parse_header(data).profile


def test_an_adapter_without_sets_is_what_it_was(folders: dict[int, Path]) -> None:
    golden = FOLDER / "prompts" / "rate-2"
    assert adapter_digest(folders[2]) == adapter_digest(golden)
    assert (folders[2] / "adapter_model.safetensors").read_bytes() == (
        golden / "adapter_model.safetensors"
    ).read_bytes()


def test_the_hash_covers_the_sets(folders: dict[int, Path]) -> None:
    path = folders[4] / "adapter_model.safetensors"
    before, tensors = adapter_digest(folders[4]), load_file(path)
    for name, place in ((TABLES, (2, 5)), (SPANS, (0, 0))):
        changed = {key: value.clone() for key, value in tensors.items()}
        changed[name].numpy()[place] += 1
        save_file(changed, path)
        assert adapter_digest(folders[4]) != before
    save_file(tensors, path)
    assert adapter_digest(folders[4]) == before


def test_an_adapter_of_another_number_of_channels_is_refused(folders: dict[int, Path]) -> None:
    path = folders[4] / "adapter_model.safetensors"
    sets = pack_sets(made_sets(CHANNELS + 1, 1))
    save_file(load_file(path) | {n: torch.from_numpy(a) for n, a in sets.items()}, path)
    with pytest.raises(CheckpointError, match="each of 4 channels"):
        read_adapter(folders[4], base=read_base(FOLDER / "base"))


# 4 is the nearer one from above 3 to 5; at 3 and 5 the lower one counts.
NEARER = {2: 0, 2.9: 0, 3: 0, 3 + 1 / 4096: 3, 4: 3, 4.99: 3, 5: 3, 5 + 1 / 4096: 1, 6: 1}


@pytest.mark.parametrize(("rate", "sets"), NEARER.items())
def test_the_nearer_adapter_counts(codec: TorchCodec, rate: float, sets: int) -> None:
    assert len(codec.at(rate).z_sets) == sets
    data = codec.encode(PICTURE, rate_index=rate)
    assert profile(data) == (2 if sets else 1)
    latents = codec.decode_latents(data)
    (tile,) = bitstream.parse(data).tiles
    z = latents.z_hat[0]
    own = codec.tables.with_sets(made_sets(CHANNELS, 3)[:sets])
    assert tile.z == encode_z(z, own)
    assert codec.decode(data).size == (90, 70)


def test_every_way_in_and_out_names_the_same_sets(codec: TorchCodec, tmp_path: Path) -> None:
    """One tile, tiles, regions, batches, files, targets and effort go through one mechanism."""
    data = codec.encode(PICTURE, rate_index=4)
    whole = np.asarray(codec.decode(data)).astype(int)
    mixed = [data, codec.encode(PICTURE, rate_index=2), codec.encode(PICTURE, rate_index=5)]
    for stream, picture in zip(mixed, codec.decode_batch(mixed), strict=True):
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(codec.decode(stream))).max() <= 1
    assert [profile(s) for s in codec.encode_batch([PICTURE] * 2, rate_index=[4, 2])] == [2, 1]
    (tmp_path / "x.pc").write_bytes(data)
    assert np.array_equal(np.asarray(codec.decode(tmp_path / "x.pc")), whole)
    tiled = codec.encode(PICTURE, rate_index=4, tile_size=64)
    tiles = bitstream.parse(tiled).tiles
    assert profile(tiled) == 2 and len(tiles) == 4 and all(tile.z[0] < 3 for tile in tiles)
    part = np.asarray(codec.decode(tiled, region=(70, 10, 15, 20)))
    assert np.array_equal(part, np.asarray(codec.decode(tiled))[10:30, 70:85])
    cut = codec.decode_detailed(tiled[:-1], allow_partial=True)
    assert cut.missing == ("tile 3",)
    refined = codec.encode(PICTURE, rate_index=4, effort=2)
    assert profile(refined) == 2 and codec.decode(refined).size == (90, 70)
    aimed = codec.encode_detailed(PICTURE, target_bpp=8 * len(data) / (70 * 90))
    assert codec.decode(aimed.data).size == (90, 70)


def test_an_effort_judges_by_the_sets(codec: TorchCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []

    def refine(*arguments: object, tables: EntropyTables, **options: object) -> object:
        judged.append(tables.z_sets)
        return refined(*arguments, tables=tables, **options)

    refined = engine.refine
    monkeypatch.setattr(engine, "refine", refine)
    codec.encode(PICTURE, rate_index=4, effort=1)
    assert judged == [codec.at(4).z_sets] and len(judged[0]) == 3


def test_streams_of_one_rate_and_two_profiles_share_no_batch(codec: TorchCodec) -> None:
    """Both are valid for an adapter with sets, and each has its own tables."""
    own = codec.encode(PICTURE, rate_index=4)
    container = bitstream.parse(own)
    z = codec.decode_latents(own).z_hat[0]
    tile = replace(container.tiles[0], z=encode_z(z, codec.tables))
    plain = bitstream.pack(replace(container, tiles=(tile,), profile=bitstream.BASE_TABLES))
    one, two = codec.decode_batch([own, plain])
    assert np.array_equal(np.asarray(one), np.asarray(two))
    assert np.array_equal(codec.decode_latents(plain).z_hat[0], z)


def test_the_estimate_has_the_set_and_its_byte(codec: TorchCodec) -> None:
    found = codec.encode_detailed(PICTURE, rate_index=4)
    latents = codec.decode_latents(found.data)
    own = codec.tables.with_sets(codec.at(4).z_sets)
    z = latents.z_hat[0]
    least = min(each.bits(z) for each in own.z_sets)
    y_bits, z_bits = rans.estimate_bits(latents, own)
    assert z_bits == pytest.approx(8 + least)
    assert found.bpp_estimate * 70 * 90 == pytest.approx(y_bits + z_bits)
    two = replace(latents, z_hat=np.concatenate([latents.z_hat] * 2), indexes=latents.indexes[:0])
    assert rans.estimate_bits(two, own)[1] == pytest.approx(2 * (8 + least))
    assert rans.estimate_bits(latents, codec.tables)[1] == pytest.approx(
        ZTables(codec.tables.z).bits(z)
    )


def test_profile_2_needs_sets(codec: TorchCodec) -> None:
    none = bitstream.parse(codec.encode(PICTURE, rate_index=2))
    for container in (
        replace(none, profile=bitstream.OWN_TABLES),
        replace(none, profile=bitstream.OWN_TABLES, adapter_hashes=()),
    ):
        with pytest.raises(StreamError, match="profile 2, and its rate adapter has no tables"):
            codec.decode(bitstream.pack(container))


def test_a_set_out_of_range_and_an_empty_payload_are_refused(codec: TorchCodec) -> None:
    container = bitstream.parse(codec.encode(PICTURE, rate_index=6))
    for z, says in ((b"\1" + container.tiles[0].z[1:], "has set 1"), (b"", "z is empty")):
        data = bitstream.pack(replace(container, tiles=(replace(container.tiles[0], z=z),)))
        for read in (codec.decode, codec.decode_latents, lambda s: codec.decode_batch([s])):
            with pytest.raises(StreamError, match=says):
                read(data)


def test_sets_are_swapped_with_their_adapter(codec: TorchCodec, folders: dict[int, Path]) -> None:
    """Streams of the old sets still decode, new ones take the new sets, between rates too."""
    old = [codec.encode(PICTURE, rate_index=rate) for rate in (4, 4.5, 3)]
    shown = [codec.decode_latents(data).z_hat for data in old]
    adapter = read_adapter(folders[4], base=read_base(FOLDER / "base"))
    write_adapter(
        folders[4], adapter.network, config=adapter.config, z_sets=made_sets(CHANNELS, 2)[1:]
    )
    codec.add_prompts(folders[4])
    for data, z_hat in zip(old, shown, strict=True):
        assert np.array_equal(codec.decode_latents(data).z_hat, z_hat)
    new = codec.encode(PICTURE, rate_index=4)
    assert len(codec.at(4.5).z_sets) == 1
    assert bitstream.parse(new).tiles[0].z[0] == 0 and new != old[0]
    assert np.array_equal(codec.decode_latents(new).z_hat, shown[0])
    hashes = [bitstream.parse_header(data).adapter_hashes for data in (old[0], new)]
    assert hashes[0] != hashes[1]


def test_gains_and_indexes_do_not_depend_on_the_sets(codec: TorchCodec) -> None:
    latents = codec.decode_latents(codec.encode(PICTURE, rate_index=4))
    plain = TorchCodec.load(FOLDER / "base", [FOLDER / "prompts" / "rate-2"])
    channels = codec.config.codec.latent_channels
    assert isinstance(codec.at(4).gains, Gains) and len(codec.at(4).gains.log_gains) == channels
    found = plain.engine.indexes(latents.z_hat, gains=codec.at(4).gains)
    assert np.array_equal(found, latents.indexes)


def test_info_names_the_profile(codec: TorchCodec, tmp_path: Path, run) -> None:
    (tmp_path / "x.pc").write_bytes(codec.encode(PICTURE, rate_index=4))
    assert "numerics profile 2" in run("info", tmp_path / "x.pc").out.decode()
    facts = json.loads(run("info", "--json", tmp_path / "x.pc").out)
    assert facts["profile"] == 2
