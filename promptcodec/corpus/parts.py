"""Files of a result: one block of rows each, as Parquet or as a tar archive."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from promptcodec.corpus.rows import Row
from promptcodec.corpus.tar_shard import ROW_SCHEMA
from promptcodec.corpus.tasks import COLUMNS, TaskName

PartFormat = Literal["parquet", "tar"]

FLUSH_BYTES = 32 << 20  # bytes of pictures or streams in a row group
FLUSH_ROWS = 1024
PLAIN = ("bytes", "notes", "classes", "probabilities")  # columns without a dictionary


def schema(task: TaskName) -> pa.Schema:
    """Columns of a task's Parquet files."""
    kinds = {"id": "string", "name": "string"} | COLUMNS[task]
    kinds |= {"label": "string", "error": "string"}
    types = {"binary": pa.binary(), "list<string>": pa.list_(pa.string())}
    types |= {"list<float64>": pa.list_(pa.float64())}
    return pa.schema(
        [pa.field(name, types.get(kind) or pa.type_for_alias(kind)) for name, kind in kinds.items()]
    )


def write_parquet(rows: Iterable[Row], file: BinaryIO, *, task: TaskName) -> None:
    """Write rows as Parquet, a few megabytes in memory at a time."""
    columns = schema(task)
    names = [each.name for each in columns if each.name not in PLAIN]
    options: Any = {"use_dictionary": names, "write_statistics": names}  # True or columns
    with pq.ParquetWriter(file, columns, compression="none", **options) as writer:
        waiting: list[Row] = []
        size = 0
        for row in rows:
            waiting.append(row)
            size += len(row.get("bytes") or b"")
            if size >= FLUSH_BYTES or len(waiting) >= FLUSH_ROWS:
                writer.write_table(_table(waiting, columns))
                waiting, size = [], 0
        if waiting:
            writer.write_table(_table(waiting, columns))


def write_tar(rows: Iterable[Row], file: BinaryIO, *, ending: str) -> None:
    """Write rows as a tar archive by the convention of WebDataset.

    A row is KEY.json with its columns, the bytes as KEY and `ending`, and KEY.cls with its label.
    A key has no dots but in its folders, as the rest of a name would belong to the suffix.

    Args:
        rows: rows to write.
        file: archive that is written.
        ending: suffix of the bytes.
    """
    keys: set[str] = set()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, row in enumerate(rows):
            key = _key(str(row.get("name") or number), ending, keys)
            facts = {name: value for name, value in row.items() if name != "bytes"}
            facts = {"schema": ROW_SCHEMA} | {k: v for k, v in facts.items() if v is not None}
            if row.get("bytes") is not None:
                _add(archive, key + ending, row["bytes"])
            if row.get("label") is not None:
                _add(archive, f"{key}.cls", str(row["label"]).encode())
            _add(archive, f"{key}.json", json.dumps(facts, sort_keys=True).encode())


def read_rows(file: BinaryIO, kind: PartFormat) -> Iterator[Row]:
    """Rows of a file that `write_parquet` or `write_tar` wrote; ValueError if it is damaged."""
    if kind == "parquet":
        try:
            yield from pq.read_table(file).to_pylist()
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        return
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            data: dict[str, bytes] = {}
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                key, dot, ending = member.name.rpartition(".")
                if ending != "json":
                    data[member.name] = content.read() if ending != "cls" else b""
                    continue
                facts = json.loads(content.read())
                facts.pop("schema", None)
                found = [value for name, value in data.items() if name.startswith(key + dot)]
                yield {"error": None} | facts | {"bytes": next((v for v in found if v), None)}
                data = {}
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error


def _table(rows: list[Row], columns: pa.Schema) -> pa.Table:
    values: dict[str, list[Any]] = {each.name: [] for each in columns}
    for row in rows:
        for name, column in values.items():
            column.append(row.get(name))
    return pa.table(values, schema=columns)


def _key(name: str, ending: str, keys: set[str]) -> str:
    """A key that no other row of the file has."""
    folder, _, base = name.lstrip("/").replace("\\", "/").rpartition("/")
    folder = "/".join(part for part in folder.split("/") if part not in ("", ".", ".."))
    stem = base.removesuffix(ending).replace(".", "_") or "row"
    key = first = (f"{folder}/" if folder else "") + stem
    count = 1
    while key in keys:
        count += 1
        key = f"{first}-{count}"
    keys.add(key)
    return key


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and group are 0
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
