"""The container: exact bytes, limits, and one clear refusal for each kind of fault."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from containers import BASE, EXAMPLE, FORMAT, PLAIN, PLAIN_BYTES, written

from promptcodec import bitstream
from promptcodec.bitstream import (
    MAX_PIXELS,
    MAX_TILES,
    Chunk,
    Tile,
    describe,
    fixed_to_rate,
    pack,
    parse,
    parse_header,
    rate_to_fixed,
)
from promptcodec.bitstream.fields import MAX_HEADER_BYTES, MIN_HEADER_BYTES
from promptcodec.bitstream.reader import check_file_bytes
from promptcodec.errors import StreamError, UsageError


def test_golden_bytes() -> None:
    assert pack(PLAIN) == PLAIN_BYTES
    assert parse(PLAIN_BYTES) == PLAIN


def test_the_example_of_the_specification() -> None:
    block = re.search(r"```hex\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    example = bytes.fromhex(re.sub(r"#.*", "", block[1]))
    assert pack(EXAMPLE) == example
    assert parse(example) == EXAMPLE


def test_the_specification_states_the_limits_of_the_code() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    for limit in (MAX_PIXELS, MAX_TILES, *MAX_HEADER_BYTES.values()):
        assert f"{limit:,}" in text
    for version, least in MIN_HEADER_BYTES.items():
        assert f"{least} to {MAX_HEADER_BYTES[version]:,}" in text
    for kind in bitstream.CHUNK_KINDS:
        assert f"`{kind.decode()}`" in text


def test_hand_written_header_is_accepted_unchanged() -> None:
    """The refusals below come from the piece that each replaces."""
    container = parse(written())
    assert (container.width, container.height, container.header_size) == (1, 1, 39)


def test_header_is_small() -> None:
    """44 bytes for a picture of everyday size; two adapters and 4096 px fit in 64 at any rate."""
    plain = replace(PLAIN, tiles=(Tile(bytes(3_000), bytes(30_000), 0),))
    assert parse_header(pack(plain)).size == 44
    tile = Tile(bytes(2**14), bytes(2**21), 0)  # 1 bpp at this size; a byte more for each length
    large = replace(plain, width=4096, height=4096, tiles=(tile,), adapter_hashes=(BASE, BASE))
    assert parse_header(pack(large)).size == 62


def test_header_needs_no_more_than_itself() -> None:
    data = pack(EXAMPLE)
    header = parse_header(data[:75])
    assert header == parse_header(data)
    assert header.size == parse(data).header_size == 75
    assert header.payload_bytes == len(data) - 75
    assert [tile.y_bytes for tile in header.tiles] == [8, 0]
    check_file_bytes(header, len(data))
    for wrong in (len(data) - 1, len(data) + 1):
        with pytest.raises(StreamError):
            check_file_bytes(header, wrong)


def test_tile_grid_counts_rows_then_columns() -> None:
    assert EXAMPLE.tile_grid == (1, 2)
    assert replace(EXAMPLE, tile_size=64).tile_grid == (2, 3)
    assert replace(EXAMPLE, tile_size=0).tile_grid == (1, 1)


def test_largest_header_is_read() -> None:
    """The bound on header bytes is reached and not exceeded by the largest number of tiles."""
    side = 64 * 256
    tiles = (Tile(b"", b"", 0),) * MAX_TILES
    container = replace(PLAIN, width=side, height=side, tile_size=64, tiles=tiles)
    data = pack(container)
    assert len(parse(data, max_pixels=side**2).tiles) == MAX_TILES
    assert MAX_HEADER_BYTES[1] - len(data) < 8 * MAX_TILES + 1000  # varints of 1 byte instead of 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 0}, "0x512"),
        ({"width": 2**32}, "32 unsigned bits"),
        ({"height": -1}, "32 unsigned bits"),
        ({"rate": 65536}, ""),
        ({"gain": 32768}, ""),
        ({"gain": -32769}, ""),
        ({"profile": 3}, "numerics profile 3"),
        ({"base_hash": b"short"}, "hash has 5 bytes"),
        ({"adapter_hashes": (b"",)}, "hash has 0 bytes"),
        ({"adapter_hashes": (BASE,) * 3}, "3 adapters"),
        ({"tile_size": 65}, "multiple of 64"),
        ({"tile_size": -64}, "32 unsigned bits"),
        ({"tile_size": 512}, "1 tiles given; 1x2 cover"),
        ({"tiles": ()}, "0 tiles given"),
        ({"tiles": (Tile(b"", b"", 2**32),)}, ""),
        ({"chunks": (Chunk(b"ICC", b""),)}, "has 3 bytes"),
        ({"chunks": (Chunk(b"QQQQ", b""),)}, "unknown chunk"),
        ({"chunks": (Chunk(b"ICCP", b""), Chunk(b"ICCP", b"x"))}, "two b'ICCP' chunks"),
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match="cannot be written: ") as caught:
        pack(replace(PLAIN, **changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spelled", "gain"), [("0100", 1), ("ffff", -1), ("ff7f", 32767), ("0080", -32768)]
)
def test_gain_is_a_signed_little_endian_field(spelled: str, gain: int) -> None:
    container = parse(written(gain=spelled))
    assert container.gain == gain
    assert pack(container) == written(gain=spelled)


def test_rates() -> None:
    assert rate_to_fixed(4.5) == 18432
    assert rate_to_fixed(0) == 0
    assert fixed_to_rate(rate_to_fixed(7)) == 7.0
    assert abs(fixed_to_rate(rate_to_fixed(4.3)) - 4.3) <= 1 / 8192
    for wrong in (-0.01, 16, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"rate index .* is outside"):
            rate_to_fixed(wrong)


def test_description_is_plain_json() -> None:
    data = pack(EXAMPLE)
    description = describe(parse_header(data), file_bytes=len(data))
    assert json.loads(json.dumps(description)) == description
    assert description == {
        "schema": "promptcodec.info/1",
        "version": 1,
        "width": 150,
        "height": 70,
        "grey": True,
        "rate_index": 4.5,
        "gain_steps": -0.5,
        "profile": 1,
        "base_hash": "a0a1a2a3a4a5a6a7",
        "adapter_hashes": ["b0b0b0b0b0b0b0b0", "b1b1b1b1b1b1b1b1"],
        "tiles": {"size": 128, "rows": 1, "columns": 2, "exact": 0},
        "chunks": [{"kind": "EXIF", "bytes": 3}],
        "bytes": {"file": 90, "header": 75, "z": 4, "y": 8, "exact": 0, "chunks": 3},
        "bpp": 8 * 90 / (150 * 70),
    }


def test_only_the_standard_library_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); import promptcodec.bitstream;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=FORMAT.parent,
    )
    assert result.stdout.split() == ["promptcodec"]
