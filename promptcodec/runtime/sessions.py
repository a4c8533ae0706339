"""Sessions of ONNX Runtime, one for each graph and rate, kept for the rates that were last used."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from promptcodec.config import CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.runtime.catalogue import Architecture, fold, variant
from promptcodec.runtime.files import GraphFiles
from promptcodec.runtime.graphs import halves, layout
from promptcodec.runtime.network import Network
from promptcodec.runtime.protobuf import initialisers

KEPT = 32  # sessions: eight rates of four graphs
NO_MEMORY = "Failed to allocate memory"  # in messages of ONNX Runtime


class Session:
    """One graph with its weights; safe to run from several threads.

    Args:
        model: serialised model with its parameters.
        threads: CPU threads; 0 is one for each core.
        context_window: edge of a window of the context in latents; 0 for a head.
    """

    def __init__(self, model: bytes, *, threads: int, context_window: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take time from whatever else runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._context_window = context_window

    @property
    def patches(self) -> list[str]:
        """Names of the inputs that are squares of pixels."""
        return [name for name in self._inputs if name.startswith("pixels.")]

    def run(self, height: int, width: int, **arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs of the graph.

        Args:
            height: rows of the padded picture, px.
            width: columns of the padded picture, px.
            arrays: inputs that depend on more than its size, by name.
        """
        feed = {name: arrays[name] for name in self._inputs if name in arrays}
        for name in self._inputs:
            if name in feed:
                continue
            if name.partition(".")[0] in halves.KINDS:
                feed[name] = halves.feed(name, height, width, window=self._context_window)
            else:
                feed[name] = layout.feed(name, height, width)
        try:
            return [np.asarray(value) for value in self._session.run(None, feed)]
        except Exception as error:  # ONNX Runtime has no class of its own for this
            if NO_MEMORY in str(error):
                raise MemoryError(str(error)) from None
            raise


class Sessions:
    """Sessions of a base or a head.

    Args:
        files: graphs of the base or head.
        weights: float32 arrays of the base or head, by name.
        config: architecture of the base, or configuration of the head.
        threads: CPU threads of a session; 0 is one for each core.
    """

    def __init__(
        self,
        files: GraphFiles,
        weights: Mapping[str, NDArray[np.float32]],
        config: Architecture,
        *,
        threads: int,
    ) -> None:
        self._files, self._weights, self._config = files, weights, config
        self._threads = threads
        self._begin()

    def _begin(self) -> None:
        self._kept: OrderedDict[tuple[str, Network | None], Session] = OrderedDict()
        self._lock = threading.Lock()
        _ALL.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_kept", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def after_fork(self) -> None:
        """Begin anew in a child process.

        The threads of a session end at a fork. A child that ran it, or freed it, would wait for
        them for ever.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._kept))
        self._begin()

    def get(self, graph: str, network: Network | None) -> Session:
        """The session of a graph at a rate.

        Args:
            graph: name of the graph, without its ending.
            network: what the rate adds; None is the base alone.
        Raises:
            CheckpointError: graphs or weights that do not belong together.
        """
        key = (graph, network)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._make(graph, network)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _make(self, graph: str, network: Network | None) -> Session:
        adapter = None if network is None else network.arrays
        name = variant(graph, adapter)
        model, config = self._files.read(name), self._config
        window = config.context_window if isinstance(config, CodecConfig) else 0
        try:
            parameters = fold(name, self._weights, config, adapter)
            return Session(
                b"".join((model, *initialisers(parameters))),
                threads=self._threads,
                context_window=window,
            )
        except KeyError as error:
            raise CheckpointError(
                f"the base has no tensor {error.args[0]}, which its config asks for; get the "
                "checkpoint again"
            ) from None
        except (MemoryError, OSError):
            raise
        except Exception as error:  # ONNX Runtime has no common class of its own
            if NO_MEMORY in str(error):
                raise MemoryError(str(error)) from None
            line = str(error).splitlines()[0]
            raise CheckpointError(
                f"graph {name} and the weights do not belong together: {line}"
            ) from None


_ALL: weakref.WeakSet[Sessions] = weakref.WeakSet()


def _after_fork() -> None:
    for sessions in list(_ALL):
        sessions.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
