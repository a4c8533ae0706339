"""The container of a compressed picture: bytes <-> dataclasses, and nothing else.

FORMAT.md is the specification; this package is its reference reader and writer::

    magic | version | header length | fields | tile table | chunk table | CRC-32
    tile 0: z, y | tile 1: WebP | ... | chunk 0 | chunk 1 | ...

It needs only the standard library.
"""

from promptcodec.bitstream.fields import BASE_TABLES as BASE_TABLES
from promptcodec.bitstream.fields import CHUNK_KINDS as CHUNK_KINDS
from promptcodec.bitstream.fields import GAIN_STEPS as GAIN_STEPS
from promptcodec.bitstream.fields import HASH_BYTES as HASH_BYTES
from promptcodec.bitstream.fields import MAGIC as MAGIC
from promptcodec.bitstream.fields import MAX_PIXELS as MAX_PIXELS
from promptcodec.bitstream.fields import MAX_TILES as MAX_TILES
from promptcodec.bitstream.fields import OWN_TABLES as OWN_TABLES
from promptcodec.bitstream.fields import RATE_STEPS as RATE_STEPS
from promptcodec.bitstream.fields import AnyTile as AnyTile
from promptcodec.bitstream.fields import Chunk as Chunk
from promptcodec.bitstream.fields import Container as Container
from promptcodec.bitstream.fields import ExactTile as ExactTile
from promptcodec.bitstream.fields import Header as Header
from promptcodec.bitstream.fields import Tile as Tile
from promptcodec.bitstream.fields import decoded_pixels as decoded_pixels
from promptcodec.bitstream.fields import fixed_to_rate as fixed_to_rate
from promptcodec.bitstream.fields import rate_to_fixed as rate_to_fixed
from promptcodec.bitstream.fields import tile_grid_of as tile_grid_of
from promptcodec.bitstream.random_access import StreamFile as StreamFile
from promptcodec.bitstream.random_access import load_stream as load_stream
from promptcodec.bitstream.random_access import open_stream as open_stream
from promptcodec.bitstream.random_access import parse as parse
from promptcodec.bitstream.random_access import read_stream as read_stream
from promptcodec.bitstream.reader import parse_header as parse_header
from promptcodec.bitstream.summary import describe as describe
from promptcodec.bitstream.writer import pack as pack
