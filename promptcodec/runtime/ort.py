"""Graphs in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

NO_MEMORY = "Failed to allocate memory"  # in messages of ONNX Runtime


class OnnxModel:
    """One graph with its weights; safe to run from several threads.

    Args:
        model: serialised model with its parameters.
        threads: CPU threads; 0 is one for each core.
    """

    def __init__(self, model: bytes, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take time from whatever else runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        with _memory_errors():
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        self.inputs = tuple(value.name for value in self._session.get_inputs())

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs of the graph.

        Raises:
            MemoryError: there is not enough memory.
        """
        with _memory_errors():
            return [np.asarray(value) for value in self._session.run(None, dict(feed))]


@dataclass(frozen=True)
class OnnxModels:
    """Loading of graphs into ONNX Runtime.

    Args:
        threads: CPU threads of a model; 0 is one for each core.
    """

    threads: int

    def load(self, graph: str, model: bytes) -> OnnxModel:
        """The model of a graph; of any, so that its name does not matter."""
        return OnnxModel(model, threads=self.threads)


@cache
def _share_memory() -> None:
    """Give all sessions one arena; with one each, every rate would keep what a picture takes."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    onnxruntime.create_and_register_allocator(place, None)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise a MemoryError for lack of memory, for which ONNX Runtime has no class of its own."""
    try:
        yield
    except Exception as error:
        if NO_MEMORY in str(error):
            raise MemoryError(str(error)) from None
        raise
