"""Graphs of a base or a head as ONNX models; needs the package `onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from promptcodec.coding.base_file import read_stored_base
from promptcodec.coding.head_file import read_stored_head
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import BASE_CONFIG, HEAD_CONFIG, find_heads
from promptcodec.runtime.catalogue import Architecture, build, names
from promptcodec.runtime.files import write_graphs
from promptcodec.runtime.graphs.graph import Graph, Value

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # of the same release


def export(place: Path) -> list[Path]:
    """Write the graphs of checkpoints beside them; returns their folders.

    Args:
        place: folder of a base, of a head, or of heads.
    Raises:
        CheckpointError: no readable checkpoint there.
        UsageError: `onnx` is not installed, or an architecture that has no graphs.
        OutputError: a folder cannot be written.
    """
    configs = _configs(place)
    made = {folder: models(config) for folder, config in configs.items()}
    return [write_graphs(folder, config, made[folder]) for folder, config in configs.items()]


def _configs(place: Path) -> dict[Path, Architecture]:
    """Architectures of the checkpoints in a folder, by their folders."""
    heads = (place / HEAD_CONFIG).is_file() or any(place.glob(f"*/{HEAD_CONFIG}"))
    if (place / BASE_CONFIG).is_file() or not heads:
        return {place: read_stored_base(place).config.codec}
    folders = find_heads(place)
    return {folder: read_stored_head(folder, base_sha256=None).config for folder in folders}


def models(config: Architecture) -> dict[str, bytes]:
    """The serialised model of each graph of an architecture, without parameters."""
    return {name: serialise(build(name, config)) for name in names(config)}


def serialise(graph: Graph) -> bytes:
    """A graph as a model, the same bytes each time.

    Raises:
        UsageError: `onnx` is not installed.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise UsageError(
            "graphs are written with the package onnx: pip install 'promptcodec[train]'"
        ) from None

    def element(dtype: type[np.generic]) -> int:
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def info(value: Value) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(value.name, element(value.dtype), value.shape)

    nodes = []
    for node in graph.nodes:
        own: dict[str, Any] = dict(node.attributes)
        if "to" in own:
            own["to"] = element(own["to"])
        nodes.append(helper.make_node(node.kind, node.inputs, node.outputs, **own))
    proto = helper.make_graph(
        nodes,
        graph.name,
        [info(value) for value in graph.inputs],
        [info(value) for value in graph.outputs],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="promptcodec"
    )
    return model.SerializeToString(deterministic=True)
