"""Engines: processes of this machine and Ray Data make the same files."""

import os
import shutil
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from small_collections import files_of

from promptcodec.corpus import engines
from promptcodec.corpus.job import Job, Outcome, Piece
from promptcodec.corpus.places import Place
from promptcodec.corpus.sources import Source
from promptcodec.corpus.tasks import Task
from promptcodec.errors import OutputError, UsageError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two workers on this machine."""
    engines._start(ray, None, 2)
    yield
    ray.shutdown()


@pytest.mark.timeout(300)
def test_ray_makes_the_same_files(cluster, run, shards, tmp_path):
    run("encode", shards, tmp_path / "local")
    result = run("encode", shards, tmp_path / "ray", engine="ray", workers=2)
    assert result.tally.rows == 10 and result.rows == 10
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")
    assert ray.is_initialized()  # a cluster of the caller's is left running


@pytest.mark.timeout(300)
def test_a_worker_in_a_pipeline_of_ray_data(cluster, members, tiny_checkpoint):
    import ray.data

    from promptcodec.corpus.worker import CodecWorker

    names = ["a/0.png", "a/3.png", "a/1.png"]
    data = ray.data.from_items([{"name": n, "bytes": members[n], "extra": 7} for n in names])
    made = data.map_batches(
        CodecWorker,
        fn_constructor_args=("encode",),
        fn_constructor_kwargs={"codec": {"base": str(tiny_checkpoint)}},
        compute=ray.data.ActorPoolStrategy(size=1),
        batch_size=1,
    )
    rows = sorted(made.take_all(), key=lambda row: row["source"] or "")
    assert [row["source"] for row in rows] == [None, "a/0.png", "a/1.png"]
    assert rows[0]["bytes"] is None and "no picture" in rows[0]["error"]
    assert rows[1]["bytes"][1:3] == b"PC" and rows[1]["error"] is None
    assert [row["extra"] for row in rows] == [7, 7, 7]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_error_of_a_worker_ends_the_job(cluster, run, shards, tmp_path):
    run("encode", shards, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "_parts")
    (tmp_path / "out" / "_parts").write_text("in the way")
    with pytest.raises(OutputError, match="_parts"):
        run("encode", shards, tmp_path / "out", engine="ray", workers=2)


def test_no_ray(run, shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs ray: pip install 'promptcodec\[ray\]'; or take"):
        run("encode", shards, tmp_path / "out", engine="ray")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:99999"])
def test_no_cluster(address):
    with pytest.raises(UsageError, match="there is no cluster"):
        engines._check_reachable(address)


def test_a_piece_whose_process_dies_is_tried_again_and_then_listed(run, shards, monkeypatch):
    tries = []

    def dying(work, items, *, jobs):
        """A pool that "b" kills, together with what else is under way."""
        tries.append((list(items), jobs))
        for item in items[: items.index("b") - 1 if "b" in items else None]:
            yield item, Outcome()

    monkeypatch.setattr(engines, "run_in_processes", dying)
    pieces: Any = ["x", "a", "b", "c", "d"]
    found = dict(engines.run_local(None, pieces, workers=2))  # type: ignore[arg-type]
    alone = [(["a"], 1), (["b"], 1), (["b"], 1)]
    assert tries == [(pieces, 2), (["c", "d"], 2), *alone]
    assert sorted(found) == sorted(pieces)
    assert [p for p, outcome in found.items() if outcome.fault == engines.LOST] == ["b"]


@pytest.mark.timeout(300)
def test_an_actor_that_is_killed_costs_its_piece_alone(cluster, shards):
    job = Job(Task("inspect"), {}, {}, "", None, "parquet", 3)
    good = [Piece(shard, shard.name) for shard in Source(Place(str(shards))).shards(group=3)]
    shard: Any = SimpleNamespace(name="deadly", others=(), blocks=os._exit)  # of its process
    deadly = Piece(shard, "deadly")
    found = list(engines.run_ray(job, [good[0], deadly, good[1]], workers=2))
    assert [o.fault for piece, o in found if piece is deadly] == [engines.LOST]
    assert sorted(o.rows for _, o in found) == [0, 3, 7]


def test_far_more_workers_than_processors(run, shards, tmp_path):
    with pytest.raises(UsageError, match=r"500 workers for \d+ processors.*give at most"):
        run("encode", shards, tmp_path / "out", workers=500)
