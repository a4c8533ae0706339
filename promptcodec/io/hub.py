"""Where checkpoints and adapters are: a folder, the package itself, or the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from promptcodec.errors import CheckpointError

BASE_CONFIG, BASE_WEIGHTS = "config.json", "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HEAD_CONFIG, HEAD_WEIGHTS = "head_config.json", "head_model.safetensors"
TASK_CONFIG, TASK_WEIGHTS = "task_config.json", "task_model.safetensors"

PromptsSource = str | Path | Iterable[str | Path] | Mapping[int, str | Path]


def bundled() -> Path:
    """Folder of the checkpoint that comes with the package: `base/`, `prompts/`, `heads/`.

    Raises:
        CheckpointError: it is missing.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package, package.parent):  # installed wheel, source checkout
        folder = root / "checkpoints" / "nano"
        if (folder / "base").is_dir():
            return folder
    raise CheckpointError("the bundled checkpoint is missing; install promptcodec again")


def find_base(base: str | Path | None) -> Path:
    """Folder of a base checkpoint: given, bundled, or fetched from the Hub.

    Raises:
        CheckpointError: it is in none of these places.
    """
    return bundled() / "base" if base is None else _fetch(base)


def find_prompts(prompts: PromptsSource | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of single adapters.

    Args:
        prompts: an adapter, a folder of adapters, a Hub id of either, several of these, or a dict
            of them by rate index; None is the bundled ladder for the bundled base, else nothing.
        base: as `find_base` takes it; anything but None means that no ladder is bundled.
    Raises:
        CheckpointError: no adapter in one of these places.
    """
    if prompts is None:
        own = bundled() / "prompts" if base is None else None
        return _those_with(ADAPTER_CONFIG, own) if own is not None and own.is_dir() else []
    if isinstance(prompts, str | Path):
        prompts = [prompts]
    places = prompts.values() if isinstance(prompts, Mapping) else prompts
    return [adapter for place in places for adapter in _found(place)]


def find_heads(heads: str | Path | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of single heads.

    Args:
        heads: a head, a folder of heads, or a Hub id of either; None is those of the bundled base,
            for any other base nothing.
        base: as `find_base` takes it.
    Raises:
        CheckpointError: no head in that place.
    """
    if heads is None:
        return _those_with(HEAD_CONFIG, bundled() / "heads") if base is None else []
    found = _those_with(HEAD_CONFIG, _fetch(heads))
    if not found:
        raise CheckpointError(
            f"no head was found in {heads}: name a folder with {HEAD_CONFIG}, or one that holds "
            "such folders"
        )
    return found


def find_tasks(tasks: str | Path | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of task prompts; arguments and errors as those of `find_heads`."""
    if tasks is None:
        return _those_with(TASK_CONFIG, bundled() / "tasks") if base is None else []
    found = _those_with(TASK_CONFIG, _fetch(tasks))
    if not found:
        raise CheckpointError(
            f"no task prompts were found in {tasks}: name a folder with {TASK_CONFIG}"
        )
    return found


def _those_with(name: str, folder: Path) -> list[Path]:
    """A folder, if it holds that file, else those of its subfolders that do."""
    if (folder / name).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{name}"))


def _found(place: str | Path) -> list[Path]:
    found = _those_with(ADAPTER_CONFIG, _fetch(place))
    if not found:
        raise CheckpointError(
            f"no rate adapter was found in {place}: name a folder with {ADAPTER_CONFIG}, or one "
            "that holds such folders"
        )
    return found


def _fetch(place: str | Path) -> Path:
    if not Path(place).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(place)):
        return _from_hub(str(place))
    return Path(place)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # only a Hub id needs it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"no folder {name} and no such repository on the Hub ({line}); give the folder of a "
            "checkpoint or a Hub id owner/name"
        ) from None
