"""List of the files that an upload put into a repository, with their hashes.

    promptcodec.json    path -> SHA-256 of the file

A download is checked against it. A repository that was filled by other means has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from promptcodec.config import check_format_version
from promptcodec.errors import CheckpointError, ConfigError
from promptcodec.io.config_files import read_config
from promptcodec.io.hub.name import HubName

MANIFEST = "promptcodec.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of `promptcodec.json`.

    Args:
        sha256: SHA-256 of each file, hexadecimal, by its path in the repository.
        promptcodec: version of the package that wrote it.
        format_version: version of this layout.
    """

    sha256: dict[str, str]
    promptcodec: str = ""
    format_version: int = 1

    def __post_init__(self) -> None:
        check_format_version(self.format_version)
        for name in self.sha256:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ConfigError(f"{name} is outside of the repository")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one.

        Raises:
            CheckpointError: it is missing or invalid.
        """
        return read_config(cls, path, what="list of files")

    def as_bytes(self) -> bytes:
        """Content of the file, the same for the same files."""
        return (json.dumps(vars(self), indent=2, sort_keys=True) + "\n").encode()


def check_files(folder: Path, name: HubName) -> None:
    """Check a downloaded repository against its list, if it has one.

    Args:
        folder: folder of the revision in the cache of the Hub's library.
        name: repository and revision.
    Raises:
        CheckpointError: a file is missing, or is not the one that was uploaded.
    """
    if not (folder / MANIFEST).is_file():
        return
    for path, expected in Manifest.read(folder / MANIFEST).sha256.items():
        try:
            found = sha256_of(folder / path)
        except OSError as error:
            raise CheckpointError(
                f"{name}: {path} is missing ({error.strerror}): upload the folder again with "
                "`promptcodec push`, or give another revision"
            ) from None
        if found != expected:
            raise CheckpointError(
                f"{name}: {path} has SHA-256 {found[:16]}, and {expected[:16]} was uploaded: "
                f"remove {folder.parents[1]} and load again, or give another revision"
            )


def sha256_of(content: Path | bytes) -> str:
    """SHA-256 of a file or of bytes, hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(files: Mapping[str, Path | bytes], *, version: str) -> Manifest:
    """The list of files.

    Args:
        files: files or their content, by path in the repository.
        version: version of the package.
    """
    hashes = {path: sha256_of(content) for path, content in files.items()}
    return Manifest(sha256=hashes, promptcodec=version)
