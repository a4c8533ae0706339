"""An adapter's own tables of z: their stored form, what names them, who uses them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stranger
import torch
from golden_streams import FOLDER, made_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from safetensors.torch import load_file, save_file

from promptcodec import bitstream
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.rans import EntropyTables, decode_z, encode_z
from promptcodec.coding.entropy.tables import TOTAL, quantise_frequencies
from promptcodec.coding.entropy.z_tables import (
    MAX_SETS,
    SPANS,
    TABLES,
    ZTables,
    cheapest,
    pack_sets,
    read_sets,
)
from promptcodec.coding.gains import Gains
from promptcodec.errors import CheckpointError, StreamError
from promptcodec.models import engine
from promptcodec.models.adapters.checkpoint import adapter_digest, read_adapter, write_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec

CHANNELS = 4  # of z, in the golden base
PICTURE = np.random.default_rng(3).integers(0, 256, (70, 90, 3), np.uint8)


def small(*rows: dict[int, int]) -> ZTables:
    """Tables by the values that have more than the least frequency."""
    table = np.ones((len(rows), 256), np.uint32)
    for channel, row in enumerate(rows):
        for value, frequency in row.items():
            table[channel, value + 128] = frequency
    return ZTables(table)


def rest(*others: int) -> int:
    """Frequency that completes a table beside these and 1 for the other values."""
    return TOTAL - sum(others) - (255 - len(others))


@pytest.fixture(scope="module")
def tables(tiny_codec: TorchCodec) -> EntropyTables:
    return tiny_codec.tables


# -- stored form -----------------------------------------------------------------------------------


def test_the_example_of_the_specification() -> None:
    tensors = pack_sets([small({-1: 100, 0: 65083, 1: 100})])
    assert tensors[SPANS].tolist() == [[-1, 1]] and tensors[SPANS].dtype == np.int16
    assert tensors[TABLES].tolist() == [[100, 65083, 100]]
    assert tensors[TABLES].dtype == np.uint16
    text = (ROOT / "FORMAT.md").read_text(encoding="utf-8")
    assert "spans of `-1 1` and the set `100 65083 100`" in text


def test_a_span_serves_all_sets_and_the_edges_are_values() -> None:
    sets = [
        small({5: rest()}, {-128: 9, 127: rest(9)}),
        small({5: 7, 7: rest(7)}, {0: rest()}),
    ]
    tensors = pack_sets(sets)
    assert tensors[SPANS].tolist() == [[5, 7], [-128, 127]]
    assert tensors[TABLES].shape == (2, 3 + 256)
    assert tensors[TABLES][0, :4].tolist() == [rest(), 1, 1, 9]
    assert tensors[TABLES][1, :3].tolist() == [7, 1, rest(7)]
    found = read_sets(tensors, channels=2, where="here")
    for one, two in zip(found, sets, strict=True):
        assert np.array_equal(one.frequencies, two.frequencies)


@given(st.integers(1, MAX_SETS), st.integers(1, 5), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_any_sets_come_back(count: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = []
    for _ in range(count):
        weights = rng.random((channels, 256)) ** rng.integers(1, 200)
        sets.append(ZTables(np.stack([quantise_frequencies(row) for row in weights])))
    tensors = pack_sets(sets)
    assert tensors[TABLES].size <= count * channels * 256
    found = read_sets(tensors, channels=channels, where="here")
    assert len(found) == count
    for one, two in zip(found, sets, strict=True):
        assert one.frequencies.dtype == np.uint32
        assert np.array_equal(one.frequencies, two.frequencies)


def test_no_sets_are_no_tensors() -> None:
    assert pack_sets([]) == {}
    assert read_sets({}, channels=2, where="here") == ()


HOSTILE = {
    "no spans": (lambda t: t.pop(SPANS), "tables.z.spans is missing"),
    "no tables": (lambda t: t.pop(TABLES), "tables.z is missing"),
    "kind of spans": (lambda t: t.update({SPANS: t[SPANS].astype(np.int32)}), "is int32; need"),
    "kind of tables": (lambda t: t.update({TABLES: t[TABLES].astype(np.int32)}), "is int32; need"),
    "too few channels": (lambda t: t.update({SPANS: t[SPANS][1:].copy()}), "each of 2 channels"),
    "spans of another shape": (lambda t: t.update({SPANS: t[SPANS][0].copy()}), "a lowest and"),
    "span turned round": (lambda t: t.update({SPANS: t[SPANS][:, ::-1]}), "a lowest and"),
    "span below": (lambda t: t[SPANS].__setitem__((0, 0), -129), "from -128 to 127"),
    "span above": (lambda t: t[SPANS].__setitem__((1, 1), 128), "from -128 to 127"),
    "span too wide": (lambda t: t[SPANS].__setitem__((0, 0), -2), "1 to 4 sets of 7"),
    "no set": (lambda t: t.update({TABLES: t[TABLES][:0].copy()}), "1 to 4 sets of 6"),
    "five sets": (
        lambda t: t.update({TABLES: np.repeat(t[TABLES], 5, axis=0)}),
        "1 to 4 sets of 6",
    ),
    "one axis": (lambda t: t.update({TABLES: t[TABLES][0].copy()}), "1 to 4 sets of 6"),
    "no axis": (lambda t: t.update({TABLES: np.array(t[TABLES][0, 0])}), "1 to 4 sets of 6"),
    "a sum above": (lambda t: t[TABLES].__setitem__((0, 4), 101), "table 1 of set 0"),
    "a zero": (
        lambda t: t[TABLES].__setitem__((0, slice(0, 3)), (0, 65183, 100)),
        "table 0 of set 0 of z does not hold frequencies >= 1",
    ),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_sets_are_refused_in_one_line(fault: str) -> None:
    tensors = pack_sets(
        [small({-1: 100, 0: rest(100, 100), 1: 100}, {0: 9, 1: 99, 2: rest(9, 99)})]
    )
    change, says = HOSTILE[fault]
    change(tensors)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_sets(tensors, channels=2, where="here")
    assert "\n" not in str(caught.value)


# -- coding ----------------------------------------------------------------------------------------

Z = np.array([[[0, -1, 3]], [[-128, 127, 1]]], np.int16)


def test_exact_bytes(tables: EntropyTables) -> None:
    """The number of the set, and words that a decoder in plain integers reads."""
    near = small({0: 20000, -1: 20000, 3: rest(20000, 20000)}, {-128: 30000, 127: rest(30000)})
    own = tables.with_sets([small({90: rest()}, {90: rest()}), near])
    payload = encode_z(Z, own)
    assert payload == bytes.fromhex("01 00ee7f3b")
    assert np.array_equal(stranger.decode_z(payload[1:], near.frequencies, 3), Z.reshape(2, 3))
    assert np.array_equal(decode_z(payload, Z.shape, own), Z)
    assert rans._z_bits(Z, own) == pytest.approx(8 + near.bits(Z))


def test_the_cheapest_set_is_taken(tables: EntropyTables) -> None:
    sets = made_sets(2, 3)
    rng = np.random.default_rng(1)
    chosen = set()
    for width in (0, 25):
        z = rng.integers(-width, width + 1, (2, 3, 4)).astype(np.int16)
        z += np.array([-1, 0], np.int16)[:, None, None]  # where the tables have their tops
        own = np.arange(2)[:, None, None]
        bits = [-np.log2(s.frequencies[own, z + 128] / TOTAL).sum() for s in sets]
        assert [each.bits(z) for each in sets] == pytest.approx(bits)
        payload = encode_z(z, tables.with_sets(sets))
        assert payload[0] == cheapest(sets, z) == int(np.argmin(bits))
        chosen.add(payload[0])
        alone = replace(tables, z=sets[payload[0]].frequencies)
        assert payload[1:] == encode_z(z, alone)  # what follows is as in profile 1
    assert chosen == {0, 2}
    assert cheapest([sets[1], sets[1]], z) == 0


@given(st.integers(1, MAX_SETS), st.integers(0, 2**32), st.booleans())
@settings(deadline=None, max_examples=40)
def test_anything_comes_back(tables: EntropyTables, count: int, seed: int, wide: bool) -> None:
    rng = np.random.default_rng(seed)
    own = tables.with_sets(made_sets(3, count))
    shape = (3, *rng.integers(1, 5, 2))
    z = rng.integers(*((-128, 128) if wide else (-6, 7)), shape).astype(np.int16)
    payload = encode_z(z, own)
    assert payload[0] < count
    assert np.array_equal(decode_z(payload, shape, own), z)


def test_hostile_set_bytes(tables: EntropyTables) -> None:
    own = tables.with_sets(made_sets(2, 3))
    payload = encode_z(Z, own)
    for number in range(3, 256):
        data = bytes([number]) + payload[1:]
        with pytest.raises(
            StreamError, match=f"names set {number} of the tables, and the rate has 3"
        ):
            decode_z(data, Z.shape, own)
    with pytest.raises(StreamError, match="a payload of z is empty"):
        decode_z(b"", Z.shape, own)
    lowest = np.full(Z.shape, -128, np.int16)
    assert np.array_equal(decode_z(b"\2", Z.shape, own), lowest)  # no words are valid
    for cut in range(1, len(payload)):
        try:
            assert not np.array_equal(decode_z(payload[:cut], Z.shape, own), Z)
        except StreamError as error:
            assert "\n" not in str(error)


def test_tables_of_y_are_made_once(tables: EntropyTables) -> None:
    own = tables.with_sets(made_sets(CHANNELS, 2))
    assert own.y_models is tables.y_models and tables.with_sets(()) is tables


# -- adapters and streams --------------------------------------------------------------------------


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
    for z, says in ((b"\1" + container.tiles[0].z[1:], "names set 1"), (b"", "z is empty")):
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
