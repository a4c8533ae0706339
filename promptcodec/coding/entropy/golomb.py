"""Exp-Golomb bits for the few symbols outside their table.

    section = varint(number of bytes) . bytes; each value: sign bit, then Exp-Golomb of |v| >= 1

Most pictures have none, and the section is then a single zero byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.varint import pack_varint, read_varint
from promptcodec.errors import StreamError, UsageError

MAX_BITS = 20  # of a magnitude; the encoder clamps residuals to it
LIMIT = (1 << MAX_BITS) - 1


def pack(values: NDArray[np.int32]) -> bytes:
    """Code nonzero integers.

    Raises:
        UsageError: a magnitude is above LIMIT.
    """
    if values.size and int(np.abs(values.astype(np.int64)).max()) > LIMIT:
        raise UsageError(f"an escaped value is above {LIMIT}; clamp residuals before coding")
    pieces: list[str] = []
    for value in values.tolist():
        code = abs(value)
        width = code.bit_length()
        pieces.append(("1" if value < 0 else "0") + "0" * (width - 1) + f"{code:b}")
    text = "".join(pieces)
    text += "0" * (-len(text) % 8)
    body = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
    return pack_varint(len(body)) + body


def split(data: bytes) -> tuple[bytes, bytes]:
    """Split data into (bits of the section, rest)."""
    try:
        size, used = read_varint(data)
    except (EOFError, ValueError) as error:
        raise StreamError(f"escape section: {error}: the stream is damaged") from None
    if size > len(data) - used:
        raise StreamError("escape section is longer than its payload: the stream is damaged")
    return data[used : used + size], data[used + size :]


def unpack(data: bytes, count: int) -> NDArray[np.int32]:
    """Invert `pack` for `count` values.

    Raises:
        StreamError: the section does not hold exactly that many values.
    """
    if len(data) > (2 * MAX_BITS * count + 7) // 8:
        raise StreamError("escape section has bits left over: the stream is damaged")
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
    values = np.zeros(count, np.int32)
    position = 0
    for number in range(count):
        start = position + 1
        while start < len(bits) and not bits[start] and start - position <= MAX_BITS:
            start += 1
        zeros = start - position - 1
        end = start + zeros + 1
        if end > len(bits) or zeros >= MAX_BITS:
            raise StreamError("escape section is damaged: a value does not end")
        magnitude = int("".join(map(str, bits[start:end])), 2)
        values[number] = -magnitude if bits[position] else magnitude
        position = end
    if len(bits) - position >= 8 or any(bits[position:]):
        raise StreamError("escape section has bits left over: the stream is damaged")
    return values


def bits(magnitudes: NDArray[np.integer]) -> int:
    """Number of bits of `pack` for values of these magnitudes, before padding."""
    return sum(2 * int(m).bit_length() for m in magnitudes)
