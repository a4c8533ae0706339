"""Rows of folders, patterns, tar shards and Parquet files."""

import http.server
import io
import tarfile
import threading
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_collections import png, write_tar

from promptcodec.corpus import places
from promptcodec.corpus.places import FoundFile, Place
from promptcodec.corpus.sources import Source
from promptcodec.errors import DataError, OutputError, UsageError


def blocks(source, size=2, column=None):
    """Names of each block, by shard."""
    found = Source(Place(str(source)), column).shards(group=3)
    return {
        shard.name: [[entry.name for entry in block.entries()] for block in shard.blocks(size)]
        for shard in found
    }


def rows(source, column=None):
    found = Source(Place(str(source)), column).shards(group=100)
    return [
        entry.row() for shard in found for block in shard.blocks(2) for entry in block.entries()
    ]


def test_folder(tmp_path):
    for name in ("b.png", "_DSC1.png", "deep/a.JPG", ".hidden/c.png", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    assert blocks(tmp_path) == {"files-000000": [["_DSC1.png", "b.png"], ["deep/a.JPG"]]}


@pytest.mark.parametrize(
    "pattern,names",
    [
        ("*.png", ["a.png", "b.png"]),
        ("**/*.png", ["a.png", "b.png", "deep/c.png"]),
        ("*/c.png", ["deep/c.png"]),
        ("[a]*", ["a.png"]),
    ],
)
def test_patterns(tmp_path, pattern, names):
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "b.png", "deep/c.png"):
        (tmp_path / name).write_bytes(png(1))
    (found,) = blocks(f"{tmp_path}/{pattern}", size=9).values()
    assert found == [names]


def test_single_file(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    assert blocks(tmp_path / "a.png") == {"files-000000": [["a.png"]]}


def test_tar_has_samples_with_labels(shards):
    assert blocks(shards, size=4)["one.tar"] == [
        [f"a/{n}.png" for n in range(4)],
        ["a/4.png", "a/5.png", "b/again.png"],
    ]
    found = rows(shards)
    assert [row["label"] for row in found[:7]] == ["0", "1", "2", "3", "4", "5", None]
    assert found[0]["bytes"] == png(0) and found[7]["name"] == "c/0.jpg"


@pytest.mark.parametrize("mode,name", [("w:gz", "x.tar.gz"), ("w:gz", "x.tgz")])
def test_compressed_tar(tmp_path, mode, name):
    with tarfile.open(tmp_path / name, mode) as archive:
        member = tarfile.TarInfo("a.png")
        member.size = len(png(1))
        archive.addfile(member, io.BytesIO(png(1)))
    assert [row["bytes"] for row in rows(tmp_path)] == [png(1)]


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_fingerprint_of_a_block_that_was_read_in_part(shards, seen):
    (shard,) = Source(Place(str(shards / "one.tar"))).shards(group=1)
    reading, again = shard.blocks(4), shard.blocks(4)
    block = next(reading)
    entries = block.entries()
    names = [next(entries).name for _ in range(seen)]
    assert block.fingerprint() == next(again).fingerprint() != next(again).fingerprint()
    assert names + [entry.name for entry in block.entries()] == [f"a/{n}.png" for n in range(4)]


def test_rows_are_read_after_the_headers_of_the_last_block(shards):
    (shard,) = Source(Place(str(shards / "two.tar"))).shards(group=1)
    for block in shard.blocks(9):
        block.fingerprint()
        assert [entry.row()["bytes"] for entry in block.entries()] == [png(10), png(11), png(12)]


def cut_member(data):
    return data[: 512 + 100]


def cut_at_a_border(data):
    """Without the blocks of zeros at the end."""
    return data[: len(data.rstrip(b"\0")) // 512 * 512 + 512]


def cut_header(data):
    return data[: data.index(b"b.png") + 100]


def damaged_header(data):
    at = data.index(b"b.png")
    return data[:at] + b"\xff" * 8 + data[at + 8 :]


def damaged_after_the_last_file(data):
    return data[: cut_at_a_border(data).__len__()] + b"x" * 2048


DAMAGES = [cut_member, cut_at_a_border, cut_header, damaged_header, damaged_after_the_last_file]


@pytest.mark.parametrize("damage", [*DAMAGES, lambda data: b"x" * 2048])
def test_damaged_tar(tmp_path, damage):
    path = write_tar(tmp_path / "x.tar", {"a.png": png(1), "b.png": png(2)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"x\.tar"):
        rows(tmp_path)


def test_members_that_are_no_files(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE):
            member = tarfile.TarInfo("a.png")
            member.type = kind
            member.linkname = "/etc/passwd"
            archive.addfile(member)
    assert rows(tmp_path) == []


def test_hidden_members(tmp_path):
    write_tar(tmp_path / "x.tar", {"a/._1.png": b"of a Mac", "a/1.png": png(1), ".DS_Store": b""})
    assert [row["name"] for row in rows(tmp_path)] == ["a/1.png"]


def test_parquet(tmp_path):
    table = pa.table({"name": ["a", "b", "c"], "label": [4, None, 6], "bytes": [png(1), None, b""]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    found = rows(tmp_path)
    assert [row["name"] for row in found] == ["a", "b", "c"]
    assert [row["label"] for row in found] == ["4", None, "6"]
    assert [row["bytes"] for row in found] == [png(1), None, b""]
    assert blocks(tmp_path) == {"t.parquet": [["a", "b"], ["c"]]}


def test_pictures_of_datasets(tmp_path):
    table = pa.table({"image": [{"bytes": png(1), "path": "x.png"}, None], "thumb": [b"", b""]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert [row["name"] for row in rows(tmp_path, "image.bytes")] == ["x.png", "t.parquet#1"]
    with pytest.raises(DataError, match=r"columns image\.bytes, thumb of bytes: name one"):
        rows(tmp_path)
    with pytest.raises(DataError, match=r"no column other of bytes: choose from image\.bytes"):
        rows(tmp_path, "other")


def test_parquet_without_bytes_and_damaged(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": ["a"]}), path)
    with pytest.raises(DataError, match="has no column of bytes"):
        rows(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="is no whole Parquet file"):
        rows(tmp_path)


def test_remote_filesystem(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/pictures/a.png", png(1))
    memory.pipe("/pictures/deep/b.png", png(2))
    assert [row["bytes"] for row in rows("memory://pictures")] == [png(1), png(2)]
    assert [row["name"] for row in rows("memory://pictures/*/*.png")] == ["deep/b.png"]


@pytest.fixture
def empty_store(monkeypatch):
    """Address of a server that speaks as S3 does where there is no bucket."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.send_header("x-amz-bucket-region", "us-east-1")
            self.end_headers()

        def do_GET(self):
            text = b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
            self.send_response(404)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_PUT = do_POST = do_GET

        def log_message(self, *_):
            pass

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    server.shutdown()
    server.server_close()


def test_no_such_bucket(empty_store):
    place = Place.of(f"s3://nothing/pictures?{empty_store}")
    with pytest.raises(DataError, match=r"s3://nothing/pictures (cannot be read|does not exist)"):
        Source(place).shards(group=1)
    with pytest.raises(OutputError, match=r"s3://nothing/pictures/x cannot be written: .+: free"):
        (place / "x").write(lambda file: file.write(b"1"))


@pytest.mark.parametrize("name", ["a b.png", "ünï.png", "9%.png", "[1].png", "x%41.png", "q?.png"])
def test_odd_names_on_other_filesystems(name, monkeypatch):
    asked = []
    real = places.fs.FileSystem.from_uri

    def from_uri(uri):
        asked.append(real(uri.replace("s3://", "mock:///")))
        return asked[-1]

    monkeypatch.setattr(places.fs, "FileSystem", SimpleNamespace(from_uri=from_uri))
    _, path = (Place.of("s3://bucket") / name)._locate()
    assert path == f"bucket/{name}" and asked


def test_an_address_of_a_local_file(tmp_path):
    (tmp_path / "ünï 1.png").write_bytes(png(1))
    assert [row["bytes"] for row in rows(f"file://{tmp_path}")] == [png(1)]


def test_a_query_belongs_to_addresses_alone():
    assert Place.of("s3://a/b?region=x") == Place("s3://a/b", "region=x")
    assert Place.of("photos/a?=b.png") == Place("photos/a?=b.png")
    assert Place.of("s3://a/photo?.png") == Place("s3://a/photo?.png")


@pytest.mark.parametrize(
    "source,error,says",
    [
        ("nowhere", DataError, "nowhere does not exist"),
        ("memory://nowhere", DataError, "memory://nowhere does not exist"),
        ("abcd://x/y", UsageError, "no filesystem abcd:// is installed"),
        ("*.png", DataError, "no file matches"),
    ],
)
def test_nothing_there(source, error, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        rows(source)


def test_two_kinds(tmp_path, shards):
    (shards / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="has tar and picture or stream files: name one kind"):
        rows(shards)


def test_no_picture(tmp_path):
    (tmp_path / "note.txt").write_text("none")
    with pytest.raises(DataError, match="has no picture, stream, tar or Parquet file"):
        rows(tmp_path)


def test_a_pattern_lists_the_folders_that_it_names(tmp_path, monkeypatch):
    for name in ("a.png", "deep/b.png", "deep/more/c.png", "other/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    seen = []
    real = Place.level
    monkeypatch.setattr(Place, "level", lambda self: (seen.append(self.path.name), real(self))[1])
    monkeypatch.setattr(Place, "files", lambda self: None if "*" in self.address else [])
    for pattern, names, listed in (
        ("*.png", ["a.png"], [tmp_path.name]),
        ("d*/*.png", ["deep/b.png"], [tmp_path.name, "deep"]),
        ("*/more/c*", ["deep/more/c.png"], [tmp_path.name, "more", "more"]),
    ):
        seen.clear()
        assert blocks(f"{tmp_path}/{pattern}") == {"files-000000": [names]}
        assert seen == listed


@pytest.mark.parametrize("name", ["[1].png", "[1]/a.png", "what?.png"])
def test_a_file_whose_name_is_like_a_pattern(tmp_path, name):
    for each in (name, "1.png", "whats.png"):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_bytes(png(1))
    assert blocks(tmp_path / name) == {"files-000000": [[name]]}


def test_a_pattern_at_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Place, "level", lambda self: ([], [FoundFile(f"{self}a.png", 1)]))
    assert blocks("/*.png") == {"files-000000": [["/a.png"]]}
