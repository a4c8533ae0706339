"""Initialisers as bytes that continue a serialised ONNX model.

Two protobuf messages one after the other are read as one: a model's bytes followed by those of
another that holds initialisers alone is the model with these initialisers. So weights are joined to
a structure without the package `onnx`.

Source: Protocol Buffers encoding, "last one wins and merging"; field numbers of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FLOAT = 1  # TensorProto.FLOAT
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9  # fields of TensorProto
GRAPH, INITIALIZER = 7, 5  # fields of ModelProto and of GraphProto
VARINT, BYTES = 0, 2  # wire types

Content = bytes | memoryview


def initialisers(parameters: Mapping[str, NDArray[np.float32]]) -> list[Content]:
    """Bytes to be put behind those of a model, in pieces; float32 arrays by name."""
    pieces: list[Content] = []
    for name, value in parameters.items():
        array = np.ascontiguousarray(value, "<f4")  # the order of bytes in ONNX
        dims = b"".join(_key(DIMS, VARINT) + _varint(size) for size in array.shape)
        start = (
            dims
            + _key(DATA_TYPE, VARINT)
            + _varint(FLOAT)
            + _start(NAME, len(name.encode()))
            + name.encode()
            + _start(RAW_DATA, array.nbytes)
        )
        pieces += [_start(INITIALIZER, len(start) + array.nbytes) + start, array.data]
    size = sum(memoryview(piece).nbytes for piece in pieces)
    return [_start(GRAPH, size), *pieces]


def _start(field: int, size: int) -> bytes:
    """Key and length before that many bytes."""
    return _key(field, BYTES) + _varint(size)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
