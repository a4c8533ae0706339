"""What a restart does where a source was changed, and what it reads where it was not."""

import gzip
import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from small_collections import png, write_tar

from promptcodec.corpus import parquet_shard, samples
from promptcodec.corpus.places import Place
from promptcodec.corpus.sources import Source


def table_of(folder):
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))


def replaced(path, write, *args):
    """Write a file again, a second later."""
    before = path.stat()
    write(path, *args)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    return before.st_size == path.stat().st_size


def write_sample(path, label):
    write_tar(path, {"a.png": png(1), "a.cls": label, "a.txt": b"caption " + label})


def write_gzip(path, label):
    write_sample(path, label)
    path.write_bytes(gzip.compress(path.read_bytes(), 0, mtime=0))


def write_table(path, label):
    pq.write_table(pa.table({"bytes": [png(1)], "label": [label.decode()]}), path)


@pytest.mark.parametrize(
    "name,write",
    [("x.tar", write_sample), ("x.tar.gz", write_gzip), ("x.parquet", write_table)],
)
def test_a_shard_of_the_same_size_is_read_again_and_its_pictures_are_not_coded(
    run, tmp_path, name, write
):
    source = tmp_path / "s"
    source.mkdir()
    write(source / name, b"1")
    assert run("encode", source, tmp_path / "out").rows == 1
    assert run("encode", source, tmp_path / "out").finished == 1
    assert replaced(source / name, write, b"2")
    result = run("encode", source, tmp_path / "out")
    assert (result.rows, result.finished) == (0, 0)
    assert table_of(tmp_path / "out")["label"].to_pylist() == ["2"]


def test_a_picture_of_the_same_size_is_coded(run, tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    (source / "a.bmp").write_bytes(b"BM" + bytes(99))
    run("encode", source, tmp_path / "out")
    assert replaced(source / "a.bmp", lambda path: path.write_bytes(b"BM" + bytes(98) + b"1"))
    assert run("encode", source, tmp_path / "out").rows == 1
    (made,) = table_of(tmp_path / "out")["id"].to_pylist()
    assert made == hashlib.sha256((source / "a.bmp").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["", "/a.png", "/*.png"])
def test_the_time_of_a_file_on_another_filesystem_counts(tmp_path, monkeypatch, name):
    (tmp_path / "a.png").write_bytes(png(1))
    path = f"{tmp_path}{name.replace('/*.png', '')}"
    monkeypatch.setattr(Place, "_locate", lambda self: (fs.LocalFileSystem(), path))
    (shard,) = Source(Place(f"s3://bucket{name}")).shards(group=9)
    assert shard.files[0].changed == (tmp_path / "a.png").stat().st_mtime_ns


def shard_of(path):
    (shard,) = Source(Place(str(path))).shards(group=1)
    return shard


def test_finished_blocks_are_passed_over_by_their_headers(tmp_path, monkeypatch):
    sample = {f"{n}.{ending}": b"x" * 9 for n in range(6) for ending in ("npy", "png", "json")}
    shard = shard_of(write_tar(tmp_path / "x.tar", sample))
    read = []
    monkeypatch.setattr(samples.Sample, "read", lambda self, member: read.append(member))
    assert len({block.fingerprint() for block in shard.blocks(2)}) == 3
    assert not read


def test_members_of_a_sample_count(tmp_path):
    found = []
    for captions in ({"a.txt": b"one"}, {"a.txt": b"three"}, {}):
        path = write_tar(tmp_path / "x.tar", {"a.png": b"1"} | captions)
        os.utime(path, ns=(0, 0))
        found.append(next(shard_of(path).blocks(1)).fingerprint())
    assert len(set(found)) == 3


@pytest.mark.parametrize("finished", [(), (0, 2)])
def test_a_compressed_archive_is_unpacked_once(tmp_path, monkeypatch, finished):
    path = write_tar(
        tmp_path / "x.tar", {f"{n}.{e}": png(n) for n in range(8) for e in ("png", "a")}
    )
    path.write_bytes(gzip.compress(path.read_bytes()))
    real, steps = gzip._GzipReader._rewind, []
    monkeypatch.setattr(gzip._GzipReader, "_rewind", lambda self: (steps.append(1), real(self))[0])
    shard = shard_of(path)
    for block in shard.blocks(3):
        block.fingerprint()
        if block.number not in finished:
            rows = [entry.row() for entry in block.entries()]
            numbers = range(3 * block.number, min(3 * block.number + 3, 8))
            assert [row["bytes"] for row in rows] == [png(n) for n in numbers]
            assert [row["fields"] for row in rows] == [[("a", png(n))] for n in numbers]
    assert not steps


def test_rows_of_a_table_are_decoded_once(tmp_path, monkeypatch):
    table = pa.table({"bytes": [b"%d" % n for n in range(400)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=300)
    decoded = []
    real = pq.ParquetFile.iter_batches

    def iter_batches(*args, **options):
        for batch in real(*args, **options):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet_shard.pq.ParquetFile, "iter_batches", iter_batches)
    shard = shard_of(tmp_path / "t.parquet")
    found = [e.row()["bytes"] for block in shard.blocks(7) for e in block.entries()]
    assert found == table["bytes"].to_pylist()
    assert sum(decoded) == 400
    decoded.clear()
    for block in shard.blocks(100):
        if block.number == 1:
            assert [entry.row()["bytes"] for entry in block.entries()][-1] == b"199"
    assert sum(decoded) < 300  # the end of the row group is left
