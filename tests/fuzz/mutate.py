"""Random changes of bytes, of JSON and of safetensors files; all from one `random.Random`."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

EDGES = (0, 1, 2, 7, 8, 63, 64, 65, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 65535, 65536)
EDGES += (2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**35, 2**53, 2**63 - 1, 2**64 - 1)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to four small changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_CHANGES)(rng, out)
    return bytes(out)


def _place(rng: random.Random, out: bytearray) -> int:
    return rng.randrange(len(out)) if out else 0


def _flip(rng: random.Random, out: bytearray) -> None:
    if out:
        out[_place(rng, out)] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, out: bytearray) -> None:
    if out:
        out[_place(rng, out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _insert(rng: random.Random, out: bytearray) -> None:
    place = _place(rng, out)
    out[place:place] = rng.randbytes(rng.choice((1, 2, 4, 8, 64)))


def _delete(rng: random.Random, out: bytearray) -> None:
    place = _place(rng, out)
    del out[place : place + rng.choice((1, 2, 4, 8, 64))]


def _repeat(rng: random.Random, out: bytearray) -> None:
    place = _place(rng, out)
    out[place:place] = out[place : place + rng.choice((1, 4, 16))] * rng.choice((1, 2, 32))


def _number(rng: random.Random, out: bytearray) -> None:
    size = rng.choice((1, 2, 4, 8))
    place = _place(rng, out)
    number = rng.choice(EDGES) % (1 << 8 * size)
    out[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: random.Random, out: bytearray) -> None:
    del out[_place(rng, out) :]


def _blank(rng: random.Random, out: bytearray) -> None:
    place, size = _place(rng, out), rng.choice((4, 8, 32))
    out[place : place + size] = bytes([rng.choice((0, 0xFF))]) * len(out[place : place + size])


_CHANGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _set, _set, _number, _number),
    *(_insert, _delete, _repeat, _cut, _blank),
)


def number(rng: random.Random, now: int) -> int:
    """Another number: an edge case, a neighbour, or any."""
    return rng.choice((rng.choice(EDGES), now + 1, now - 1, now * 2, -now, rng.getrandbits(16)))


def mutate_json(rng: random.Random, value: Any) -> Any:
    """The tree with one or two changed places."""
    tree = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2))):
        tree = _changed(rng, tree)
    return tree


def _changed(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.95:
        key = rng.choice(sorted(tree))
        turn = rng.random()
        if turn < 0.08:
            del tree[key]
        elif turn < 0.14:
            tree[key + "x"] = tree[key]
        else:
            tree[key] = _changed(rng, tree[key])
        return tree
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        place = rng.randrange(len(tree))
        turn = rng.random()
        if turn < 0.15:
            del tree[place]
        elif turn < 0.3:
            tree.append(tree[place])
        else:
            tree[place] = _changed(rng, tree[place])
        return tree
    return _leaf(rng, tree)


def _leaf(rng: random.Random, now: Any) -> Any:
    if isinstance(now, int) and rng.random() < 0.6:
        return number(rng, now)
    edges = (None, True, "", "x" * 300, "\n", [], {}, [[]], 1e308, -1.5, 0.0, 1e-9)
    return rng.choice((*edges, float("nan"), float("inf"), rng.choice(EDGES), -1, 10**30))


def mutate_safetensors(rng: random.Random, data: bytes, *, often: tuple[str, ...] = ()) -> bytes:
    """Change values, entries of the header, its length, or any bytes.

    Args:
        rng: random generator.
        data: bytes of the file.
        often: names of tensors whose values are changed half of the time, if present.
    """
    turn = rng.random()
    if turn < 0.15:
        return mutate_bytes(rng, data)
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    if turn < 0.55:
        there = [name for name in often if name in header]
        _change_values(rng, header, body, names=there if rng.random() < 0.5 else [])
    else:
        header = mutate_json(rng, header)
    text = json.dumps(header).encode()
    if turn > 0.95:
        length = number(rng, len(text)) % 2**64
        return struct.pack("<Q", length) + text + bytes(body)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def _change_values(
    rng: random.Random, header: dict[str, Any], body: bytearray, *, names: list[str]
) -> None:
    """Set one to three elements of one tensor to NaN, infinity, a huge value, zero or any bits."""
    names = names or sorted(name for name in header if name != "__metadata__")
    start, end = header[rng.choice(names)]["data_offsets"]
    special = (b"\0\x7e", b"\0\x7c", b"\0\xfc", b"\xff\x7b", b"\0\0", b"\xff\xff", b"\0\x80")
    for _ in range(rng.choice((1, 2, 3))):
        if end - start < 8:
            return
        place = rng.randrange(start, end - 7, 2)
        part = rng.choice((*special, rng.randbytes(2), rng.randbytes(4), bytes(8), b"\xff" * 8))
        body[place : place + len(part)] = part
