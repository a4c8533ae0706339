"""What the golden streams are, and how a new one is added; none is ever replaced."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms
from places import GOLDEN_FOLDER
from tiny import TINY

from promptcodec import bitstream
from promptcodec.bitstream import Chunk, ExactTile
from promptcodec.coding.adapter import AdapterConfig
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.encoder import CodingPoint, prepare
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.z_tables import ZTables
from promptcodec.coding.graphics import exact_file
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import LAMBDAS, BaseConfig, CodecConfig
from promptcodec.io.exact import decode_exact
from promptcodec.io.load import load_picture
from promptcodec.models.adapters.checkpoint import write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import read_base, write_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.codec_model import CodecModel

FOLDER = GOLDEN_FOLDER
HASHES = FOLDER / "hashes.json"


@dataclass(frozen=True)
class Golden:
    """One golden stream.

    Args:
        size: width and height of its picture, px.
        mode: of its picture.
        base: folder of its base.
        options: of `Codec.encode`.
        edit: what is done to the written bytes.
        noisy: the picture is noise rather than smooth.
        rates: of the adapters that are loaded, where its options name a rate.
    """

    size: tuple[int, int]
    mode: str = "RGB"
    base: str = "base"
    options: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[TorchCodec, bytes], bytes] = lambda codec, data: data
    noisy: bool = False
    rates: tuple[int, ...] = (2, 6)


def with_chunks(codec: TorchCodec, data: bytes) -> bytes:
    """The same picture with a profile, an XMP packet and a chunk that readers may skip."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    chunks = (Chunk(b"note", b"skip me"), Chunk(b"ICCP", profile), Chunk(b"XMP ", xmp))
    return bitstream.pack(replace(bitstream.parse(data), chunks=chunks))


def with_large_tile(codec: TorchCodec, data: bytes) -> bytes:
    """A tile size that exceeds the picture, which a reader must accept."""
    return bitstream.pack(replace(bitstream.parse(data), tile_size=64 * 1000))


def without_words(codec: TorchCodec, data: bytes) -> bytes:
    """No coded words for z: every symbol is symbol 0, -128."""
    container = bitstream.parse(data)
    z_hat = np.full_like(codec.decode_latents(data).z_hat, -128)
    indexes = indexes_of(codec, z_hat, container)
    rng = np.random.default_rng(5)
    symbols = (rng.integers(-9, 10, indexes.shape) * (indexes > 0)).astype(np.int32)
    y = rans.encode_y(symbols, indexes, codec.tables)
    z = b"" if container.profile == bitstream.BASE_TABLES else b"\0"
    tile = bitstream.Tile(z=z, y=y, index_crc=zlib.crc32(indexes.tobytes()))
    return bitstream.pack(replace(container, tiles=(tile,)))


def all_certain(codec: TorchCodec, data: bytes) -> bytes:
    """The coarsest gain there is: every element of y is certainly zero and takes no bits."""
    container = replace(bitstream.parse(data), gain=-(1 << 15))
    indexes = indexes_of(codec, codec.decode_latents(data).z_hat, container)
    index_crc = zlib.crc32(indexes.tobytes())
    tile = replace(container.tiles[0], y=b"\0", index_crc=index_crc)
    return bitstream.pack(replace(container, tiles=(tile,)))


def with_every_set(codec: TorchCodec, data: bytes) -> bytes:
    """Tiles that name the sets in turn, whichever is the cheapest."""
    container = bitstream.parse(data)
    point, tiles = codec.ladder.of_stream(container), []
    for number, tile in enumerate(container.tiles):
        shape = (codec.config.codec.z_channels, 1, 1)
        z_hat = rans.decode_z(tile.z, shape, codec.tables.with_sets(point.z_sets))
        name = number % len(point.z_sets)
        own = codec.tables.with_sets(point.z_sets[name : name + 1])
        tiles.append(replace(tile, z=bytes([name]) + rans.encode_z(z_hat, own)[1:]))
    return bitstream.pack(replace(container, tiles=tuple(tiles)))


def as_profile_1(codec: TorchCodec, data: bytes) -> bytes:
    """The same symbols by the base's tables, though the adapter has its own."""
    container = bitstream.parse(data)
    z = rans.encode_z(codec.decode_latents(data).z_hat[0], codec.tables)
    tile = replace(container.tiles[0], z=z)
    return bitstream.pack(replace(container, tiles=(tile,), profile=bitstream.BASE_TABLES))


def with_exact(*numbers: int) -> Callable[[TorchCodec, bytes], bytes]:
    """An edit after which these tiles alone are exact."""

    def edit(codec: TorchCodec, data: bytes) -> bytes:
        header = bitstream.parse_header(data)
        prepared = prepare(
            codec.engine,
            load_picture(codec.decode(data)),
            tile_size=header.tile_size,
            effort=0,
            max_pixels=bitstream.MAX_PIXELS,
        )
        files = {n: exact_file(prepared, prepared.tiling.tile(n)) for n in numbers}
        point = CodingPoint(codec.ladder.of_stream(header), header.rate, header.gain)
        return replace(prepared, exact=files).encode_at(point).stream()

    return edit


def indexes_of(codec: TorchCodec, z_hat: np.ndarray, container: bitstream.Container) -> np.ndarray:
    gains = codec.ladder.of_stream(container).gains.shifted(container.gain)
    return codec.engine.indexes(z_hat, gains=gains)[0]


GOLDEN = {
    "rgb": Golden((150, 90)),
    "grey": Golden((65, 40), "L"),
    "alpha": Golden((64, 64), "RGBA"),
    "pixel": Golden((1, 1)),
    "strip": Golden((3, 130)),
    "fine": Golden((96, 64), options={"gain_steps": 9.5}),
    "metadata": Golden((32, 32)),
    "resolution": Golden((33, 20)),
    "coarse": Golden((96, 64), options={"gain_steps": -7.25}),
    "certain": Golden((70, 64), edit=all_certain),
    "noise": Golden((64, 64), options={"gain_steps": 20.0}, noisy=True),
    "grey-alpha": Golden((66, 33), "LA"),
    "chunks": Golden((20, 30), edit=with_chunks),
    "large-tile": Golden((80, 40), edit=with_large_tile),
    "no-words": Golden((64, 64), edit=without_words),
    "adapter": Golden((90, 70), options={"rate_index": 2}),
    "between": Golden((90, 70), options={"rate_index": 3.3}),
    "between-fine": Golden((64, 65), options={"rate_index": 5.999, "gain_steps": 3.14}),
    "tiles": Golden((150, 130), options={"tile_size": 64}),
    "tiles-between": Golden((140, 70), "LA", options={"tile_size": 128, "rate_index": 2.5}),
    "tiles-econtext": Golden((70, 130), base="econtext", options={"tile_size": 64}),
    "centroid": Golden((64, 90), base="centroid", noisy=True),
    "econtext": Golden((130, 70), base="econtext"),
    "edge": Golden((90, 130), base="edge"),
    "edge-tiles": Golden((130, 60), "LA", base="edge", options={"tile_size": 64}, noisy=True),
    "sets": Golden((70, 64), options={"rate_index": 4}, rates=(4,)),
    "sets-tiles": Golden(
        (130, 70), options={"rate_index": 4, "tile_size": 64}, rates=(4,), edit=with_every_set
    ),
    "sets-middle": Golden((64, 90), options={"rate_index": 4.5}, rates=(4, 5)),
    "sets-upper": Golden((64, 90), options={"rate_index": 3.25}, rates=(2, 4)),
    "sets-none": Golden((64, 90), options={"rate_index": 3}, rates=(2, 4)),
    "sets-single": Golden((64, 64), "LA", options={"rate_index": 5}, rates=(5,), noisy=True),
    "sets-no-words": Golden((64, 64), options={"rate_index": 5}, rates=(5,), edit=without_words),
    "exact": Golden((70, 50), options={"graphics": "always"}),
    "exact-grey": Golden((131, 65), "LA", options={"graphics": "always", "tile_size": 64}),
    # Learned tiles beside, above, below exact ones, and with exact ones in corners alone.
    "exact-mixed": Golden(
        (250, 200),
        options={"graphics": "always", "tile_size": 64, "gain_steps": 2.5},
        edit=with_exact(0, 6, 7, 10, 15),
    ),
    "exact-sets": Golden(
        (130, 100),
        options={"graphics": "always", "tile_size": 64, "rate_index": 4.5},
        rates=(4, 5),
        edit=with_exact(2),
    ),
    "sets-of-base": Golden((64, 64), options={"rate_index": 5}, rates=(5,), edit=as_profile_1),
}

BASES: dict[str, CodecConfig] = {
    "base": TINY,
    "centroid": replace(TINY, reconstruction="centroid", hyper_kernel=1),  # as the bundled one
    "econtext": replace(
        TINY, context="econtext", context_channels=8, context_segments=(2, 4, 6), context_window=4
    ),
    "edge": replace(
        TINY,
        encoder_blocks=("", "", "", "c"),
        decoder_blocks=("", "c", "c", "cc"),
        detail_channels=0,
        context="none",
        reconstruction="centroid",
    ),
}
ADAPTERS = {2: 0, 6: 0, 4: 3, 5: 1}  # of the base "base": by rate index, their sets of tables


def source(name: str) -> Image.Image:
    """The picture behind a golden stream; only writing one looks at it."""
    golden = GOLDEN[name]
    width, height = golden.size
    rng = np.random.default_rng(len(name) * 7 + width)
    shape = (height, width, 4) if golden.noisy else (5, 6, 4)
    coarse = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), "RGBA")
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
    converted = picture.convert(golden.mode)
    if name == "metadata":
        exif = Image.Exif()
        exif[0x010E] = "a golden picture"
        converted.info["exif"] = exif.tobytes()
    if name == "resolution":
        converted.info["dpi"] = 300, 150
    return converted


def prompt_folders(name: str) -> list[Path]:
    """Adapters of the base of a golden stream."""
    if GOLDEN[name].base != "base" or "rate_index" not in GOLDEN[name].options:
        return []
    return [FOLDER / "prompts" / f"rate-{index}" for index in GOLDEN[name].rates]


def load(name: str) -> TorchCodec:
    """The codec that a golden stream needs."""
    return TorchCodec.load(FOLDER / GOLDEN[name].base, prompt_folders(name))


def describe(codec: PictureCodec, data: bytes) -> dict[str, object]:
    """Hashes of what every decoder must get, and what the picture is.

    Of a stream with exact tiles the latents are those of the others, one tile after the other.
    """
    container = bitstream.parse(data)
    found: dict[str, object] = {}
    if exact := container.exact_tiles:
        boxes = boxes_of(container)
        tiles = [(n, tile) for n, tile in enumerate(container.tiles) if isinstance(tile, ExactTile)]
        pixels = [
            decode_exact(t.webp, width=boxes[n].width, height=boxes[n].height) for n, t in tiles
        ]
        found["exact"] = hashlib.sha256(b"".join(part.tobytes() for part in pixels)).hexdigest()
    streams = alone(container) if exact else [data]
    latents = [codec.decode_latents(each) for each in streams]
    for name, part in {"z": "z_hat", "indexes": "indexes", "symbols": "symbols"}.items():
        joined = b"".join(getattr(each, part).tobytes() for each in latents)
        found[name] = hashlib.sha256(joined).hexdigest()
    picture = codec.decode(data)
    return found | {"mode": picture.mode, "size": list(picture.size)}


def boxes_of(container: bitstream.Container) -> list[Box]:
    """Boxes of the tiles, inside the picture."""
    tiling = Tiling(container.width, container.height, container.tile_size, halo=0)
    return [tiling.tile(number).within(tiling.picture) for number in range(len(tiling))]


def alone(container: bitstream.Container) -> list[bytes]:
    """Each tile that is not exact as a picture of its own."""
    return [
        bitstream.pack(
            replace(
                container, width=box.width, height=box.height, tile_size=0, tiles=(tile,), chunks=()
            )
        )
        for box, tile in zip(boxes_of(container), container.tiles, strict=True)
        if not tile.is_exact
    ]


def add_missing() -> None:
    """Write the golden streams, bases and adapters that are not there yet."""
    for base, config in BASES.items():
        if not (FOLDER / base).exists():
            write_base(FOLDER / base, lively(config), config=BaseConfig(codec=config))
    for index, sets in ADAPTERS.items():
        if not (FOLDER / "prompts" / f"rate-{index}").exists():
            add_adapter(index, sets=sets)
    hashes = json.loads(HASHES.read_text())
    for name, golden in GOLDEN.items():
        if (FOLDER / f"{name}.pc").exists():
            continue
        codec = load(name)
        options: dict[str, Any] = {"graphics": "never"} | golden.options
        data = golden.edit(codec, codec.encode(source(name), **options))
        (FOLDER / f"{name}.pc").write_bytes(data)
        codec.decode(data).save(FOLDER / f"{name}.png")
        hashes[name] = describe(codec, data)
    HASHES.write_text(json.dumps(hashes, indent=1) + "\n")


def lively(config: CodecConfig) -> CodecModel:
    """An untrained model whose latents and indexes have a trained one's size."""
    torch.manual_seed(11)
    model = CodecModel(config)
    with torch.no_grad():
        model.g_a.head.weight.mul_(40.0)
        model.hyperprior.h_a[-1].weight.mul_(6.0)
        model.hyperprior.scale_path.layers[-1].weight.mul_(0.5)
        model.hyperprior.scale_path.layers[-1].bias.fill_(0.9)
        for parameter in model.context.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for name, units in model.named_buffers():
            if name.endswith("units"):
                units.uniform_(0.5, 2.0)
        model.g_s.step.fill_(0.02)
    return model


def add_adapter(index: int, *, sets: int) -> None:
    base = read_base(FOLDER / "base")
    torch.manual_seed(index)
    prompts = LayerAdaptivePrompts(base.config.codec, width=4, rank=1)
    with torch.no_grad():
        for parameter in prompts.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        prompts.log_gains.add_(1.7 * (index - 4))
    config = AdapterConfig(
        rate_index=index, lmbda=LAMBDAS[index], base_sha256=base.sha256.hex(), width=4, rank=1
    )
    folder = FOLDER / "prompts" / f"rate-{index}"
    z_sets = made_sets(base.config.codec.z_channels, sets)
    write_adapter(folder, prompts, config=config, z_sets=z_sets)


def made_sets(channels: int, count: int) -> list[ZTables]:
    """Sets of triangles of several widths, in integers alone; values far outside have 1."""
    sets = []
    for number in range(count):
        tables = np.ones((channels, 256), np.int64)
        for channel in range(channels):
            radius = 3 + channel + 9 * number
            values = np.arange(-radius, radius + 1)
            top = 128 + channel - 1
            tables[channel, top + values] += 20 * (radius + 1 - np.abs(values))
            tables[channel, top] += 2**16 - tables[channel].sum()
        sets.append(ZTables(tables.astype(np.uint32)))
    return sets
