"""A checkpoint is read whole and right, or refused with the name of what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import stranger_files
import torch
from safetensors.torch import load_file, save_file

from promptcodec.coding.base_file import base_hash, read_stored_base
from promptcodec.errors import CheckpointError
from promptcodec.io.checkpoints import BASE_CONFIG, BASE_WEIGHTS
from promptcodec.io.tensors import read_arrays
from promptcodec.models.checkpoint import read_base, write_base


def damaged(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    target.mkdir()
    (target / BASE_CONFIG).write_bytes((source / BASE_CONFIG).read_bytes())
    tensors = load_file(source / BASE_WEIGHTS)
    change(tensors)
    save_file(tensors, target / BASE_WEIGHTS)
    return target


def test_reading_gives_what_was_written(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = read_base(tiny_checkpoint)
    assert not base.model.training
    assert not any(p.requires_grad for p in base.model.parameters())
    again = write_base(tmp_path / "copy", base.model, config=base.config, tables=base.tables)
    assert again == base.sha256
    stored = load_file(tmp_path / "copy" / BASE_WEIGHTS)
    for name, value in load_file(tiny_checkpoint / BASE_WEIGHTS).items():
        assert torch.equal(stored[name], value), name


def test_hash_sees_every_tensor_and_the_architecture(tiny_checkpoint: Path) -> None:
    base = read_base(tiny_checkpoint)
    arrays = read_arrays(tiny_checkpoint / BASE_WEIGHTS)
    hashes = {base_hash(arrays, base.config.codec)}
    for name, value in arrays.items():
        other = value.copy()
        other.flat[0] += 1
        hashes.add(base_hash({**arrays, name: other}, base.config.codec))
    assert len(hashes) == len(arrays) + 1


def test_hash_is_the_same_in_either_order_of_bytes(tiny_checkpoint: Path) -> None:
    stored = read_stored_base(tiny_checkpoint)
    arrays = read_arrays(tiny_checkpoint / BASE_WEIGHTS)
    for order in "<>":
        swapped = {n: value.astype(value.dtype.newbyteorder(order)) for n, value in arrays.items()}
        assert base_hash(swapped, stored.config.codec) == stored.sha256


def test_keys_that_may_be_absent_change_no_hash(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = damaged(tiny_checkpoint, tmp_path / "shorter", lambda t: None)
    values = json.loads((folder / BASE_CONFIG).read_text())
    for key in stranger_files.ADDED:
        del values["codec"][key]
    (folder / BASE_CONFIG).write_text(json.dumps(values))
    today = read_stored_base(tiny_checkpoint)
    assert read_stored_base(folder).sha256 == today.sha256
    assert stranger_files.read_base(folder).digest == today.sha256
    del values["codec"]["windows"]
    (folder / BASE_CONFIG).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="codec is incomplete: it lacks windows"):
        read_stored_base(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("g_s.stem.weight"), "g_s.stem.weight is missing"),
        (lambda t: t["g_a.head.bias"].fill_(float("nan")), "g_a.head.bias is not finite"),
        (lambda t: t["g_a.head.bias"].fill_(float("inf")), "g_a.head.bias is not finite"),
        (lambda t: t.update({"g_a.head.bias": torch.zeros(3)}), "g_a.head.bias is"),
        (lambda t: t.update(extra=torch.zeros(3)), "unknown tensor extra"),
        (lambda t: t["tables.z"].fill_(0), "table 0 of z"),
        (lambda t: t["tables.y"].add_(1), "table 0 of y"),
        (lambda t: t.pop("tables.y"), "tables.y is missing"),
        (lambda t: t["scale_path.1.bias"].fill_(2**60), "beyond the exact"),
        (
            lambda t: t.update({"scale_path.0.weight": torch.zeros(16, 36)}),
            "scale_path.0.weight is",
        ),
    ],
)
def test_faults_are_named(
    tiny_checkpoint: Path,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], None],
    message: str,
) -> None:
    folder = damaged(tiny_checkpoint, tmp_path / "bad", change)
    with pytest.raises(CheckpointError, match=message):
        read_base(folder)


def test_missing_and_foreign_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json is missing"):
        read_base(tmp_path)
    folder = damaged(tiny_checkpoint, tmp_path / "bad", lambda t: None)
    for content in (b"", b"\x80\x04pickle", b"\xff" * 100, (1 << 40).to_bytes(8, "little") + b"{}"):
        (folder / BASE_WEIGHTS).write_bytes(content)
        with pytest.raises(CheckpointError, match="no readable safetensors file"):
            read_base(folder)
    (folder / BASE_WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors is missing"):
        read_base(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format_version": 2}, "upgrade promptcodec"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"codec": {"latent_channels": "many"}}, "latent_channels"),
        ({"codec": {"latent_channels": 0}}, "need 1 to 8192"),
    ],
)
def test_config_faults(tiny_checkpoint: Path, tmp_path: Path, edit: dict, message: str) -> None:
    folder = damaged(tiny_checkpoint, tmp_path / "bad", lambda t: None)
    values = json.loads((folder / BASE_CONFIG).read_text())
    nested = edit.pop("codec", {})
    values |= edit
    values["codec"] |= nested
    (folder / BASE_CONFIG).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=message):
        read_base(folder)


def test_weights_that_are_not_finite_are_not_written(tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = read_base(tiny_checkpoint)
    with torch.no_grad():
        base.model.g_a.head.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        write_base(tmp_path / "out", base.model, config=base.config)
    assert not (tmp_path / "out").exists()
