"""Reads streams as somebody would who has FORMAT.md and nothing else.

Plain Python and numpy, no import of promptcodec: what this file and the package agree on is what
the specification says. It is slow and stops at the numbers that every decoder must get: z, the
table indexes, the symbols r, and r' of "Reconstruction"; of an exact tile at its pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from stranger_files import RANGES, Adapter, Base, Refused

# --- varints and header --------------------------------------------------------------------------


class Cursor:
    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise Refused("ends too early")
        part, self.position = self.data[self.position : end], end
        return part

    def u8(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 28:
                raise Refused("varint of more than 5 bytes")
        if value >= 2**32 or (shift and byte == 0):
            raise Refused("varint is not the shortest or too large")
        return value


@dataclass
class Place:
    """A tile: where it lies in the picture, px, and its payloads."""

    top: int
    left: int
    height: int
    width: int
    z: bytes
    y: bytes
    index_crc: int
    webp: bytes | None = None  # of an exact tile


@dataclass
class Stream:
    grey: bool
    profile: int
    rate: int
    gain: int
    base_hash: bytes
    adapter_hashes: list[bytes]
    width: int
    height: int
    tiles: list[Place]
    chunks: dict[bytes, bytes]


def parse(data: bytes) -> Stream:
    if data[:4] != b"\x8fPC\n" or data[4] not in (1, 2):
        raise Refused("magic or version")
    exact = data[4] == 2
    cursor = Cursor(data, 5)
    length = cursor.varint()
    end = cursor.position + length
    least, most = (35, 1_246_075) if exact else (39, 1_180_539)
    if not least <= end <= min(len(data), most):
        raise Refused("header length")
    if zlib.crc32(data[: end - 4]) != int.from_bytes(data[end - 4 : end], "little"):
        raise Refused("header CRC")
    cursor = Cursor(data[: end - 4], cursor.position)
    flags, profile = cursor.u8(), cursor.u8()
    if flags > 1 or profile not in (1, 2):
        raise Refused("flags or profile")
    rate, gain = struct.unpack("<Hh", cursor.take(4))
    base_hash = cursor.take(8)
    count = cursor.u8()
    if count > 2:
        raise Refused("adapters")
    hashes = [cursor.take(8) for _ in range(count)]
    width, height, size = cursor.varint(), cursor.varint(), 64 * cursor.varint()
    if not width or not height:
        raise Refused("empty picture")
    places = tile_places(width, height, size)
    records = [read_record(cursor, with_kind=exact) for _ in places]
    if exact and all(index_crc is not None for *_, index_crc in records):
        raise Refused("version 2 without exact tiles")
    chunk_records = []
    count = cursor.varint()
    if count > 64:
        raise Refused("chunk count")
    for _ in range(count):
        chunk_records.append((cursor.take(4), cursor.varint(), cursor.u32()))
    if cursor.position != end - 4:
        raise Refused("header bytes left over")
    body = Cursor(data, end)
    tiles = []
    for place, (z_bytes, y_bytes, crc, index_crc) in zip(places, records, strict=True):
        z, y = body.take(z_bytes), body.take(y_bytes)
        if zlib.crc32(z + y) != crc:
            raise Refused("payload CRC")
        if index_crc is None:
            tiles.append(Place(*place, b"", b"", 0, webp=z))
        else:
            tiles.append(Place(*place, z, y, index_crc))
    chunks: dict[bytes, bytes] = {}
    for kind, bytes_, crc in chunk_records:
        chunk = body.take(bytes_)
        known = kind in (b"ALPH", b"ICCP", b"EXIF", b"XMP ") or kind[:1].islower()
        if zlib.crc32(chunk) != crc or kind in chunks or not known:
            raise Refused("chunk")
        chunks[kind] = chunk
    if body.position != len(data):
        raise Refused("trailing bytes")
    grey = flags == 1
    return Stream(grey, profile, rate, gain, base_hash, hashes, width, height, tiles, chunks)


def read_record(cursor: Cursor, *, with_kind: bool) -> tuple[int, int, int, int | None]:
    """Bytes of both payloads, CRC, and CRC of the indexes; None is an exact tile, with one."""
    kind = cursor.u8() if with_kind else 0
    if kind > 1:
        raise Refused("kind of a tile")
    if kind:
        return cursor.varint(), 0, cursor.u32(), None
    return cursor.varint(), cursor.varint(), cursor.u32(), cursor.u32()


def tile_places(width: int, height: int, size: int) -> list[tuple[int, int, int, int]]:
    """(top, left, height, width) of each tile, raster order."""
    if size == 0:
        return [(0, 0, height, width)]
    rows, columns = -(-height // size), -(-width // size)
    if rows * columns > 65_536:
        raise Refused("tiles")
    return [
        (top, left, min(size, height - top), min(size, width - left))
        for top in range(0, rows * size, size)
        for left in range(0, columns * size, size)
    ]


# --- payload -------------------------------------------------------------------------------------


@dataclass
class Symbols:
    """What every decoder must get of a tile; `rebuilt` is r' of "Reconstruction"."""

    z: np.ndarray
    indexes: np.ndarray
    symbols: np.ndarray
    rebuilt: np.ndarray


class Rans:
    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise Refused("no whole words")
        self.words = [int(word) for word in np.frombuffer(data, "<u4")]
        if self.words and self.words[-1] == 0:
            raise Refused("the last word is 0")
        self.state = 0
        self.refill()

    def refill(self) -> None:
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, starts: np.ndarray) -> int:
        """`starts`: cumulated frequencies times 256, one more than symbols."""
        q = self.state & (2**24 - 1)
        s = int(np.searchsorted(starts, q, side="right")) - 1
        start, end = int(starts[s]), int(starts[s + 1])
        self.state = (self.state >> 24) * (end - start) + q - start
        self.refill()
        return s

    def finish(self) -> None:
        if self.state or self.words:
            raise Refused("words are left over")


def starts_of(table: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(table.astype(np.int64))]) * 256


def decode(stream: Stream, base: Base, adapters: list[Adapter]) -> list[Symbols]:
    """Symbols of each tile that is not exact, in the order of the stream."""
    if base.digest[:8] != stream.base_hash:
        raise Refused("another base")
    log_gains = own_log_gains(stream, base, adapters).astype(np.int64) + stream.gain
    log_gains = log_gains.clip(-32768, 32767)
    sets = sets_of(stream, adapters)
    tiles = [tile for tile in stream.tiles if tile.webp is None]
    return [decode_tile(tile, base, log_gains, sets) for tile in tiles]


def exact_pixels(tile: Place) -> np.ndarray:
    """Pixels of an exact tile, by any decoder of WebP, here Pillow's."""
    webp = tile.webp or b""
    if len(webp) < 25 or webp[:4] != b"RIFF" or webp[8:16] != b"WEBPVP8L" or webp[20] != 0x2F:
        raise Refused("no lossless WebP")
    size, n, fields = (int.from_bytes(webp[at : at + 4], "little") for at in (4, 16, 21))
    if size != len(webp) - 8 or 20 + n + n % 2 != len(webp):
        raise Refused("length of a WebP")
    if (fields & 0x3FFF, fields >> 14 & 0x3FFF, fields >> 28) != (
        tile.width - 1,
        tile.height - 1,
        0,
    ):
        raise Refused("size, alpha or version of a WebP")
    return np.asarray(Image.open(io.BytesIO(webp)).convert("RGB"))


def named(stream: Stream, adapters: list[Adapter]) -> list[Adapter]:
    found = []
    for digest in stream.adapter_hashes:
        found += [adapter for adapter in adapters if adapter.digest[:8] == digest]
    if len(found) != len(stream.adapter_hashes):
        raise Refused("another adapter")
    return found


def sets_of(stream: Stream, adapters: list[Adapter]) -> list[np.ndarray]:
    """Sets of tables of z that count; none in profile 1."""
    if stream.profile == 1:
        return []
    found = named(stream, adapters)
    if not found:
        raise Refused("profile 2 without an adapter")
    a, b = 4096 * found[0].rate_index, 4096 * found[-1].rate_index
    counts = found[0] if 2 * (stream.rate - a) <= b - a else found[-1]
    if not counts.sets:
        raise Refused("profile 2 without sets")
    return counts.sets


def own_log_gains(stream: Stream, base: Base, adapters: list[Adapter]) -> np.ndarray:
    found = named(stream, adapters)
    if not found:
        return np.zeros(base.codec["latent_channels"], np.int64)
    low, high = found[0], found[-1]
    start, end = 4096 * low.rate_index, 4096 * high.rate_index
    if len(found) == 1:
        if stream.rate != start:
            raise Refused("rate")
        return low.log_gains.astype(np.int64)
    if not start < stream.rate < end:
        raise Refused("rate")
    total = low.log_gains.astype(np.int64) * (end - stream.rate)
    total += high.log_gains.astype(np.int64) * (stream.rate - start)
    return (total + (end - start) // 2) // (end - start)


def decode_tile(tile: Place, base: Base, log_gains: np.ndarray, sets: list[np.ndarray]) -> Symbols:
    rows, columns = -(-tile.height // 64), -(-tile.width // 64)
    tables, words = base.tensors["tables.z"], tile.z
    if sets:
        cursor = Cursor(tile.z)
        number = cursor.u8()
        if number >= len(sets):
            raise Refused("number of a set")
        tables, words = sets[number], tile.z[1:]
    z = decode_z(words, tables, rows * columns).reshape(-1, rows, columns)
    indexes = scale_path(z, base) + ((log_gains + 128) >> 8)[:, None, None]
    indexes = indexes.clip(0, 63).astype(np.uint8)
    if zlib.crc32(indexes.tobytes()) != tile.index_crc:
        raise Refused("index CRC")
    symbols = decode_y(tile.y, indexes, base)
    rebuilt = symbols.astype(np.float64)
    if base.codec.get("reconstruction", "middle") == "centroid":
        pull = base.tensors["centroids.pull"].astype(np.float64)
        rebuilt -= np.sign(symbols) * pull[(np.abs(symbols) > 1).astype(int), indexes]
    return Symbols(z, indexes, symbols, rebuilt)


def decode_z(data: bytes, tables: np.ndarray, count: int) -> np.ndarray:
    coder = Rans(data)
    z = [[coder.symbol(starts) - 128 for _ in range(count)] for starts in map(starts_of, tables)]
    coder.finish()
    return np.array(z, np.int64)


def scale_path(z: np.ndarray, base: Base) -> np.ndarray:
    x = 256 * z
    for layer in (0, 1):
        x = convolve(x, base, layer)
        x = ((x + 2**13) >> 14).clip(0, 65535)
        channels, rows, columns = x.shape
        shuffled = np.zeros((channels // 4, 2 * rows, 2 * columns), np.int64)
        for p in (0, 1):
            for q in (0, 1):
                shuffled[:, p::2, q::2] = x[2 * p + q :: 4]
        x = shuffled
    return ((convolve(x, base, 2) + 2**17) >> 18).clip(-32, 128)


def convolve(x: np.ndarray, base: Base, layer: int) -> np.ndarray:
    """3x3 where the weights have nine columns for each input channel, else 1x1; plus biases."""
    weight = base.tensors[f"scale_path.{layer}.weight"].astype(np.int64)
    bias = base.tensors[f"scale_path.{layer}.bias"]
    channels, rows, columns = x.shape
    if weight.shape[1] == channels:
        return np.tensordot(weight, x, 1) + bias[:, None, None]
    around = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    kernel = weight.reshape(-1, channels, 3, 3)
    out = np.zeros((len(weight), rows, columns), np.int64) + bias[:, None, None]
    for row in range(3):
        for column in range(3):
            part = around[:, row : row + rows, column : column + columns]
            out += np.tensordot(kernel[:, :, row, column], part, 1)
    return out


def decode_y(data: bytes, indexes: np.ndarray, base: Base) -> np.ndarray:
    cursor = Cursor(data)
    section = cursor.take(cursor.varint())
    coder = Rans(data[cursor.position :])
    flat = indexes.ravel()
    symbols = np.zeros(flat.size, np.int64)
    escaped = []
    for index in range(1, 64):
        radius, starts = RANGES[index], starts_of(base.y_tables[index])
        for place in np.flatnonzero(flat == index):
            value = coder.symbol(starts) - radius
            symbols[place] = value
            if value == radius + 1:
                escaped.append((place, radius))
    coder.finish()
    for (place, radius), excess in zip(escaped, read_escapes(section, len(escaped)), strict=True):
        symbols[place] = excess + radius if excess > 0 else excess - radius
    return symbols.reshape(indexes.shape).astype(np.int32)


def read_escapes(section: bytes, count: int) -> list[int]:
    bits = "".join(f"{byte:08b}" for byte in section)
    values, position = [], 0
    for _ in range(count):
        one = bits.find("1", position + 1)
        zeros = one - position - 1
        end = one + zeros + 1
        if one < 0 or zeros > 19 or end > len(bits):
            raise Refused("escape")
        magnitude = int(bits[one:end], 2)
        values.append(-magnitude if bits[position] == "1" else magnitude)
        position = end
    if len(bits) - position >= 8 or "1" in bits[position:]:
        raise Refused("escape bits left over")
    return values
