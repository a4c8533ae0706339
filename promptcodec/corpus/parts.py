"""Files of a result: one block of rows each, as Parquet or as a tar archive."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from promptcodec.corpus.parquet_columns import MARK
from promptcodec.corpus.rows import Row, as_text
from promptcodec.corpus.samples import ROW_SCHEMA
from promptcodec.corpus.tasks import COLUMNS, COMMON, FIELDS, OWN, TaskName
from promptcodec.corpus.values import plain
from promptcodec.io.find import named_with_ending
from promptcodec.io.save import OUTPUT_SUFFIXES
from promptcodec.io.tar import key_of

PartFormat = Literal["parquet", "tar"]

FLUSH_BYTES = 32 << 20  # bytes of pictures or streams in a row group
FLUSH_ROWS = 1024
SHORT = ("string", "int32", "int64", "float64")  # types with a dictionary and statistics
MADE = (".pc", *OUTPUT_SUFFIXES)


def schema(task: TaskName, others: Sequence[pa.Field] = ()) -> pa.Schema:
    """Columns of a task's Parquet files.

    Args:
        task: name of the task.
        others: columns of the source that stay as they are.
    """
    kinds = {"id": "string", "name": "string"} | COLUMNS[task] | COMMON
    types = {"binary": pa.binary(), "list<string>": pa.list_(pa.string())}
    types |= {"list<float64>": pa.list_(pa.float64())}
    own = [pa.field(name, types.get(k) or pa.type_for_alias(k)) for name, k in kinds.items()]
    return pa.schema([*own, *others], metadata={MARK: b"row/1"})


def write_parquet(
    rows: Iterable[Row], file: BinaryIO, *, task: TaskName, others: Sequence[pa.Field] = ()
) -> None:
    """Write rows as Parquet, a few megabytes in memory at a time.

    Args:
        rows: rows to write.
        file: file that is written.
        task: name of their task.
        others: columns of the source that stay as they are.
    """
    columns = schema(task, others)
    names = [name for name, kind in (COMMON | COLUMNS[task]).items() if kind in SHORT]
    options: Any = {"use_dictionary": names, "write_statistics": names}  # True or columns
    with pq.ParquetWriter(file, columns, compression="none", **options) as writer:
        waiting: list[Row] = []
        size = 0
        for row in rows:
            waiting.append(row)
            size += len(row.get("bytes") or b"")
            size += sum(len(data) for _, data in row.get(FIELDS) or ())
            size += sum(each.nbytes for each in row.values() if isinstance(each, pa.Array))
            if size >= FLUSH_BYTES or len(waiting) >= FLUSH_ROWS:
                writer.write_table(_table(waiting, columns))
                waiting, size = [], 0
        if waiting:
            writer.write_table(_table(waiting, columns))


def write_tar(rows: Iterable[Row], file: BinaryIO, *, ending: str) -> None:
    """Write rows as a tar archive by the convention of WebDataset.

    A row is KEY.json with its columns, the bytes as KEY and `ending`, KEY.cls with its label, and
    further members of its sample; other columns of the source are in KEY.columns.json. A key has no
    dots but in its folders, as the rest of a name would belong to the suffix.

    Args:
        rows: rows to write.
        file: archive that is written.
        ending: suffix of the bytes.
    """
    keys: set[str] = set()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, row in enumerate(rows):
            key = _key(str(row.get("name") or number), keys)
            own = OWN - {"bytes", FIELDS}
            facts = {n: v for n, v in row.items() if n in own and v is not None}
            facts = {"schema": ROW_SCHEMA} | facts
            if row.get("bytes") is not None:
                _add(archive, key + ending, row["bytes"])
            if row.get("label") is not None:
                _add(archive, f"{key}.cls", str(row["label"]).encode())
            for name, data in _members(row):
                _add(archive, f"{key}.{name}", data)
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
                key = key_of(member.name)
                ending = member.name[len(key) + 1 :]
                data[ending] = content.read()
                if ending == "json":  # the last member of a row
                    yield _row(data)
                    data = {}
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error


def _row(members: dict[str, bytes]) -> Row:
    """A row from its members, without those of its source."""
    facts = json.loads(members["json"])
    facts.pop("schema", None)
    made = next((data for ending, data in members.items() if f".{ending}" in MADE), None)
    return {"error": None} | facts | {"bytes": made}


def _table(rows: list[Row], columns: pa.Schema) -> pa.Table:
    values = [_column([row.get(each.name) for row in rows], each.type) for each in columns]
    return pa.table(values, schema=columns)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column of values of Python, or of arrays of one value each."""
    if any(isinstance(each, pa.Array) for each in values):
        return pa.concat_arrays([pa.nulls(1, kind) if each is None else each for each in values])
    if pa.types.is_string(kind):  # messages may have names of files that are not UTF-8
        values = [each if each is None else as_text(each) for each in values]
    return pa.array(values, kind)


def _members(row: Row) -> Iterator[tuple[str, bytes]]:
    """Further members of a sample: those it had, and other columns of its source."""
    for name, data in row.get(FIELDS) or ():
        yield ("source.json" if name == "json" else name), data
    others = {n: _plain(v) for n, v in row.items() if n not in OWN}
    if others:
        yield "columns.json", json.dumps(others, sort_keys=True, default=_as_json).encode()


def _plain(value: Any) -> Any:
    return plain(value[0]) if isinstance(value, pa.Array) else value


def _as_json(value: object) -> str:
    """A value that JSON has no type for, as text: bytes in base64, dates by ISO 8601."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _key(name: str, keys: set[str]) -> str:
    """A key that no other row of the file has."""
    folder, _, base = name.strip("/").replace("\\", "/").rpartition("/")
    folder = "/".join(part for part in folder.split("/") if part not in ("", ".", ".."))
    stem = named_with_ending(base or "row", "").replace(".", "_")
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
