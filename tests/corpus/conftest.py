"""Small collections, and jobs on them with the tiny codec."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_collections import png, write_tar

from promptcodec.corpus.places import Place
from promptcodec.corpus.run import run_job
from promptcodec.corpus.sources import Source
from promptcodec.corpus.worker import CodecWorker


@pytest.fixture(scope="session")
def members() -> dict[str, bytes]:
    """Seven samples of a shard: one broken, one that occurs twice, labels."""
    found: dict[str, bytes] = {}
    for number in range(6):
        found[f"a/{number}.png"] = png(number)
        found[f"a/{number}.cls"] = str(number).encode()
    found["a/3.png"] = b"no picture"
    return found | {"b/again.png": png(0), "b/again.txt": b"ignored"}


@pytest.fixture
def shards(tmp_path: Path, members: dict[str, bytes]) -> Path:
    """A folder of two shards."""
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(folder / "one.tar", members)
    write_tar(folder / "two.tar", {f"c/{n}.jpg": png(10 + n) for n in range(3)})
    return folder


@pytest.fixture
def run(tiny_checkpoint: Path) -> Callable[..., Any]:
    """Run a job with the tiny codec: task, source, destination, options of the job."""
    codec: dict[str, Any] = {"base": str(tiny_checkpoint), "threads": 1}

    def run(
        task: Any, source: object, destination: object, *, column: str | None = None, **job: Any
    ) -> Any:
        return run_job(
            Source(Place(str(source)), column),
            None if destination is None else Place(str(destination)),
            CodecWorker(task, codec=codec),
            codec=codec,
            rows=job.pop("rows", 3),
            **job,
        )

    return run
