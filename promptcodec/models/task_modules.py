"""Heads and task prompts of a codec, read at their first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from promptcodec.coding.head_file import head_folder
from promptcodec.errors import CheckpointError
from promptcodec.models.adapters.task_checkpoint import TaskAdapter, read_task, read_task_config
from promptcodec.models.checkpoint import Base
from promptcodec.models.heads.checkpoint import Head, read_head
from promptcodec.models.weights import plain_tensors


class TaskModules:
    """Heads and task prompts of a base.

    Args:
        base: base of the heads and task prompts.
        device: device of their networks.
        heads: folders of heads.
        tasks: folders of task prompts.
    """

    def __init__(
        self,
        base: Base,
        device: torch.device,
        *,
        heads: Sequence[Path] = (),
        tasks: Sequence[Path] = (),
    ) -> None:
        self._base, self._device = base, device
        self._head_folders, self._task_folders = tuple(heads), tuple(tasks)
        self._heads: dict[str, Head] = {}
        self._tasks: dict[str, TaskAdapter] = {}

    @plain_tensors()
    def head(self, task: str) -> Head:
        """The head of a task, "classify" or "segment".

        Raises:
            CheckpointError: the task has no head, or several.
            ModelMismatchError: the head belongs to another base.
        """
        if task not in self._heads:
            folder = head_folder(self._head_folders, task)
            head = read_head(folder, base_sha256=self._base.sha256)
            head.model.to(self._device)
            self._heads[task] = head
        return self._heads[task]

    @plain_tensors()
    def task(self, name: str) -> TaskAdapter:
        """The prompts of a task.

        Raises:
            CheckpointError: the task has no prompts.
            ModelMismatchError: the prompts belong to another base.
        """
        if name not in self._tasks:
            known = {read_task_config(folder).task: folder for folder in self._task_folders}
            if name not in known:
                raise CheckpointError(
                    f"this codec has no prompts for task {name!r}; there are "
                    f"{', '.join(known) or 'none'}: name a folder with `--tasks` (in Python "
                    "`Codec.load(tasks=...)`), or train them with `promptcodec train-joint`"
                )
            adapter = read_task(known[name], base=self._base)
            adapter.prompts.to(self._device)
            self._tasks[name] = adapter
        return self._tasks[name]
