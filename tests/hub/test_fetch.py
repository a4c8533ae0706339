"""Loading from the Hub: revisions, the cache, no network, and what is refused, in one line each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, Hub
from places import ROOT
from safetensors.numpy import load, load_file, save, save_file

from promptcodec import Codec
from promptcodec.api.push import push
from promptcodec.errors import CheckpointError, ModelMismatchError
from promptcodec.io.checkpoints import locate
from promptcodec.io.hub.manifest import MANIFEST
from promptcodec.io.hub.upload import Target

NAME = "me/tiny"


@pytest.fixture
def revision(hub: Hub, codec_folder: Path) -> str:
    """The tiny codec on the server."""
    return str(push(codec_folder, Target(NAME)).revision)


def refused(
    says: str, *arguments: Any, error: type[Exception] = CheckpointError, **options: Any
) -> str:
    with pytest.raises(error, match=says) as caught:
        Codec.load(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def other_base(folder: Path) -> Path:
    """Change one weight of the base in a codec's folder."""
    path = folder / "base" / "model.safetensors"
    arrays = load_file(path)
    arrays["g_s.stem.bias"] = arrays["g_s.stem.bias"] + arrays["g_s.stem.bias"].dtype.type(0.5)
    save_file(arrays, path)
    return folder


def test_revisions(hub: Hub, revision: str, copy: Path) -> None:
    old = Codec.load(NAME).base_hash
    shutil.rmtree(copy / "prompts")
    shutil.rmtree(copy / "heads")
    shutil.rmtree(copy / "tasks")
    push(other_base(copy), Target(NAME, force=True))
    repository = hub.repositories[NAME]
    repository.refs["v1"] = revision
    new = Codec.load(NAME)
    assert new.base_hash != old and [rate.index for rate in new.rates] == [4]
    for name in (revision, "v1"):
        codec = Codec.load(f"{NAME}@{name}")
        assert codec.base_hash == old and [rate.index for rate in codec.rates] == [2, 4, 6]
    assert Codec.load(f"{NAME}@main").base_hash == new.base_hash


def test_an_adapter_of_an_old_revision(hub: Hub, codec_folder: Path, copy: Path) -> None:
    old = push(codec_folder / "base", Target("me/base")).revision
    push(codec_folder / "prompts", Target("me/ladder"), base=codec_folder / "base")
    push(other_base(copy) / "base", Target("me/base"))
    refused("belongs to base .*: load that base", "me/base", "me/ladder", error=ModelMismatchError)
    assert len(Codec.load(f"me/base@{old}", "me/ladder").rates) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (f"{NAME}@v9", f"{NAME} has no revision v9: give a branch, a tag or a commit"),
        (f"{NAME}@{'ab' * 20}", f"{NAME} has no revision abab"),
        ("me/other", "me/other is no folder, and there is no such repository on the Hub"),
        ("me/a--b", "me/a--b: Cannot have -- .*: correct it"),
    ],
)
def test_what_is_not_there(revision: str, name: str, says: str) -> None:
    refused(says, name)


def test_private_without_a_token(hub: Hub, revision: str, monkeypatch) -> None:
    hub.repositories[NAME].private = True
    monkeypatch.delenv("HF_TOKEN")
    refused("no such repository on the Hub, or it is private: .* set HF_TOKEN, or log in", NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(Codec.load(NAME).rates) == 3


def test_gated(hub: Hub, revision: str) -> None:
    hub.repositories[NAME].gated = True
    refused(f"{NAME} is gated: request access at {hub.url}/{NAME}, then set HF_TOKEN", NAME)


def test_a_download_that_fails(hub: Hub, revision: str) -> None:
    hub.repositories[NAME].broken = 501
    refused(f"{NAME}.* the Hub at {hub.url} .*501", NAME)


def test_a_cache_that_cannot_be_written(hub: Hub, revision: str, set_hub, tmp_path) -> None:
    (tmp_path / "file").touch()
    set_hub(HF_HUB_CACHE=str(tmp_path / "file" / "hub"))
    refused(f"{NAME}: .*file.*: Not a directory: make room, or set HF_HOME", NAME)


@pytest.mark.parametrize("name", ["./nothing", "../nothing", "nothing", "my codecs/nothing"])
def test_names_of_folders_are_not_looked_up(hub: Hub, name: str) -> None:
    refused("no checkpoint at", name)
    assert hub.requests == []


def test_offline_from_the_cache(hub: Hub, revision: str, set_hub) -> None:
    known = Codec.load(NAME).base_hash
    hub.requests.clear()
    assert Codec.load(NAME, local_files_only=True).base_hash == known
    assert Codec.load(f"{NAME}@{revision}", local_files_only=True).base_hash == known
    assert hub.requests == []
    set_hub(HF_HUB_OFFLINE=True)
    assert Codec.load(NAME).base_hash == known
    assert Codec.load(f"{NAME}@{revision}").base_hash == known
    assert hub.requests == []


def test_not_in_the_cache(hub: Hub, revision: str, set_hub, tmp_path: Path) -> None:
    said = refused("with local_files_only set: load it once", NAME, local_files_only=True)
    assert str(tmp_path / "hf-home" / "hub") in said
    set_hub(HF_HUB_OFFLINE=True)
    refused("not whole in the cache .*, with HF_HUB_OFFLINE set: load it once", NAME)
    refused("HF_HUB_OFFLINE set", None, NAME)
    refused("HF_HUB_OFFLINE set", None, heads=NAME)
    assert ("GET", f"/api/models/{NAME}/revision/main") not in hub.requests


def test_no_network(hub: Hub, revision: str, set_hub) -> None:
    set_hub(ENDPOINT="http://127.0.0.1:1")
    refused(f"{NAME} is no folder, .* the Hub at http://127.0.0.1:1 cannot be reached", NAME)
    set_hub(ENDPOINT=hub.url)
    known = Codec.load(NAME).base_hash
    set_hub(ENDPOINT="http://127.0.0.1:1")
    assert Codec.load(NAME).base_hash == known  # of the cache


def test_a_wrong_hash(hub: Hub, revision: str) -> None:
    folder = locate(NAME)
    path = (folder / "prompts/rate-2/adapter_model.safetensors").resolve()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    said = refused("adapter_model.safetensors has SHA-256 .*: remove .* and load again", NAME)
    shutil.rmtree(said.split(": remove ")[1].split(" and load")[0])
    assert len(Codec.load(NAME).rates) == 3


def test_a_file_that_is_gone(hub: Hub, revision: str) -> None:
    hub.change(NAME, graphs_json=None)
    refused(f"{NAME}: base/graphs/graphs.json is missing", NAME)
    assert len(Codec.load(f"{NAME}@{revision}").rates) == 3


def test_a_list_of_a_later_version(hub: Hub, revision: str) -> None:
    facts = json.loads(hub.files(NAME)[MANIFEST])
    hub.change(NAME, promptcodec_json=json.dumps(facts | {"format_version": 2}).encode())
    refused("format_version is 2.*upgrade promptcodec", NAME)
    outside = facts | {"sha256": {"../../x": "ab"}}
    hub.change(NAME, promptcodec_json=json.dumps(outside).encode())
    refused(r"\.\./\.\./x is outside of the repository", NAME)


def without_a_tensor(data: bytes) -> bytes:
    arrays = load(data)
    arrays.pop(max(arrays))
    return save(arrays)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_missing_key_in_a_repository_without_a_list(hub: Hub, revision: str, engine: str) -> None:
    files = hub.files(NAME)
    adapter = files["prompts/rate-2/adapter_model.safetensors"]
    hub.change(NAME, promptcodec_json=None)
    assert len(Codec.load(NAME, engine=engine).rates) == 3  # type: ignore[arg-type]
    hub.change(NAME, adapter_model_safetensors=without_a_tensor(adapter))
    refused("adapter_model.safetensors: tensor .* is missing", NAME, engine=engine)
    hub.change(NAME, model_safetensors=without_a_tensor(files["base/model.safetensors"]))
    refused("model.safetensors: tensor .* is missing", NAME, engine=engine)
    hub.change(NAME, model_safetensors=None)
    refused("no checkpoint at .* model.safetensors is missing", NAME, engine=engine)


def test_a_repository_with_nothing_of_ours(hub: Hub, revision: str) -> None:
    hub.repositories[NAME].commit("main", {"notes.txt": b"x"}, "by hand")
    refused("no checkpoint at .*: config.json is missing", NAME)
    refused(f"no rate adapter was found in .*{NAME.partition('/')[2]}", None, NAME)


def test_the_environment_is_that_of_the_library(hub: Hub, revision: str, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HOME on the command line, then HF_HUB_OFFLINE."""
    home = tmp_path / "other home"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    script = (
        "import sys; from promptcodec.cli.main import main; a = sys.argv[1:];"
        "sys.exit(main(['rates', '--base', a[0]]) or main(['rates', '--base', a[1]]))"
    )
    command = [sys.executable, "-c", script, f"{NAME}@{revision}", "me/nothing"]
    for setting, says in (("0", "there is no such repository"), ("1", "HF_HUB_OFFLINE set")):
        result = subprocess.run(
            command, env=environment | {"HF_HUB_OFFLINE": setting}, capture_output=True, text=True
        )
        assert result.returncode == CheckpointError.exit_code, result.stderr
        assert "   6" in result.stdout
        assert result.stderr.startswith("promptcodec: error: me/nothing is no folder")
        assert says in result.stderr and result.stderr.count("\n") == 1
    assert (home / "hub" / "models--me--tiny" / "snapshots" / revision).is_dir()
