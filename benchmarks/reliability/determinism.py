"""One stream, decoded in many ways in separate processes: the same symbols every time.

    python -m benchmarks.reliability.determinism [--base DIR] [--picture FILE]
        [--variants "NAME; ..."] [--out docs/results/determinism.json]

Threads, batch, oneDNN, precision, compilation and device vary. The hash of the symbols and the hash
of the table indexes must be equal everywhere, and float32 pictures within one level of each other.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.reliability.determinism_decode import Variant
from promptcodec.api import Codec
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.atomic import write_atomically
from promptcodec.io.provenance import provenance
from promptcodec.io.samples import bundled, photograph

DECODER = Path(__file__).with_name("determinism_decode.py")
MAX_DIFFERENCE = 1  # levels of 255 between float32 pictures

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
class Outcome:
    """What became of one variant.

    Attributes:
        variant: its settings.
        skipped: why it did not run; None when it did.
        indexes: SHA-256 of the table indexes.
        symbols: SHA-256 of the symbols.
        same_symbols: both hashes equal those of the reference.
        max_difference: of the pictures, in levels of 255.
        psnr: of the picture against that of the reference, dB.
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
        variant: how it was decoded.
        report: hashes that it gave.
        reference: hashes of the first decoding.
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
    """What this machine lacks for a variant."""
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
    reference: dict[str, str] = {}
    reference_picture = np.zeros(0)
    for variant in variants:
        lacking = why_not(variant)
        if lacking:
            outcomes.append(Outcome(variant, skipped=lacking))
            print(f"{variant.name}: not run, {lacking}", flush=True)
            continue
        picture = folder / "picture.npy"
        words = [sys.executable, str(DECODER), str(stream), str(picture)]
        words += ["--variant", json.dumps(asdict(variant)), *(["--base", base] if base else [])]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
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


def main() -> None:
    """Run the matrix, write the file, and fail if anything differed."""
    parser = argparse.ArgumentParser(description="Decode one stream in many ways.")
    parser.add_argument("--base", help="checkpoint; default: the bundled one")
    parser.add_argument("--picture", type=Path, help="photograph; default: a bundled one")
    parser.add_argument("--variants", help="names beside the reference, separated by ;")
    parser.add_argument("--out", type=Path, default=Path("docs/results/determinism.json"))
    arguments = parser.parse_args()
    wanted = [name.strip() for name in (arguments.variants or "").split(";") if name.strip()]
    chosen = [v for v in VARIANTS if not wanted or v.name in ("reference", *wanted)]

    source = arguments.picture or bundled()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        picture = folder / "picture.png"
        # No multiple of 64 either way, so that padding takes part.
        Image.fromarray(photograph(source, width=500, height=333)).save(picture)
        data = Codec.load(arguments.base).encode(picture)
        stream = folder / "stream.pc"
        stream.write_bytes(data)
        outcomes = run_all(stream, chosen, base=arguments.base, folder=folder)
        alike = encodes_alike(picture, base=arguments.base)
    passed = alike and all(outcome.passed or outcome.skipped for outcome in outcomes)
    report = {
        **provenance(),
        "picture": source.name,
        "stream_bytes": len(data),
        "passed": passed,
        "encoding_twice_gives_the_same_bytes": alike,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)
    print("passed" if passed else "FAILED")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
