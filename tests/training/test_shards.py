"""Tar shards: which are found, what is read of them, in what order, and what is in memory."""

import gc
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
import torch
from shard_files import picture, write_shard, write_shards

from promptcodec.errors import DataError, UsageError
from promptcodec.io.tar import open_tar, read_members
from promptcodec.training.config import DataConfig
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.data.shard_store import ShardStore
from promptcodec.training.data.shards import find_shards, open_shards, spread
from promptcodec.training.data.sources import PictureFile

CONFIG = DataConfig(
    crop=64,
    reduce_probability=0.0,
    validation_pictures=2,
    shuffle_buffer=4,
    crops_per_picture=1,
)


def numbers(crops: torch.Tensor) -> list[int]:
    """Numbers of the pictures that crops are of."""
    return (255.0 * crops[:, 0, 0, 0]).round().int().tolist()


def held_out(store) -> list[int]:
    return [int(each[0, 0, 0]) for each in store.validation]


def opened(data: Path, config: DataConfig = CONFIG, **options) -> ShardStore:
    store = open_pictures(data, config, **options)
    assert isinstance(store, ShardStore)
    return store


# -- finding ------------------------------------------------------------------------------------


def test_a_folder_a_pattern_and_a_shard_are_tar_shards(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "set", 2, 3, 1)
    (folder / "shard-000.idx").write_text("")
    (folder / "deep").mkdir()
    os.rename(folder / "shard-002.tar", folder / "deep" / "x.TAR")
    for data, count in (
        (folder, 3),
        (folder / "shard-00*.tar", 2),
        (folder / "shard-00[1-9].tar", 1),
        (folder / "**" / "*.[tT]*", 3),
        (folder / "shard-001.tar", 1),
        (tmp_path / "missing", 0),
    ):
        assert len(find_shards(data)) == count, data
    with pytest.raises(DataError, match=r"no tar shard fits .*none-\*"):
        find_shards(folder / "none-*")
    with pytest.raises(DataError, match="does not exist"):
        open_pictures(tmp_path / "missing", CONFIG)


@pytest.mark.parametrize("name", ["a.png", "deep/a.zip"])
def test_pictures_beside_shards_are_refused(tmp_path: Path, name: str) -> None:
    write_shards(tmp_path, 3)
    (tmp_path / "deep").mkdir()
    (tmp_path / name).write_bytes(picture(1))
    with pytest.raises(DataError, match=r"has 1 tar shards, and pictures .*'/.*/\*\*/\*.tar'"):
        open_pictures(tmp_path, CONFIG)
    assert len(opened(tmp_path / "*.tar")) == 1


def test_a_pattern_has_the_order_of_a_folder(tmp_path: Path) -> None:
    for name in ("a/b", "a-b/c", "a/a"):
        write_shards(tmp_path / name, 1)
    found = find_shards(tmp_path)
    assert find_shards(tmp_path / "**" / "*.tar") == found == sorted(found) and len(found) == 3
    assert list(map(str, found)) != sorted(map(str, found))


@pytest.mark.parametrize("change", [{"name": "x.png"}, {"mtime": 1}, {}])
def test_the_digest_of_a_set_is_of_all_members(tmp_path: Path, change: dict) -> None:
    found = []
    for facts in ({}, change):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for n in range(4):
                member = tarfile.TarInfo(f"{n}.png")
                member.size = len(picture(n))
                for key, value in facts.items() if n == 3 else ():
                    setattr(member, key, value)
                archive.addfile(member, io.BytesIO(picture(n)))
        found.append(opened(tmp_path).digest)
    assert (found[0] != found[1]) == bool(change)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ"])
def test_compressed_shards_are_refused(tmp_path: Path, name: str) -> None:
    plain = write_shard(tmp_path / "plain", [("a.png", picture(1))])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_bytes(gzip.compress(plain.read_bytes()))
    for data in (tmp_path / "set", tmp_path / "set" / name, tmp_path / "set" / "a*"):
        with pytest.raises(DataError, match=f"compressed tar shards, as {name}"):
            open_pictures(data, CONFIG)


def test_a_cache_of_a_stream_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, 5)
    with pytest.raises(UsageError, match="read as a stream: leave out the cache"):
        open_pictures(tmp_path, CONFIG, cache=tmp_path / "pixels")


# -- reading ------------------------------------------------------------------------------------


def test_members_that_are_pictures_with_a_key_are_read(tmp_path: Path) -> None:
    members = [
        ("a/1.jpg.json", b"{}"),
        ("a/1.PNG", picture(1)),
        ("a/1.txt", b"words"),
        ("a/._2.png", b"resources"),
        ("a/2.left.png", picture(2)),
        ("a/2.right.png", picture(3)),
        ("a/3.seg.png", picture(4)),
        (f"a/{120 * 'long'}.png", picture(5)),
    ]
    path = write_shard(tmp_path / "a.tar", members)
    (shard,) = open_shards([path], ("*.seg.png",))
    found = list(shard.walk())
    assert [each.name[:4] for each in found] == ["1.PN", "2.le", "2.ri", "long"]
    assert shard.pictures == 4
    assert [int(each.load().rgb[0, 0, 0]) for each in found] == [1, 2, 3, 5]


def test_headers_are_not_kept(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", [(f"{n}.txt", b"") for n in range(300)])

    def alive() -> int:
        return sum(type(each) is tarfile.TarInfo for each in gc.get_objects())

    before = alive()
    with open_tar(path) as archive:
        members = enumerate(read_members(archive))
        assert max(alive() for n, _ in members if n % 50 == 0) < before + 5


@pytest.mark.parametrize(
    ("damage", "left", "message"),
    [
        (lambda data: data[: 3 * 1024], 3, "no end mark"),  # at the border of a member
        (lambda data: data[: 3 * 1024 + 300], 3, "no end mark"),  # in a header
        (lambda data: data[: 3 * 1024 + 520], 3, "cut off in 0003.png"),  # in a picture
        (lambda data: data[:2048] + b"x" * 512 + data[2560:], 2, "damaged at byte 2048"),
        (lambda data: data[: 4 * 1024 + 512], 4, ""),  # the mark is shorter than it should be
        (lambda data: b"x" * 5000, 0, "no tar archive that can be read"),
        (lambda data: b"", 0, "no tar archive that can be read"),
        (lambda data: data[4 * 1024 :], 0, "has no picture"),
    ],
)
def test_a_damaged_shard_is_a_line_and_its_whole_pictures_are_used(
    tmp_path: Path, caplog, damage, left: int, message: str
) -> None:
    path = write_shards(tmp_path, 4) / "shard-000.tar"
    assert len(picture(0)) < 512  # a member of two blocks
    path.write_bytes(damage(path.read_bytes()))
    found = open_shards([path], ())
    assert [shard.pictures for shard in found] == ([left] if left else [])
    assert [each.member for shard in found for each in shard.walk()] == [
        f"{n:04d}.png" for n in range(left)
    ]
    assert len(caplog.records) == bool(message) and message in caplog.text


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 10 + b"\xfc\x00",  # -1024 in base 256: the archive would have no end
        b"\x80" + b"\x7f" * 11,  # beyond 64 bits
    ],
)
@pytest.mark.parametrize("kind", [b"0", b"x"])
def test_impossible_sizes_are_damage(tmp_path: Path, caplog, size: bytes, kind: bytes) -> None:
    path = write_shards(tmp_path, 3) / "shard-000.tar"
    data = bytearray(path.read_bytes())
    data[1024 + 124 : 1024 + 136] = size
    data[1024 + 156 : 1024 + 157] = kind
    data[1024 + 148 : 1024 + 156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[1024 : 1024 + 512])
    path.write_bytes(data)
    assert [shard.pictures for shard in open_shards([path], ())] == [1]
    assert len(caplog.records) == 1 and "pictures before that: 1" in caplog.text


@pytest.mark.parametrize(
    ("refused", "count", "found"),
    [
        ((), 3, [0, 4, 7]),
        ((), 99, list(range(8))),
        ((0, 1, 4), 3, [2, 5, 7]),  # the next one, also of another shard
        ((6, 7), 3, [0, 4, 1]),  # from the first on, none twice
        (range(8), 3, []),
    ],
)
def test_pictures_are_spread(tmp_path: Path, refused, count: int, found: list[int]) -> None:
    shards = open_shards(find_shards(write_shards(tmp_path, 2, 3, 3)), ())

    def read(place: PictureFile) -> torch.Tensor | None:
        number = int(place.name[:4])
        return None if number in refused else torch.tensor(number)

    assert [int(pixels) for _, pixels in spread(shards, count, read=read)] == found


def test_unusable_pictures_are_named_once_and_skipped(tmp_path: Path, caplog) -> None:
    members = [(f"{n}.png", picture(n)) for n in range(6)]
    members[2] = ("2.png", b"no picture")
    members[4] = ("4.png", picture(4, edge=32))
    write_shard(tmp_path / "a.tar", members)
    store = opened(tmp_path)
    seen = {n for step in range(40) for n in numbers(store.batch(2, seed=1, step=step))}
    assert seen == {1, 3} and held_out(store) == [0, 5]
    for line in ("a.tar:2.png: ", "a.tar:4.png: smaller than the crop of 64 px"):
        assert caplog.text.count(f"skipped {tmp_path}/{line}") == 1


def test_nothing_usable_is_said_and_no_endless_loop(tmp_path: Path) -> None:
    for name in ("none", "few"):
        write_shard(tmp_path / name / "a.tar", [(f"{n}.png", b"nonsense") for n in range(9)])
    write_shard(tmp_path / "few" / "b.tar", [("x.png", picture(1)), ("y.png", picture(2))])
    with pytest.raises(DataError, match=r"none has no usable picture in 1 shards; need .* 64 px"):
        opened(tmp_path / "none")
    with pytest.raises(DataError, match="in 2 shards beside the 2 held out"):
        opened(tmp_path / "few")
    with pytest.raises(DataError, match="in 1 shards beside the 0 held out"):
        opened(tmp_path / "none", validation=tmp_path / "few" / "b.tar")
    write_shard(tmp_path / "empty" / "a.tar", [("a.txt", b"")])
    with pytest.raises(DataError, match="empty has no usable picture in 0 shards"):
        opened(tmp_path / "empty")
    # Pictures that become unreadable later.
    store = opened(write_shards(tmp_path / "gone", 5))
    (tmp_path / "gone" / "shard-000.tar").unlink()
    with pytest.raises(DataError, match="none of 3 pictures can be used"):
        store.batch(1, seed=0, step=0)
