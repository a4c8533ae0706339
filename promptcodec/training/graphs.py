"""Graphs for ONNX Runtime beside what a run has trained."""

from __future__ import annotations

import logging
from pathlib import Path

from promptcodec.coding.head_config import LATENTS
from promptcodec.coding.head_file import read_head_config
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import BASE_CONFIG, HEAD_CONFIG
from promptcodec.runtime.export import export

logger = logging.getLogger(__name__)


def write_graphs(folder: Path) -> None:
    """Write the graphs of all bases and heads below a folder; a base may have none.

    Raises:
        OutputError: a folder cannot be written.
    """
    heads = [path.parent for path in folder.rglob(HEAD_CONFIG)]
    on_latents = [head for head in heads if read_head_config(head).reads == LATENTS]
    for place in sorted([*(path.parent for path in folder.rglob(BASE_CONFIG)), *on_latents]):
        try:
            export(place)
        except UsageError as error:
            logger.warning("%s: %s", place, error)
