"""Sessions, one for each graph and rate, kept for the rates that were last used."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptcodec.config import CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.runtime.catalogue import Architecture, fold, variant
from promptcodec.runtime.files import GraphFiles
from promptcodec.runtime.graphs import halves, layout
from promptcodec.runtime.network import Network
from promptcodec.runtime.protobuf import initialisers

KEPT = 32  # sessions: eight rates of four graphs


class Model(Protocol):
    """A graph with its weights; safe to run from several threads."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        ...

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs for arrays by the names of all inputs."""
        ...


class Models(Protocol):
    """Loading of graphs into a library."""

    def load(self, graph: str, model: bytes) -> Model:
        """The model of a graph from its bytes with all parameters."""
        ...


class Session:
    """A graph whose inputs of a size are made here.

    Args:
        model: graph with its weights.
        context_window: edge of a window of the context in latents; 0 for a head.
    """

    def __init__(self, model: Model, *, context_window: int) -> None:
        self._model, self._context_window = model, context_window

    @property
    def patches(self) -> list[str]:
        """Names of the inputs that are squares of pixels."""
        return [name for name in self._model.inputs if name.startswith("pixels.")]

    def run(self, height: int, width: int, **arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs of the graph.

        Args:
            height: rows of the padded picture, px.
            width: columns of the padded picture, px.
            arrays: inputs that depend on more than its size, by name.
        """
        names = self._model.inputs
        feed = {name: arrays[name] for name in names if name in arrays}
        for name in names:
            if name in feed:
                continue
            if name.partition(".")[0] in halves.KINDS:
                feed[name] = halves.feed(name, height, width, window=self._context_window)
            else:
                feed[name] = layout.feed(name, height, width)
        return self._model.run(feed)


class Sessions:
    """Sessions of a base or a head.

    Args:
        files: graphs of the base or head.
        weights: float32 arrays of the base or head, by name.
        config: architecture of the base, or configuration of the head.
        models: loading of graphs.
    """

    def __init__(
        self,
        files: GraphFiles,
        weights: Mapping[str, NDArray[np.float32]],
        config: Architecture,
        *,
        models: Models,
    ) -> None:
        self._files, self._weights, self._config = files, weights, config
        self._models = models
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
            whole = b"".join((model, *initialisers(parameters)))
            return Session(self._models.load(graph, whole), context_window=window)
        except KeyError as error:
            raise CheckpointError(
                f"the base has no tensor {error.args[0]}, which its config asks for; get the "
                "checkpoint again"
            ) from None
        except (MemoryError, OSError):
            raise
        except Exception as error:  # the libraries have no common class of their own
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
