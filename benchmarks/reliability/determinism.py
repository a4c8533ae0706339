"""One stream decoded in many ways, in separate processes: the symbols must be the same.

    python -m benchmarks.reliability.determinism [--base DIR] [--picture FILE]
        [--variants "NAME; ..."] [--out docs/results/determinism.json]

Threads, batch, oneDNN, precision, compilation and device vary. The hash of the symbols and the hash
of the table indexes must be equal everywhere, and float32 pictures within one level of each other.
"""

import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.common import ROOT, parse, parser, write_json
from promptcodec.api import Codec
from promptcodec.bitstream import Container, Tile
from promptcodec.bitstream import parse as parse_stream
from promptcodec.coding.entropy.rans import decode_y, decode_z
from promptcodec.config import TILE_STRIDE
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.provenance import provenance
from promptcodec.io.samples import bundled, photograph
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import crop, to_pixels

MAX_DIFFERENCE = 1  # levels of 255 between float32 pictures


@dataclass(frozen=True)
class Variant:
    """A way to decode.

    Attributes:
        name: label in the report.
        threads: threads of torch.
        batch: pictures in one pass of the networks; the stream's is the second.
        onednn: allow the oneDNN kernels of torch.
        bfloat16: autocast of the float networks.
        compiled: torch.compile in place of eager.
        cuda: on the GPU.
    """

    name: str
    threads: int = 1
    batch: int = 1
    onednn: bool = True
    bfloat16: bool = False
    compiled: bool = False
    cuda: bool = False


VARIANTS = (
    Variant("reference"),
    Variant("threads 2", threads=2),
    Variant("threads 4", threads=4),
    Variant("batch 3", batch=3),
    Variant("batch 3, threads 2", batch=3, threads=2),
    Variant("oneDNN off", onednn=False),
    Variant("oneDNN off, threads 4", onednn=False, threads=4),
    Variant("bfloat16", bfloat16=True),
    Variant("bfloat16, batch 3, threads 2", bfloat16=True, batch=3, threads=2),
    Variant("bfloat16, oneDNN off", bfloat16=True, onednn=False),
    Variant("compiled", compiled=True),
    Variant("compiled, bfloat16, batch 3", compiled=True, bfloat16=True, batch=3),
    Variant("CUDA", cuda=True),
    Variant("CUDA, bfloat16, batch 3", cuda=True, bfloat16=True, batch=3),
)


@dataclass(frozen=True)
class Decoded:
    """Symbols and pixels of a stream.

    Attributes:
        indexes: uint8 (M, h, w).
        symbols: int32 (M, h, w).
        rgb: uint8 (H, W, 3).
    """

    indexes: np.ndarray
    symbols: np.ndarray
    rgb: np.ndarray


@torch.no_grad()
def decode(codec: TorchCodec, container: Container, variant: Variant) -> Decoded:
    """Decode the one tile of a stream, step by step.

    Args:
        codec: codec that wrote the stream.
        container: parsed stream.
        variant: way to decode; threads and oneDNN are set by the caller.
    """
    device = torch.device("cuda" if variant.cuda else "cpu")
    model, point = codec.model.to(device), codec.ladder.of_stream(container)
    tables = codec.tables.with_sets(point.z_sets)
    gains = point.gains.shifted(container.gain)
    adapter: Any = point.network and point.network.to(device)
    (tile,) = container.tiles
    assert isinstance(tile, Tile)
    rows, columns = -(-container.height // TILE_STRIDE), -(-container.width // TILE_STRIDE)
    steps = (model.indexes, model.reconstruct_latents, model.synthesise)
    find_indexes, rebuild, synthesise = map(compiled, steps) if variant.compiled else steps
    z_hat = decode_z(tile.z, (model.config.z_channels, rows, columns), tables)
    z_batch = among_others(torch.from_numpy(z_hat), variant.batch).to(device)
    own = min(1, variant.batch - 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=variant.bfloat16):
        index_batch = find_indexes(z_batch, gains=gains)
        indexes = index_batch[own].cpu().numpy()
        symbols = decode_y(tile.y, indexes, tables)
        symbol_batch = among_others(torch.from_numpy(symbols), variant.batch).to(device)
        y_hat = rebuild(z_batch, symbol_batch, indexes=index_batch, gains=gains, adapter=adapter)
        x_hat = synthesise(y_hat, adapter=adapter)[own : own + 1].cpu()
    x_hat = crop(x_hat, container.height, container.width)
    return Decoded(indexes, symbols, to_pixels(x_hat)[0])


def compiled(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method of the model through torch.compile, without the inference mode that wraps it.

    Inductor cannot slice an inference tensor ("Cannot set version_counter").
    """
    return torch.compile(partial(inspect.unwrap(method), method.__self__))


def among_others(latent: Tensor, batch: int) -> Tensor:
    """A batch whose second entry is `latent` (its only one if it has one); the others differ."""
    others = [latent.flip(-1), latent, latent.roll(1, dims=-2)]
    return torch.stack(others[:batch] if batch > 1 else [latent])


@dataclass(frozen=True)
class Outcome:
    """Result of one variant.

    Attributes:
        variant: settings.
        skipped: why it did not run; None if it ran.
        indexes: SHA-256 of the table indexes.
        symbols: SHA-256 of the symbols.
        same_symbols: both hashes equal those of the reference.
        max_difference: largest difference of the pictures, levels of 255.
        psnr: PSNR of the picture against that of the reference, dB.
        passed: same symbols and, in float32, pictures within one level.
    """

    variant: Variant
    skipped: str | None = None
    indexes: str = ""
    symbols: str = ""
    same_symbols: bool = False
    max_difference: int = 0
    psnr: float = 0.0
    passed: bool = False


def judge(
    variant: Variant,
    report: dict[str, str],
    reference: dict[str, str],
    *,
    pictures: tuple[np.ndarray, np.ndarray],
) -> Outcome:
    """Compare one decoding with the reference.

    Args:
        variant: way of decoding.
        report: its hashes.
        reference: hashes of the reference.
        pictures: its picture and that of the reference, uint8 (H, W, 3).
    """
    mine, theirs = pictures
    difference = int(np.abs(mine.astype(np.int16) - theirs).max())
    same = all(report[key] == reference[key] for key in ("indexes", "symbols"))
    return Outcome(
        variant,
        indexes=report["indexes"],
        symbols=report["symbols"],
        same_symbols=same,
        max_difference=difference,
        psnr=psnr(mine, theirs),
        passed=same and (variant.bfloat16 or difference <= MAX_DIFFERENCE),
    )


def why_not(variant: Variant) -> str | None:
    """What this machine lacks for a variant; None if nothing."""
    if variant.cuda and not torch.cuda.is_available():
        return "no CUDA device"
    if variant.compiled and not (shutil.which("g++") or shutil.which("clang++")):
        return "no C++ compiler"
    return None


def run_all(
    stream: Path, variants: list[Variant], *, base: str | None, folder: Path
) -> list[Outcome]:
    """Decode in one fresh process after another; the first variant is the reference."""
    outcomes: list[Outcome] = []
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    reference: dict[str, str] = {}
    reference_picture = np.zeros(0)
    for variant in variants:
        lacking = why_not(variant)
        if lacking:
            outcomes.append(Outcome(variant, skipped=lacking))
            print(f"{variant.name}: not run, {lacking}", flush=True)
            continue
        picture = folder / "picture.npy"
        words = [sys.executable, "-m", "benchmarks.reliability.determinism", "--worker"]
        words += [json.dumps(asdict(variant)), str(stream), str(picture)]
        words += ["--base", base] if base else []
        run = subprocess.run(words, capture_output=True, text=True, check=False, env=paths)
        if run.returncode:
            raise SystemExit(f"{variant.name} failed:\n{run.stderr}")
        report = json.loads(run.stdout.splitlines()[-1])
        rgb = np.load(picture)
        if not reference:
            reference, reference_picture = report, rgb
        outcome = judge(variant, report, reference, pictures=(rgb, reference_picture))
        outcomes.append(outcome)
        word = "same symbols" if outcome.same_symbols else "DIFFERENT SYMBOLS"
        print(f"{variant.name}: {word}, within {outcome.max_difference} levels", flush=True)
    return outcomes


def encodes_alike(picture: Path, *, base: str | None) -> bool:
    """Two fresh processes with the same settings give the same bytes."""
    code = (
        "import sys; from promptcodec.api import Codec; "
        "sys.stdout.buffer.write(Codec.load(sys.argv[2] or None).encode(sys.argv[1]))"
    )
    words = [sys.executable, "-c", code, str(picture), base or ""]
    first, second = (subprocess.run(words, capture_output=True, check=True) for _ in range(2))
    return len(first.stdout) > 0 and first.stdout == second.stdout


def work(facts: str, stream: Path, picture: Path, *, base: str | None) -> None:
    """Decode in one way, save the picture, print the hashes.

    Args:
        facts: the variant as JSON.
        stream: file to decode.
        picture: .npy file to write.
        base: checkpoint; None is the bundled one.
    """
    variant = Variant(**json.loads(facts))
    torch.set_num_threads(variant.threads)
    codec = TorchCodec.load(base)
    with torch.backends.mkldnn.flags(enabled=variant.onednn):
        decoded = decode(codec, parse_stream(stream.read_bytes()), variant)
    np.save(picture, decoded.rgb)
    report = {
        "indexes": hashlib.sha256(decoded.indexes.tobytes()).hexdigest(),
        "symbols": hashlib.sha256(decoded.symbols.astype("<i4").tobytes()).hexdigest(),
    }
    print(json.dumps(report))


def main() -> None:
    """Run the matrix, write the file, and fail if anything differed."""
    options = parser(__doc__, out="determinism", threads=False)
    options.add_argument("--base", help="checkpoint; default: the bundled one")
    options.add_argument("--picture", type=Path, help="photograph; default: a bundled one")
    options.add_argument("--variants", help="names beside the reference, separated by ;")
    options.add_argument(
        "--worker",
        nargs=3,
        metavar=("VARIANT", "STREAM", "PICTURE"),
        help="decode one stream in one way; used by the script itself",
    )
    arguments = parse(options)
    if arguments.worker:
        facts, stream, picture = arguments.worker
        return work(facts, Path(stream), Path(picture), base=arguments.base)
    wanted = [name.strip() for name in (arguments.variants or "").split(";") if name.strip()]
    chosen = [v for v in VARIANTS if not wanted or v.name in ("reference", *wanted)]

    source = arguments.picture or bundled()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        picture = folder / "picture.png"
        # No multiple of 64 either way, so that padding takes part.
        Image.fromarray(photograph(source, width=500, height=333)).save(picture)
        codec = Codec.load(arguments.base)
        data = codec.encode(picture)
        stream = folder / "stream.pc"
        stream.write_bytes(data)
        outcomes = run_all(stream, chosen, base=arguments.base, folder=folder)
        alike = encodes_alike(picture, base=arguments.base)
    passed = alike and all(outcome.passed or outcome.skipped for outcome in outcomes)
    report = {
        **provenance(),
        "base_sha256": codec.base_hash.hex(),
        "picture": source.name,
        "stream_bytes": len(data),
        "passed": passed,
        "encoding_twice_gives_the_same_bytes": alike,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    write_json(arguments.out, report)
    print("passed" if passed else "FAILED")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
