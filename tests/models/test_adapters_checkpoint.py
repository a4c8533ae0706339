"""Adapters on disk: what is written comes back, and nothing else is read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptcodec.coding.adapter import AdapterConfig
from promptcodec.errors import CheckpointError, ModelMismatchError
from promptcodec.io.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import Base, read_base


@pytest.fixture(scope="module")
def base(tiny_checkpoint: Path) -> Base:
    return read_base(tiny_checkpoint)


@pytest.fixture
def prompts(base: Base) -> LayerAdaptivePrompts:
    torch.manual_seed(5)
    prompts = LayerAdaptivePrompts(base.config.codec, width=4, rank=2)
    for parameter in prompts.parameters():
        torch.nn.init.normal_(parameter)
    return prompts


@pytest.fixture
def config(base: Base) -> AdapterConfig:
    return AdapterConfig(rate_index=2, lmbda=0.0067, base_sha256=base.sha256.hex(), width=4, rank=2)


@pytest.fixture
def folder(prompts: LayerAdaptivePrompts, config: AdapterConfig, tmp_path: Path) -> Path:
    write_adapter(tmp_path / "rate-2", prompts, config=config)
    return tmp_path / "rate-2"


def test_what_is_written_comes_back(
    base: Base, prompts: LayerAdaptivePrompts, config: AdapterConfig, folder: Path
) -> None:
    adapter = read_adapter(folder, base=base)
    assert adapter.config == config
    for name, value in prompts.state_dict().items():
        expected = value.half().float()
        if name == "log_gains":
            expected = torch.round(value * 256) / 256
            assert np.array_equal(adapter.gains.log_gains / np.float32(256), expected)
        assert torch.equal(adapter.network.state_dict()[name], expected)
    assert not any(p.requires_grad for p in adapter.network.parameters())
    assert adapter.sha256 == write_adapter(folder, adapter.network, config=config)


def test_the_hash_covers_weights_rate_and_base(
    prompts: LayerAdaptivePrompts, config: AdapterConfig, tmp_path: Path
) -> None:
    first = write_adapter(tmp_path, prompts, config=config)
    others = [replace(config, rate_index=3), replace(config, lmbda=0.1)]
    others.append(replace(config, base_sha256="00" * 32))
    hashes = {write_adapter(tmp_path, prompts, config=other) for other in others}
    with torch.no_grad():
        prompts.mean_bias[0] += 1.0
    hashes.add(write_adapter(tmp_path, prompts, config=config))
    assert len(hashes | {first}) == 5


def test_an_adapter_of_another_base_is_refused(base: Base, folder: Path) -> None:
    with pytest.raises(ModelMismatchError, match="belongs to base"):
        read_adapter(folder, base=replace(base, sha256=bytes(32)))


@pytest.mark.parametrize("fault", ["missing", "extra", "nan", "shape", "kind", "gain"])
def test_faulty_tensors_are_refused(base: Base, folder: Path, fault: str) -> None:
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    name = "base_model.model.adapter_slot.lpm_prompts.encoder.stem.weight"
    gains = "base_model.model.adapter_slot.lpm_prompts.log_gains"
    message = {
        "missing": f"{name} is missing",
        "extra": "unknown tensor more",
        "nan": "is not finite",
        "shape": "need float16",
        "kind": "need int16",
        "gain": "beyond 48 table steps",
    }[fault]
    if fault == "missing":
        del tensors[name]
    elif fault == "extra":
        tensors["more"] = torch.zeros(1)
    elif fault == "nan":
        tensors[name][0, 0] = torch.nan
    elif fault == "shape":
        tensors[name] = tensors[name][:, :1].contiguous()
    elif fault == "kind":
        tensors[gains] = tensors[gains].float()
    else:
        tensors[gains][0] = 32767
    save_file(tensors, folder / ADAPTER_WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        read_adapter(folder, base=base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "LORA"}, "kind 'LORA'"),
        ({"format_version": 9}, "format_version is 9"),
        ({"rate_index": "high"}, "rate_index is 'high'"),
        ({"width": 10**9}, "need 1 to 1024"),
        ({"base_sha256": None}, "base_sha256 is None"),
    ],
)
def test_faulty_configs_are_refused(base: Base, folder: Path, change: dict, message: str) -> None:
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read_adapter(folder, base=base)


def test_what_is_no_adapter(base: Base, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no adapter at"):
        read_adapter(tmp_path / "nothing", base=base)
    (folder / ADAPTER_WEIGHTS).write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="no readable safetensors"):
        read_adapter(folder, base=base)
    (folder / ADAPTER_CONFIG).write_text("[]")
    with pytest.raises(CheckpointError, match="of kind None"):
        read_adapter(folder, base=base)


def test_keys_of_peft_are_ignored(base: Base, folder: Path) -> None:
    path = folder / ADAPTER_CONFIG
    more = {"base_model_name_or_path": None, "inference_mode": True, "task_type": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    assert read_adapter(folder, base=base).config.rate_index == 2


def test_gains_that_are_not_finite_are_not_written(
    prompts: LayerAdaptivePrompts, config: AdapterConfig, tmp_path: Path
) -> None:
    with torch.no_grad():
        prompts.encoder.stem.weight.fill_(torch.inf)
    with pytest.raises(CheckpointError, match="not finite"):
        write_adapter(tmp_path / "bad", prompts, config=config)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("change", [{"lmbda": 0.0}, {"lmbda": -1.0}, {"rate_index": 20}])
def test_rates_that_make_no_sense_are_refused(base: Base, folder: Path, change: dict) -> None:
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="need"):
        read_adapter(folder, base=base)
