"""The codec end to end: what goes in comes out, at every size and in every mode."""

import json
import os
import subprocess
import sys
import threading
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec import bitstream
from promptcodec.coding.entropy import rans
from promptcodec.coding.gains import Gains
from promptcodec.errors import (
    CheckpointError,
    ModelMismatchError,
    PictureError,
    PromptCodecError,
    RateError,
    StreamError,
    UsageError,
)
from promptcodec.models.checkpoint import read_base, write_base
from promptcodec.models.codec import TorchCodec


def photo(width: int, height: int, *, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 6, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def packed(codec: TorchCodec, data: bytes, **changes) -> bytes:
    """The same stream with other header fields and right checksums."""
    container = bitstream.parse(data)
    values = {name: getattr(container, name) for name in container.__dataclass_fields__}
    values.pop("header_size")
    return bitstream.pack(bitstream.Container(**{**values, **changes}))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 70), (63, 64), (65, 1), (64, 64), (100, 130), (200, 33)]
)
def test_every_size_comes_back(tiny_codec: TorchCodec, size: tuple[int, int]) -> None:
    data = tiny_codec.encode(photo(*size))
    picture = tiny_codec.decode(data)
    assert picture.size == size and picture.mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes_and_alpha_come_back(tiny_codec: TorchCodec, mode: str) -> None:
    source = Image.fromarray(photo(50, 40)).convert(mode)
    if mode.endswith("A"):
        source.putalpha(Image.fromarray(photo(50, 40, seed=2)[..., 0]))
    decoded = tiny_codec.decode(tiny_codec.encode(source))
    assert decoded.mode == mode
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(decoded)[..., -1], np.asarray(source)[..., -1])


def test_every_kind_of_source_gives_the_same_bytes(tiny_codec: TorchCodec, tmp_path: Path) -> None:
    array = photo(70, 50)
    path = tmp_path / "photo.png"
    Image.fromarray(array).save(path)
    tensor = torch.from_numpy(array).permute(2, 0, 1).float() / 255
    sources = [path, str(path), path.read_bytes(), path.open("rb"), Image.open(path), array, tensor]
    assert len({tiny_codec.encode(source) for source in sources}) == 1


def test_encoding_is_repeatable_and_fast_paths_agree(tiny_codec: TorchCodec) -> None:
    array = photo(130, 70)
    encoded = tiny_codec.encode_detailed(array)
    assert tiny_codec.encode(array) == encoded.data
    assert encoded.header_bytes <= 64
    overhead = 8 * (len(encoded.data) - encoded.header_bytes) / array[..., 0].size
    assert (
        encoded.bpp_estimate <= overhead < encoded.bpp_estimate * 1.01 + 8 * 24 / array[..., 0].size
    )


def test_decoder_sees_exactly_the_encoders_symbols(tiny_codec: TorchCodec) -> None:
    array = photo(130, 70)
    data = tiny_codec.encode(array)
    latents = tiny_codec.decode_latents(data)
    assert np.abs(latents.symbols).max() > 0
    container = bitstream.parse(data)
    z, indexes, symbols = latents.z_hat[0], latents.indexes[0], latents.symbols[0]
    assert rans.encode_z(z, tiny_codec.tables) == container.tiles[0].z
    assert rans.encode_y(symbols, indexes, tiny_codec.tables) == container.tiles[0].y


def test_gain_moves_the_rate_both_ways(tiny_codec: TorchCodec) -> None:
    array = photo(128, 128)
    sizes = [len(tiny_codec.encode(array, gain_steps=g)) for g in (-6, -0.5, 0, 0.5, 6)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2] < sizes[-1]
    assert tiny_codec.decode(tiny_codec.encode(array, gain_steps=2.25)).size == (128, 128)
    with pytest.raises(UsageError, match="gain_steps is 99"):
        tiny_codec.encode(array, gain_steps=99)
    with pytest.raises(UsageError, match="gain_steps is nan"):
        tiny_codec.encode(array, gain_steps=float("nan"))


def test_rates(tiny_codec: TorchCodec) -> None:
    array = photo(8, 8)
    assert [rate.index for rate in tiny_codec.rates] == [4]
    assert tiny_codec.encode(array, rate_index=4) == tiny_codec.encode(array)
    with pytest.raises(
        RateError, match=r"rate index 6 is not installed; installed: 4; train it .*--rate-index 6"
    ):
        tiny_codec.encode(array, rate_index=6)
    with pytest.raises(RateError, match="or a number between two adapters"):
        tiny_codec.encode(array, rate_index=4.5)


def test_loading_faults(tmp_path: Path, tiny_checkpoint: Path, monkeypatch) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        TorchCodec.load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="no rate adapter"):
        TorchCodec.load(tiny_checkpoint, tmp_path)
    for device in ("toaster", "meta", "cpu:x"):
        with pytest.raises(UsageError, match=f"device '{device}'.* choose cpu"):
            TorchCodec.load(tiny_checkpoint, device=device)
    with pytest.raises(UsageError, match="precision is 'int8'"):
        TorchCodec.load(tiny_checkpoint, precision="int8")  # type: ignore[arg-type]
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"some/name: the Hub at .* cannot be used"):
        TorchCodec.load("some/name")


def test_a_hub_id_loads_its_folder(tiny_checkpoint: Path, monkeypatch) -> None:
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **options: asked.append((name, options)) or str(tiny_checkpoint),
    )
    assert TorchCodec.load("owner/tiny").base_hash == read_base(tiny_checkpoint).sha256
    ((name, options),) = asked
    patterns = options["allow_patterns"]
    assert name == "owner/tiny"
    for needed in ("config.json", "rate-2/adapter_model.safetensors", "graphs/analyse.onnx"):
        assert any(fnmatch(needed, pattern) for pattern in patterns), needed


def test_a_stream_of_another_base_is_refused(tiny_codec: TorchCodec, tmp_path: Path) -> None:
    base = read_base_copy(tiny_codec)
    write_base(tmp_path / "other", base, config=tiny_codec.config)
    other = TorchCodec.load(tmp_path / "other")
    data = tiny_codec.encode(photo(20, 20))
    with pytest.raises(ModelMismatchError) as caught:
        other.decode(data)
    assert tiny_codec.base_hash[:8].hex() in str(caught.value)
    assert other.base_hash[:8].hex() in str(caught.value)


def read_base_copy(codec: TorchCodec):
    import copy

    model = copy.deepcopy(codec.model)
    with torch.no_grad():
        model.g_s.stem.bias.add_(0.5)
    return model


def test_fields_of_the_future_are_refused(tiny_codec: TorchCodec) -> None:
    data = tiny_codec.encode(photo(100, 20))
    with pytest.raises(ModelMismatchError, match="adapter 3132333435363738, which is not"):
        tiny_codec.decode(packed(tiny_codec, data, adapter_hashes=(b"12345678",)))
    tile = bitstream.parse(data).tiles[0]
    with pytest.raises(StreamError, match="go on after the last symbol"):
        tiny_codec.decode(packed(tiny_codec, data, tile_size=64, tiles=(tile, tile)))
    wrong = bitstream.Tile(z=tile.z, y=tile.y, index_crc=tile.index_crc ^ 1)
    with pytest.raises(StreamError, match="table indexes do not match"):
        tiny_codec.decode(packed(tiny_codec, data, tiles=(wrong,)))


def test_hostile_payloads_with_right_checksums(tiny_codec: TorchCodec) -> None:
    data = tiny_codec.encode(photo(64, 64))
    tile = bitstream.parse(data).tiles[0]
    rng = np.random.default_rng(3)
    for _ in range(60):
        y = bytearray(tile.y)
        for _ in range(int(rng.integers(1, 4))):
            y[int(rng.integers(len(y)))] ^= 1 << int(rng.integers(8))
        y = bytes(y)[: int(rng.integers(len(y) + 1))]
        hostile = bitstream.Tile(z=tile.z, y=y, index_crc=tile.index_crc)
        try:
            picture = tiny_codec.decode(packed(tiny_codec, data, tiles=(hostile,)))
        except StreamError:
            continue
        assert picture.size == (64, 64)


def test_every_truncation_and_bit_flip_is_a_typed_error(tiny_codec: TorchCodec) -> None:
    data = tiny_codec.encode(photo(16, 16))
    for end in range(len(data)):
        with pytest.raises(StreamError):
            tiny_codec.decode(data[:end])
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(PromptCodecError):
                tiny_codec.decode(bytes(damaged))


def test_too_large_is_refused_before_work(tiny_codec: TorchCodec) -> None:
    with pytest.raises(PictureError):
        tiny_codec.encode(photo(200, 100), max_pixels=10_000)
    strip = np.zeros((1, 500, 3), np.uint8)
    with pytest.raises(PictureError, match="cost more"):
        tiny_codec.encode(strip, max_pixels=10_000)
    data = tiny_codec.encode(photo(200, 100))
    with pytest.raises(StreamError):
        tiny_codec.decode(data, max_pixels=10_000)


def test_threads_share_a_codec(tiny_codec: TorchCodec) -> None:
    arrays = [photo(40 + 20 * i, 60, seed=i) for i in range(4)]
    expected = [tiny_codec.encode(a) for a in arrays]
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        for _ in range(3):
            results[number] = tiny_codec.encode(arrays[number])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[i] for i in range(4)] == expected


HASHES = """
import hashlib, json, sys, torch
from promptcodec.models.codec import TorchCodec
torch.set_num_threads(int(sys.argv[3]))
torch.backends.mkldnn.enabled = sys.argv[4] == "1"
codec = TorchCodec.load(sys.argv[1], precision=sys.argv[5])
data = open(sys.argv[2], "rb").read()
latents = codec.decode_latents(data)
parts = [latents.z_hat, latents.indexes, latents.symbols]
hashes = [hashlib.sha256(p.tobytes()).hexdigest() for p in parts]
import numpy as np
picture = np.asarray(codec.decode(data)).astype(int)
print(json.dumps({"hashes": hashes, "picture": picture.ravel()[::7].tolist()}))
"""


def test_one_stream_decodes_alike_in_other_processes(
    tiny_codec: TorchCodec, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    stream = tmp_path / "stream.pc"
    stream.write_bytes(tiny_codec.encode(photo(150, 90)))
    runs = []
    for threads, onednn, precision in (
        ("1", "1", "float32"),
        ("2", "0", "float32"),
        ("4", "1", "bfloat16"),
    ):
        words = [str(tiny_checkpoint), str(stream), threads, onednn, precision]
        done = subprocess.run(
            [sys.executable, "-c", HASHES, *words],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        )
        runs.append(json.loads(done.stdout))
    assert runs[0]["hashes"] == runs[1]["hashes"] == runs[2]["hashes"]
    difference = np.array(runs[0]["picture"]) - np.array(runs[1]["picture"])
    assert np.abs(difference).max() <= 1


def test_a_batch_decodes_like_single_pictures(tiny_codec: TorchCodec) -> None:
    arrays = [photo(64, 128, seed=i) for i in range(3)]
    singles = [tiny_codec.decode_latents(tiny_codec.encode(a)) for a in arrays]
    z_hat = np.concatenate([s.z_hat for s in singles])
    gains = Gains.constant(tiny_codec.config.codec.latent_channels)
    engine = tiny_codec.engine
    indexes = engine.indexes(z_hat, gains=gains)
    assert np.array_equal(indexes, np.concatenate([s.indexes for s in singles]))
    symbols = np.concatenate([s.symbols for s in singles])
    y_hat = engine.reconstruct(z_hat, symbols, indexes, gains=gains, network=None)
    expected = np.concatenate([s.y_hat for s in singles])
    np.testing.assert_allclose(y_hat, expected, atol=1e-4, rtol=1e-4)


def test_latents_can_be_trained_on(tiny_codec: TorchCodec) -> None:
    y_hat = tiny_codec.latents(tiny_codec.encode(photo(70, 50)))
    head = torch.nn.Conv2d(y_hat.shape[1], 1, 1)
    head(y_hat).sum().backward()
    assert head.weight.grad is not None


def test_a_stream_may_be_a_file(tiny_codec: TorchCodec, tmp_path: Path) -> None:
    data = tiny_codec.encode(photo(70, 50))
    (tmp_path / "photo.pc").write_bytes(data)
    expected = tiny_codec.decode(data).tobytes()
    for source in (tmp_path / "photo.pc", str(tmp_path / "photo.pc"), memoryview(data)):
        assert tiny_codec.decode(source).tobytes() == expected
    with pytest.raises(StreamError, match="no such file: check the name"):
        tiny_codec.decode(tmp_path / "missing.pc")
    with pytest.raises(StreamError, match="not int"):
        tiny_codec.decode(3)  # type: ignore[arg-type]
