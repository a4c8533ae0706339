"""Streams written and read by one Python, for `benchmarks.reliability.emulated`; no torch.

    main([JOBS, FOLDER])

JOBS is a JSON list of `Job`; their results go to FOLDER, and a line with facts of this Python is
printed. Where ONNX Runtime has no wheel, integers alone are decoded.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.bitstream import ExactTile, load_stream
from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.adapter_file import read_stored_adapter
from promptcodec.coding.base_file import StoredBase, read_stored_base
from promptcodec.coding.batch import OpenStream
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.engine import Array, OfBase
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.tables import NUM_SCALES
from promptcodec.coding.gains import Gains
from promptcodec.coding.scale_path import table_indexes
from promptcodec.io.checkpoints import find_base, find_prompts, root_of

INTEGERS = {"z": "z_hat", "indexes": "indexes", "symbols": "symbols"}  # in `Latents`
PACKAGES = ("numpy", "pillow", "safetensors", "onnxruntime", "constriction")


@dataclass(frozen=True)
class Job:
    """A picture to encode, or a stream to decode.

    Args:
        name: name of the file that is written, without suffix.
        base: folder of the base; None is the bundled codec.
        prompts: folders of its adapters; None is those of the codec.
        picture: file to encode; None decodes.
        options: options of `Codec.encode`.
        stream: file to decode; None encodes.
    """

    name: str
    base: str | None = None
    prompts: tuple[str, ...] | None = None
    picture: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    stream: str | None = None


class IntegerEngine(OfBase):
    """The part of an engine that entropy decoding needs; `coding.engine.Engine` describes it."""

    def __init__(self, base: StoredBase) -> None:
        super().__init__(base)
        self.layers = base.layers

    def indexes(self, z_hat: Array, *, gains: Gains) -> NDArray[np.uint8]:
        """Table index of every symbol."""
        raw = table_indexes(z_hat, self.layers) + gains.offsets()[:, None, None]
        return raw.clip(0, NUM_SCALES - 1).astype(np.uint8)

    def reconstruct(self, z_hat: Array, symbols: Array, indexes: Array, **_: Any) -> Array:
        """Zeros: y_hat is not integer."""
        return np.zeros(symbols.shape, np.float32)

    def between(self, low: None, high: None, share: float) -> None:
        """No network."""

    def read_adapter(self, folder: Path) -> RateAdapter:
        """The rate adapter in a folder, without networks."""
        codec, base = self.config.codec, self.base_hash
        stored = read_stored_adapter(folder, codec=codec, base_sha256=base)
        return RateAdapter(stored.config, None, stored.gains, stored.sha256, stored.z_sets)


@cache
def integer_codec(base: str | None, prompts: tuple[str, ...] | None) -> PictureCodec:
    """A codec that decodes integers alone."""
    engine: Any = IntegerEngine(read_stored_base(find_base(base)))
    codec = PictureCodec(engine)
    codec.install(prompts, find_prompts(prompts, base=root_of(base)))
    return codec


@cache
def onnx_codec(base: str | None, prompts: tuple[str, ...] | None) -> PictureCodec:
    """A codec on ONNX Runtime."""
    from promptcodec.api import Codec

    return Codec.load(base, prompts, engine="onnx", threads=1)


def integers(codec: PictureCodec, data: bytes) -> dict[str, NDArray[Any]]:
    """Integers of a stream, and whether its words come out again.

    Of a stream with exact tiles the integers are those of the others, one tile after the other.
    """
    file = load_stream(data)
    opened = OpenStream(file, codec.ladder.of_stream(file.header))
    decoder = opened.decoder(codec.engine)
    tiles = [(number, file.tile(number)) for number in range(len(decoder.tiling))]
    learned = [(n, tile) for n, tile in tiles if not isinstance(tile, ExactTile)]
    parts = [decoder.latents_of(number, tile) for number, tile in learned]
    columns = decoder.tiling.grid[1] if len(parts) == len(tiles) else 0
    found = {
        name: joined([getattr(part, own) for part in parts], columns=columns)
        for name, own in INTEGERS.items()
    }
    words = [rans.encode_y(p.symbols[0], p.indexes[0], codec.engine.tables) for p in parts]
    return found | {"same_words": np.array(words == [tile.y for _, tile in learned])}


def joined(parts: list[NDArray[Any]], *, columns: int) -> NDArray[Any]:
    """Arrays (..., h, w) of a grid of tiles with that many columns; without one, in a row."""
    if not columns:
        return np.concatenate([part.ravel() for part in parts] or [np.zeros(0)])
    return np.block([parts[at : at + columns] for at in range(0, len(parts), columns)])


def facts(*, pixels: bool) -> dict[str, Any]:
    """This Python and its packages."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return {
        "machine": platform.machine(),
        "byte_order": sys.byteorder,
        "versions": {"python": platform.python_version()} | found,
        "pixels": pixels,
    }


def main(arguments: list[str]) -> None:
    """Do every job."""
    jobs, folder = arguments
    pixels = find_spec("onnxruntime") is not None
    for each in json.loads(Path(jobs).read_text("utf-8")):
        prompts = each.pop("prompts")
        job = Job(prompts=None if prompts is None else tuple(prompts), **each)
        own = job.base, job.prompts
        if job.stream is not None:
            data = Path(job.stream).read_bytes()
            found = integers(integer_codec(*own), data)
            if pixels:
                found["pixels"] = np.asarray(onnx_codec(*own).decode(data))
            np.savez(Path(folder) / f"{job.name}.npz", allow_pickle=False, **found)
        elif pixels:
            with Image.open(str(job.picture)) as picture:
                data = onnx_codec(*own).encode(picture, **job.options)
            (Path(folder) / f"{job.name}.pc").write_bytes(data)
        print(".", end="", file=sys.stderr, flush=True)
    print(json.dumps(facts(pixels=pixels)))
