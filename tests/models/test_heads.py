"""Heads: any grid, files that are checked, shapes known before the weights are read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import lively_head, tiny_head

from promptcodec.coding.head_config import HeadConfig
from promptcodec.coding.head_shapes import head_shapes
from promptcodec.coding.trunk import StageConfig
from promptcodec.config import LAMBDAS
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError
from promptcodec.models.heads.checkpoint import build_head, read_head, write_head
from promptcodec.models.heads.latent_stem import LatentStem

SMALL = tiny_head(base_sha256="ab" * 32)
SEGMENT = tiny_head("segment", base_sha256="ab" * 32)
BASE = bytes.fromhex("ab" * 32)
KINDS = {
    "classify": SMALL,
    "coarse": tiny_head(begins=16),
    "finer": tiny_head(begins=4, channels=6),
    "whole": tiny_head(begins=1),
    "pixels": tiny_head(reads="pixels"),
    "segment": SEGMENT,
    "segment-coarse": tiny_head("segment", begins=16),
    "segment-finer": tiny_head("segment", begins=4),
    "segment-whole": tiny_head("segment", begins=1),
    "segment-pixels": tiny_head("segment", reads="pixels"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(1, 1), (5, 9)])
def test_any_grid(kind: str, grid: tuple[int, int]) -> None:
    config, lmbda = KINDS[kind], torch.tensor([0.01, 0.1])
    rows, columns = grid
    x, wanted = torch.randn(2, 12, rows, columns), (2 * rows, 2 * columns)
    if config.reads == "pixels":
        x, wanted = torch.rand(2, 3, 16 * rows + 1, 9), (2 * rows + 1, 2)
    with torch.no_grad():
        scores = lively_head(config)(x, lmbda)
    assert scores.shape == ((2, 3) if config.task == "classify" else (2, 3, *wanted))


def test_a_segmentation_head_ends_at_a_sixteenth() -> None:
    strides = {name: max(c.trunk.strides, default=c.trunk.begins) for name, c in KINDS.items()}
    assert {strides[name] for name in KINDS if name.startswith("segment")} == {16}
    assert strides["classify"] == 32
    levels = lively_head(SEGMENT).levels(torch.randn(1, 12, 4, 4), torch.ones(1))
    assert list(levels) == [8, 16] and levels[16].shape == (1, 12, 4, 4)


def test_the_head_is_told_the_rate() -> None:
    y_hat, head = torch.randn(1, 12, 4, 4), lively_head(SMALL)
    with torch.no_grad():
        low, high = (head(y_hat, torch.tensor([value])) for value in (0.0013, 0.18))
    assert not torch.equal(low, high)


def test_rates_beyond_the_ladder_are_its_ends() -> None:
    head, y_hat = lively_head(SMALL), torch.randn(1, 12, 4, 4)
    for beyond, end in ((1e-5, LAMBDAS[0]), (3.0, LAMBDAS[-1])):
        assert torch.equal(head(y_hat, torch.tensor([beyond])), head(y_hat, torch.tensor([end])))


def test_a_stem_finds_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    stem = LatentStem(12, SMALL.stem, SMALL.trunk)
    y_hat = [5.0 + 3.0 * torch.randn(8, 12, 4, 4, generator=generator) for _ in range(4)]
    mix = torch.randn(32, 12, generator=generator)
    wanted = [
        torch.nn.functional.pixel_shuffle(torch.einsum("oc,bchw->bohw", mix, y), 2) for y in y_hat
    ]
    stem.fit(y_hat, wanted)
    assert stem.center.mean().item() == pytest.approx(5.0, abs=0.2)
    assert stem.spread.mean().item() == pytest.approx(3.0, abs=0.2)
    with torch.no_grad():
        found = stem(y_hat[0], torch.full((8,), 0.02))
    error = (found - wanted[0]).square().mean() / wanted[0].square().mean()
    assert error < 0.01


@pytest.mark.parametrize("config", [SMALL, SEGMENT], ids=lambda config: config.task)
def test_saved_and_read(tmp_path: Path, config: HeadConfig) -> None:
    model = lively_head(config)
    write_head(tmp_path, model, config=config)
    head = read_head(tmp_path, base_sha256=BASE)
    assert head.config == config
    for name, value in head.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].half().float()), name
    assert not any(p.requires_grad for p in head.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_those_of_the_network(kind: str) -> None:
    state = build_head(KINDS[kind]).state_dict()
    shapes = list(head_shapes(KINDS[kind]))
    assert len(shapes) == len(state)
    assert dict(shapes) == {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("stem", {"width": 4096}, "does not belong to its config"),
        ("stem", {"blocks": 10**15}, "stem.blocks.2.depthwise.weight is missing"),
        ("trunk", {"last": 10**9}, "does not belong to its config"),
    ],
)
def test_a_config_asks_for_no_more_than_its_file(
    tmp_path: Path, part: str, changes: dict, message: str
) -> None:
    write_head(tmp_path, lively_head(SMALL), config=SMALL)
    path = tmp_path / "head_config.json"
    values = json.loads(path.read_text())
    values[part] |= changes
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=message):
        read_head(tmp_path, base_sha256=BASE)


def test_files_are_checked(tmp_path: Path) -> None:
    write_head(tmp_path, lively_head(SMALL), config=SMALL)
    with pytest.raises(ModelMismatchError, match="belongs to base abab"):
        read_head(tmp_path, base_sha256=bytes(32))
    with pytest.raises(CheckpointError, match="no head at"):
        read_head(tmp_path / "nowhere", base_sha256=BASE)
    path = tmp_path / "head_model.safetensors"
    tensors = load_file(path)

    def check(message: str, **changed: torch.Tensor | None) -> None:
        found = {**tensors, **changed}
        save_file({k: v for k, v in found.items() if v is not None}, path)
        with pytest.raises(CheckpointError, match=message):
            read_head(tmp_path, base_sha256=BASE)

    check("norm.weight is missing", **{"stem.norm.weight": None})
    check("unknown tensor more", more=torch.zeros(1))
    check("out.bias is not finite", **{"trunk.out.bias": torch.full((3,), torch.nan).half()})
    check("does not belong to its config", **{"trunk.out.bias": torch.zeros(4).half()})
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        read_head(tmp_path, base_sha256=BASE)


PIXELS = {"reads": "pixels", "latent_channels": 0, "stem": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0"),
        ({"task": "paint"}, "task is 'paint'"),
        ({"task": "segment"}, "a head to segment needs 16"),
        ({"trunk": SEGMENT.trunk}, "a head to classify needs 0"),
        ({"labels": ("one",)}, "1 labels"),
        ({"labels": ("a", "a")}, "all different"),
        ({"reads": "minds"}, "reads is 'minds'"),
        ({"reads": "pixels"}, "pixels 0"),
        ({"latent_channels": 0}, "latents have 1 or more"),
        ({"stem": None}, "latents have 1 or more and a stem"),
        (PIXELS, "the trunk begins at 1/8 and the head reads pixels"),
        ({"format_version": 2}, "upgrade"),
    ],
)
def test_config_faults(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"begins": 2}, "begins is 2"),
        ({"mean": (0.5,)}, "one number for each of three channels"),
        ({"until": 8}, "until is 8; need 16"),
        ({"until": 16}, "need one of them"),
        ({"until": 16, "last": 0}, "stages go beyond until 1/16"),
        ({"stages": ()}, "stages are empty"),
        ({"network": "timm/resnet18"}, "timm has its stages and last"),
        ({"entry": 8}, "entry is 8 of stages that begin at 1/8"),
        ({"channels": 3}, "channels is 3; pixels have 3"),
    ],
)
def test_trunk_faults(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL.trunk, **changes)


@pytest.mark.parametrize("changes", [{"kernel": 4}, {"stride": 3}])
def test_stage_faults(changes: dict) -> None:
    with pytest.raises(ConfigError, match="need 3 or 5, and 1 or 2"):
        StageConfig(width=8, blocks=1, **changes)
