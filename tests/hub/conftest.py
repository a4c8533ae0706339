"""The library of the Hub, turned to a server of the test suite and a cache of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, Hub, serve


@pytest.fixture
def set_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace values that the library has read from the environment, in each of its modules."""
    for name in ("constants", "file_download", "hf_api"):
        import_module(f"huggingface_hub.{name}")

    def replace(**values: Any) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("huggingface_hub"):
                for key in values.keys() & vars(module).keys():
                    monkeypatch.setattr(module, key, values[key])

    return replace


@pytest.fixture
def hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_hub: Callable[..., None]
) -> Iterator[Hub]:
    """A running server, and an empty cache."""
    with serve() as hub:
        home = tmp_path / "hf-home"
        set_hub(
            ENDPOINT=hub.url,
            HUGGINGFACE_CO_URL_TEMPLATE=hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            HF_HUB_CACHE=str(home / "hub"),
            HF_TOKEN_PATH=str(home / "token"),
            HF_HUB_OFFLINE=False,
            HF_HUB_DISABLE_XET=True,
        )
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture(scope="session")
def codec_folder(tiny_checkpoint, tiny_ladder, tiny_heads, tiny_tasks, tmp_path_factory) -> Path:
    """Folder of a codec with everything that there is."""
    root = tmp_path_factory.mktemp("codec")
    for source, name in (
        (tiny_checkpoint, "base"),
        (tiny_ladder, "prompts"),
        (tiny_heads, "heads"),
        (tiny_tasks, "tasks"),
    ):
        shutil.copytree(source, root / name)
    return root


@pytest.fixture(scope="session")
def tiny_tasks(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of untrained task prompts of the tiny base."""
    import torch

    from promptcodec.models.adapters.task_checkpoint import TaskConfig, write_task
    from promptcodec.models.adapters.task_prompts import TaskPrompts
    from promptcodec.models.checkpoint import read_base

    base = read_base(tiny_checkpoint)
    torch.manual_seed(3)
    prompts = TaskPrompts(base.config.codec, width=4, rank=2)
    config = TaskConfig(task="classify", base_sha256=base.sha256.hex(), width=4, rank=2)
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder / "classify", prompts, config=config)
    return folder


@pytest.fixture
def copy(codec_folder: Path, tmp_path: Path) -> Path:
    """A copy of the codec's folder that may be changed."""
    return Path(shutil.copytree(codec_folder, tmp_path / "codec"))
