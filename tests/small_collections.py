"""Pictures in tar shards, and files of rows, for tests of collections."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from small_trees import picture


def png(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Files of rows of a result."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".tar", ".parquet")}
