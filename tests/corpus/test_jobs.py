"""Jobs: every row is done once, also after a kill; what cannot be read is listed."""

import hashlib
import json
import os
import shutil
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_collections import files_of, png, write_tar

from promptcodec.corpus import engines, file_shard
from promptcodec.corpus import job as jobs
from promptcodec.errors import DataError, ModelMismatchError, OutputError, RateError, UsageError


def rows_of(folder):
    return [r for path in sorted(folder.glob("*.parquet")) for r in pq.read_table(path).to_pylist()]


@pytest.fixture
def counted(monkeypatch):
    """Ids of the rows that workers do."""
    done = []
    real = jobs.CodecWorker.row

    def row(self, row):
        done.append(self.id_of(row))
        return real(self, row)

    monkeypatch.setattr(jobs.CodecWorker, "row", row)
    return done


def test_there_and_back(run, shards, tmp_path, members, tiny_codec):
    result = run("encode", shards, tmp_path / "streams")
    assert (result.tally.rows, result.tally.failed, len(result.parts)) == (10, 1, 4)
    found = rows_of(tmp_path / "streams")
    assert [r["source"] or r["name"] for r in found] == [
        *(f"a/{n}.png" for n in range(6)),
        "b/again.png",
        *(f"c/{n}.jpg" for n in range(3)),
    ]
    assert found[0]["bytes"] == tiny_codec.encode(members["a/0.png"]) and found[0]["label"] == "0"
    assert found[3]["bytes"] is None and "a/3.png: is no picture" in found[3]["error"]
    back = run("decode", tmp_path / "streams", tmp_path / "pictures", kind="tar")
    assert (back.tally.rows, back.tally.failed) == (10, 1)
    with tarfile.open(tmp_path / "pictures" / "one-000000-000000.tar") as archive:
        assert archive.getnames()[:3] == ["a/0.png", "a/0.cls", "a/0.json"]
    again = run("encode", tmp_path / "pictures", tmp_path / "again")
    assert (again.tally.rows, again.tally.failed) == (10, 1)
    assert [r["error"] for r in rows_of(tmp_path / "again")] == [r["error"] for r in found]


def test_manifest_and_failures(run, shards, tmp_path):
    run("encode", shards, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["complete"] and manifest["totals"]["rows"] == 10
    for file in manifest["files"]:
        data = (tmp_path / "out" / file["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    (failure,) = (tmp_path / "out" / "_failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["name"] == "a/3.png"
    assert pq.read_table(tmp_path / "out").num_rows == 10  # readers pass over the rest


@pytest.mark.parametrize("stop", [1, 4, 8, 9])
def test_a_killed_job_goes_on(run, shards, tmp_path, counted, monkeypatch, stop):
    whole = tmp_path / "whole"
    run("encode", shards, whole)
    counted.clear()
    real = jobs.CodecWorker.row

    def row(self, row):
        if len(counted) == stop:
            raise KeyboardInterrupt
        return real(self, row)

    with monkeypatch.context() as patched:
        patched.setattr(jobs.CodecWorker, "row", row)
        with pytest.raises(KeyboardInterrupt):
            run("encode", shards, tmp_path / "killed")
    result = run("encode", shards, tmp_path / "killed")
    written = {1: 0, 4: 3, 8: 7, 9: 7}[stop]  # rows of whole files before
    assert result.rows == 10 - written and len(counted) == stop + 10 - written
    assert files_of(tmp_path / "killed") == files_of(whole)
    counted.clear()
    assert run("encode", shards, tmp_path / "killed").rows == 0 and not counted


def test_workers_and_pieces_do_not_matter(run, shards, tmp_path):
    run("encode", shards, tmp_path / "one")
    result = run("encode", shards, tmp_path / "two", workers=2)
    assert result.tally.rows == 10
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_changed_source_costs_its_new_rows_alone(run, tmp_path, counted):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(png(number))
    run("encode", folder, tmp_path / "out", rows=8)
    counted.clear()
    (folder / "00.png").write_bytes(png(9))
    (folder / "4.png").unlink()
    result = run("encode", folder, tmp_path / "out", rows=8)
    assert counted == [hashlib.sha256(png(9)).hexdigest()] and result.rows == 1
    names = [row["source"] for row in rows_of(tmp_path / "out")]
    assert names == ["0.png", "00.png", "1.png", "2.png", "3.png"]


def test_files_of_blocks_that_are_gone_are_removed(run, shards, tmp_path):
    run("encode", shards, tmp_path / "out")
    (shards / "two.tar").unlink()
    (tmp_path / "out" / "_parts" / "two-000000.json").unlink()  # a kill before it was written
    (tmp_path / "out" / "notes.txt").write_text("mine")
    run("encode", shards, tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 7 and (tmp_path / "out" / "notes.txt").exists()
    assert [p.stem for p in sorted((tmp_path / "out" / "_parts").iterdir())] == [
        "one-000000",
        "one-000001",
        "one-000002",
    ]


def test_a_damaged_shard_is_listed_and_mended_later(run, shards, tmp_path, counted):
    whole = (shards / "one.tar").read_bytes()
    (shards / "one.tar").write_bytes(whole[: whole.index(b"a/4.png") + 600])
    result = run("encode", shards, tmp_path / "out")
    (fault,) = result.faults
    assert fault.shard == "one.tar" and "one.tar" in fault.reason
    assert (result.tally.rows, result.tally.failed) == (4 + 3, 1)  # those before the damage
    assert not json.loads((tmp_path / "out" / "_manifest.json").read_text())["complete"]
    with pytest.raises(DataError, match="without all of its source"):
        run("decode", tmp_path / "out", tmp_path / "back")
    (shards / "one.tar").write_bytes(whole)
    counted.clear()
    again = run("encode", shards, tmp_path / "out")
    assert not again.faults and again.tally.rows == 10 and len(counted) < 7


def test_rows_that_could_not_be_read_are_tried_again(run, tmp_path, counted, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number))
    real = file_shard.Place.read

    def read(self):
        if self.address.endswith("1.png"):
            raise DataError("the network is down")
        return real(self)

    with monkeypatch.context() as patched:
        patched.setattr(file_shard.Place, "read", read)
        assert run("encode", folder, tmp_path / "out").tally.failed == 1
    assert [row["error"] for row in rows_of(tmp_path / "out")][1] == "the network is down"
    counted.clear()
    result = run("encode", folder, tmp_path / "out")
    assert counted == [hashlib.sha256(png(1)).hexdigest()]
    assert (result.tally.rows, result.tally.failed, result.rows) == (3, 0, 1)


def test_a_shard_that_is_none_does_not_stop_the_others(run, shards, tmp_path):
    (shards / "a-first.tar").write_bytes(b"nothing of the kind" * 100)
    result = run("encode", shards, tmp_path / "out")
    assert result.tally.rows == 10
    assert [fault.shard for fault in result.faults] == ["a-first.tar"]


def test_a_destination_of_other_settings(run, shards, tmp_path):
    run("encode", shards, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(
        OutputError, match=r"other settings \(format \"parquet\" there, \"tar\" here"
    ):
        run("encode", shards, tmp_path / "out", kind="tar")
    with pytest.raises(OutputError, match=r"rows_per_file 3 there, 4 here"):
        run("encode", shards, tmp_path / "out", rows=4)
    assert files_of(tmp_path / "out") == before


def test_a_destination_with_other_files(run, shards, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "table.parquet").write_bytes(b"x")
    with pytest.raises(OutputError, match="is a file: name"):
        run("encode", shards, tmp_path / "mine" / "table.parquet")
    with pytest.raises(OutputError, match="files that are none of a corpus"):
        run("encode", shards, tmp_path / "mine")
    (tmp_path / "link").symlink_to(shards)
    for inside in (f"{shards}/", shards / "streams", tmp_path / "link" / "streams"):
        with pytest.raises(UsageError, match="is in the source"):
            run("encode", shards, inside)


def test_result_files_that_are_gone_or_cut_are_made_again(run, shards, tmp_path):
    run("encode", shards, tmp_path / "out")
    before = files_of(tmp_path / "out")
    (tmp_path / "out" / "one-000000.parquet").unlink()
    os.truncate(tmp_path / "out" / "two-000000.parquet", 100)
    assert run("encode", shards, tmp_path / "out").finished == 2
    assert files_of(tmp_path / "out") == before


def test_two_commands_of_different_settings_never_mix(run, shards, tmp_path):
    manifest = tmp_path / "out" / "_manifest.json"

    def another(done, total):
        values = json.loads(manifest.read_text())
        values["settings"]["rows_per_file"] = 4
        manifest.write_text(json.dumps(values))

    with pytest.raises(OutputError, match="begun anew by a command with other settings"):
        run("encode", shards, tmp_path / "out", progress=another)
    assert not json.loads(manifest.read_text())["complete"]
    shutil.rmtree(tmp_path / "out")
    run("encode", shards, tmp_path / "out")
    record = tmp_path / "out" / "_parts" / "two-000000.json"
    record.write_text(record.read_text().replace('"settings": "', '"settings": "0'))
    assert run("encode", shards, tmp_path / "out").rows == 3


def test_a_fault_of_ours_is_one_of_its_shard(run, shards, tmp_path, monkeypatch):
    real = jobs.BlockWork.do

    def do(self):
        if self.name.startswith("one"):
            raise KeyError("img.png")
        return real(self)

    monkeypatch.setattr(jobs.BlockWork, "do", do)
    result = run("encode", shards, tmp_path / "out")
    assert result.tally.rows == 3
    assert [(f.shard, f.reason) for f in result.faults] == [
        ("one.tar", "unexpected, please report it: KeyError: 'img.png'")
    ]
    with pytest.raises(
        DataError, match=r"without all of its source \(one.tar: .*'.*out/\*.parquet'"
    ):
        run("decode", tmp_path / "out", tmp_path / "back")
    assert run("decode", f"{tmp_path}/out/*.parquet", tmp_path / "back").tally.rows == 3


def test_a_damaged_manifest(run, shards, tmp_path):
    run("encode", shards, tmp_path / "out")
    (tmp_path / "out" / "_manifest.json").write_text("{")
    with pytest.raises(DataError, match="is no manifest of a corpus"):
        run("encode", shards, tmp_path / "out")


def test_a_job_that_cannot_succeed_writes_nothing(run, shards, tmp_path):
    from promptcodec.corpus.tasks import task_of

    with pytest.raises(RateError):
        run(task_of("encode", {"rate_index": 9}), shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_the_job(run, shards, tmp_path, monkeypatch):
    from promptcodec.corpus import parts

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.pq.ParquetWriter, "write_table", full)
    with pytest.raises(OutputError, match="disk is full"):
        run("encode", shards, tmp_path / "out")
    assert files_of(tmp_path / "out") == {}


def test_remote_destination(run, shards, tmp_path):
    import fsspec

    run("encode", shards, tmp_path / "out")
    run("encode", shards, "memory://results/out")
    memory = fsspec.filesystem("memory")
    found = memory.ls("/results/out", detail=False)
    for name, data in files_of(tmp_path / "out").items():
        assert f"/results/out/{name}" in found and memory.cat(f"/results/out/{name}") == data
    assert run("encode", shards, "memory://results/out").rows == 0


def test_statistics_need_no_destination(run, shards, tmp_path):
    result = run("inspect", shards, None)
    assert result.tally.kinds == {"PNG": 9} and result.tally.failed == 1
    assert list(tmp_path.iterdir()) == [shards]


def test_another_codec_on_a_worker_is_refused(run, shards, tmp_path, monkeypatch):
    real, calls = jobs.identity_of, []

    def other(worker):
        calls.append(worker)
        return real(worker) | {"base": "00" * 32}

    def in_this_process(work, items, *, jobs):
        yield from ((item, work(item)) for item in items)

    monkeypatch.setattr(jobs, "identity_of", other)
    monkeypatch.setattr(engines, "run_in_processes", in_this_process)
    with pytest.raises(ModelMismatchError, match="give every machine the same checkpoint"):
        run("encode", shards, tmp_path / "out", workers=2)
    assert len(calls) == 1 and files_of(tmp_path / "out") == {}


def test_names_that_would_meet_in_an_archive(run, tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    names = ["a.png", "a.jpg", "../up.png", "v1.2.png"]
    write_tar(source / "x.tar", {name: png(1) for name in names})
    run("encode", source, tmp_path / "out", kind="tar", rows=9)
    with tarfile.open(tmp_path / "out" / "x-000000.tar") as archive:
        found = [name for name in archive.getnames() if name.endswith(".pc")]
        facts = [json.loads(archive.extractfile(m).read()) for m in archive if "json" in m.name]
    assert found == ["a.pc", "a-2.pc", "up.pc", "v1_2.pc"]
    assert [row["source"] for row in facts] == names


def test_captions_of_samples_are_kept(run, tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    sample = {"a.png": png(1), "a.txt": b"a caption", "a.json": b'{"year": 7}', "a.seg.png": png(2)}
    write_tar(source / "x.tar", sample | {"b.png": b"broken", "b.txt": b"another"})
    run("encode", source, tmp_path / "tables")
    rows = rows_of(tmp_path / "tables")
    assert [dict(row["fields"]) for row in rows] == [
        {"txt": b"a caption", "json": b'{"year": 7}'},
        {},
        {"txt": b"another"},
    ]
    run("decode", tmp_path / "tables", tmp_path / "shards", kind="tar")
    with tarfile.open(tmp_path / "shards" / "x-000000-000000.tar") as archive:
        names = archive.getnames()
        assert archive.extractfile("a.txt").read() == b"a caption"
        assert archive.extractfile("a.source.json").read() == b'{"year": 7}'
    assert names[-2:] == ["b.txt", "b.json"]
    run("encode", tmp_path / "shards", tmp_path / "again")
    assert dict(rows_of(tmp_path / "again")[0]["fields"])["txt"] == b"a caption"


def test_columns_of_tables_are_kept(run, tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    values = {"id": [7, 8], "tags": [["x", "y"], None], "bytes": [png(1), b"broken"]}
    pq.write_table(pa.table(values), source / "t.parquet")
    run("encode", source, tmp_path / "streams")
    run("decode", tmp_path / "streams", tmp_path / "back")
    for folder in ("streams", "back"):
        rows = rows_of(tmp_path / folder)
        assert [row["source_id"] for row in rows] == [7, 8]
        assert [row["tags"] for row in rows] == [["x", "y"], None]
    names = pq.read_table(tmp_path / "back").column_names
    assert not {"source_source", "source_name", "source_id_1"} & set(names)
    run("encode", tmp_path / "back", tmp_path / "shards", kind="tar")
    with tarfile.open(tmp_path / "shards" / "t-000000-000000-000000.tar") as archive:
        (name, *_) = [name for name in archive.getnames() if name.endswith(".columns.json")]
        kept = json.loads(archive.extractfile(name).read())
    assert kept == {"source_id": 7, "tags": ["x", "y"]}


def test_rows_that_are_taken_from_an_earlier_file_keep_new_captions(run, tmp_path, counted):
    source = tmp_path / "s"
    source.mkdir()
    for caption, done in ((b"old", 1), (b"newer", 0)):
        counted.clear()
        write_tar(source / "x.tar", {"a.png": png(1), "a.txt": caption, "b.png": caption})
        for kind in ("parquet", "tar"):
            run("encode", source, tmp_path / kind, kind=kind)
        assert counted.count(hashlib.sha256(png(1)).hexdigest()) == 2 * done
        (row, _) = rows_of(tmp_path / "parquet")
        assert row["fields"] == [("txt", caption)]
        with tarfile.open(tmp_path / "tar" / "x-000000.tar") as archive:
            assert archive.extractfile("a.txt").read() == caption
            assert archive.getnames() == ["a.pc", "a.txt", "a.json", "b.json"]
