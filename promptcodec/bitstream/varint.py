"""Canonical unsigned LEB128 up to 2^32 - 1: one number has one spelling."""

MAX_U32 = (1 << 32) - 1
LONGEST_VARINT = 5


def pack_varint(value: int) -> bytes:
    """Encode as seven bits a byte, lowest first; the top bit is set if more bytes follow.

    Raises:
        ValueError: the number does not fit in 32 unsigned bits.
    """
    if not 0 <= value <= MAX_U32:
        raise ValueError(f"{value} does not fit in 32 unsigned bits")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, start: int = 0) -> tuple[int, int]:
    """The number at `start`, and where it ends.

    Raises:
        EOFError: the data end inside the number.
        ValueError: another spelling, or beyond 32 bits.
    """
    value = 0
    for number in range(LONGEST_VARINT):
        if start + number >= len(data):
            raise EOFError("the number is cut short")
        byte = data[start + number]
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            if value > MAX_U32 or (byte == 0 and number):
                break
            return value, start + number + 1
    raise ValueError("no canonical 32-bit varint")
