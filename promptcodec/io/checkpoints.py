"""Places of checkpoints and adapters: a folder, the package itself, or the Hub.

base/ prompts/ heads/ tasks/     what a codec's folder holds, whatever of it there is
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from promptcodec.errors import CheckpointError, is_address, not_found
from promptcodec.io.hub.fetch import fetch
from promptcodec.io.hub.name import HubName

BASE_CONFIG, BASE_WEIGHTS = "config.json", "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HEAD_CONFIG, HEAD_WEIGHTS = "head_config.json", "head_model.safetensors"
TASK_CONFIG, TASK_WEIGHTS = "task_config.json", "task_model.safetensors"

PromptsSource = str | Path | Iterable[str | Path] | Mapping[int, str | Path]


@dataclass(frozen=True)
class Part:
    """A kind of network in a codec's folder.

    Args:
        folder: name of its folder there.
        config: name of its JSON file.
        weights: name of its safetensors file.
        title: what it is called in a message, with its verb.
    """

    folder: str
    config: str
    weights: str
    title: str


BASE = Part("base", BASE_CONFIG, BASE_WEIGHTS, "base was")
ADAPTERS = Part("prompts", ADAPTER_CONFIG, ADAPTER_WEIGHTS, "rate adapter was")
HEADS = Part("heads", HEAD_CONFIG, HEAD_WEIGHTS, "head was")
TASKS = Part("tasks", TASK_CONFIG, TASK_WEIGHTS, "task prompts were")


def bundled() -> Path:
    """Folder of the bundled checkpoint: `base/`, `prompts/`, `heads/`.

    Raises:
        CheckpointError: the folder is missing.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package, package.parent):  # installed wheel, source checkout
        folder = root / "checkpoints" / "small"
        if (folder / BASE.folder).is_dir():
            return folder
    raise CheckpointError("the bundled checkpoint is missing; install promptcodec again")


def locate(place: str | Path, *, local_files_only: bool = False) -> Path:
    """A place as a folder, which need not exist; a repository on the Hub is downloaded.

    Args:
        place: folder, or owner/name or owner/name@revision on the Hub.
        local_files_only: whether a repository has to be in the cache.
    Raises:
        CheckpointError: an address; or as `fetch`.
    """
    if Path(place).exists():
        return Path(place)
    if is_address(str(place)):
        raise CheckpointError(f"{not_found(place)}, or give owner/name for a repository on the Hub")
    name = hub_name(place)
    return Path(place) if name is None else fetch(name, local_files_only=local_files_only)


def hub_name(place: str | Path) -> HubName | None:
    """The repository that a place names; None for a folder, or another form of name."""
    return None if Path(place).exists() else HubName.read(str(place))


def locate_each(
    places: PromptsSource | None, locate: Callable[[str | Path], Path]
) -> PromptsSource | None:
    """Places with the folder of each for its name, in the same form."""
    if places is None or isinstance(places, str | Path):
        return None if places is None else locate(places)
    if isinstance(places, Mapping):
        found = {key: locate(place) for key, place in places.items()}
        return cast("Mapping[int, Path]", found)
    return [locate(place) for place in places]


def root_of(base: str | Path | None) -> Path:
    """The folder that a base is looked for in, and what belongs to it; errors as `locate`."""
    return bundled() if base is None else locate(base)


def find_base(base: str | Path | None) -> Path:
    """Folder of a base checkpoint: given, bundled, or fetched from the Hub.

    Args:
        base: a base, or the folder of a codec, which holds it in `base/`; None is the bundled one.
    Raises:
        CheckpointError: the base is in none of these places.
    """
    root = root_of(base)
    inner = root / BASE.folder
    own = (root / BASE_CONFIG).is_file() or not (inner / BASE_CONFIG).is_file()
    return root if own else inner


def find_prompts(prompts: PromptsSource | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of single adapters.

    Args:
        prompts: an adapter, a folder of adapters, the folder of a codec, a Hub id of any, several
            of these, or a dict of them by rate index; None is the ladder in the codec's folder.
        base: base as in `find_base`, and thereby the codec's folder.
    Raises:
        CheckpointError: one of these places has no adapter.
    """
    if prompts is None:
        return _beside(base, ADAPTERS)
    single = isinstance(prompts, str | Path)
    places = [prompts] if single else prompts.values() if isinstance(prompts, Mapping) else prompts
    return [folder for place in places for folder in _find_in(place, ADAPTERS)]


def find_heads(heads: str | Path | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of single heads.

    Args:
        heads: a head, a folder of heads, the folder of a codec, or a Hub id of any; None is those
            in the codec's folder.
        base: base as in `find_base`, and thereby the codec's folder.
    Raises:
        CheckpointError: the place has no head.
    """
    return _beside(base, HEADS) if heads is None else _find_in(heads, HEADS)


def find_tasks(tasks: str | Path | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of task prompts; arguments and errors as those of `find_heads`."""
    return _beside(base, TASKS) if tasks is None else _find_in(tasks, TASKS)


def _beside(base: str | Path | None, part: Part) -> list[Path]:
    """Networks in the codec's folder, of which a base alone has none."""
    return networks_in(root_of(base) / part.folder, part.config)


def _find_in(place: str | Path, part: Part) -> list[Path]:
    root = locate(place)
    found = parts_in(root, part)
    if not found:
        raise CheckpointError(
            f"no {part.title} found in {place}: name a folder with {part.config}, or one that "
            "holds such folders"
        )
    return found


def parts_in(root: Path, part: Part) -> list[Path]:
    """Folders of one kind of network, in a folder of its own and in that of a codec."""
    found = (*networks_in(root, part.config), *networks_in(root / part.folder, part.config))
    return list(dict.fromkeys(found))


def networks_in(folder: Path, config: str) -> list[Path]:
    """Subfolders with a file of that name, then the folder itself if it has one.

    PEFT writes an adapter named "default" beside the folders of the others. Hidden folders are
    left out.
    """
    own = [folder] if (folder / config).is_file() else []
    below = [path.parent for path in folder.glob(f"*/{config}")]
    return [*sorted(path for path in below if not path.name.startswith(".")), *own]
