"""An ONNX graph under construction: nodes, inputs, outputs, and the names of its parameters.

A parameter is an initialiser without a value: the values are those of a checkpoint, folded into the
form that the graph computes with, and are joined to it when a session is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = Mapping[str, Array]


@dataclass(frozen=True)
class Node:
    """One operator.

    Args:
        kind: name of the operator in the ONNX standard.
        inputs: names of its inputs.
        outputs: names of its outputs.
        attributes: attributes by name.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """An input or an output.

    Args:
        name: name in the graph.
        dtype: type of its elements.
        shape: length of each axis; a text is a length that differs from run to run.
    """

    name: str
    dtype: type[np.generic]
    shape: tuple[int | str, ...]


@dataclass
class Graph:
    """Nodes in the order of their computation.

    Args:
        name: name of the graph.
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, None] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of one output, unless it is there; returns the output's name."""
        for node in self.nodes:
            if (node.kind, node.inputs, node.attributes) == (kind, inputs, attributes):
                return node.outputs[0]
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(Node(kind, inputs, (output,), attributes))
        return output

    def split(self, x: str, sizes: Sequence[int], *, axis: int) -> list[str]:
        """Parts of `x` along an axis, in order."""
        outputs = tuple(f"split_{len(self.nodes)}_{i}" for i in range(len(sizes)))
        self.nodes.append(Node("Split", (x, self.ints(*sizes)), outputs, {"axis": axis}))
        return list(outputs)

    def input(self, name: str, dtype: type[np.generic], *shape: int | str) -> str:
        """Declare an input, or find one that is declared; returns its name."""
        value = Value(name, dtype, shape)
        if value not in self.inputs:
            self.inputs.append(value)
        return name

    def output(self, x: str, name: str, dtype: type[np.generic], *shape: int | str) -> None:
        """Declare `x` an output under a name."""
        self.nodes.append(Node("Identity", (x,), (name,), {}))
        self.outputs.append(Value(name, dtype, shape))

    def parameter(self, name: str) -> str:
        """Declare a parameter; returns its name."""
        self.parameters[name] = None
        return name

    def ints(self, *values: int) -> str:
        """A constant vector of whole numbers."""
        return self._constant(np.array(values, np.int64))

    def float(self, value: float) -> str:
        """A constant scalar."""
        return self._constant(np.array(value, np.float32))

    def int32(self, value: int) -> str:
        """A constant whole number of 32 bits."""
        return self._constant(np.array(value, np.int32))

    def _constant(self, value: Array) -> str:
        # As numbers of Python: the text of numpy's own differs between its versions.
        name = f"constant_{value.dtype}_{'_'.join(map(str, value.ravel().tolist()))}_{value.ndim}"
        self.constants[name] = value
        return name

    # -- what several networks are made of -----------------------------------------------------

    def linear(self, x: str, name: str) -> str:
        """x @ weight + bias over the last axis, parameters `name`.weight and `name`.bias."""
        product = self.op("MatMul", x, self.parameter(f"{name}.weight"))
        return self.op("Add", product, self.parameter(f"{name}.bias"))

    def norm(self, x: str, name: str) -> str:
        """Layer normalisation over the last axis."""
        weight, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=1e-5)

    def conv(
        self,
        x: str,
        name: str,
        *,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        borders: tuple[int, int] | None = None,
        edge: bool = False,
    ) -> str:
        """Convolution of (B, C, H, W).

        Args:
            x: features.
            name: prefix of the parameters.
            kernel: edge of the kernel.
            stride: step of the kernel.
            dilation: distance between the taps of the kernel.
            groups: number of groups of channels that are convolved apart.
            borders: rows and columns that are added before and after; None is the dilation on all
                sides where the kernel is 3, and none elsewhere.
            edge: whether the border is repeated; otherwise zeros lie around it.
        """
        same = dilation if kernel == 3 else 0
        before, after = borders or (same, same)
        pads = [before, before, after, after]
        if edge and any(pads):
            more = self.ints(0, 0, *pads[:2], 0, 0, *pads[2:])
            x, pads = self.op("Pad", x, more, mode="edge"), [0] * 4
        weight, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        shape: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": pads,
        }
        if dilation > 1:
            shape["dilations"] = [dilation] * 2
        if groups > 1:
            shape["group"] = groups
        return self.op("Conv", x, weight, bias, **shape)

    def to_grid(self, tokens: str, size: str) -> str:
        """Tokens in raster order, (B, n, C), as a grid (B, C, H, W).

        Args:
            tokens: features.
            size: name of the input with H and W, see `layout.grid_input`.
        """
        planes = self.op("Transpose", tokens, perm=[0, 2, 1])
        return self.op("Reshape", planes, self.op("Concat", self.ints(0, 0), size, axis=0))

    def to_tokens(self, grid: str) -> str:
        """A grid (B, C, H, W) as tokens in raster order, (B, n, C)."""
        planes = self.op("Reshape", grid, self.ints(0, 0, -1))
        return self.op("Transpose", planes, perm=[0, 2, 1])

    def gather(self, tokens: str, order: str) -> str:
        """Tokens (B, n, C) in another order."""
        return self.op("Gather", tokens, order, axis=1)
