"""A codec with adapters: many rates, hot swap, streams that name what they need."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from promptcodec import Codec, bitstream
from promptcodec.coding.adapter import AdapterConfig
from promptcodec.errors import CheckpointError, ModelMismatchError, RateError, UsageError
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path) -> TorchCodec:
    return TorchCodec.load(tiny_checkpoint, tiny_ladder)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:83, 0:117]
    noise = np.random.default_rng(3).integers(0, 40, (83, 117, 3))
    return (noise + (rows + columns)[..., None]).astype(np.uint8)


def header(data: bytes) -> bitstream.Header:
    return bitstream.parse_header(data, max_pixels=10**6)


def altered(ladder: Path, base: Path, folder: Path, *, index: int, gain: int) -> Path:
    """The adapter of a rate with another gain."""
    prompts = read_adapter(ladder / f"rate-{index}", base=read_base(base)).network
    with torch.no_grad():
        prompts.log_gains.add_(gain)
    digest = read_base(base).sha256.hex()
    config = AdapterConfig(rate_index=index, lmbda=0.01, base_sha256=digest, width=4, rank=2)
    write_adapter(folder, prompts, config=config)
    return folder


def test_every_installed_rate_and_any_between(codec: TorchCodec, picture: np.ndarray) -> None:
    assert [rate.index for rate in codec.rates] == [2, 4, 6]
    sizes = {}
    for index in (2, 2.5, 3.99, 4, 5.2, 6):
        data = codec.encode(picture, rate_index=index)
        head = header(data)
        assert bitstream.fixed_to_rate(head.rate) == pytest.approx(index, abs=1e-4)
        assert len(head.adapter_hashes) == (1 if index in (2, 4, 6) else 2)
        assert codec.decode(data).size == (117, 83)
        sizes[index] = len(data)
    assert sizes[2] < sizes[4] < sizes[6]
    assert header(codec.encode(picture)).rate == 4 * bitstream.RATE_STEPS  # the base's own


def test_the_decoder_rebuilds_what_the_encoder_saw(
    tiny_checkpoint: Path, tiny_ladder: Path, codec: TorchCodec, picture: np.ndarray
) -> None:
    other = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    for index in (2, 3.3):
        data = codec.encode(picture, rate_index=index, gain_steps=1.5)
        np.testing.assert_array_equal(codec.decode(data), other.decode(data))


def test_no_prompts_is_the_base(
    tiny_checkpoint: Path, codec: TorchCodec, picture: np.ndarray
) -> None:
    alone = TorchCodec.load(tiny_checkpoint, [])
    data = alone.encode(picture)
    assert header(data).adapter_hashes == ()
    assert data == TorchCodec.load(tiny_checkpoint).encode(picture)
    # A codec with adapters still reads what the base wrote.
    np.testing.assert_array_equal(codec.decode(data), alone.decode(data))
    with pytest.raises(RateError, match="installed: 4; train it with"):
        alone.encode(picture, rate_index=3)


@pytest.mark.parametrize("form", ["folder", "list", "dict", "one"])
def test_forms_of_prompts(form: str, tiny_checkpoint: Path, tiny_ladder: Path) -> None:
    folders = {i: tiny_ladder / f"rate-{i}" for i in (2, 4, 6)}
    given = {
        "folder": str(tiny_ladder),
        "list": [folders[6], str(folders[2]), folders[4]],
        "dict": folders,
        "one": folders[4],
    }[form]
    rates = [r.index for r in TorchCodec.load(tiny_checkpoint, given).rates]
    assert rates == ([4] if form == "one" else [2, 4, 6])


def test_a_dict_that_names_wrongly(tiny_checkpoint: Path, tiny_ladder: Path) -> None:
    with pytest.raises(UsageError, match="given for rates 3, and the folders hold 2"):
        TorchCodec.load(tiny_checkpoint, {3: tiny_ladder / "rate-2"})
    crossed = {2: tiny_ladder / "rate-4", 4: tiny_ladder / "rate-2"}
    with pytest.raises(UsageError, match="given for rates 2, 4, and the folders hold 4, 2"):
        TorchCodec.load(tiny_checkpoint, []).add_prompts(crossed)


def test_the_base_alone_stays_a_rate_where_no_adapter_reaches(
    tiny_checkpoint: Path, tiny_ladder: Path, picture: np.ndarray
) -> None:
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder / "rate-2")
    assert [rate.index for rate in codec.rates] == [2, 4]
    assert header(codec.encode(picture)).adapter_hashes == ()
    codec.add_prompts(tiny_ladder / "rate-6")
    assert [rate.index for rate in codec.rates] == [2, 6]
    assert len(header(codec.encode(picture)).adapter_hashes) == 2  # 4 lies between the two


def test_a_model_that_peft_has_filled_codes_no_base_streams(
    tiny_checkpoint: Path, tiny_ladder: Path, picture: np.ndarray
) -> None:
    from peft import PeftModel

    from promptcodec.models.adapters.peft import register

    register()
    codec = TorchCodec.load(tiny_checkpoint, [])
    data = codec.encode(picture)
    PeftModel.from_pretrained(codec.model, tiny_ladder / "rate-2")
    with pytest.raises(UsageError, match="use a separate model"):
        codec.encode(picture)
    with pytest.raises(UsageError, match="use a separate model"):
        codec.decode(data)


@pytest.mark.parametrize("index", [-1, 1.9, 6.01, 8, 9.5, "high", float("nan"), 1e9])
def test_rates_that_are_not_there(codec: TorchCodec, picture: np.ndarray, index: object) -> None:
    with pytest.raises(RateError, match="is not installed; installed: 2, 4, 6"):
        codec.encode(picture, rate_index=index)  # type: ignore[arg-type]


def test_a_stream_of_a_missing_adapter(
    tiny_checkpoint: Path, tiny_ladder: Path, codec: TorchCodec, picture: np.ndarray
) -> None:
    data = codec.encode(picture, rate_index=4.5)
    low, high = header(data).adapter_hashes
    with pytest.raises(ModelMismatchError, match=rf"rate 4\.5 with rate adapter {low.hex()}"):
        TorchCodec.load(tiny_checkpoint, []).decode(data)
    partly = TorchCodec.load(tiny_checkpoint, tiny_ladder / "rate-4")
    with pytest.raises(ModelMismatchError, match=f"{high.hex()}, which is not installed"):
        partly.decode(data)
    partly.add_prompts(tiny_ladder / "rate-6")
    np.testing.assert_array_equal(partly.decode(data), codec.decode(data))


def test_a_header_whose_rate_and_adapters_disagree(codec: TorchCodec, picture: np.ndarray) -> None:
    from dataclasses import replace

    container = bitstream.parse(codec.encode(picture, rate_index=4.5), max_pixels=10**6)
    for rate in (3 * bitstream.RATE_STEPS, 4 * bitstream.RATE_STEPS, 7 * bitstream.RATE_STEPS):
        with pytest.raises(ModelMismatchError, match="faulty"):
            codec.decode(bitstream.pack(replace(container, rate=rate)))
    swapped = replace(container, adapter_hashes=container.adapter_hashes[::-1])
    with pytest.raises(ModelMismatchError, match="faulty"):
        codec.decode(bitstream.pack(swapped))


def test_a_replaced_adapter_still_decodes(
    tiny_checkpoint: Path, tiny_ladder: Path, picture: np.ndarray, tmp_path: Path
) -> None:
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    before = codec.encode(picture, rate_index=4)
    shown = np.asarray(codec.decode(before))
    finer = altered(tiny_ladder, tiny_checkpoint, tmp_path / "finer", index=4, gain=6)
    codec.add_prompts(finer)
    after = codec.encode(picture, rate_index=4)
    assert len(after) > len(before)
    np.testing.assert_array_equal(codec.decode(before), shown)


def test_nothing_is_installed_when_one_is_broken(
    tiny_checkpoint: Path, tiny_ladder: Path, tmp_path: Path
) -> None:
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder / "rate-4")
    shutil.copytree(tiny_ladder, tmp_path / "ladder")
    (tmp_path / "ladder" / "rate-6" / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="rate-6"):
        codec.add_prompts(tmp_path / "ladder")
    assert [rate.index for rate in codec.rates] == [4]
    with pytest.raises(CheckpointError, match="no rate adapter was found"):
        codec.add_prompts(tmp_path)


def test_decoding_while_adapters_swap(
    tiny_checkpoint: Path, tiny_ladder: Path, picture: np.ndarray, tmp_path: Path
) -> None:
    codec = Codec.load(tiny_checkpoint, tiny_ladder)
    finer = altered(tiny_ladder, tiny_checkpoint, tmp_path / "finer", index=4, gain=6)
    streams = [codec.encode(picture, rate_index=index) for index in (2, 3.5, 4, 6)]
    shown = [np.asarray(codec.decode(data)) for data in streams]
    wrong: list[str] = []

    def decode() -> None:
        for turn in range(8):
            which = turn % len(streams)
            if not np.array_equal(np.asarray(codec.decode(streams[which])), shown[which]):
                wrong.append(f"stream {which}")
            data = codec.encode(picture, rate_index=4)
            if len(header(data).adapter_hashes) != 1:
                wrong.append("encoded")

    workers = [threading.Thread(target=decode) for _ in range(16)]
    for worker in workers:
        worker.start()
    for turn in range(40):
        codec.add_prompts(finer if turn % 2 else tiny_ladder / "rate-4")
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("index", [2, 4.5])
def test_effort_keeps_the_rate(codec: TorchCodec, picture: np.ndarray, index: float) -> None:
    data = codec.encode(picture, rate_index=index, effort=2)
    assert header(data).rate == bitstream.rate_to_fixed(index)
    assert codec.decode(data).size == (117, 83)
