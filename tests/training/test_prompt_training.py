"""Training a rate's prompts: the base stays, the adapter learns, a neighbour is a start."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from promptcodec.coding.adapter_file import LOG_GAINS, PREFIX
from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.coding.entropy.z_tables import ZTables
from promptcodec.errors import ConfigError, ModelMismatchError
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.training.config import DataConfig, OptimizerConfig, read_recipe
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.rate_adapter import RateAdapterConfig, RateAdapterTask
from promptcodec.training.trainer import run_training
from promptcodec.training.z_sets import hyper_latents


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(3):
        noise = torch.randint(0, 256, (9, 7, 3), generator=torch.Generator().manual_seed(i))
        small = Image.fromarray(noise.to(torch.uint8).numpy())
        small.resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def config(tiny_checkpoint: Path) -> RateAdapterConfig:
    return RateAdapterConfig(
        base=str(tiny_checkpoint),
        rate_index=3,
        width=4,
        rank=2,
        data=DataConfig(crop=64, validation_pictures=1),
        optimizer=OptimizerConfig(warmup_steps=2, learning_rate=0.02),
        steps=6,
        batch=2,
        precision="no",
        save_every=2,
    )


def test_the_adapter_learns_and_the_base_stays(
    config: RateAdapterConfig, pictures: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    before = (tiny_checkpoint / "model.safetensors").read_bytes()
    folder = run_training(
        RateAdapterTask(config), data=pictures, out=tmp_path / "run", device="cpu"
    )
    assert folder == tmp_path / "run" / "rate-3"
    base = read_base(tiny_checkpoint)
    adapter = read_adapter(folder, base=base)
    assert adapter.config.rate_index == 3 and adapter.config.lmbda == 0.013
    assert adapter.gains.log_gains.any()
    assert all(bool(gate.any()) for gate in adapter.network.encoder.gates)
    assert (tiny_checkpoint / "model.safetensors").read_bytes() == before
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert not any("g_a.down" in name for name in state)  # nothing of the base is kept twice


def test_tables_of_z_come_with_the_adapter(
    config: RateAdapterConfig, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    pictures = tmp_path / "alike"  # tables of two suit the third
    pictures.mkdir()
    for i in range(3):
        Image.new("RGB", (96, 96), (40 + i, 120, 200)).save(pictures / f"{i}.png")
    base = read_base(tiny_checkpoint)
    found = {}
    for sets in (0, 4):
        run = replace(config, z_table_sets=sets, steps=1)
        folder = run_training(
            RateAdapterTask(run), data=pictures, out=tmp_path / str(sets), device="cpu"
        )
        record = json.loads((folder / "training.json").read_text())["z_tables"]
        found[sets] = read_adapter(folder, base=base), record
        assert record["sets"] == len(found[sets][0].z_sets)
    plain, own = found[0][0], found[4][0]
    assert found[0][1] == {"sets": 0, "held_out_bits": []} and plain.z_sets == ()
    bits = found[4][1]["held_out_bits"]
    assert len(own.z_sets) == 1 and bits[1] < bits[0]  # two training pictures, one held out
    assert plain.sha256 != own.sha256
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, own.network.state_dict()[name])
    (z,) = hyper_latents(
        base.model, PictureStore(pictures, config.data).sample(1), adapter=own.network
    )
    assert own.z_sets[0].bits(z) < ZTables(base.tables.z).bits(z)


def test_a_stopped_run_resumes_bit_for_bit(
    config: RateAdapterConfig, pictures: Path, tmp_path: Path
) -> None:
    run_training(RateAdapterTask(config), data=pictures, out=tmp_path / "whole", device="cpu")
    run_training(
        RateAdapterTask(config), data=pictures, out=tmp_path / "parts", device="cpu", max_steps=3
    )
    run_training(
        RateAdapterTask(config), data=pictures, out=tmp_path / "parts", device="cpu", resume=True
    )
    whole, parts = (load_file(tmp_path / n / "state.safetensors") for n in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_neighbour_is_the_start(
    config: RateAdapterConfig, pictures: Path, tmp_path: Path
) -> None:
    first = run_training(RateAdapterTask(config), data=pictures, out=tmp_path / "3", device="cpu")
    start = replace(config, rate_index=2, init_from=str(first), steps=1, optimizer=OptimizerConfig(
        warmup_steps=10**6, learning_rate=1e-6))  # fmt: skip
    second = run_training(RateAdapterTask(start), data=pictures, out=tmp_path / "2", device="cpu")
    one, two = (load_file(f / "adapter_model.safetensors") for f in (first, second))
    gains = PREFIX + LOG_GAINS
    moved = two[gains] - one[gains]
    finer = 0.5 * math.log(start.rate_weight / config.rate_weight) / SCALE_STEP
    assert (moved - 256 * finer).abs().max() < 2  # the step between levels follows lambda
    for name in set(one) - {gains}:
        torch.testing.assert_close(one[name].float(), two[name].float(), atol=2e-3, rtol=1e-2)
    base = read_base(Path(str(config.base)))
    adapters = [read_adapter(folder, base=base) for folder in (first, second)]
    assert adapters[1].config.init_from == adapters[0].sha256.hex()
    with pytest.raises(ConfigError, match="give the same"):
        run_training(
            RateAdapterTask(replace(start, width=8)),
            data=pictures,
            out=tmp_path / "x",
            device="cpu",
        )


def test_updates_of_blocks_join_an_adapter_without(
    config: RateAdapterConfig, pictures: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    base = read_base(tiny_checkpoint)
    first = run_training(
        RateAdapterTask(replace(config, steps=1)), data=pictures, out=tmp_path / "3", device="cpu"
    )
    more = replace(config, init_from=str(first), block_rank=2)
    task = RateAdapterTask(more)
    model = task.build(None)  # type: ignore[arg-type]
    task.initialise(model, None)  # type: ignore[arg-type]
    start, x = read_adapter(first, base=base).network, torch.rand(1, 3, 64, 64)
    same = (base.model.to_latents(x, each) for each in (start, model.prompts))
    assert torch.equal(*same)  # without effect at first
    folder = run_training(RateAdapterTask(more), data=pictures, out=tmp_path / "x", device="cpu")
    adapter = read_adapter(folder, base=base)
    assert adapter.config.shape == (4, 2, 2)
    updates = (*adapter.network.encoder_blocks.up, *adapter.network.decoder_blocks.up)
    assert all(bool(update.any()) for update in updates)
    fewer = replace(config, init_from=str(folder))
    with pytest.raises(ConfigError, match=r"\(4, 2, 0\), and .* has \(4, 2, 2\): give the same"):
        RateAdapterTask(fewer)


def test_a_neighbour_of_another_base_is_refused(
    config: RateAdapterConfig, pictures: Path, tmp_path: Path
) -> None:
    first = run_training(
        RateAdapterTask(replace(config, steps=1)), data=pictures, out=tmp_path / "3", device="cpu"
    )
    other = RateAdapterConfig(init_from=str(first), width=4, rank=2)  # the bundled base
    with pytest.raises(ModelMismatchError, match="belongs to base"):
        run_training(RateAdapterTask(other), data=pictures, out=tmp_path / "x", device="cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lmbda: 0", "lmbda is 0.0; need a number above 0"),
        ("width: 0", "width is 0"),
        ("z_table_sets: 5", "z_table_sets is 5; need 0 to 4"),
        ("rate_index: 8", "need 0 to 7"),
        ("codec: {}", "unknown key 'codec'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "bad.yaml", RateAdapterConfig)
