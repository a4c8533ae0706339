"""Graphs of a base on disk: structure alone; the weights stay in the checkpoint.

    graphs/graphs.json     SHA-256 of the architecture's text, and of each file
    graphs/analyse.onnx ...

A base that is trained again keeps its graphs; those of another shape are refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from promptcodec.coding.base_file import codec_text
from promptcodec.config import CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.config_files import read_config
from promptcodec.runtime.catalogue import NAMES

FOLDER, MANIFEST = "graphs", "graphs.json"


@dataclass(frozen=True, kw_only=True)
class GraphsConfig:
    """What `graphs.json` holds.

    Args:
        codec_sha256: SHA-256 of the text of the architecture, as FORMAT.md has it, hexadecimal.
        sha256: SHA-256 of each file, hexadecimal, in the order of `catalogue.NAMES`.
        format_version: version of this layout.
    """

    codec_sha256: str
    sha256: tuple[str, ...]
    format_version: int = 1


@dataclass(frozen=True)
class GraphFiles:
    """Graphs of an architecture, read when they are needed.

    Args:
        folder: folder of the files.
        sha256: SHA-256 of each, by name.
    """

    folder: Path
    sha256: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """The serialised model of a name, without its parameters.

        Raises:
            CheckpointError: it is missing or was changed.
        """
        path = self.folder / f"{name}.onnx"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"no graph {path}: {error.strerror}; make it again with `promptcodec export "
                f"{self.folder.parent}`"
            ) from None
        if hashlib.sha256(data).hexdigest() != self.sha256[name]:
            raise CheckpointError(
                f"graph {path} was changed or damaged; make it again with `promptcodec export "
                f"{self.folder.parent}`"
            )
        return data


def read_graphs(base: Path, config: CodecConfig) -> GraphFiles:
    """Graphs beside a checkpoint.

    Args:
        base: folder of the checkpoint.
        config: its architecture.
    Raises:
        CheckpointError: there are none, or those of another architecture.
    """
    folder = Path(base) / FOLDER
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(
            f"{base} has no graphs to run without torch: make them with `promptcodec export {base}`"
        )
    found = read_config(GraphsConfig, folder / MANIFEST, what="graphs")
    if found.codec_sha256 != codec_sha256(config) or len(found.sha256) != len(NAMES):
        raise CheckpointError(
            f"{folder} holds the graphs of another architecture than {base}: make them again with "
            f"`promptcodec export {base}`"
        )
    return GraphFiles(folder, dict(zip(NAMES, found.sha256, strict=True)))


def write_graphs(base: Path, config: CodecConfig, models: dict[str, bytes]) -> Path:
    """Write graphs beside a checkpoint; returns their folder.

    Args:
        base: folder of the checkpoint.
        config: its architecture.
        models: serialised models by name.
    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(base) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        write_atomically(folder / f"{name}.onnx", models[name], force=True)
    facts = {
        "codec_sha256": codec_sha256(config),
        "sha256": [hashlib.sha256(models[name]).hexdigest() for name in NAMES],
        "format_version": 1,
    }
    text = json.dumps(facts, indent=2) + "\n"
    write_atomically(folder / MANIFEST, text.encode(), force=True)
    return folder


def codec_sha256(config: CodecConfig) -> str:
    """SHA-256 of the text of an architecture, hexadecimal."""
    return hashlib.sha256(codec_text(config)).hexdigest()
