"""A loaded codec that turns batches of columns into batches of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from promptcodec.corpus.rows import Row, rows_of
from promptcodec.corpus.tasks import COLUMNS, Task, TaskName, task_of
from promptcodec.errors import PromptCodecError, UsageError, unexpected
from promptcodec.io.find import named_with_ending

if TYPE_CHECKING:
    from promptcodec.api import Codec

OUT_OF_MEMORY = "not enough memory for this picture: take a larger machine"


class CodecWorker:
    """A task on rows, for `Dataset.map_batches` of Ray Data, `datasets.map`, or a loop.

    A row that fails has its reason in `error` and does not end the job. Each picture is coded by
    itself, on one thread, so that its bytes depend neither on the batch nor on the worker.

    Args:
        task: encode, decode, transcode (streams to another rate), classify or measure (bpp and
            PSNR, no bytes), or a task with its settings.
        codec: arguments of `Codec.load` by name.
        options: fields of `EncodeSettings`, or of `DecodeSettings` and `suffix` for decode;
            `top` for classify.
    Raises:
        UsageError: there is no such task or option.
    Examples:
        >>> worker = CodecWorker("encode", rate_index=2)
        >>> batch = worker({"bytes": [open("photo.png", "rb").read(), b"no picture"]})
        >>> batch["width"], batch["error"][0]
        ([451, None], None)
    """

    def __init__(
        self, task: TaskName | Task, *, codec: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        if isinstance(task, Task) and options:
            raise UsageError("a task has its settings already: leave out the options")
        self.task = task if isinstance(task, Task) else task_of(task, options)
        self._load: dict[str, Any] = {"threads": 1} | dict(codec or {})

    @cached_property
    def codec(self) -> Codec:
        """The codec, loaded at its first use; errors as `Codec.load`."""
        from promptcodec.api import Codec

        return Codec.load(**self._load)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows of a batch with the columns of the task.

        Args:
            batch: columns of one length, lists or arrays. `bytes` has picture files or streams.
                `name` is used in messages; other columns are kept.
        Returns:
            The columns, `bytes` replaced or left out; `id` is the SHA-256 of the bytes that came
            in, `source` their name.
        Raises:
            UsageError: there is no column `bytes`.
        """
        if "bytes" not in batch:
            known = ", ".join(batch) or "none"
            raise UsageError(f"a batch has columns {known}; need `bytes`: rename that of the files")
        rows = [self.row(row) for row in rows_of(batch)]
        return {name: [row.get(name) for row in rows] for name in self._columns(batch)}

    def row(self, row: Row) -> Row:
        """One row with the columns of the task."""
        data, name = row.get("bytes"), row.get("name")
        made = {key: value for key, value in row.items() if key != "bytes"} | {"error": None}
        if data is None:
            return made | {"error": row.get("error") or "the row has no bytes"}
        try:
            data = bytes(memoryview(data))
        except TypeError:
            return made | {"error": f"`bytes` has a {type(data).__name__}; need bytes of a file"}
        made |= {"id": self.id_of({"bytes": data}), "source_bytes": len(data)}
        try:
            made |= self.task.run(self.codec, data, str(name or "the row's bytes"))
        except MemoryError:
            return made | {"error": OUT_OF_MEMORY}
        except PromptCodecError as error:
            return made | {"error": " ".join(str(error).split())}
        except Exception as error:  # one row never ends the job; the reason says that it is a bug
            return made | {"error": unexpected(error)}
        return made if name is None else made | self.names(str(name))

    def names(self, name: str) -> Row:
        """Columns that name the result of a row.

        Args:
            name: name of the row.
        """
        if "bytes" not in COLUMNS[self.task.name]:
            return {"name": name}
        plain = name.removeprefix("./").rstrip("/")
        return {"source": name, "name": named_with_ending(plain, self.task.ending)}

    @staticmethod
    def id_of(row: Row) -> str:
        """SHA-256 of the bytes of a row, in hexadecimal digits; "" if it has none."""
        data = row.get("bytes")
        return "" if data is None else hashlib.sha256(data).hexdigest()

    def _columns(self, batch: Mapping[str, Any]) -> list[str]:
        """Names of the columns, the same for every batch of a source."""
        own = COLUMNS[self.task.name]
        names = dict.fromkeys(["id", "name", *(name for name in batch if name != "bytes"), *own])
        return [*names, "error"] if "error" not in names else list(names)
