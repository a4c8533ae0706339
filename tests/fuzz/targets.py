"""Targets of the fuzzer, and the definition of a fault.

An execution either succeeds or raises one of our errors with one line. Anything else is a finding,
as are more than a second of processor time and more than 64 MB of memory.
"""

from __future__ import annotations

import json
import random
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mutate import mutate_bytes, mutate_json, mutate_safetensors
from streams import Loose, loosen, mutate_fields, mutate_payload, write

from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.engine import EngineName
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.z_tables import SPANS, TABLES
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import (
    CheckpointError,
    ModelMismatchError,
    PromptCodecError,
    StreamError,
)
from promptcodec.runtime.export import export
from promptcodec.runtime.files import FOLDER as GRAPHS
from promptcodec.runtime.files import MANIFEST

GOLDEN_FOLDER = Path(__file__).resolve().parents[1] / "golden"
MAX_PIXELS = 256 * 256  # of one execution: sizes are mutated too
LONGEST_LINE = 1000
BASES = ("base", "centroid", "econtext", "edge")
Allowed = tuple[type[PromptCodecError], ...]
OF_STREAMS: Allowed = (StreamError, ModelMismatchError)
SHARES = {"container": 55, "payload": 41, "adapter": 2, "base": 2}  # of the executions, per cent


class Fault(Exception):
    """An error of ours that breaks the rules of errors."""


def accepted(step: Callable[[], object], allowed: tuple[type[PromptCodecError], ...]) -> bool:
    """Run a step; False if it raised an allowed error of one line."""
    try:
        step()
    except allowed as error:
        line = str(error)
        if not line or "\n" in line or len(line) > LONGEST_LINE:
            raise Fault(f"{type(error).__name__} is not one line: {line[:80]!r}") from error
        return False
    return True


@dataclass
class Seeds:
    """Seeds of mutations: the golden streams, bases and adapters of the tests.

    Args:
        scratch: folder for files that are read by path.
        engine: engine that reads.
    """

    scratch: Path
    engine: EngineName = "onnx"
    codecs: dict[str, Codec] = field(default_factory=dict)
    streams: list[tuple[Codec, bytes, Loose]] = field(default_factory=list)

    def __post_init__(self) -> None:
        prompts = sorted((GOLDEN_FOLDER / "prompts").iterdir())
        for name in BASES:
            export(shutil.copytree(GOLDEN_FOLDER / name, self.golden / name))
            own = prompts if name == "base" else []
            self.codecs[name] = Codec.load(self.golden / name, own, engine=self.engine)
        known = {codec.base_hash[: bitstream.HASH_BYTES]: codec for codec in self.codecs.values()}
        for path in sorted(GOLDEN_FOLDER.glob("*.pc")):
            data = path.read_bytes()
            container = bitstream.parse(data)
            self.streams.append((known[container.base_hash], data, loosen(container)))
        self.adapters = prompts

    @property
    def golden(self) -> Path:
        """Folder of the bases with their graphs."""
        return self.scratch / "golden"


def run(target: str, rng: random.Random, seeds: Seeds) -> bool:
    """Run one execution of a target; True if the mutation was accepted.

    Raises:
        Exception: any exception that is not allowed; a finding.
    """
    return _TARGETS[target](rng, seeds)


def choose(rng: random.Random) -> str:
    """A random target, by the shares."""
    return rng.choices(list(SHARES), list(SHARES.values()))[0]


def check_stream(
    codec: PictureCodec, data: bytes, *, pixels: bool, allowed: Allowed = OF_STREAMS
) -> bool:
    """Read a stream by every method."""
    if not accepted(lambda: bitstream.parse(data, max_pixels=MAX_PIXELS), (StreamError,)):
        return False
    container = bitstream.parse(data, max_pixels=MAX_PIXELS)
    if bitstream.pack(container) != data:
        raise Fault("a stream that is read has two spellings")
    json.dumps(bitstream.describe(bitstream.parse_header(data), file_bytes=len(data)))
    if not pixels:
        return accepted(lambda: codec.decode_latents(data, max_pixels=MAX_PIXELS), allowed)
    whole = accepted(lambda: codec.decode(data, max_pixels=MAX_PIXELS), allowed)
    check_parts(codec, data, allowed)
    check_parts(codec, data[: len(data) * 3 // 4], allowed)
    return whole


def check_parts(codec: PictureCodec, data: bytes, allowed: Allowed) -> None:
    """Rebuild the complete tiles of a stream, and one pixel."""
    accepted(lambda: codec.decode(data, allow_partial=True, max_pixels=MAX_PIXELS), allowed)
    accepted(lambda: codec.decode(data, region=(0, 0, 1, 1), max_pixels=MAX_PIXELS), allowed)


def container(rng: random.Random, seeds: Seeds) -> bool:
    """Mutate fields, tables and chunks, mostly with valid checksums."""
    codec, data, loose = rng.choice(seeds.streams)
    other = rng.choice(seeds.streams)[2]
    if rng.random() < 0.2:
        return check_stream(codec, mutate_bytes(rng, data), pixels=False)
    for _ in range(rng.choice((1, 1, 2, 3))):
        loose = mutate_fields(rng, loose, other)
    data = write(loose)
    if rng.random() < 0.3:
        data = resealed(rng, data)
    return check_stream(codec, data, pixels=rng.random() < 0.03)


def resealed(rng: random.Random, data: bytes) -> bytes:
    """Header bytes changed at random, with valid length and checksum."""
    header = bitstream_header(data)
    body = mutate_bytes(rng, data[header[0] : header[1] - 4])
    spelled = data[:5] + bytes([(len(body) + 4) & 0x7F | 0x80, (len(body) + 4) >> 7 & 0x7F])
    if len(body) + 4 < 0x80:
        spelled = spelled[:5] + bytes([len(body) + 4])
    sealed = spelled + body
    return sealed + zlib.crc32(sealed).to_bytes(4, "little") + data[header[1] :]


def bitstream_header(data: bytes) -> tuple[int, int]:
    """Offsets of the first field of a header and of its end."""
    length, position, shift = 0, 5, 0
    while True:
        length |= (data[position] & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if data[position - 1] < 0x80:
            return position, min(position + length, len(data))


def payload(rng: random.Random, seeds: Seeds) -> bool:
    """Mutate coded words and escapes, with valid checksums, those of the indexes included."""
    codec, _, loose = rng.choice(seeds.streams)
    other = rng.choice(seeds.streams)[2]
    for _ in range(rng.choice((1, 1, 1, 2))):
        loose = mutate_payload(rng, loose, other)
    if rng.random() < 0.9:
        loose = with_index_crcs(codec, loose)
    return check_stream(codec, write(loose), pixels=rng.random() < 0.03)


def with_index_crcs(codec: PictureCodec, loose: Loose) -> Loose:
    """The stream with the checksums of indexes that a decoder computes, if it can."""
    try:
        parsed = bitstream.parse(write(loose), max_pixels=MAX_PIXELS)
        point = codec.ladder.of_stream(parsed)
    except PromptCodecError:
        return loose
    tiling, tiles = Tiling(parsed.width, parsed.height, parsed.tile_size, halo=0), []
    for number, (z, y, index_crc) in enumerate(loose.tiles):
        box = tiling.tile(number)
        if index_crc is not None:
            with suppress(StreamError):
                index_crc = _index_crc(codec, z, box, point=point, gain=parsed.gain)
        tiles.append((z, y, index_crc))
    return replace(loose, tiles=tuple(tiles))


def _index_crc(codec: PictureCodec, z: bytes, box: Box, *, point: RatePoint, gain: int) -> int:
    rows, columns = (-(-side // TILE_STRIDE) for side in (box.height, box.width))
    shape = (codec.config.codec.z_channels, rows, columns)
    tables = codec.engine.tables.with_sets(point.z_sets)
    z_hat = rans.decode_z(z, shape, tables)[None]
    indexes = codec.engine.indexes(z_hat, gains=point.gains.shifted(gain))
    return zlib.crc32(indexes[0].tobytes())


def adapter(rng: random.Random, seeds: Seeds) -> bool:
    """Mutate files of an adapter; an accepted one decodes a stream."""
    source, folder = rng.choice(seeds.adapters), seeds.scratch / "adapter"
    config = (source / "adapter_config.json").read_bytes()
    weights = (source / "adapter_model.safetensors").read_bytes()
    if rng.random() < 0.4:
        config = _mutated_config(rng, config)
    else:
        weights = mutate_safetensors(rng, weights, often=(TABLES, SPANS))
    _write_files(folder, {"adapter_config.json": config, "adapter_model.safetensors": weights})
    allowed = (CheckpointError, ModelMismatchError)
    codec = PictureCodec(seeds.codecs["base"].engine)
    if not accepted(lambda: codec.add_prompts(folder), allowed):
        return False
    (installed,) = codec.ladder.adapters.values()
    name = "sets" if installed.z_sets else "adapter"
    loose = loosen(bitstream.parse((GOLDEN_FOLDER / f"{name}.pc").read_bytes()))
    flags, profile, _, gain = loose.fixed
    fixed = (flags, profile, 4096 * installed.config.rate_index, gain)
    hashes = (installed.sha256[: bitstream.HASH_BYTES],)
    loose = with_index_crcs(codec, replace(loose, adapters=hashes, fixed=fixed))
    check_stream(codec, write(loose), pixels=True)
    return True


def base(rng: random.Random, seeds: Seeds) -> bool:
    """Mutate files of a base: architecture, tables, scale path, graphs; an accepted one decodes."""
    source, folder = seeds.golden / rng.choice(BASES), seeds.scratch / "base"
    names = ["config.json"] * 4 + ["model.safetensors"] * 6
    if seeds.engine != "torch":
        names += [f"{GRAPHS}/{MANIFEST}", f"{GRAPHS}/synthesise.onnx"]
    name = rng.choice(names)
    _mirror(source, folder)
    content = (source / name).read_bytes()
    if name.endswith(".json"):
        content = _mutated_config(rng, content)
    elif name.endswith(".onnx"):
        content = mutate_bytes(rng, content)
    else:
        content = mutate_safetensors(rng, content)
    (folder / name).unlink()  # a link to the source
    (folder / name).write_bytes(content)
    found: list[Codec] = []
    if not accepted(
        lambda: found.append(Codec.load(folder, [], engine=seeds.engine)), (CheckpointError,)
    ):
        return False
    (codec,) = found
    stream = "rgb" if source.name == "base" else source.name
    loose = loosen(bitstream.parse((GOLDEN_FOLDER / f"{stream}.pc").read_bytes()))
    loose = replace(loose, base=codec.base_hash[: bitstream.HASH_BYTES])
    # The weights of a graph are read when it is first needed.
    allowed = OF_STREAMS if seeds.engine == "torch" else (*OF_STREAMS, CheckpointError)
    data = write(with_index_crcs(codec, loose))
    check_stream(codec, data, pixels=True, allowed=allowed)
    return True


def _mirror(source: Path, folder: Path) -> None:
    """Make `folder` a tree of links to the files of `source`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, copy_function=lambda old, new: Path(new).symlink_to(old))


def _mutated_config(rng: random.Random, text: bytes) -> bytes:
    if rng.random() < 0.2:
        return mutate_bytes(rng, text)
    return json.dumps(mutate_json(rng, json.loads(text))).encode()


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


_TARGETS: dict[str, Callable[[random.Random, Seeds], bool]] = {
    "container": container,
    "payload": payload,
    "adapter": adapter,
    "base": base,
}
