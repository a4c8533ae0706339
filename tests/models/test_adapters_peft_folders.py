"""Stock PEFT's promises: folders of several adapters, unload, no merge, little memory."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor

from promptcodec.api import Codec
from promptcodec.errors import CheckpointError, UsageError
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.adapters.peft import LPMConfig, load_adapters, register
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.models.codec_model import AdapterSlot

register()


@pytest.fixture
def base(tiny_checkpoint: Path) -> Base:
    return read_base(tiny_checkpoint)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def y_of(base: Base, x: Tensor, adapter: Any = None) -> Tensor:
    return base.model.transform(x, adapter=adapter)[0]


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_folder_of_several_adapters(base, tiny_ladder, x, low_memory):
    expected = {
        name: y_of(base, x, read_adapter(tiny_ladder / name, base=base).network)
        for name in ("rate-2", "rate-4", "rate-6")
    }
    model = load_adapters(base.model, tiny_ladder, low_cpu_mem_usage=low_memory)
    assert list(model.peft_config) == ["rate-2", "rate-4", "rate-6"]
    assert torch.equal(y_of(base, x), expected["rate-2"])
    for name, y in expected.items():
        model.set_adapter(name)
        assert torch.equal(y_of(base, x), y)


def test_a_folder_of_one_or_none(base, tiny_ladder, tmp_path):
    assert list(load_adapters(base.model, tiny_ladder / "rate-4").peft_config) == ["rate-4"]
    with pytest.raises(CheckpointError, match="no rate adapter was found"):
        load_adapters(base.model, tmp_path)


def test_what_peft_saves_of_several_adapters_is_loaded(
    tiny_checkpoint, base, tiny_ladder, tmp_path
):
    """Its adapter called "default" stands in the folder itself, the others below."""
    model = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2")
    model.load_adapter(tiny_ladder / "rate-4", "middle")
    model.load_adapter(tiny_ladder / "rate-6", "high")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_config.json").is_file() and (tmp_path / "high").is_dir()
    codec = Codec.load(tiny_checkpoint, tmp_path)
    assert [rate.index for rate in codec.rates] == [2, 4, 6]
    again = load_adapters(read_base(tiny_checkpoint).model, tmp_path)
    assert set(again.peft_config) == {"high", "middle", tmp_path.name}


@pytest.mark.parametrize("method", ["unload", "delete"])
def test_the_base_comes_back(tiny_checkpoint, base, tiny_ladder, x, method):
    plain = y_of(base, x)
    model = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2")
    assert not torch.equal(y_of(base, x), plain)
    if method == "unload":
        assert model.unload() is base.model
        assert type(base.model.adapter_slot) is AdapterSlot
        names = read_base(tiny_checkpoint).model.state_dict().keys()
        assert base.model.state_dict().keys() == names
    else:
        model.delete_adapter("default")
    assert torch.equal(y_of(base, x), plain)


def test_a_base_is_filled_again_after_unload(base, tiny_ladder, x):
    first = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2")
    y = y_of(base, x)
    base_again = first.unload()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PeftModel.from_pretrained(base_again, tiny_ladder / "rate-2")
    assert torch.equal(y_of(base, x), y)


def test_merging_is_refused_and_changes_nothing(base, tiny_ladder, x):
    model = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2")
    y, names = y_of(base, x), list(base.model.state_dict())
    slot: Any = base.model.adapter_slot
    for merge in (model.merge_and_unload, model.merge_adapter, slot.merge):
        with pytest.raises(UsageError, match="cannot be merged"):
            merge()
    with pytest.warns(UserWarning, match="Already unmerged"):
        model.unmerge_adapter()
    assert torch.equal(y_of(base, x), y) and list(base.model.state_dict()) == names


def test_little_memory(base, tiny_ladder, x):
    expected = y_of(base, x, read_adapter(tiny_ladder / "rate-2", base=base).network)
    model = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2", low_cpu_mem_usage=True)
    assert torch.equal(y_of(base, x), expected)
    assert not any(parameter.is_meta for parameter in model.parameters())
    found = model.load_adapter(tiny_ladder / "rate-6", "rate-6", low_cpu_mem_usage=True)
    assert not found.unexpected_keys
    fresh = get_peft_model(model.unload(), LPMConfig(width=4, rank=2), low_cpu_mem_usage=True)
    adapter = [p for name, p in fresh.named_parameters() if "lpm_prompts" in name]
    assert adapter and all(parameter.is_meta for parameter in adapter)
