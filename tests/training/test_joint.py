"""Codec and classifier learn together, each from what its weight says, and files come out of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import lively_head, tiny_head

from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError, UsageError
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import write_head
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.data.augmented import LabelledBatch, ViewConfig
from promptcodec.training.joint.adapters import rescale_adapter
from promptcodec.training.joint.config import LabelledJointConfig
from promptcodec.training.joint.labelled import LabelledJointTask
from promptcodec.training.joint.model import JointModel
from promptcodec.training.trainer import run_training


@pytest.fixture(scope="module")
def head(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained classifier of the two colours."""
    base = read_base(tiny_checkpoint)
    config = tiny_head(
        labels=("blue", "red"),
        latent_channels=base.config.codec.latent_channels,
        base_sha256=base.sha256.hex(),
    )
    folder = tmp_path_factory.mktemp("head")
    write_head(folder, lively_head(config), config=config)
    return folder


@pytest.fixture
def config(tiny_checkpoint: Path, tiny_ladder: Path, head: Path) -> LabelledJointConfig:
    return LabelledJointConfig(
        base=str(tiny_checkpoint),
        prompts=str(tiny_ladder),
        head=str(head),
        rates=(2, 4),
        views=ViewConfig(size=64, views=1, mixup=0.0),
        width=4,
        rank=2,
        one_in=4,
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.003, warmup_steps=2),
        steps=12,
        batch=4,
        validate_every=12,
        precision="no",
    )


def gradients(config: LabelledJointConfig, *, step: int = 99) -> dict[str, float]:
    """Largest gradient of each part after one batch; zero where there is none."""
    task = LabelledJointTask(config)
    torch.manual_seed(0)
    model = task.build(None)
    batch = LabelledBatch(torch.rand(2, 3, 64, 64), torch.eye(2), torch.ones(2))
    task.loss(model, batch, step=step).loss.backward()
    found: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        part = ".".join(name.split(".")[:2]) if name.startswith("codec") else name.split(".")[0]
        value = 0.0 if parameter.grad is None else float(parameter.grad.abs().max())
        found[part] = max(found.get(part, 0.0), value)
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_weights_cut_the_right_gradients(config: LabelledJointConfig) -> None:
    both = gradients(config)
    assert min(both.values()) > 0.0
    assert set(both) >= {"codec.g_a", "codec.g_s", "codec.hyperprior", "codec.context", "head"}
    codec_alone = ("encoder", "entropy", "decoder")
    no_task = gradients(replace(config, alpha=0.0, parts=codec_alone))
    assert no_task["head"] == 0.0 and no_task["codec.g_s"] > 0.0 and no_task["codec.g_a"] > 0.0
    no_pixels = gradients(replace(config, beta=0.0, parts=("encoder", "entropy", "head")))
    assert (
        no_pixels["codec.g_s"] == 0.0 and no_pixels["head"] > 0.0 and no_pixels["codec.g_a"] > 0.0
    )
    plain = gradients(replace(config, plain_steps=5), step=0)
    assert plain["codec.hyperprior"] == 0.0 and plain["codec.g_a"] > 0.0 and plain["head"] > 0.0


@pytest.mark.parametrize(
    ("parts", "learning"),
    [
        (("head",), {"head"}),
        (("decoder",), {"codec.g_s"}),
        (("prompts",), {"task"}),
        (("encoder", "head"), {"codec.g_a", "head"}),
    ],
)
def test_parts_alone_learn(
    config: LabelledJointConfig, parts: tuple[str, ...], learning: set[str]
) -> None:
    found = gradients(replace(config, parts=parts))
    assert {name for name, value in found.items() if value > 0.0} == learning


def test_the_head_learns_on_what_a_stream_has(config: LabelledJointConfig) -> None:
    task = LabelledJointTask(config)
    model, x = task.build(None), torch.rand(2, 3, 64, 64)
    seen: list[torch.Tensor] = []
    model.head.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    output = model(x, rate=2)
    adapter = task.adapters[2]
    sent = model.codec.analyse(x, gains=adapter.gains, adapter=adapter.network).y_hat
    torch.testing.assert_close(seen[0].detach(), sent.clone())
    output.head.scores.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.codec.g_a.parameters())


def test_what_the_loss_has(config: LabelledJointConfig) -> None:
    task = LabelledJointTask(replace(config, alpha=0.5, beta=0.25, smoothing=0.2))
    batch = LabelledBatch(torch.rand(2, 3, 64, 64), torch.eye(2), torch.ones(2))
    model, seen = task.build(None), []
    model.register_forward_hook(lambda *found: seen.append(found[-1]))
    for step, rate in ((0, 2), (1, 4), (2, 2)):  # rates in turn
        loss = task.loss(model, batch, step=step)
        output = seen.pop()
        entropy = F.cross_entropy(output.head.scores, 0.8 * torch.eye(2) + 0.1)
        bpp = (output.codec.y_bits + output.codec.z_bits) / (2 * 64 * 64)
        mse = (output.codec.x_hat - batch.inputs).square().mean()
        weight = 0.25 * read_ladder(config)[rate]
        codec = bpp + weight * 255**2 * mse
        assert float(loss.codec.loss.detach()) == pytest.approx(float(codec.detach()), rel=1e-4)
        own = float((loss.loss - loss.codec.loss).detach())
        assert own == pytest.approx(0.5 * float(entropy.detach()), rel=1e-2)


def read_ladder(config: LabelledJointConfig) -> dict[int, float]:
    """lambda of each rate."""
    return {r.index: r.lmbda for r in TorchCodec.load(config.base, config.prompts).rates}


def test_a_network_without_weight_does_not_run(config: LabelledJointConfig) -> None:
    batch = LabelledBatch(torch.rand(2, 3, 64, 64), torch.eye(2), torch.ones(2))
    for weight, running in (("alpha", ["g_s"]), ("beta", ["head"])):
        task = LabelledJointTask(replace(config, parts=("encoder",), **{weight: 0.0}))
        model = task.build(None)
        ran: list[str] = []
        model.codec.g_s.register_forward_hook(lambda *_, ran=ran: ran.append("g_s"))
        model.head.stem.register_forward_hook(lambda *_, ran=ran: ran.append("head"))
        task.loss(model, batch, step=99).loss.backward()
        assert ran == running


@pytest.mark.parametrize("step", [0, 99])
def test_pictures_of_any_size_are_padded(config: LabelledJointConfig, step: int) -> None:
    task = LabelledJointTask(replace(config, plain_steps=10))
    batch = LabelledBatch(torch.rand(2, 3, 32, 40), torch.eye(2), torch.ones(2))
    objective = task.loss(task.build(None), batch, step=step)
    assert torch.isfinite(objective.loss)
    assert (float(objective.codec.bpp) > 0) == (step >= 10)


def test_joint_training_writes_a_codec_of_its_own(
    config: LabelledJointConfig, labelled_pictures: Path, tmp_path: Path
) -> None:
    before = contents(Path(config.base or ""))
    folder = run_training(
        LabelledJointTask(config), data=labelled_pictures, out=tmp_path / "run", device="cpu"
    )
    assert contents(Path(config.base or "")) == before
    codec = TorchCodec.load(folder / "base", folder / "prompts", heads=folder / "heads")
    assert codec.base_hash != read_base(Path(config.base or "")).sha256
    assert [rate.index for rate in codec.rates] == [2, 4]
    picture = np.full((70, 50, 3), (200, 60, 40), np.uint8)
    assert len(codec.classify(codec.encode(picture, rate_index=2))) == 2
    assert codec.head("classify").config.temperature != 1.0
    record = json.loads((folder / "training.json").read_text())
    assert record["recipe"]["parts"] == ["encoder", "entropy", "decoder", "head"]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    measured = next(json.loads(x)["validation"] for x in lines if "validation" in x)
    assert {"bpp_2", "psnr_4", "accuracy_2", "accuracy"} <= set(measured)


def test_beta_moves_the_ladder(
    config: LabelledJointConfig, labelled_pictures: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    config = replace(config, parts=("head",), rates=(2,), beta=0.25, steps=2, validate_every=2)
    folder = run_training(
        LabelledJointTask(config), data=labelled_pictures, out=tmp_path, device="cpu"
    )
    codec = TorchCodec.load(folder / "base", folder / "prompts", heads=folder / "heads")
    before = TorchCodec.load(tiny_checkpoint, config.prompts)
    assert [rate.index for rate in codec.rates] == [2, 4]  # 4 is the base alone
    assert codec.at(2).lmbda == pytest.approx(before.at(2).lmbda / 4)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    small, large = (c.encode_detailed(picture, rate_index=2) for c in (codec, before))
    assert len(small.data) < len(large.data)
    assert codec.classify(small.data)


def test_a_moved_rate_starts_from_the_nearest_networks(config: LabelledJointConfig) -> None:
    base = read_base(Path(str(config.base)))
    ladder = [
        read_adapter(folder, base=base) for folder in sorted(Path(str(config.prompts)).iterdir())
    ]
    low, high = ladder[0], ladder[-1]
    beta = 1.1 * low.config.lmbda / high.config.lmbda
    found = rescale_adapter(high, ladder, beta=beta)
    assert found.config.rate_index == high.config.rate_index
    assert found.config.lmbda == pytest.approx(1.1 * low.config.lmbda)
    for name, value in found.network.named_parameters():
        own = low.network.get_parameter(name)
        steps = (value - own).detach()
        wanted = 0.5 * math.log(1.1) / SCALE_STEP if "log_gains" in name else 0.0
        assert torch.allclose(steps, torch.full_like(steps, wanted), atol=1e-4)


def test_task_prompts_go_with_those_of_a_rate(
    config: LabelledJointConfig, labelled_pictures: Path, tmp_path: Path
) -> None:
    run = replace(config, parts=("prompts",))
    folder = run_training(
        LabelledJointTask(run), data=labelled_pictures, out=tmp_path / "run", device="cpu"
    )
    assert {p.name for p in folder.iterdir()} == {"prompts", "training.json"}
    assert config.base is not None
    codec = TorchCodec.load(config.base, config.prompts, heads=config.head, tasks=folder)
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    moved = codec.encode(picture, rate_index=2, task="classify")
    assert moved != codec.encode(picture, rate_index=2)
    # A decoder that knows nothing of the task reads the stream.
    plain = TorchCodec.load(config.base, config.prompts)
    assert np.array_equal(np.asarray(plain.decode(moved)), np.asarray(codec.decode(moved)))
    between = codec.encode(picture, rate_index=2.5, task="classify")
    assert plain.decode(between).size == (80, 64)
    with pytest.raises(CheckpointError, match="no prompts for task 'segment'; there are classify"):
        codec.encode(picture, task="segment")
    with pytest.raises(UsageError, match="leave out one"):
        codec.encode(picture, task="classify", effort=1)


def test_fresh_task_prompts_are_the_rate_alone(config: LabelledJointConfig) -> None:
    task = LabelledJointTask(replace(config, parts=("prompts",)))
    model = task.build(None)
    x = torch.rand(1, 3, 64, 64)
    both, rate = model.adapter(2), task.adapters[2].network
    with torch.no_grad():
        assert torch.equal(model.codec.to_latents(x, both), model.codec.to_latents(x, rate))
        for parameter in model.task.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        moved = model.codec.to_latents(x, both)
        assert not torch.equal(moved, model.codec.to_latents(x, rate))
        # Both count: another rate under the same task gives other latents.
        model.adapters[2], model.adapters[4] = model.adapters[4], model.adapters[2]
        assert not torch.equal(moved, model.codec.to_latents(x, model.adapter(2)))


def test_what_cannot_be_trained_is_said(
    config: LabelledJointConfig, tiny_heads: Path, labelled_pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="parts are"):
        replace(config, parts=("brain",))
    with pytest.raises(ConfigError, match="frozen base"):
        replace(config, parts=("prompts", "encoder"))
    with pytest.raises(ConfigError, match="alpha is 0, and the head"):
        replace(config, alpha=0.0)
    with pytest.raises(ConfigError, match="beta is 0, and the decoder"):
        replace(config, beta=0.0)
    with pytest.raises(ConfigError, match="task is 'joint'; need 'joint-classify'"):
        replace(config, task="joint")
    with pytest.raises(ConfigError, match="rate 7 has no adapter"):
        LabelledJointTask(replace(config, rates=(2, 7)))
    with pytest.raises(CheckpointError, match="this codec has no head to classify"):
        LabelledJointTask(replace(config, head=None))
    with pytest.raises(ConfigError, match="train a head for these pictures"):
        run = replace(config, head=str(tiny_heads))
        run_training(
            LabelledJointTask(run), data=labelled_pictures, out=tmp_path / "run", device="cpu"
        )


def test_task_prompts_of_another_base(
    config: LabelledJointConfig, labelled_pictures: Path, tmp_path: Path
) -> None:
    run = replace(config, parts=("prompts",), steps=1)
    folder = run_training(
        LabelledJointTask(run), data=labelled_pictures, out=tmp_path / "run", device="cpu"
    )
    path = folder / "prompts" / "task_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_sha256": "ab" * 32}))
    assert config.base is not None
    codec = TorchCodec.load(config.base, config.prompts, tasks=folder)
    with pytest.raises(ModelMismatchError, match="belongs to base abab"):
        codec.encode(np.zeros((64, 64, 3), np.uint8), task="classify")
    assert isinstance(LabelledJointTask(config).build(None), JointModel)


def test_the_command_line_encodes_with_a_task(
    run, config: LabelledJointConfig, labelled_pictures: Path, tmp_path: Path
) -> None:
    trained = replace(config, parts=("prompts",), steps=2)
    folder = run_training(
        LabelledJointTask(trained), data=labelled_pictures, out=tmp_path / "run", device="cpu"
    )
    photo = next((labelled_pictures / "val" / "red").iterdir())
    ladder = ("--base", config.base, "--prompts", config.prompts, "--rate-index", 2)
    for name, extra in (("plain", ()), ("moved", ("--task", "classify", "--tasks", folder))):
        assert run("encode", photo, "-o", tmp_path / f"{name}.pc", *ladder, *extra).code == 0
    codec = TorchCodec.load(config.base, config.prompts, tasks=folder)
    moved = codec.encode(photo, rate_index=2, task="classify")
    assert (tmp_path / "moved.pc").read_bytes() == moved
    assert (tmp_path / "plain.pc").read_bytes() == codec.encode(photo, rate_index=2)
    missing = run("encode", photo, "-o", tmp_path / "x.pc", *ladder, "--task", "classify")
    assert missing.code == 7 and "no prompts for task 'classify'; there are none" in missing.err
