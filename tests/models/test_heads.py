"""Heads: stages that agree with timm's, any grid, files that are checked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import of_trunk

from promptcodec.coding.head_config import HeadConfig
from promptcodec.coding.head_shapes import COUNTER, head_shapes
from promptcodec.config import LAMBDAS
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError
from promptcodec.models.heads.checkpoint import build_head, read_head, write_head
from promptcodec.models.heads.classifier import LatentClassifier

SMALL = HeadConfig(
    labels=("cat", "dog", "fish"),
    latent_channels=12,
    widths=(16, 32),
    depths=(2, 2),
    head_channels=8,
    base_sha256="ab" * 32,
)
BASE = bytes.fromhex("ab" * 32)


def head_of(config: HeadConfig = SMALL) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_head(config).eval()


@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (8, 12), (5, 9)])
def test_any_grid(grid: tuple[int, int]) -> None:
    y_hat, lmbda = torch.randn(2, 12, *grid), torch.tensor([0.01, 0.1])
    with torch.no_grad():
        assert head_of()(y_hat, lmbda).shape == (2, 3)
        scores = head_of(replace(SMALL, task="segment"))(y_hat, lmbda)
        assert scores.shape == (2, 3, 2 * grid[0], 2 * grid[1])
        residual = replace(SMALL, body="resnet")
        assert head_of(residual)(y_hat, lmbda).shape == (2, 3)
        for finer in (replace(residual, stride=8), replace(SMALL, stride=8)):
            assert head_of(finer)(y_hat, lmbda).shape == (2, 3)
        seen = replace(residual, reads="pixels", latent_channels=0)
        assert head_of(seen)(torch.rand(2, 3, 16 * grid[0] + 1, 9), lmbda).shape == (2, 3)
        pixels = head_of(replace(SMALL, reads="pixels", latent_channels=0))
        assert pixels(torch.rand(2, 3, 16 * grid[0] + 1, 16 * grid[1]), lmbda).shape == (2, 3)


def test_the_head_is_told_the_rate() -> None:
    y_hat = torch.randn(1, 12, 4, 4)
    with torch.no_grad():
        low, high = (head_of()(y_hat, torch.tensor([value])) for value in (0.0013, 0.18))
    assert not torch.equal(low, high)


def test_rates_beyond_the_ladder_are_its_ends() -> None:
    head, y_hat = head_of().eval(), torch.randn(1, 12, 4, 4)
    for beyond, end in ((1e-5, LAMBDAS[0]), (3.0, LAMBDAS[-1])):
        assert torch.equal(head(y_hat, torch.tensor([beyond])), head(y_hat, torch.tensor([end])))


def test_standardised_latents() -> None:
    head = LatentClassifier(SMALL)
    y_hat = 5.0 + 3.0 * torch.randn(64, 12, 4, 4)
    head.stem.standardise(y_hat)
    assert head.stem.center.mean().item() == pytest.approx(5.0, abs=0.2)
    assert head.stem.spread.mean().item() == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_saved_and_read(tmp_path: Path, task: str) -> None:
    config = replace(SMALL, task=task)
    model = head_of(config)
    write_head(tmp_path, model, config=config)
    head = read_head(tmp_path, base_sha256=BASE)
    assert head.config == config
    for name, value in head.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].half().float()), name
    assert not any(p.requires_grad for p in head.model.parameters())


KINDS = {
    "swin": SMALL,
    "deep": replace(SMALL, widths=(16, 24, 8), depths=(1, 2, 1), window=3, mlp_ratio=1.7),
    "film": replace(SMALL, film=True, stride=8, dropout=0.1),
    "resnet": replace(SMALL, body="resnet", depths=(3, 2)),
    "resnet-film": replace(SMALL, body="resnet", film=True, stride=8, widths=(16, 16)),
    "segment": replace(SMALL, task="segment", film=True),
    "pixels": replace(SMALL, reads="pixels", latent_channels=0, patch=2),
    "pixels-resnet": replace(SMALL, reads="pixels", latent_channels=0, body="resnet"),
    "pixels-segment": replace(
        SMALL, reads="pixels", latent_channels=0, task="segment", widths=(8, 16, 24),
        depths=(1, 1, 2),
    ),
    "trunk": of_trunk(SMALL),
    "trunk-finer": of_trunk(SMALL, begins=4, channels=6),
    "trunk-segment": of_trunk(replace(SMALL, task="segment"), begins=8),
    "trunk-whole": of_trunk(SMALL, begins=1),
    "trunk-pixels": of_trunk(replace(SMALL, reads="pixels", latent_channels=0)),
    "trunk-pixels-segment": of_trunk(
        replace(SMALL, reads="pixels", latent_channels=0, task="segment")
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_those_of_the_network(kind: str) -> None:
    state = build_head(KINDS[kind]).state_dict()
    shapes = list(head_shapes(KINDS[kind]))
    assert len(shapes) == len(state)
    assert dict(shapes) == {name: tuple(value.shape) for name, value in state.items()}
    whole = {name for name, value in state.items() if not value.is_floating_point()}
    assert whole == {name for name in state if name.endswith(COUNTER)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [1024, 2048]}, "does not belong to its config"),
        ({"depths": [10**15, 1]}, "body.stages.0.2.norm1.weight is missing"),
        ({"window": 10**9}, "does not belong to its config"),
    ],
)
def test_a_config_asks_for_no_more_than_its_file(
    tmp_path: Path, changes: dict, message: str
) -> None:
    write_head(tmp_path, head_of(), config=SMALL)
    path = tmp_path / "head_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=message):
        read_head(tmp_path, base_sha256=BASE)


def test_residual_heads_keep_their_statistics(tmp_path: Path) -> None:
    config = replace(SMALL, body="resnet")
    model = head_of(config).train()
    for _ in range(3):
        model(torch.randn(4, 12, 5, 5), torch.full((4,), 0.02))
    write_head(tmp_path, model, config=config)
    read = read_head(tmp_path, base_sha256=BASE).model
    y_hat, lmbda = torch.randn(2, 12, 4, 4), torch.tensor([0.01, 0.1])
    with torch.no_grad():
        torch.testing.assert_close(
            read(y_hat, lmbda), model.eval()(y_hat, lmbda), atol=0.02, rtol=0
        )
    counters = [v for n, v in read.state_dict().items() if n.endswith("num_batches_tracked")]
    assert counters and all(int(value) == 3 for value in counters)


@pytest.mark.parametrize(("body", "patch"), [("resnet", 2), ("resnet", 4), ("swin", 1)])
def test_patches_of_pixels(body: str, patch: int) -> None:
    config = replace(SMALL, reads="pixels", latent_channels=0, body=body, patch=patch)
    model = head_of(config).eval()
    tokens = model.patches(torch.zeros(1, 3, 32, 24))
    assert tokens.shape[2:] == (32 // patch, 24 // patch)
    assert model(torch.rand(2, 3, 30, 21), torch.ones(2)).shape == (2, 3)


def test_files_are_checked(tmp_path: Path) -> None:
    write_head(tmp_path, head_of(), config=SMALL)
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

    check("norm.weight is missing", **{"norm.weight": None})
    check("unknown tensor more", more=torch.zeros(1))
    check("out.bias is not finite", **{"out.bias": torch.full((3,), torch.nan).half()})
    check("does not belong to its config", **{"out.bias": torch.zeros(4).half()})
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        read_head(tmp_path, base_sha256=BASE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 4}, "stride is 4"),
        ({"patch": 3}, "patch is 3"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"task": "segment", "patch": 2}, "4 to segment"),
        ({"body": "mamba"}, "body is 'mamba'"),
        ({"body": "resnet", "task": "segment"}, "body is 'resnet' to segment"),
        ({"task": "paint"}, "task is 'paint'"),
        ({"labels": ("one",)}, "1 labels"),
        ({"labels": ("a", "a")}, "all different"),
        ({"widths": (16,)}, "one of each"),
        ({"widths": (12, 16)}, "multiples of head_channels"),
        ({"body": "resnet", "head_channels": 2, "widths": (16, 30)}, "needs multiples of 4"),
        ({"depths": (0, 1)}, "need 1 or more"),
        ({"reads": "minds"}, "reads is 'minds'"),
        ({"reads": "pixels"}, "pixels 0"),
        ({"latent_channels": 0}, "latents have 1 or more"),
        ({"format_version": 2}, "upgrade"),
    ],
)
def test_config_faults(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **changes)
