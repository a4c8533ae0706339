"""Download of a repository from the Hub into the cache of its library."""

from __future__ import annotations

from pathlib import Path

from promptcodec.errors import CheckpointError
from promptcodec.io.hub.faults import hub_call
from promptcodec.io.hub.manifest import check_files
from promptcodec.io.hub.name import HubName

FETCHED = ["*.json", "*.safetensors", "*.onnx"]  # files of a repository on the Hub


def fetch(name: HubName, *, local_files_only: bool = False) -> Path:
    """Folder of a repository in the cache, brought up to date.

    Args:
        name: repository and revision.
        local_files_only: whether to take what the cache has, without the network; so it is in any
            case where HF_HUB_OFFLINE is set.
    Raises:
        CheckpointError: no such repository or revision; no network and not in the cache; a file is
            missing or not the one that was uploaded.
    """
    from huggingface_hub import snapshot_download  # takes long, and only a Hub id needs it

    with hub_call(name, kind=CheckpointError):
        folder = snapshot_download(
            name.repository,
            revision=name.revision,
            allow_patterns=FETCHED,
            local_files_only=local_files_only,
        )
    check_files(Path(folder), name)
    return Path(folder)
