"""Places of checkpoints and adapters: a folder, the package itself, or the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from promptcodec.errors import CheckpointError, is_address, not_found

BASE_CONFIG, BASE_WEIGHTS = "config.json", "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HEAD_CONFIG, HEAD_WEIGHTS = "head_config.json", "head_model.safetensors"
TASK_CONFIG, TASK_WEIGHTS = "task_config.json", "task_model.safetensors"
FETCHED = ["*.json", "*.safetensors", "*.onnx"]  # files of a repository on the Hub
_KINDS = {
    ADAPTER_CONFIG: "rate adapter was",
    HEAD_CONFIG: "head was",
    TASK_CONFIG: "task prompts were",
}

PromptsSource = str | Path | Iterable[str | Path] | Mapping[int, str | Path]


def bundled() -> Path:
    """Folder of the bundled checkpoint: `base/`, `prompts/`, `heads/`.

    Raises:
        CheckpointError: the folder is missing.
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
        CheckpointError: the base is in none of these places.
    """
    return bundled() / "base" if base is None else _fetch(base)


def find_prompts(prompts: PromptsSource | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of single adapters.

    Args:
        prompts: an adapter, a folder of adapters, a Hub id of either, several of these, or a dict
            of them by rate index; None is the bundled ladder for the bundled base, else nothing.
        base: base as in `find_base`; only None, the bundled one, has a bundled ladder.
    Raises:
        CheckpointError: one of these places has no adapter.
    """
    if prompts is None or isinstance(prompts, str | Path):
        return _find(ADAPTER_CONFIG, prompts, bundled_as="prompts", base=base)
    places = prompts.values() if isinstance(prompts, Mapping) else prompts
    return [folder for place in places for folder in _find_in(place, ADAPTER_CONFIG)]


def find_heads(heads: str | Path | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of single heads.

    Args:
        heads: a head, a folder of heads, or a Hub id of either; None is those of the bundled base,
            for any other base nothing.
        base: base as in `find_base`.
    Raises:
        CheckpointError: the place has no head.
    """
    return _find(HEAD_CONFIG, heads, bundled_as="heads", base=base)


def find_tasks(tasks: str | Path | None, *, base: str | Path | None = None) -> list[Path]:
    """Folders of task prompts; arguments and errors as those of `find_heads`."""
    return _find(TASK_CONFIG, tasks, bundled_as="tasks", base=base)


def _find(
    config: str, place: str | Path | None, *, bundled_as: str, base: str | Path | None
) -> list[Path]:
    if place is not None:
        return _find_in(place, config)
    return _those_with(config, bundled() / bundled_as) if base is None else []


def _find_in(place: str | Path, config: str) -> list[Path]:
    found = _those_with(config, _fetch(place))
    if not found:
        raise CheckpointError(
            f"no {_KINDS[config]} found in {place}: name a folder with {config}, or one that holds "
            "such folders"
        )
    return found


def _those_with(name: str, folder: Path) -> list[Path]:
    """Subfolders with a file of that name, then the folder itself if it has one.

    PEFT writes an adapter named "default" beside the folders of the others.
    """
    own = [folder] if (folder / name).is_file() else []
    return [*sorted(path.parent for path in folder.glob(f"*/{name}")), *own]


def _fetch(place: str | Path) -> Path:
    if Path(place).exists():
        return Path(place)
    if is_address(str(place)):
        raise CheckpointError(not_found(place))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(place)):
        return _from_hub(str(place))
    return Path(place)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # only a Hub id needs it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FETCHED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"no folder {name} and no such repository on the Hub ({line}); give the folder of a "
            "checkpoint or a Hub id owner/name"
        ) from None
