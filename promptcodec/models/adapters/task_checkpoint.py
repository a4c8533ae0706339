"""Task prompts on disk: `task_config.json` and `task_model.safetensors`, bound to their base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptcodec.coding.engine import BaseFacts
from promptcodec.config import check_format_version
from promptcodec.errors import ConfigError
from promptcodec.io.checkpoints import TASK_CONFIG, TASK_WEIGHTS
from promptcodec.io.config_files import check_base, read_config
from promptcodec.models.adapters.task_prompts import TaskPrompts
from promptcodec.models.weights import as_half, read_network, write_files


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Contents of `task_config.json`.

    Args:
        task: name of the task, "classify" for instance; value of option `task` of encode.
        base_sha256: hash of its base, hexadecimal.
        width: channels of its trunk.
        rank: rank of its updates of linear maps.
        format_version: version of this layout.
    """

    task: str
    base_sha256: str
    width: int = 32
    rank: int = 10
    format_version: int = 1

    def __post_init__(self) -> None:
        if not self.task or not 1 <= self.width <= 1024 or not 0 <= self.rank <= 256:
            raise ConfigError(
                f"task is {self.task!r}, width {self.width}, rank {self.rank}; need a name, 1 to "
                "1024 and 0 to 256"
            )
        check_format_version(self.format_version)


@dataclass(frozen=True, eq=False)
class TaskAdapter:
    """Installed task prompts; immutable, and safe to share among threads.

    Args:
        config: contents of `task_config.json`.
        prompts: networks, frozen, in eval mode.
    """

    config: TaskConfig
    prompts: TaskPrompts


def write_task(folder: Path, prompts: TaskPrompts, *, config: TaskConfig) -> None:
    """Write task prompts, weights in float16.

    Raises:
        CheckpointError: a weight is not finite.
        OutputError: the folder cannot be written.
    """
    arrays = as_half(prompts.state_dict())
    write_files(folder / TASK_WEIGHTS, arrays, config=TASK_CONFIG, facts=config)


def read_task(folder: Path, *, base: BaseFacts) -> TaskAdapter:
    """Read and check task prompts of `base`.

    Raises:
        CheckpointError: a file is missing, or a tensor is missing, unknown, of another shape or
            not finite.
        ModelMismatchError: the prompts belong to another base.
    """
    config = read_task_config(folder)
    check_base(folder, config.base_sha256, base.sha256, what="task prompts")

    def build() -> TaskPrompts:
        return TaskPrompts(base.config.codec, width=config.width, rank=config.rank)

    return TaskAdapter(config, read_network(Path(folder) / TASK_WEIGHTS, build))


def read_task_config(folder: Path) -> TaskConfig:
    """Read the config of task prompts, without their weights.

    Raises:
        CheckpointError: the folder has no task prompts, or their config is invalid.
    """
    return read_config(TaskConfig, Path(folder) / TASK_CONFIG, what="task prompts")
