"""Graphs in OpenVINO, for servers: in bfloat16 where the processor computes in it.

Only g_a and g_s, where the time is spent. What decides about symbols stays in ONNX Runtime and
numpy, so that every engine reads the streams of every other: OpenVINO computes float64 as float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.engine import EngineName, EngineOptions, Precision
from promptcodec.errors import UsageError
from promptcodec.runtime.engine import OnnxEngine
from promptcodec.runtime.ort import OnnxModel, OnnxModels

GRAPHS = ("analyse", "synthesise")
TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoModel:
    """One graph with its weights; safe to run from several threads.

    Args:
        model: serialised model with its parameters.
        threads: CPU threads; 0 is one for each core.
        precision: number format of the products.
    """

    def __init__(self, model: bytes, *, threads: int, precision: Precision) -> None:
        core = _core()
        options = {
            "INFERENCE_PRECISION_HINT": TYPES[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = core.compile_model(core.read_model(model), "CPU", options)
        self.inputs = tuple(value.any_name for value in self._compiled.inputs)
        self._idle: list[Any] = []  # requests; one runs at a time

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs of the graph."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        found = [np.array(value) for value in request.infer(dict(feed)).values()]
        self._idle.append(request)
        return found


@dataclass(frozen=True)
class OpenVinoModels:
    """Loading of g_a and g_s into OpenVINO, and of other graphs into ONNX Runtime.

    Args:
        threads: CPU threads of a model; 0 is one for each core.
        precision: number format of the products of g_a and g_s.
    """

    threads: int
    precision: Precision

    def load(self, graph: str, model: bytes) -> OpenVinoModel | OnnxModel:
        """The model of a graph."""
        if graph in GRAPHS:
            return OpenVinoModel(model, threads=self.threads, precision=self.precision)
        return OnnxModels(self.threads).load(graph, model)


class OpenVinoEngine(OnnxEngine):
    """A base codec on the CPU whose g_a and g_s run in OpenVINO."""

    name: EngineName = "openvino"

    @classmethod
    def models(cls, options: EngineOptions) -> OpenVinoModels:
        """Loading of graphs for options; errors as `Codec.load`."""
        if find_spec("openvino") is None:
            raise UsageError(
                "engine 'openvino' needs openvino: pip install 'promptcodec[openvino]'"
            )
        precision = options.get("precision", "float32")
        if precision == "bfloat16" and not computes_in_bfloat16():
            raise UsageError(
                "this processor does not compute in bfloat16 (AVX512-BF16 or AMX): leave precision "
                "at float32"
            )
        return OpenVinoModels(options.get("threads") or 0, precision)


def computes_in_bfloat16() -> bool:
    """Whether the processor has products in bfloat16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> Any:
    from openvino import Core

    return Core()
