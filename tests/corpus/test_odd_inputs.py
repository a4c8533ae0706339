"""Names and columns that are rare: no row is lost, and no job ends because of one."""

import bz2
import gzip
import json
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_collections import png, write_tar

from promptcodec.corpus.places import Place
from promptcodec.corpus.sources import Source
from promptcodec.corpus.values import plain
from promptcodec.corpus.worker import CodecWorker
from promptcodec.errors import DataError

LATIN = os.fsdecode(b"caf\xe9")  # no UTF-8


def table_of(folder):
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))


def rows_of(source, column=None):
    (shard,) = Source(Place(str(source)), column).shards(group=1)
    return [entry.row() for block in shard.blocks(2) for entry in block.entries()]


def there_and_back(run, source, tmp_path):
    """Tables of streams and of pictures, and the columns of the first sample of a tar shard."""
    run("encode", source, tmp_path / "streams")
    run("decode", tmp_path / "streams", tmp_path / "back")
    result = run("encode", tmp_path / "back", tmp_path / "shards", kind="tar")
    assert result.tally.failed == 0
    kept = None
    with tarfile.open(next((tmp_path / "shards").glob("*.tar"))) as archive:
        for name in archive.getnames():
            if name.endswith("columns.json") and kept is None:
                kept = json.loads(archive.extractfile(name).read())
    return table_of(tmp_path / "streams"), table_of(tmp_path / "back"), kept


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    return folder


def test_files_whose_names_are_not_utf8(run, source, tmp_path):
    (source / LATIN).mkdir()
    (source / LATIN / "x.png").write_bytes(b"none")
    (source / f"{LATIN}.png").write_bytes(png(1))
    for kind in ("parquet", "tar"):
        assert run("encode", source, tmp_path / kind, kind=kind).tally.failed == 1
    assert table_of(tmp_path / "parquet")["source"][0].as_py() == "caf%E9.png"
    (line,) = (tmp_path / "parquet" / "_failures.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "caf%E9/x.png"


@pytest.mark.parametrize("shard", [LATIN, "x"])
def test_members_whose_names_are_not_utf8(run, source, tmp_path, shard):
    write_tar(source / f"{shard}.tar", {f"{LATIN}.png": png(1), f"{LATIN}.{LATIN}": b"caption"})
    streams, back, _ = there_and_back(run, source, tmp_path)
    assert streams["name"].to_pylist() == ["caf%E9.pc"]
    assert back["name"].to_pylist() == ["caf%E9.png"]
    assert streams["fields"].to_pylist() == [[("caf%E9", b"caption")]]


def test_a_file_that_is_gone_has_its_name_in_the_error(run, source, tmp_path, monkeypatch):
    (source / f"{LATIN}.png").write_bytes(png(1))
    (source / "b.png").write_bytes(png(1))
    found = Source.shards

    def shards(self, **options):
        result = found(self, **options)
        (source / f"{LATIN}.png").unlink(missing_ok=True)
        return result

    monkeypatch.setattr(Source, "shards", shards)
    assert run("encode", source, tmp_path / "out").tally.failed == 1
    assert "caf%E9.png cannot be read" in str(table_of(tmp_path / "out")["error"].to_pylist())


COLUMNS = {
    "img.png": pa.array([png(1), png(2)]),
    "fields": pa.array([[1, 2], None]),
    "id": pa.array([1, 2]),
    "source_id": pa.array(["a", None]),
    "error": pa.array(["blurry", None]),
    "source_bytes": pa.array([1.5, 2.5]),
    "time": pa.array([1, None], pa.timestamp("ns")),
    "times": pa.array([[1], None], pa.list_(pa.time64("ns"))),
    "day": pa.array([None, "x"]).dictionary_encode(),
}
KEPT = ["source_fields", "source_id_2", "source_id", "source_error", "source_source_bytes"]


def test_columns_keep_their_values_whatever_they_are_called(run, source, tmp_path):
    names = [*COLUMNS, "day"]
    table = pa.table([*COLUMNS.values(), pa.array([7, 8])], names=names)
    pq.write_table(table, source / "t.parquet")
    streams, back, kept = there_and_back(run, source, tmp_path)
    for new, old in zip([*KEPT, "time", "times", "day"], list(COLUMNS)[1:], strict=True):
        for found in (streams, back):
            assert found[new].type.equals(table.field(names.index(old)).type), new
            assert found[new].combine_chunks().equals(table[names.index(old)].combine_chunks()), new
    assert back["day_2"].to_pylist() == [7, 8]
    assert kept["source_fields"] == [1, 2] and kept["source_error"] == "blurry"
    assert kept["time"] == "1970-01-01 00:00:00.000000001"
    assert kept["times"] == ["00:00:00.000000001"]


@pytest.mark.parametrize("values", [[1, 2], ["abc", "d"], [[("k", b"v")], None]])
def test_a_column_called_fields(run, source, tmp_path, values):
    kind = pa.map_(pa.string(), pa.binary()) if values[1] is None else None
    fields = pa.array(values, kind)
    pq.write_table(pa.table({"bytes": [png(1), png(2)], "fields": fields}), source / "t.parquet")
    streams, back, _ = there_and_back(run, source, tmp_path)
    assert streams["source_fields"].to_pylist() == back["source_fields"].to_pylist() == values
    assert "fields" not in streams.column_names


def test_two_columns_called_bytes_and_a_column_beside_the_pictures(run, source, tmp_path):
    pictures = pa.array([png(1)])
    table = pa.table([pictures, pa.array([b"x"])], names=["bytes", "bytes"])
    pq.write_table(table, source / "t.parquet")
    run("encode", source, tmp_path / "out")
    assert table_of(tmp_path / "out")["source_bytes"].to_pylist() == [len(png(1))]
    assert table_of(tmp_path / "out")["source_bytes_2"].to_pylist() == [b"x"]


def test_a_field_with_a_dot_and_a_column_of_a_structure(source):
    table = {"image": [{"bytes": png(1), "path": "x.png"}], "a.b": [png(2)]}
    pq.write_table(pa.table(table), source / "t.parquet")
    for column, name, data in (("image.bytes", "x.png", 1), ("a.b", "t.parquet#0", 2)):
        (row,) = rows_of(source, column)
        assert (row["name"], row["bytes"]) == (name, png(data))


def test_times_that_python_has_no_type_for():
    times = pa.array([[1]], pa.list_(pa.timestamp("ns")))  # pandas has one
    assert plain(times[0]) == ["1970-01-01 00:00:00.000000001"]
    assert (
        plain(pa.array([10**14], pa.timestamp("s"))[0]) == "<value out of range: 100000000000000>"
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [
        (".", "..pc"),
        ("..", "...pc"),
        ("", ".pc"),
        ("/", ".pc"),
        ("a/", "a.pc"),
        ("./a.png", "a.pc"),
        ("https://x.org/a.png", "https://x.org/a.pc"),
        ("https://x.org/a.png?q=1", "https://x.org/a.png?q=1.pc"),
    ],
)
def test_names_of_rows(run, source, tmp_path, name, made):
    assert CodecWorker("encode").names(name) == {"source": name, "name": made}
    pq.write_table(pa.table({"bytes": [png(1)], "name": [name]}), source / "t.parquet")
    run("encode", source, tmp_path / "shards", kind="tar")
    with tarfile.open(tmp_path / "shards" / "t-000000.tar") as archive:
        assert all(Path("x") in (Path("x") / each).parents for each in archive.getnames())


def test_what_is_no_bytes_is_an_error_of_its_row(tiny_checkpoint):
    worker = CodecWorker("encode", codec={"base": tiny_checkpoint})
    batch = {"bytes": ["text", {"bytes": png(1)}, 5, np.frombuffer(png(1), np.uint8), png(1)]}
    made = worker(batch)
    for error, kind in zip(made["error"], ("str", "dict", "int"), strict=False):
        assert f"has a {kind}; need bytes" in error
    assert made["error"][3:] == [None, None] and made["bytes"][3] == made["bytes"][4]


def add(archive, name, **facts):
    member = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(member, key, value)
    archive.addfile(member)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_hard_links_have_the_bytes_of_their_targets(source, suffix):
    path = write_tar(source / "x.tar", {"a.png": png(1), "b.txt": b"b"})
    with tarfile.open(path, "a") as archive:
        add(archive, "c.png", type=tarfile.LNKTYPE, linkname="a.png")
        add(archive, "d.png", type=tarfile.LNKTYPE, linkname="c.png")
        add(archive, "s.png", type=tarfile.SYMTYPE, linkname="a.png")
        add(archive, "t.png", type=tarfile.LNKTYPE, linkname="s.png")
    if suffix != ".tar":
        with tarfile.open(path) as plain_tar, tarfile.open(source / f"x{suffix}", "w:gz") as packed:
            for member in plain_tar:
                packed.addfile(member, plain_tar.extractfile(member) if member.isreg() else None)
        path.unlink()
    rows = rows_of(source)
    assert [row["name"] for row in rows] == ["a.png", "c.png", "d.png"]
    assert {row["bytes"] for row in rows} == {png(1)}


def test_a_hard_link_to_nothing_is_named(source):
    with tarfile.open(source / "x.tar", "w") as archive:
        add(archive, "c.png", type=tarfile.LNKTYPE, linkname="a.png")
    with pytest.raises(DataError, match=r"x.tar has no a.png, which c.png is a link to"):
        rows_of(source)


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.TAR.xz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_compression_is_known_by_the_first_bytes(source, name, pack):
    path = write_tar(source / name, {"a.png": png(1), "b.png": png(2)})
    path.write_bytes(pack(path.read_bytes()))
    assert [entry["bytes"] for entry in rows_of(source)] == [png(1), png(2)]


def test_a_compression_that_is_not_read(source):
    (source / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(99))
    with pytest.raises(
        DataError, match=r"x.tar.zst is compressed by zstd, which is not read here: un"
    ):
        rows_of(source)
