"""Networks in a folder: which there are, and whether their files can be loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptcodec.api.engines import check_torch
from promptcodec.api.origin import Origin
from promptcodec.coding.adapter_file import read_adapter_config, read_stored_adapter
from promptcodec.coding.base_file import StoredBase, read_stored_base
from promptcodec.coding.head_file import read_stored_head
from promptcodec.errors import CheckpointError, not_found
from promptcodec.io.checkpoints import (
    ADAPTERS,
    BASE,
    HEADS,
    TASKS,
    Part,
    find_base,
    find_heads,
    find_tasks,
    parts_in,
)
from promptcodec.runtime.catalogue import Architecture
from promptcodec.runtime.engine import OnnxEngine
from promptcodec.runtime.files import FOLDER, MANIFEST, has_graphs, read_graphs

PARTS = (BASE, ADAPTERS, HEADS, TASKS)
RECORDS = ("training.json", "history/*.json")  # of the training


@dataclass(frozen=True)
class Network:
    """A network on disk.

    Args:
        part: kind of network.
        folder: folder of its files.
        path: folder in a repository; empty is its root.
    """

    part: Part
    folder: Path
    path: str


@dataclass(frozen=True)
class Checked:
    """A network whose files were all read.

    Args:
        network: place of the network.
        config: content of its JSON file.
        files: files that belong to it, by path below its folder.
        sha256: hash of an adapter; None for others.
    """

    network: Network
    config: Any
    files: tuple[str, ...]
    sha256: bytes | None = None


def networks_of(root: Path) -> list[Network]:
    """Networks in a folder: a codec's, one network, or several of one kind.

    Raises:
        CheckpointError: it is no folder, or has none.
    """
    if not root.is_dir():
        message = f"{root}: no such folder: check the name"
        if root.exists():
            message = f"{root} is a file: name the folder that it lies in"
        raise CheckpointError(not_found(root, message))
    found = [
        Network(part, folder, _below(root, folder))
        for part in PARTS
        for folder in _folders(root, part)
    ]
    if not found:
        configs = ", ".join(part.config for part in PARTS)
        raise CheckpointError(
            f"{root} holds nothing of promptcodec: name the folder of a codec, or one with "
            f"{configs}"
        )
    return found


def networks_of_codec(origin: Origin, installed: Sequence[Sequence[Path]]) -> list[Network]:
    """Networks of a loaded codec.

    Args:
        origin: folders that it was loaded from.
        installed: folders of adapters in the order of their installation.
    """
    rates = {read_adapter_config(f).rate_index: f for folders in installed for f in folders}
    found = [(BASE, BASE.folder, find_base(origin.root))]
    found += [(ADAPTERS, f"{ADAPTERS.folder}/rate-{i}", f) for i, f in sorted(rates.items())]
    for part, place, find in ((HEADS, origin.heads, find_heads), (TASKS, origin.tasks, find_tasks)):
        folders = find(place, base=origin.root)
        found += [(part, f"{part.folder}/{folder.name}", folder) for folder in folders]
    inside = all(folder.is_relative_to(origin.root) for _, _, folder in found)
    return [
        Network(part, folder, _below(origin.root, folder) if inside else path)
        for part, path, folder in found
    ]


def _below(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix().removeprefix(".")


def _folders(root: Path, part: Part) -> list[Path]:
    """Folders of one kind; a base is not looked for in any subfolder."""
    if part is BASE:
        return [each for each in (root, root / BASE.folder) if (each / part.config).is_file()][:1]
    return parts_in(root, part)


def check(networks: Sequence[Network], base: StoredBase | None) -> tuple[StoredBase, list[Checked]]:
    """Read every file of networks as an engine does.

    Args:
        networks: networks of one base; the base comes first.
        base: base of networks that come without it; None where it is among them.
    Returns:
        The base, and the networks in their order.
    Raises:
        CheckpointError: a file is missing; a tensor is missing, unknown, of another shape or not
            finite; a graph was changed.
        ModelMismatchError: a network belongs to another base.
    """
    checked = []
    for network in networks:
        if network.part is BASE:
            base, one = _check_base(network)
        else:
            assert base is not None
            one = CHECKS[network.part.folder](network, base)
        checked.append(one)
    assert base is not None
    return base, checked


def _check_base(network: Network) -> tuple[StoredBase, Checked]:
    folder = network.folder
    stored = read_stored_base(folder)
    config = stored.config
    graphs = _check_graphs(folder, config.codec)
    if graphs and find_spec("torch") is None:
        OnnxEngine.load(folder, threads=1).prepare()
    else:
        check_torch(f"the check of {folder}, which has no graphs,")
        from promptcodec.models.checkpoint import read_base

        read_base(folder)
    return stored, _checked(network, config, graphs)


def _check_adapter(network: Network, base: StoredBase) -> Checked:
    stored = read_stored_adapter(network.folder, codec=base.config.codec, base_sha256=base.sha256)
    return _checked(network, stored.config, [], sha256=stored.sha256)


def _check_head(network: Network, base: StoredBase) -> Checked:
    stored = read_stored_head(network.folder, base_sha256=base.sha256)
    return _checked(network, stored.config, _check_graphs(network.folder, stored.config))


def _check_task(network: Network, base: StoredBase) -> Checked:
    check_torch("the check of task prompts")
    from promptcodec.models.adapters.task_checkpoint import read_task

    return _checked(network, read_task(network.folder, base=base).config, [])


CHECKS: dict[str, Callable[[Network, StoredBase], Checked]] = {
    ADAPTERS.folder: _check_adapter,
    HEADS.folder: _check_head,
    TASKS.folder: _check_task,
}


def _checked(
    network: Network, config: Any, graphs: list[str], *, sha256: bytes | None = None
) -> Checked:
    part, folder = network.part, network.folder
    records = [path for pattern in RECORDS for path in sorted(folder.glob(pattern))]
    own = [path.relative_to(folder).as_posix() for path in records if path.is_file()]
    return Checked(network, config, (part.config, part.weights, *own, *graphs), sha256)


def _check_graphs(folder: Path, config: Architecture) -> list[str]:
    """Paths of graphs, each with the bytes that were written; none where there are none."""
    if not has_graphs(folder):
        return []
    files = read_graphs(folder, config)
    for name in files.sha256:
        files.read(name)
    return [f"{FOLDER}/{MANIFEST}", *(f"{FOLDER}/{name}.onnx" for name in files.sha256)]
