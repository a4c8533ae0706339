"""Adapters through stock PEFT: the same tensors, the same numbers, and the base untouched."""

import shutil
from pathlib import Path

import pytest
import torch
from golden_streams import made_sets
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.adapters.peft import LPMConfig, register
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.models.codec_model import CodecModel

register()
register()  # a second time does no harm

CONFIG = {"rate_index": 2, "lmbda": 0.0067, "width": 4, "rank": 2}


@pytest.fixture
def base(tiny_checkpoint: Path) -> Base:
    return read_base(tiny_checkpoint)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(1))


def passes(model: CodecModel, x: Tensor, adapter: object = None) -> list[Tensor]:
    """What both transforms and the means make of a picture."""
    y, z = model.transform(x, adapter=adapter)  # type: ignore[arg-type]
    features = model.features(torch.round(z), adapter)  # type: ignore[arg-type]
    return [y, features, model.synthesise(y, adapter=adapter)]  # type: ignore[arg-type]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_tables_of_z_stay_behind(base: Base, tiny_ladder: Path, tmp_path: Path, x: Tensor) -> None:
    plain = read_adapter(tiny_ladder / "rate-2", base=base)
    sets = made_sets(base.config.codec.z_channels, 2)
    write_adapter(tmp_path / "a", plain.network, config=plain.config, z_sets=sets)
    model = PeftModel.from_pretrained(base.model, tmp_path / "a", adapter_name="rate-2")
    assert not model.load_adapter(tmp_path / "a", "again").unexpected_keys
    assert same(passes(base.model, x), passes(base.model, x, plain.network))
    model.save_pretrained(tmp_path / "b")
    assert read_adapter(tmp_path / "b" / "rate-2", base=base).sha256 == plain.sha256


def test_peft_reads_what_we_write(base: Base, tiny_ladder: Path, x: Tensor) -> None:
    plain = passes(base.model, x)
    ours = passes(base.model, x, read_adapter(tiny_ladder / "rate-2", base=base).network)
    assert not same(plain, ours)
    model = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2", adapter_name="rate-2")
    assert same(passes(base.model, x), ours)
    with model.disable_adapter():
        assert same(passes(base.model, x), plain)
    found = model.load_adapter(tiny_ladder / "rate-6", "rate-6")
    assert not found.unexpected_keys and not any("lpm" in key for key in found.missing_keys)
    assert same(passes(base.model, x), ours)  # loading does not switch
    model.set_adapter("rate-6")
    theirs = passes(base.model, x)
    model.set_adapter("rate-2")
    assert same(passes(base.model, x), ours)
    model.delete_adapter("rate-6")
    other = untouched(base)
    adapter = read_adapter(tiny_ladder / "rate-6", base=other)
    assert same(theirs, passes(other.model, x, adapter.network))


def untouched(base: Base) -> Base:
    """A base whose slot no library has filled."""
    config = base.config.codec
    model = CodecModel(config).eval().requires_grad_(False)
    state = {k: v for k, v in base.model.state_dict().items() if "adapter_slot" not in k}
    model.load_state_dict(state)
    model.freeze_scale_path(base.model._integer_layers)
    return Base(model=model, tables=base.tables, config=base.config, sha256=base.sha256)


def test_we_read_what_peft_writes(base: Base, tiny_ladder: Path, tmp_path: Path) -> None:
    first = read_adapter(tiny_ladder / "rate-2", base=base)
    model = PeftModel.from_pretrained(base.model, tiny_ladder / "rate-2", adapter_name="small")
    model.save_pretrained(tmp_path / "out")
    again = read_adapter(tmp_path / "out" / "small", base=base)
    assert again.sha256 == first.sha256 and again.config == first.config
    name = "adapter_model.safetensors"
    one, two = (load_file(f / name) for f in (tiny_ladder / "rate-2", tmp_path / "out" / "small"))
    assert one.keys() == two.keys()
    assert all(one[k].dtype == two[k].dtype and torch.equal(one[k], two[k]) for k in one)
    renamed = tmp_path / "renamed"  # a folder may be called anything
    shutil.move(tmp_path / "out" / "small", renamed)
    third = PeftModel.from_pretrained(untouched(base).model, renamed)
    assert third.peft_config["default"].rate_index == 2


def test_a_fresh_adapter_is_the_base_and_trains_alone(base: Base, x: Tensor) -> None:
    plain = passes(base.model, x)
    digest = {k: v.clone() for k, v in base.model.state_dict().items()}
    model = get_peft_model(base.model, LPMConfig(**CONFIG))
    assert same(passes(base.model, x), plain)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all("lpm_prompts" in name for name in trained)
    output = model(x)
    (output.x_hat.square().mean() + output.y_bits).backward()
    gates = [p for n, p in model.named_parameters() if "gates" in n or n.endswith("log_gains")]
    assert gates and all(p.grad is not None and bool(p.grad.any()) for p in gates)
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    after = model.base_model.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in digest.items())
    assert not same(passes(base.model, x), plain)


@pytest.mark.parametrize("name", ["1", "rate.3"])
def test_names_that_confuse_peft_are_refused(base: Base, name: str) -> None:
    with pytest.raises((UsageError, KeyError)):
        get_peft_model(base.model, LPMConfig(**CONFIG), adapter_name=name)


def test_only_the_slot_takes_prompts(base: Base) -> None:
    with pytest.raises(UsageError, match="target 'adapter_slot'"):
        get_peft_model(base.model, LPMConfig(**CONFIG, target_modules=["stem"]))


def test_one_rate_at_a_time(base: Base, x: Tensor) -> None:
    model = get_peft_model(base.model, LPMConfig(**CONFIG), adapter_name="a")
    model.add_adapter("b", LPMConfig(**CONFIG))
    model.base_model.set_adapter(["a", "b"])
    with pytest.raises(UsageError, match="one rate at a time"):
        base.model.transform(x)
