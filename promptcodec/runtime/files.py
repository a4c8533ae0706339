"""Graphs of a base or a head on disk: structure alone; the weights stay in the checkpoint.

    graphs/graphs.json     SHA-256 of the architecture's text, and of each file
    graphs/analyse.onnx ...

What is trained again keeps its graphs; those of another shape are refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from promptcodec.coding.base_file import codec_text
from promptcodec.coding.head_config import HeadConfig
from promptcodec.coding.head_file import head_text
from promptcodec.errors import CheckpointError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.config_files import read_config
from promptcodec.runtime.catalogue import Architecture, names

FOLDER, MANIFEST = "graphs", "graphs.json"


@dataclass(frozen=True, kw_only=True)
class GraphsConfig:
    """What `graphs.json` holds.

    Args:
        codec_sha256: SHA-256 of the text of a base's architecture, as FORMAT.md has it,
            hexadecimal; empty for a head.
        head_sha256: SHA-256 of `head_text`, hexadecimal; empty for a base.
        sha256: SHA-256 of each file, hexadecimal, in the order of `catalogue.names`.
        format_version: version of this layout.
    """

    codec_sha256: str = ""
    head_sha256: str = ""
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


def has_graphs(base: Path) -> bool:
    """Whether there are graphs beside a checkpoint, of whatever architecture."""
    return (base / FOLDER / MANIFEST).is_file()


def read_graphs(place: Path, config: Architecture) -> GraphFiles:
    """Graphs beside a checkpoint.

    Args:
        place: folder of a base or a head.
        config: architecture of the base, or configuration of the head.
    Raises:
        CheckpointError: there are none, or those of another architecture.
    """
    folder = Path(place) / FOLDER
    if not has_graphs(Path(place)):
        raise CheckpointError(
            f"{place} has no graphs to run without torch: make them with `promptcodec export "
            f"{place}`"
        )
    found = read_config(GraphsConfig, folder / MANIFEST, what="graphs")
    own = names(config)
    same = all(getattr(found, key) == value for key, value in identity(config).items())
    if not same or len(found.sha256) != len(own):
        raise CheckpointError(
            f"{folder} holds the graphs of another architecture than {place}: make them again with "
            f"`promptcodec export {place}`"
        )
    return GraphFiles(folder, dict(zip(own, found.sha256, strict=True)))


def write_graphs(place: Path, config: Architecture, models: dict[str, bytes]) -> Path:
    """Write graphs beside a checkpoint; returns their folder.

    Args:
        place: folder of a base or a head.
        config: architecture of the base, or configuration of the head.
        models: serialised models by name.
    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(place) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in names(config):
        write_atomically(folder / f"{name}.onnx", models[name], force=True)
    facts = {
        **identity(config),
        "sha256": [hashlib.sha256(models[name]).hexdigest() for name in names(config)],
        "format_version": 1,
    }
    text = json.dumps(facts, indent=2) + "\n"
    write_atomically(folder / MANIFEST, text.encode(), force=True)
    return folder


def identity(config: Architecture) -> dict[str, str]:
    """SHA-256 of the text of an architecture, hexadecimal, under its key of `graphs.json`."""
    if isinstance(config, HeadConfig):
        return {"head_sha256": hashlib.sha256(head_text(config)).hexdigest()}
    return {"codec_sha256": hashlib.sha256(codec_text(config)).hexdigest()}
