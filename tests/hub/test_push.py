"""Every kind of folder: uploaded to a server, loaded from there, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import READ_ONLY, TOKEN, Hub

from promptcodec import Codec
from promptcodec.api.push import push
from promptcodec.errors import (
    CheckpointError,
    ModelMismatchError,
    OutputError,
    PromptCodecError,
    UsageError,
)
from promptcodec.io.hub.manifest import MANIFEST
from promptcodec.io.hub.upload import Target

NAME = "me/tiny"
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
KINDS = [
    *("", "base", "prompts", "prompts/rate-2", "heads", "heads/segment", "tasks", "tasks/classify"),
]


def uploaded(folder: Path, base: Path | None = None, **options: Any) -> str:
    """Revision of an upload."""
    revision = push(folder, Target(NAME, **options), base=base).revision
    assert revision
    return revision


@pytest.mark.parametrize("kind", KINDS)
def test_files_come_back_bit_for_bit(hub: Hub, codec_folder: Path, kind: str) -> None:
    base = codec_folder / "base" if kind not in ("", "base") else None
    uploaded(codec_folder / kind, base)
    assert hub.repositories[NAME].messages == ["initial", "Upload with promptcodec"]
    local = {
        path.relative_to(codec_folder / kind).as_posix(): path.read_bytes()
        for path in (codec_folder / kind).rglob("*")
        if path.is_file()
    }
    there = hub.files(NAME)
    assert {".gitattributes", "README.md", MANIFEST, *local} == set(there)
    assert {path: there[path] for path in local} == local


def test_a_codec_codes_as_before(hub: Hub, codec_folder: Path) -> None:
    uploaded(codec_folder)
    own, codec = Codec.load(codec_folder), Codec.load(NAME)
    data = codec.encode(PICTURE, rate_index=2.5)
    assert data == own.encode(PICTURE, rate_index=2.5)
    assert codec.decode(data).tobytes() == own.decode(data).tobytes()
    assert codec.classify(data) == own.classify(data)
    assert codec.encode(PICTURE, task="classify") == own.encode(PICTURE, task="classify")


@pytest.mark.parametrize("kind", ["prompts", "prompts/rate-2", "heads", "tasks"])
def test_parts_are_added_to_their_base(hub: Hub, codec_folder: Path, kind: str) -> None:
    base = codec_folder / "base"
    uploaded(codec_folder / kind, base)
    argument = kind.partition("/")[0]
    places: list[dict[str, Any]] = [{argument: codec_folder / kind}, {argument: NAME}]
    own, codec = (Codec.load(base, **place) for place in places)
    assert codec.ladder.adapters.keys() == own.ladder.adapters.keys()
    if argument == "heads":
        assert codec.labels("segment") == own.labels("segment")
    else:
        assert codec.encode(PICTURE) == own.encode(PICTURE)


def test_a_repository_is_looked_up_once(hub: Hub, codec_folder: Path) -> None:
    uploaded(codec_folder)
    hub.requests.clear()
    Codec.load(NAME, NAME, heads=NAME).encode(PICTURE, effort=0)
    assert hub.requests.count(("GET", f"/api/models/{NAME}/revision/main")) == 1
    assert sum("/tree/" in path for _, path in hub.requests) == 1


def test_only_what_belongs_is_uploaded(hub: Hub, copy: Path) -> None:
    for name in (
        *("state.safetensors", "base/state-unproven.safetensors", "base/graphs/old.onnx"),
        *(".secret.json", "notes.txt", "base/notes.json", ".cache/adapter_config.json"),
        *("heads/segment/cache.safetensors", "run/log.json", "config.yaml"),
    ):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"{}")
    (copy / "base" / "training.json").write_bytes(b"{}")
    (copy / "LICENSE").write_bytes(b"free")
    pushed = push(copy, Target(NAME))
    added = {"base/training.json", "LICENSE"}
    plain = {
        path.relative_to(copy).as_posix()
        for path in copy.rglob("*")
        if path.name.startswith(("adapter_", "head_", "task_", "config.json", "model.", "graphs."))
        or path.suffix == ".onnx"
    }
    expected = (plain - {".cache/adapter_config.json", "base/graphs/old.onnx"}) | added
    assert set(pushed.files) == expected | {"README.md", MANIFEST}
    assert {"state.safetensors", "run/", ".cache/", "base/graphs/old.onnx"} <= set(pushed.left_out)
    assert hub.files(NAME)["LICENSE"] == b"free"


def test_a_pack_keeps_its_name(hub: Hub, codec_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(codec_folder / "prompts", tmp_path / "any")
    (folder / "pack.json").write_text(json.dumps({"name": "screens"}))
    uploaded(folder, codec_folder / "base")
    codec = Codec.load(codec_folder / "base", packs=NAME)
    assert list(codec.packs) == ["screens"] and len(codec.packs["screens"]) == 3
    (folder / "pack.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        push(folder, Target(NAME), base=codec_folder / "base", dry_run=True)


def test_a_dry_run_sends_nothing(hub: Hub, codec_folder: Path, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    pushed = push(codec_folder, Target(NAME), dry_run=True)
    assert hub.requests == [] and pushed.revision is None
    assert pushed.files["base/config.json"] == (codec_folder / "base/config.json").stat().st_size
    assert pushed.bytes == sum(pushed.files.values())


def test_the_same_again_makes_no_commit(hub: Hub, codec_folder: Path) -> None:
    first = uploaded(codec_folder / "base")
    assert uploaded(codec_folder / "base") == first
    assert len(hub.repositories[NAME].messages) == 2


def test_a_branch_of_its_own(hub: Hub, codec_folder: Path) -> None:
    uploaded(codec_folder / "base", revision="next", message="another")
    repository = hub.repositories[NAME]
    assert repository.messages[-1] == "another"
    assert "config.json" in repository.commits[repository.refs["next"]]
    assert "config.json" not in repository.commits[repository.refs["main"]]
    assert Codec.load(f"{NAME}@next").base_hash == Codec.load(codec_folder / "base").base_hash


def test_private_means_private(hub: Hub, codec_folder: Path) -> None:
    uploaded(codec_folder / "base", private=True)
    assert hub.repositories[NAME].private
    hub.repositories[NAME].private = False
    with pytest.raises(UsageError, match="exists and is public: make it private"):
        uploaded(codec_folder, private=True)
    assert len(hub.repositories[NAME].messages) == 2


def test_what_an_earlier_push_left_is_removed_only_by_force(hub: Hub, codec_folder: Path) -> None:
    uploaded(codec_folder)
    with pytest.raises(OutputError, match=r"holds .* and \d+ more of an earlier upload, .*--force"):
        uploaded(codec_folder / "base")
    files = hub.files(NAME)
    hub.repositories[NAME].commit("main", {**files, "plot.json": b"{}"}, "a file by hand")
    pushed = push(codec_folder / "base", Target(NAME, force=True))
    assert "prompts/rate-2/adapter_config.json" in pushed.removed
    assert "prompts/rate-2/adapter_config.json" not in hub.files(NAME)
    assert "plot.json" in hub.files(NAME)


@pytest.mark.parametrize(
    ("token", "error", "says"),
    [
        (None, UsageError, "an upload to the Hub needs a token: set HF_TOKEN"),
        ("hf_wrong", OutputError, r"the Hub refuses me/tiny with this token .*: set HF_TOKEN"),
        (READ_ONLY, OutputError, r"the Hub refuses me/tiny with this token .*: set HF_TOKEN"),
    ],
)
def test_tokens(hub: Hub, codec_folder: Path, monkeypatch, token, error, says) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(error, match=says) as caught:
        uploaded(codec_folder / "base")
    assert "\n" not in str(caught.value) and not hub.repositories


def test_no_network(hub: Hub, codec_folder: Path, set_hub) -> None:
    set_hub(ENDPOINT="http://127.0.0.1:1")
    with pytest.raises(OutputError, match=r"the Hub at http://127.0.0.1:1 cannot be used .*later"):
        uploaded(codec_folder / "base")
    set_hub(HF_HUB_OFFLINE=True)
    with pytest.raises(OutputError, match="HF_HUB_OFFLINE is set, and this needs the network"):
        uploaded(codec_folder / "base")


def remove_tensor(path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = load_file(path)
    arrays.pop(min(arrays))
    save_file(arrays, path)


@pytest.mark.parametrize(
    "name",
    [
        *("base/model.safetensors", "prompts/rate-4/adapter_model.safetensors"),
        *("heads/classify/head_model.safetensors", "tasks/classify/task_model.safetensors"),
    ],
)
def test_a_missing_key_is_not_uploaded(hub: Hub, copy: Path, name: str) -> None:
    remove_tensor(copy / name)
    with pytest.raises(CheckpointError, match=r"tensor .* is missing") as caught:
        uploaded(copy)
    assert "\n" not in str(caught.value) and not hub.requests


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("prompts/rate-4/adapter_model.safetensors", "no readable safetensors"),
        ("heads/classify/head_model.safetensors", "no readable safetensors"),
        ("base/graphs/analyse.onnx", "no graph"),
    ],
)
def test_a_missing_file_is_not_uploaded(hub: Hub, copy: Path, name: str, says: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=says):
        uploaded(copy)
    assert not hub.requests


def test_a_changed_graph_is_not_uploaded(hub: Hub, copy: Path) -> None:
    path = copy / "heads/segment/graphs/segment.onnx"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="was changed or damaged"):
        uploaded(copy)


def test_networks_of_another_base_are_not_uploaded(hub: Hub, copy: Path) -> None:
    with pytest.raises(ModelMismatchError, match=r"not the bundled one: name .* by --base"):
        uploaded(copy / "prompts")
    path = copy / "heads/classify/head_config.json"
    facts = json.loads(path.read_text()) | {"base_sha256": "ab" * 32}
    path.write_text(json.dumps(facts))
    with pytest.raises(ModelMismatchError, match="belongs to base abababab"):
        uploaded(copy)


@pytest.mark.parametrize(
    ("folder", "error", "says"),
    [
        ("nothing", CheckpointError, "no such folder: check the name"),
        ("base/config.json", CheckpointError, "is a file: name the folder that it lies in"),
        ("base/graphs", CheckpointError, "holds nothing of promptcodec"),
    ],
)
def test_wrong_folders(codec_folder: Path, folder: str, error, says: str) -> None:
    with pytest.raises(error, match=says):
        uploaded(codec_folder / folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *((name, "give owner/name") for name in ("tiny", "a/b/c", "me/my codec", "me/ä", "/x", "")),
        ("me/tiny@main", "name the branch by --revision"),
        ("me/a--b", "--"),
        ("me/\udcff", "give owner/name"),
    ],
)
def test_wrong_names(codec_folder: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        push(codec_folder / "base", Target(name), dry_run=True)
    assert "\n" not in str(caught.value)


def test_a_loaded_codec_uploads_what_it_is(hub: Hub, codec_folder: Path) -> None:
    codec = Codec.load(codec_folder)
    pushed = codec.push_to_hub(NAME)
    assert pushed.revision == hub.repositories[NAME].refs["main"]
    assert set(pushed.files) == set(hub.files(NAME)) - {".gitattributes"}
    assert pushed.files == push(codec_folder, Target(NAME), dry_run=True).files
    assert [rate.index for rate in Codec.load(NAME).rates] == [2, 4, 6]


def test_a_codec_of_several_places(hub: Hub, codec_folder: Path) -> None:
    codec = Codec.load(codec_folder / "base", heads=codec_folder / "heads" / "segment")
    codec.add_prompts(codec_folder / "prompts" / "rate-6")
    pushed = codec.push_to_hub("me/other")
    files = pushed.files
    assert pushed.left_out == ()
    assert {"base/config.json", "prompts/rate-6/adapter_config.json"} < set(files)
    assert "heads/segment/head_config.json" in files
    loaded = Codec.load("me/other")
    assert loaded.encode(PICTURE, rate_index=6) == codec.encode(PICTURE, rate_index=6)


def test_a_codec_is_the_base_of_its_adapters(hub: Hub, codec_folder: Path) -> None:
    uploaded(codec_folder)
    pushed = Codec.load(NAME).push_to_hub("me/rate-2", codec_folder / "prompts" / "rate-2")
    assert "base_model: me/tiny\nbase_model_relation: adapter\n" in pushed.card
    assert 'Codec.load("me/tiny", prompts="me/rate-2")' in pushed.card


def test_errors_are_ours(hub: Hub, codec_folder: Path) -> None:
    """The Hub's names are stricter than ours; what its library says is handed on in one line."""
    with pytest.raises(PromptCodecError, match=r"me/x\.git"):
        push(codec_folder / "base", Target("me/x.git"))
    with pytest.raises(OutputError, match=r'me/tiny: Invalid .* "license" must be one') as caught:
        push(codec_folder / "base", Target(NAME), licence="nonsense")
    assert "\n" not in str(caught.value)
    assert TOKEN not in repr(hub.requests)


def test_without_torch(hub: Hub, copy: Path, monkeypatch) -> None:
    """Graphs take the place of torch's networks in the check of a base."""
    from promptcodec.api import engines, parts

    for module in (engines, parts):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert uploaded(copy / "base")
    remove_tensor(copy / "base" / "model.safetensors")
    with pytest.raises(CheckpointError, match="the base has no tensor"):
        uploaded(copy / "base")
    (copy / "base" / "graphs" / "graphs.json").unlink()
    with pytest.raises(UsageError, match=r"the check of .*, which has no graphs, needs torch"):
        uploaded(copy / "base")


def test_a_base_without_graphs_is_noted(copy: Path) -> None:
    (copy / "base" / "graphs" / "graphs.json").unlink()
    pushed = push(copy, Target(NAME), dry_run=True)
    assert any("base has no graphs, so that it needs torch" in note for note in pushed.notes)
    assert "base/graphs/" in pushed.left_out


def test_a_commit_of_somebody_else_in_between(hub: Hub, codec_folder: Path, monkeypatch) -> None:
    from huggingface_hub import HfApi

    uploaded(codec_folder / "base")
    plain = HfApi.create_commit

    def create_commit(*arguments: Any, **options: Any) -> Any:
        hub.change(NAME, config_json=b"{}")
        return plain(*arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    with pytest.raises(OutputError, match="412"):
        uploaded(codec_folder / "base", message="mine")
    assert hub.repositories[NAME].messages[-1] == "by hand"
