"""Places of domain packs: folders of adapters with a name, beside a checkpoint or elsewhere.

screens/pack.json rate-2/ rate-5/     a pack
packs/screens/ packs/drawings/        a folder of packs
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import CheckpointError, UsageError
from promptcodec.io.checkpoints import (
    ADAPTER_CONFIG,
    bundled,
    hub_name,
    locate,
    networks_in,
)
from promptcodec.io.config_files import read_json

FOLDER = "packs"  # of packs, in a codec's folder and beside the bundled checkpoints
PACK_FACTS = "pack.json"
AUTO, BEST = "auto", "best"  # choices among all packs, and thus no names of one

PacksSource = str | Path | Iterable[str | Path]
Locate = Callable[[str | Path], Path]


@dataclass(frozen=True)
class StoredPack:
    """A pack on disk.

    Args:
        name: name in its `pack.json`, or that of its folder or repository.
        folder: folder of the pack.
        adapters: folders of its adapters.
    """

    name: str
    folder: Path
    adapters: tuple[Path, ...]

    def facts(self) -> dict[str, Any]:
        """Content of its `pack.json`; empty where there is none, errors as `find_packs`."""
        return _facts(self.folder)

    def bases(self) -> set[str]:
        """Hashes of the bases that its adapters belong to, hexadecimal."""
        configs = [read_json(folder / ADAPTER_CONFIG, what="adapter") for folder in self.adapters]
        return {str(config.get("base_sha256")) for config in configs if isinstance(config, dict)}


def find_packs(packs: PacksSource, *, locate: Locate = locate) -> list[StoredPack]:
    """Packs in places that are named.

    Args:
        packs: a pack, a folder of packs, the folder of a codec with `packs/`, a Hub id of any, or
            several of these.
        locate: function from a place to its folder.
    Raises:
        CheckpointError: one of these places has no pack, or a `pack.json` cannot be read.
        UsageError: two packs have one name, or one is called "auto" or "best".
    """
    places = [packs] if isinstance(packs, str | Path) else packs
    found: dict[str, StoredPack] = {}
    for place in places:
        for pack in _in_place(place, locate(place)):
            before = found.setdefault(pack.name, pack)
            if before.folder.resolve() != pack.folder.resolve():
                raise UsageError(
                    f"{before.folder} and {pack.folder} are both called {pack.name!r}: name one"
                )
    return list(found.values())


def packs_beside(root: Path, *, base_sha256: bytes) -> list[StoredPack]:
    """Packs of a base in the folder of its codec, and beside the bundled checkpoints.

    Args:
        root: folder of the codec.
        base_sha256: hash of the base; packs of others are left out.
    Raises:
        CheckpointError: a file cannot be read.
    """
    own: dict[str, StoredPack] = {}
    for pack in (*_below(root / FOLDER), *packs_beside_bundled()):
        if pack.bases() == {base_sha256.hex()}:
            own.setdefault(pack.name, pack)
    return list(own.values())


def packs_beside_bundled() -> list[StoredPack]:
    """Packs beside the bundled checkpoints; errors as `packs_beside`."""
    try:
        folder = bundled().parent / FOLDER
    except CheckpointError:  # an installation without checkpoints
        return []
    return _below(folder)


def checked_facts(folder: Path) -> Path:
    """The `pack.json` of a pack, which can be read; errors as `find_packs`."""
    _facts(folder)
    return folder / PACK_FACTS


def _in_place(place: str | Path, root: Path) -> list[StoredPack]:
    if adapters := networks_in(root, ADAPTER_CONFIG):
        name = hub_name(place)
        own = root.resolve().name if name is None else name.repository.partition("/")[2]
        return [_pack(root, adapters, own)]
    found = _below(root / FOLDER) or _below(root)
    if not found:
        raise CheckpointError(
            f"no pack was found in {place}: name the folder of a pack, which holds adapters, or "
            "one that holds such folders"
        )
    return found


def _below(folder: Path) -> list[StoredPack]:
    """Packs in the subfolders of a folder; hidden ones are left out."""
    if not folder.is_dir():
        return []
    places = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    found = ((each, networks_in(each, ADAPTER_CONFIG)) for each in places)
    return [_pack(each, adapters, each.name) for each, adapters in found if adapters]


def _pack(folder: Path, adapters: list[Path], name: str) -> StoredPack:
    name = str(_facts(folder).get("name") or name)
    if name in (AUTO, BEST):
        raise UsageError(f"{folder} is called {name!r}, which names no pack: call it otherwise")
    return StoredPack(name, folder, tuple(adapters))


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / PACK_FACTS
    values = read_json(path, what="pack") if path.is_file() else {}
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object: get the file again")
    return values
