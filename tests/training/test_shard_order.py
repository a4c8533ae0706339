"""Which pictures of tar shards are in memory at a step, and which crops are drawn from them."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shard_files import noise, picture, write_shard, write_shards

from promptcodec.errors import DataError
from promptcodec.training.config import DataConfig, Pack
from promptcodec.training.data.batch import INITIAL_STEP
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.data.shard_order import ShardOrder
from promptcodec.training.data.shard_store import ShardStore
from promptcodec.training.data.shards import find_shards, open_shards
from promptcodec.training.data.window import Reader, Window

CONFIG = DataConfig(
    crop=64,
    reduce_probability=0.0,
    validation_pictures=2,
    shuffle_buffer=4,
    crops_per_picture=1,
)


def opened(data: Path, config: DataConfig = CONFIG, **options) -> ShardStore:
    store = open_pictures(data, config, **options)
    assert isinstance(store, ShardStore)
    return store


def order_of(data: Path, *, seed: int = 1, **options) -> ShardOrder:
    return ShardOrder(open_shards(find_shards(data), ()), seed=seed, **options)


def names(order: ShardOrder, start: int, count: int) -> list[int]:
    """Numbers of the pictures from a position on."""
    places = itertools.islice(order.walk(start), count)
    return [int(place.name[:4]) for place in places if place is not None]


def numbers(crops: torch.Tensor) -> list[int]:
    """Numbers of the pictures that crops are of."""
    return (255.0 * crops[:, 0, 0, 0]).round().int().tolist()


# -- order --------------------------------------------------------------------------------------


def test_shards_are_shuffled_by_seed_and_epoch_and_any_place_can_be_begun_at(
    tmp_path: Path,
) -> None:
    order = order_of(write_shards(tmp_path, 3, 1, 2, 4))
    assert len(order) == 10
    epochs = [names(order, 10 * epoch, 10) for epoch in range(6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3  # of 24 orders
    runs = ([0, 1, 2], [3], [4, 5], [6, 7, 8, 9])
    for epoch in epochs:  # pictures of a shard stay together, in its order
        assert all(any(epoch[i : i + len(run)] == run for i in range(10)) for run in runs)
    whole = names(order, 0, 60)
    assert whole == list(itertools.chain.from_iterable(epochs))
    for start in range(40):
        assert names(order, start, 15) == whole[start : start + 15]
    assert names(order_of(tmp_path), 0, 60) == whole
    assert names(order_of(tmp_path, seed=2), 0, 60) != whole


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2, 2), (7,), (1, 2), (2, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("processes", [2, 3])
def test_no_picture_is_of_two_processes(
    tmp_path: Path, sizes: tuple[int, ...], processes: int
) -> None:
    write_shards(tmp_path, *sizes)
    read = []
    for rank in range(processes):
        order = order_of(tmp_path, rank=rank, processes=processes)
        epoch = names(order, 0, len(order))
        assert epoch
        assert sorted(names(order, len(order), len(order))) == sorted(epoch)
        read += epoch
    assert sorted(read) == list(range(sum(sizes)))
    if len(sizes) >= processes:  # whole shards
        assert names(order_of(tmp_path, rank=1, processes=processes), 0, 1) != [0]


def test_fewer_pictures_than_processes_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 2)
    assert len(ShardStore("set", [find_shards(tmp_path)], CONFIG, processes=2)) == 2
    with pytest.raises(DataError, match="2 pictures to train on and 3 processes"):
        ShardStore("set", [find_shards(tmp_path)], CONFIG, processes=3)


# -- window -------------------------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def shown(pictures: list[np.ndarray]) -> list[int]:
    return [int(each[0, 0, 0]) for each in pictures]


def test_a_window_is_a_function_of_its_start(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    order = order_of(write_shards(tmp_path, 5, 4, 3))
    window = Window(order, size=4, reader=Reader(64), pool=pool)
    # Forwards, far away, backwards, and where parts are known already.
    for start in (0, 0, 1, 3, 4, 30, 31, 29, 2, 6, 0, 1000):
        assert shown(window.at(start, ahead=start % 3)) == names(order, start, 4)
    assert len(Window(order, size=99, reader=Reader(64), pool=pool).at(5)) == 12


def test_memory_is_bounded_by_the_window_and_not_by_the_set(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """Pictures in memory are counted as long as anything has them."""
    for sizes in ((30,), (40, 40, 40)):
        order = order_of(write_shards(tmp_path / str(len(sizes)), *sizes))
        window = Window(order, size=6, reader=Reader(64), pool=pool)
        for start in (*range(0, 150, 2), 5, 500):
            window.at(start, ahead=3)
            assert 6 <= window.held <= 6 + 3


def test_few_pictures_wait_to_be_decoded(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """A program ends only when its threads have done all that waits for them."""
    order = order_of(write_shards(tmp_path, 40))
    window = Window(order, size=30, reader=Reader(64), pool=pool)
    waiting = []
    take = window._take

    def watched(position: int) -> np.ndarray | None:
        waiting.append(len(window._coming))
        return take(position)

    window._take = watched
    window.at(0, ahead=4)
    assert len(waiting) == 30 and max(waiting) == 5 and len(window._coming) == 4


def test_a_window_without_a_usable_picture_ends_with_the_next_one(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    data = {n: b"nonsense" for n in range(20)} | {n: picture(n) for n in (1, 15, 16)}
    write_shard(tmp_path / "a.tar", [(f"{n:04d}.png", each) for n, each in data.items()])
    order = order_of(tmp_path)
    window = Window(order, size=3, reader=Reader(64), pool=pool)
    for start, found in ((0, [1]), (1, [1]), (2, [15]), (9, [15]), (3, [15]), (14, [15, 16])):
        assert shown(window.at(start)) == found
    assert shown(window.at(17)) == [1]  # of the next epoch
    assert window.held == 1


# -- crops --------------------------------------------------------------------------------------


def test_crops_come_from_the_window_of_their_step(tmp_path: Path) -> None:
    store = opened(write_shards(tmp_path, 9, 9, 8))
    assert len(store) == 24
    order = ShardOrder(store._packs[0].shards, seed=3)
    for step in range(20):
        window = names(order, 2 * step, 4)
        assert set(numbers(store.batch(2, seed=3, step=step))) <= set(window)
    many = numbers(store.batch(200, seed=3, step=0))
    assert set(many) == set(names(order, 0, 4))


def test_the_same_steps_have_the_same_crops(tmp_path: Path) -> None:
    """In any order of the steps, read again, and with other reading ahead."""
    for shard in range(3):
        members = [(f"{n}.png", noise(n)) for n in range(4 * shard, 4 * shard + 4)]
        write_shard(tmp_path / f"{shard}.tar", members)
    config = replace(CONFIG, reduce_probability=0.5)
    first = opened(tmp_path, config)
    crops = [first.batch(3, seed=1, step=step) for step in range(12)]
    second = opened(tmp_path, config)
    for step in (7, 8, 3, 4, 11, 0):
        assert torch.equal(second.batch(3, seed=1, step=step), crops[step])
    for other in (
        first.batch(3, seed=1, step=1),
        first.batch(3, seed=2, step=0),
        first.batch(3, seed=1, step=0, rank=1),
    ):
        assert not torch.equal(other, crops[0])
    assert crops[0].shape == (3, 3, 64, 64) and crops[0].is_contiguous(
        memory_format=torch.channels_last
    )


def test_processes_draw_different_places(tmp_path: Path) -> None:
    shards = find_shards(write_shards(tmp_path, 9, 9))
    store = ShardStore("set", [shards], CONFIG, processes=2)
    drawn = []
    for rank in (0, 1):
        order = ShardOrder(store._packs[0].shards, seed=1, rank=rank, processes=2)
        window = names(order, 0, 4)
        drawn.append([window.index(n) for n in numbers(store.batch(9, seed=1, step=0, rank=rank))])
    assert drawn[0] != drawn[1]


def test_batches_for_initial_weights_come_from_the_first_window(tmp_path: Path) -> None:
    store = opened(write_shards(tmp_path, 30))
    window = set(names(ShardOrder(store._packs[0].shards, seed=1), 0, 4))
    assert set(numbers(store.batch(8, seed=1, step=INITIAL_STEP))) <= window
    assert not torch.equal(
        store.batch(50, seed=1, step=INITIAL_STEP), store.batch(50, seed=1, step=0)
    )


def test_a_picture_gives_several_crops_before_the_window_passes(tmp_path: Path) -> None:
    write_shards(tmp_path, 60)
    config = replace(CONFIG, crops_per_picture=4, shuffle_buffer=8)
    store = opened(tmp_path, config)
    order = ShardOrder(store._packs[0].shards, seed=1)
    counts = np.zeros(64, int)
    for step in range(2 * 58):  # until every picture came and went once
        found = numbers(store.batch(2, seed=1, step=step))
        assert set(found) <= set(names(order, 2 * step // 4, 8))
        counts[found] += 1
    assert 3.0 < counts[10:50].mean() < 5.0


def test_held_out_pictures_are_spread_and_their_samples_are_never_trained_on(
    tmp_path: Path,
) -> None:
    for shard in range(4):
        members = []
        for n in range(4 * shard, 4 * shard + 4):
            members += [(f"{n:02d}.a.png", picture(n)), (f"{n:02d}.b.png", picture(100 + n))]
        write_shard(tmp_path / f"{shard}.tar", members)
    store = opened(tmp_path, replace(CONFIG, validation_pictures=3))
    held = [int(each[0, 0, 0]) for each in store.validation]
    assert held == [0, 8, 115]  # at both ends and in the middle
    assert len(store) == 32 - 6
    seen = {n for step in range(60) for n in numbers(store.batch(2, seed=1, step=step))}
    assert seen == {*range(16), *range(100, 116)} - {0, 100, 8, 108, 15, 115}
    sampled = {int(each[0, 0, 0]) for each in store.sample(500)}
    assert len(sampled) == 26 and not sampled & {0, 100, 8, 108, 15, 115}
    assert [each[0, 0, 0].item() for each in store.sample(2)] == [1, 114]
    names = ("0*.png", "1*.a.png")
    store = opened(tmp_path, replace(CONFIG, validation_exclude=names))
    assert [int(each[0, 0, 0]) for each in store.validation] == [110, 115]
    with pytest.raises(DataError, match=r"6 usable pictures .* may be held out; need 7"):
        opened(tmp_path, replace(CONFIG, validation_exclude=names, validation_pictures=7))


def test_another_folder_or_shard_can_be_validated_on(tmp_path: Path) -> None:
    write_shards(tmp_path / "train", 5)
    write_shards(tmp_path / "val", 4)
    (tmp_path / "val" / "pictures").mkdir()
    (tmp_path / "val" / "pictures" / "7.png").write_bytes(picture(7))
    for validation, held in (("val/shard-000.tar", [0, 1]), ("val/pictures", [7])):
        store = opened(tmp_path / "train", validation=tmp_path / validation)
        assert len(store) == 5
        assert [int(each[0, 0, 0]) for each in store.validation] == held
    with pytest.raises(DataError, match=r"no picture in .*train0 can be used for validation"):
        (tmp_path / "train0").mkdir()
        opened(tmp_path / "train", validation=tmp_path / "train0")


def test_packs_have_their_shares_of_crops_and_buffer(tmp_path: Path) -> None:
    write_shards(tmp_path / "a", 40)
    members = [(f"{n}.png", picture(n)) for n in range(100, 120)]
    write_shard(tmp_path / "b" / "b.tar", members)
    packs = (Pack(name="a", share=3.0), Pack(name="b"))
    config = replace(CONFIG, packs=packs, shuffle_buffer=8)
    store = opened(tmp_path, config)
    assert len(store) == 58 and len(store.validation) == 2
    assert {int(each[0, 0, 0]) >= 100 for each in store.validation} == {False, True}
    first = numbers(store.batch(400, seed=1, step=0))
    assert len({n for n in first if n < 100}) == 6 and len({n for n in first if n >= 100}) == 2
    assert 0.65 < np.mean(np.array(first) < 100) < 0.85
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.png").write_bytes(picture(1))
    mixed = replace(config, packs=(*packs, Pack(name="c")), validation_pictures=3)
    with pytest.raises(DataError, match=r"pack .*b has tar shards and pack .*c has none"):
        open_pictures(tmp_path, mixed)


def test_larger_last_crops_where_pictures_have_room(tmp_path: Path, caplog) -> None:
    members = [(f"{n}.png", picture(n, edge=128 if n % 2 else 64)) for n in range(20)]
    write_shard(tmp_path / "large" / "a.tar", members)
    config = replace(CONFIG, last_crop=128)
    store = opened(tmp_path / "large", config)
    late = store.batch(8, seed=1, step=9, share=0.95)
    assert late.shape == (2, 3, 128, 128) and all(n % 2 for n in numbers(late))
    assert store.batch(8, seed=1, step=9, share=0.5).shape == (8, 3, 64, 64)
    assert "last_crop" not in caplog.text
    store = opened(write_shards(tmp_path / "small", 9), config)
    assert store.batch(8, seed=1, step=0).shape == (8, 3, 64, 64)
    assert "no picture in memory has data.last_crop 128 px" in caplog.text
    assert store.batch(8, seed=1, step=9, share=0.95).shape == (8, 3, 64, 64)
    assert caplog.text.count("last_crop") == 1
