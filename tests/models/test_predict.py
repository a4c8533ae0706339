"""Labels and masks come from what the file holds, and g_s has no part in them."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_head

from promptcodec.coding import predict as masks
from promptcodec.coding.gains import Gains
from promptcodec.coding.head_file import read_head_config
from promptcodec.coding.latents import inside
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import (
    CheckpointError,
    ConfigError,
    ModelMismatchError,
    StreamError,
    UsageError,
)
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads import predict
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.models.tensors import pad


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path, tiny_heads: Path) -> TorchCodec:
    return TorchCodec.load(tiny_checkpoint, tiny_ladder, heads=tiny_heads)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:83, 0:117]
    noise = np.random.default_rng(3).integers(0, 90, (83, 117, 3))
    return (noise + (rows % 50 + columns)[..., None]).clip(0, 255).astype(np.uint8)


@pytest.fixture
def no_synthesis(codec: TorchCodec) -> Iterator[list[str]]:
    """Names of the parts of g_s that run, as its hooks see them."""
    ran: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name, module in codec.model.g_s.named_modules()
    ]
    yield ran
    for hook in hooks:
        hook.remove()


def forward_latents(codec: TorchCodec, picture: np.ndarray, *, rate_index: float, gain: int = 0):
    """y_hat as the encoder has it, before anything is coded."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0
    point = codec.at(rate_index)
    with torch.inference_mode():
        return codec.model.analyse(
            pad(x, TILE_STRIDE), gains=point.gains.shifted(gain), adapter=point.network
        ).y_hat


@pytest.mark.parametrize("rate_index", [2, 4, 4.5, 6])
def test_a_file_says_what_the_forward_pass_says(
    codec: TorchCodec, picture: np.ndarray, rate_index: float
) -> None:
    data = codec.encode(picture, rate_index=rate_index)
    expected = forward_latents(codec, picture, rate_index=rate_index)
    y_hat = codec.latents(data)
    assert y_hat.dtype == torch.float32 and y_hat.shape == (1, 12, 8, 8)
    torch.testing.assert_close(y_hat, expected, atol=1e-5, rtol=1e-5)
    lmbda = codec.at(rate_index).lmbda
    for task in ("classify", "segment"):
        head = codec.head(task)
        with torch.inference_mode():
            from_file = predict.scores(head, y_hat, lmbda=[lmbda])
            in_memory = predict.scores(head, expected, lmbda=[lmbda])
        assert float(from_file.std()) > 1e-3
        torch.testing.assert_close(from_file, in_memory, atol=1e-5, rtol=1e-5)
    shown = inside(expected, height=83, width=117)
    assert shown.shape == (1, 12, 6, 8)  # without those of the padding
    logits = predict.scores(codec.head("classify"), shown, lmbda=[lmbda])[0]
    found = dict(codec.classify(data))
    for label, probability in zip(codec.labels(), torch.softmax(logits, dim=0), strict=True):
        assert found[label] == pytest.approx(float(probability), abs=1e-5)


def test_g_s_never_runs(codec: TorchCodec, picture: np.ndarray, no_synthesis: list[str]) -> None:
    data = codec.encode(picture)
    tiled = codec.encode(picture, tile_size=64)
    for each in (data, tiled):
        codec.latents(each)
        codec.classify(each)
        codec.segment(each)
    assert no_synthesis == []
    codec.decode(data)
    assert no_synthesis[0] == ""  # g_s itself, so the hooks do see it


def test_the_most_probable_comes_first(codec: TorchCodec, picture: np.ndarray) -> None:
    data = codec.encode(picture)
    labels = codec.classify(data)
    assert {label.label for label in labels} == set(codec.labels()) == {"cat", "dog", "fish"}
    values = [label.probability for label in labels]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1.0, abs=1e-5)
    assert codec.classify(data, top=1) == labels[:1]
    assert codec.classify(data, top=99) == labels
    with pytest.raises(UsageError, match="top is 0"):
        codec.classify(data, top=0)


def upsampled(scores: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """Scores of each pixel: (1, classes, H/8, W/8) of a padded picture, cropped to H x W."""
    full = torch.nn.functional.interpolate(scores, scale_factor=8, mode="bilinear")
    return full[:, :, :height, :width]


def test_the_mask_has_the_size_of_the_picture(codec: TorchCodec, picture: np.ndarray) -> None:
    data = codec.encode(picture)
    mask = codec.segment(data)
    assert mask.shape == picture.shape[:2] and mask.dtype == np.uint8
    assert codec.labels("segment") == ("road", "sky")
    assert set(np.unique(mask)) == {0, 1}
    head, y_hat = codec.head("segment"), inside(codec.latents(data), height=83, width=117)
    with torch.inference_mode():
        scores = predict.scores(head, y_hat, lmbda=[codec.at().lmbda])
    expected = upsampled(scores, height=83, width=117)[0].argmax(dim=0)
    assert np.array_equal(mask, expected.numpy())


def test_a_large_mask_is_made_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(1, 3, 23, 9)
    whole = upsampled(scores, height=181, width=70)[0].argmax(dim=0).numpy()
    for rows in (1, 5, 22, 100):
        monkeypatch.setattr(masks, "BAND", rows)
        assert np.array_equal(masks.classes_of(scores[0].numpy(), height=181, width=70), whole)


def test_a_stream_is_read_at_its_own_rate(codec: TorchCodec, picture: np.ndarray) -> None:
    """The head is told the lambda that the gain amounts to: 6 steps of a gain halve the step."""
    finer = float(Gains.constant(1, 6 * 256).multipliers()[0]) ** 2
    data = codec.encode(picture, rate_index=4, gain_steps=6)
    y_hat = inside(codec.latents(data), height=83, width=117)
    logits = predict.scores(codec.head("classify"), y_hat, lmbda=[codec.at(4).lmbda * finer])
    expected = torch.softmax(logits[0], dim=0).sort(descending=True).values
    found = [label.probability for label in codec.classify(data)]
    assert finer > 2 and found == pytest.approx(expected.tolist())


def test_a_batch_says_what_single_streams_say(codec: TorchCodec, picture: np.ndarray) -> None:
    other = picture[::-1, 5:]  # of the same padded size
    streams = [
        codec.encode(picture, rate_index=4),
        codec.encode(picture[:40], rate_index=4),
        codec.encode(other, rate_index=4),
        codec.encode(other, rate_index=5, gain_steps=3),
        codec.encode(picture, tile_size=64),
    ]
    found = codec.classify_batch(streams, top=2)
    for labels, stream in zip(found, streams, strict=True):
        alone = codec.classify(stream, top=2)
        assert [each.label for each in labels] == [each.label for each in alone]
        for one, of_batch in zip(alone, labels, strict=True):
            assert of_batch.probability == pytest.approx(one.probability, abs=1e-5)
    assert codec.classify_batch([]) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (65, 2)])
def test_smallest_pictures(codec: TorchCodec, size: tuple[int, int]) -> None:
    data = codec.encode(np.full((*size, 3), 130, np.uint8))
    assert len(codec.classify(data)) == 3
    assert codec.segment(data).shape == size


def test_paths_and_limits(codec: TorchCodec, picture: np.ndarray, tmp_path: Path) -> None:
    data = codec.encode(picture)
    path = tmp_path / "street.pc"
    path.write_bytes(data)
    assert torch.equal(codec.latents(path), codec.latents(data))
    assert codec.classify(path) == codec.classify(data)
    assert np.array_equal(codec.segment(str(path)), codec.segment(data))
    for read in (codec.latents, codec.classify, codec.segment):
        with pytest.raises(StreamError, match="pixels"):
            read(data, max_pixels=100)
        with pytest.raises(StreamError):
            read(data[:-3])


def test_a_codec_without_heads(tiny_codec: TorchCodec, picture: np.ndarray) -> None:
    data = tiny_codec.encode(picture)
    with pytest.raises(CheckpointError, match=r"no head to classify: .*--heads"):
        tiny_codec.classify(data)
    with pytest.raises(CheckpointError, match=r"no head to segment: .*--heads"):
        tiny_codec.segment(data)
    assert tiny_codec.latents(data).shape == (1, 12, 8, 8)


def test_one_head_alone(tiny_checkpoint: Path, tiny_heads: Path, picture: np.ndarray) -> None:
    codec = TorchCodec.load(tiny_checkpoint, heads=tiny_heads / "segment")
    data = codec.encode(picture)
    assert codec.segment(data).shape == picture.shape[:2]
    with pytest.raises(CheckpointError, match="no head to classify"):
        codec.labels()


def test_heads_that_do_not_fit(tiny_checkpoint: Path, tiny_heads: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no head was found in"):
        TorchCodec.load(tiny_checkpoint, heads=tmp_path)
    config = read_head_config(tiny_heads / "classify")
    other = replace(config, base_sha256="cd" * 32)
    write_head(tmp_path / "other", build_head(other), config=other)
    codec = TorchCodec.load(tiny_checkpoint, heads=tmp_path / "other")
    with pytest.raises(ModelMismatchError, match=r"belongs to base cdcdcdcdcdcdcdcd"):
        codec.labels()
    more = shutil.copytree(tiny_heads / "classify", tmp_path / "more")
    tensors = load_file(more / "head_model.safetensors")
    tensors["trunk.out.bias"] = torch.zeros(4).half()
    save_file(tensors, more / "head_model.safetensors")
    codec = TorchCodec.load(tiny_checkpoint, heads=more)
    with pytest.raises(CheckpointError, match="does not belong to its config"):
        codec.labels()


def test_a_network_on_pixels_is_no_head(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pixels = tiny_head(reads="pixels")
    write_head(tmp_path / "pixels", build_head(pixels), config=pixels)
    codec = TorchCodec.load(tiny_checkpoint, heads=tmp_path)
    with pytest.raises(CheckpointError, match="no head to classify"):
        codec.labels()


def test_two_heads_of_one_task_are_refused(
    tiny_checkpoint: Path, tiny_heads: Path, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        shutil.copytree(tiny_heads / "classify", tmp_path / name)
    codec = TorchCodec.load(tiny_checkpoint, heads=tmp_path)
    with pytest.raises(CheckpointError, match=r"2 heads to classify: .*first.*second"):
        codec.labels()


def test_masks_hold_no_more_than_255_classes() -> None:
    labels = tuple(map(str, range(256)))
    with pytest.raises(ConfigError, match="256 labels"):
        tiny_head("segment", labels=labels)
    assert tiny_head(labels=labels).labels == labels
