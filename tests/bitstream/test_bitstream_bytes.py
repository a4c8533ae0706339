"""Any container survives the round trip, and any bytes at all are read or refused."""

import zlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from promptcodec.bitstream import (
    MAGIC,
    Chunk,
    Container,
    Tile,
    fixed_to_rate,
    pack,
    parse,
    parse_header,
    rate_to_fixed,
)
from promptcodec.bitstream.fields import PROFILES
from promptcodec.errors import StreamError

NO_LIMIT = 2**64
u32 = st.integers(0, 2**32 - 1)
hashes = st.binary(min_size=8, max_size=8)
payloads = st.binary(max_size=300)
kinds = st.sampled_from([b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"note", b"a ~!", b"zzzz"])


@st.composite
def containers(draw: st.DrawFn) -> Container:
    """Containers over the whole range of every field, with up to a few dozen tiles."""
    tile_size = 64 * draw(st.integers(0, 2**20))
    side = st.integers(1, 6 * tile_size if tile_size else 2**32 - 1)
    width, height = draw(side), draw(side)
    count = -(-width // tile_size) * -(-height // tile_size) if tile_size else 1
    tile = st.builds(Tile, payloads, payloads, u32)
    chunk_kinds = draw(st.lists(kinds, unique=True))
    return Container(
        width=width,
        height=height,
        grey=draw(st.booleans()),
        base_hash=draw(hashes),
        adapter_hashes=tuple(draw(st.lists(hashes, max_size=2))),
        rate=draw(st.integers(0, 2**16 - 1)),
        gain=draw(st.integers(-(2**15), 2**15 - 1)),
        profile=draw(st.sampled_from(PROFILES)),
        tile_size=tile_size,
        tiles=tuple(draw(st.lists(tile, min_size=count, max_size=count))),
        chunks=tuple(Chunk(kind, draw(payloads)) for kind in chunk_kinds),
    )


def resealed(data: bytes) -> bytes:
    """The same header bytes under a right CRC, so that a mutation gets past it."""
    length, position, shift = 0, 5, 0
    while position < len(data):
        length |= (data[position] & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if data[position - 1] < 0x80:
            break
    end = position + length
    if not position + 4 <= end <= len(data):
        return data
    return data[: end - 4] + zlib.crc32(data[: end - 4]).to_bytes(4, "little") + data[end:]


def read_or_refuse(data: bytes) -> Container | None:
    try:
        container = parse(data, max_pixels=NO_LIMIT)
    except StreamError as error:
        assert str(error) and "\n" not in str(error)
        return None
    assert pack(container) == data  # one container has one spelling
    return container


@given(containers())
@settings(deadline=None)
def test_round_trip(container: Container) -> None:
    data = pack(container)
    assert parse(data, max_pixels=NO_LIMIT) == container
    assert parse_header(data, max_pixels=NO_LIMIT).tile_grid == container.tile_grid


@given(st.binary(max_size=400))
@example(b"")
@example(MAGIC)
@settings(max_examples=500)
def test_random_bytes(data: bytes) -> None:
    read_or_refuse(data)
    read_or_refuse(resealed(MAGIC + b"\x01" + data))
    length = bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
    read_or_refuse(resealed(MAGIC + b"\x01" + length + data))


@given(containers(), st.data())
@settings(deadline=None, max_examples=300)
def test_mutations_under_a_right_checksum(container: Container, data: st.DataObject) -> None:
    mutated = bytearray(pack(container))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(5, min(len(mutated), 150) - 1))
        mutated[position] = data.draw(st.integers(0, 255))
    read_or_refuse(resealed(bytes(mutated)))


@given(containers(), st.data())
@settings(deadline=None)
def test_a_cut_or_lengthened_stream_is_never_read(
    container: Container, data: st.DataObject
) -> None:
    whole = pack(container)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert read_or_refuse(cut) is None
    assert read_or_refuse(whole + data.draw(st.binary(min_size=1, max_size=9))) is None


@given(st.floats(0, 15.999))
def test_rates_round_to_the_nearest_step(rate_index: float) -> None:
    fixed = rate_to_fixed(rate_index)
    assert abs(fixed_to_rate(fixed) - rate_index) <= 1 / 8192
    assert rate_to_fixed(fixed_to_rate(fixed)) == fixed
