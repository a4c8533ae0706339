"""Graphs to ONNX files; needs the package `onnx`."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from promptcodec.runtime.graphs.graph import Graph

OPSET = 20  # the first with Gelu


def to_model(graph: Graph) -> onnx.ModelProto:
    """A graph as a model whose parameters have no values yet."""
    nodes = []
    for node in graph.nodes:
        attributes = {
            name: helper.np_dtype_to_tensor_dtype(np.dtype(value)) if name == "to" else value
            for name, value in node.attributes.items()
        }
        nodes.append(helper.make_node(node.kind, node.inputs, node.outputs, **attributes))
    proto = helper.make_graph(
        nodes,
        graph.name,
        [_info(value) for value in graph.inputs],
        [_info(value) for value in graph.outputs],
        [onnx.numpy_helper.from_array(v, name) for name, v in graph.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=9)


def _info(value) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_value_info(value.name, kind, value.shape)
