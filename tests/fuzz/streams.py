"""Streams as parts that can have any values and are written with valid checksums."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass, replace

from mutate import mutate_bytes, number

from promptcodec.bitstream import AnyTile, Container, ExactTile

LooseTile = tuple[bytes, bytes, int | None]


@dataclass(frozen=True)
class Loose:
    """Every field of a stream, unchecked.

    Args:
        fixed: flags, profile, rate, gain.
        base: hash of the base.
        adapters: hashes of the adapters.
        numbers: width, height, tile size in units of 64 px.
        tiles: z, y and index CRC of each tile; WebP file, nothing and None of an exact one.
        chunks: kind and content of each chunk.
        counts: written numbers of adapters and chunks; None is the true number.
        version: written version; None is the right one.
    """

    fixed: tuple[int, int, int, int]
    base: bytes
    adapters: tuple[bytes, ...]
    numbers: tuple[int, int, int]
    tiles: tuple[LooseTile, ...]
    chunks: tuple[tuple[bytes, bytes], ...]
    counts: tuple[int | None, int | None] = (None, None)
    version: int | None = None


def loosen(container: Container) -> Loose:
    """The parts of a valid stream."""
    return Loose(
        fixed=(int(container.grey), container.profile, container.rate, container.gain),
        base=container.base_hash,
        adapters=container.adapter_hashes,
        numbers=(container.width, container.height, container.tile_size // 64),
        tiles=tuple(map(_loosen_tile, container.tiles)),
        chunks=tuple((chunk.kind, chunk.data) for chunk in container.chunks),
    )


def _loosen_tile(tile: AnyTile) -> LooseTile:
    if isinstance(tile, ExactTile):
        return tile.webp, b"", None
    return tile.z, tile.y, tile.index_crc


def write(loose: Loose) -> bytes:
    """Bytes with valid lengths and checksums, for any values of the fields."""
    flags, profile, rate, gain = loose.fixed
    adapters, chunks = loose.counts
    body = [
        struct.pack("<BBHH", flags % 256, profile % 256, rate % 65536, gain % 65536),
        loose.base,
        bytes([(len(loose.adapters) if adapters is None else adapters) % 256]),
        *loose.adapters,
        *map(varint, loose.numbers),
    ]
    version = loose.version or 1 + any(index_crc is None for *_, index_crc in loose.tiles)
    for z, y, index_crc in loose.tiles:
        kind = bytes([index_crc is None]) if version == 2 else b""
        if index_crc is None:
            body += [kind, varint(len(z)), crc(z)]
        else:
            body += [kind, varint(len(z)), varint(len(y)), crc(z + y)]
            body.append(struct.pack("<I", index_crc))
    body.append(varint(len(loose.chunks) if chunks is None else chunks))
    for kind, data in loose.chunks:
        body += [kind, varint(len(data)), crc(data)]
    fields = b"".join(body)
    header = b"\x8fPC\n" + bytes([version]) + varint(len(fields) + 4) + fields
    payload = [part for z, y, _ in loose.tiles for part in (z, y)]
    return header + crc(header) + b"".join([*payload, *(data for _, data in loose.chunks)])


def varint(value: int) -> bytes:
    """Any number, also above the limit of the reader."""
    value, out = abs(value) % 2**40, bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def crc(data: bytes) -> bytes:
    """CRC-32 as four bytes."""
    return struct.pack("<I", zlib.crc32(data))


def mutate_fields(rng: random.Random, loose: Loose, other: Loose) -> Loose:
    """Change one field, or take one from another stream."""
    turn = rng.randrange(10)
    if turn == 0:
        fixed = list(loose.fixed)
        place = rng.randrange(4)
        fixed[place] = number(rng, fixed[place])
        return replace(loose, fixed=(fixed[0], fixed[1], fixed[2], fixed[3]))
    if turn == 1:
        numbers = list(loose.numbers)
        place = rng.randrange(3)
        small = rng.choice((1, 2, 3, 64, 65, 100, 128, 200))
        numbers[place] = rng.choice((small, small, number(rng, numbers[place])))
        return replace(loose, numbers=(numbers[0], numbers[1], numbers[2]))
    if turn == 2:
        return replace(loose, base=rng.choice((other.base, mutate_bytes(rng, loose.base))))
    if turn == 3:
        pool = (*loose.adapters, *other.adapters, rng.randbytes(8))
        return replace(loose, adapters=tuple(rng.choices(pool, k=rng.randrange(4))))
    if turn == 4:
        counts = (rng.choice((None, 0, 1, 2, 3, 255)), rng.choice((None, 0, 1, 64, 65, 2**32)))
        return replace(loose, counts=counts)
    if turn == 5:
        return replace(loose, chunks=_chunks(rng, loose, other))
    if turn == 6:
        tiles = list(loose.tiles)
        tiles.insert(rng.randrange(len(tiles) + 1), rng.choice((*tiles, (b"", b"", 0))))
        return replace(loose, tiles=tuple(tiles))
    if turn == 7:
        tiles = list(loose.tiles)
        del tiles[rng.randrange(len(tiles) or 1) :]
        return replace(loose, tiles=tuple(tiles))
    if turn == 8:
        return replace(loose, version=rng.choice((1, 2, 2, 3)))
    return mutate_payload(rng, loose, other)


def _chunks(rng: random.Random, loose: Loose, other: Loose) -> tuple[tuple[bytes, bytes], ...]:
    kinds = (b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"note", b"QQQQ", rng.randbytes(4), b"ALP")
    pool = [*loose.chunks, *other.chunks, (rng.choice(kinds), rng.randbytes(9))]
    kind, data = rng.choice(pool)
    pool.append((kind, mutate_bytes(rng, data)))
    pool.append((rng.choice(kinds), data))
    return tuple(rng.choices(pool, k=rng.choice((1, 1, 2, 3))))


def mutate_payload(rng: random.Random, loose: Loose, other: Loose) -> Loose:
    """Change the coded words or the escape section of one tile."""
    tiles = list(loose.tiles)
    if not tiles:
        return loose
    place = rng.randrange(len(tiles))
    z, y, index_crc = tiles[place]
    theirs = rng.choice(other.tiles) if other.tiles else (b"", b"", 0)
    turn = rng.random()
    if index_crc is None:
        tiles[place] = _exact_tile(rng, z, theirs)
        return replace(loose, tiles=tuple(tiles))
    if turn < 0.05:
        z = bytes([rng.choice((0, 1, 2, 3, 4, 255))]) + z[1:]  # number of a set in profile 2
    elif turn < 0.35:
        z = mutate_bytes(rng, z)
    elif turn < 0.75:
        y = mutate_bytes(rng, y)
    elif turn < 0.85:
        y = varint(rng.choice((0, 1, 2, 5, len(y), rng.getrandbits(10)))) + y[1:]
    elif turn < 0.9:
        words = bytes(y[1:]) + rng.choice((b"", b"\0\0\0\0", b"\1\0\0\0", b"\xff\xff\xff\xff"))
        y = y[:1] + words
    else:
        z, y = rng.choice(((theirs[0], y), (z, theirs[1]), (b"", y), (z, b""), (y, z)))
    tiles[place] = (z, y, index_crc)
    return replace(loose, tiles=tuple(tiles))


def _exact_tile(rng: random.Random, webp: bytes, theirs: LooseTile) -> LooseTile:
    """Change the bit stream, the header or the kind of an exact tile."""
    turn = rng.random()
    if turn < 0.6 and len(webp) > 25:  # a valid header, a damaged bit stream
        body = webp[20:25] + mutate_bytes(rng, webp[25:])
        odd = len(body) % 2
        start = struct.pack("<4sI8sI", b"RIFF", len(body) + odd + 12, b"WEBPVP8L", len(body))
        return start + body + bytes(odd), b"", None
    if turn < 0.85:
        return mutate_bytes(rng, webp[:25]) + webp[25:], b"", None
    return rng.choice(((webp, webp, 0), theirs, (theirs[0], b"", None)))
