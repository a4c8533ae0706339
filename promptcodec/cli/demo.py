"""`python -m promptcodec.cli.demo`: one bundled photograph through the codec, beside JPEG and WebP.

Prints a table of sizes and qualities and writes demo/side-by-side.png for the eye.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from promptcodec.api import Codec
from promptcodec.cli import console
from promptcodec.errors import PictureError
from promptcodec.evaluation.codecs.registry import CLASSIC
from promptcodec.evaluation.metrics import bpp, psnr
from promptcodec.evaluation.reports.compare import side_by_side
from promptcodec.evaluation.reports.equal_size import largest_within
from promptcodec.io.atomic import write_atomically
from promptcodec.io.save import encode_file

ASSETS = Path(__file__).parents[1] / "io" / "assets"
OUTPUT = Path("demo/side-by-side.png")


@dataclass(frozen=True)
class Attempt:
    """One codec on the photograph.

    Args:
        name: of the codec and its setting.
        size: of the file, bytes.
        picture: decoded, RGB.
        seconds: to encode and to decode; None where the setting was searched for.
    """

    name: str
    size: int
    picture: Image.Image
    seconds: tuple[float, float] | None = None


def photograph() -> Path:
    """The bundled photograph.

    Raises:
        PictureError: the installation has none.
    """
    pictures = sorted(ASSETS.glob("*.png"))
    if not pictures:
        raise PictureError(f"no picture in {ASSETS}: install promptcodec again")
    return pictures[0]


def run_codec(codec: Codec, original: Image.Image) -> Attempt:
    """Encode and decode with promptcodec."""
    start = time.perf_counter()
    data = codec.encode(original)
    middle = time.perf_counter()
    picture = codec.decode(data).convert("RGB")
    end = time.perf_counter()
    return Attempt("promptcodec", len(data), picture, (middle - start, end - middle))


def run_baseline(name: str, original: Image.Image, *, limit: int) -> Attempt:
    """Encode as well as a classic codec can within `limit` bytes, and decode."""
    peer = CLASSIC[name]
    quality, data = largest_within(lambda q: peer.compress(original, q), limit)
    return Attempt(f"{name} (quality {quality})", len(data), peer.decompress(data))


def table(original: Image.Image, attempts: list[Attempt]) -> str:
    """One row a codec: bytes, bpp, PSNR in dB, seconds each way."""
    lines = [f"{'':<20}{'bytes':>9}{'bpp':>8}{'PSNR':>10}{'encode':>9}{'decode':>9}"]
    for each in attempts:
        rate = bpp(each.size, width=original.width, height=original.height)
        quality = psnr(np.asarray(original), np.asarray(each.picture))
        times = "".join(f"{seconds:>7.2f} s" for seconds in each.seconds or ())
        lines.append(f"{each.name:<20}{each.size:>9,}{rate:>8.3f}{quality:>7.2f} dB{times}")
    return "\n".join(lines)


def run(codec: Codec, *, output: Path = OUTPUT) -> None:
    """Print the table and write the pictures.

    Args:
        codec: encodes at its own rate.
        output: PNG to write; an older one is replaced and the folder is made.
    """
    path = photograph()
    with Image.open(path) as file:
        original = file.convert("RGB")
    codec.decode(codec.encode(original.crop((0, 0, 64, 64))))  # the first run pays for set-up
    ours = run_codec(codec, original)
    jpeg, webp = (run_baseline(name, original, limit=ours.size) for name in ("jpeg", "webp"))
    print(f"{path.name}, {original.width}x{original.height}\n")
    print(table(original, [ours, jpeg, webp]))
    output.parent.mkdir(parents=True, exist_ok=True)
    labelled = [("original", original)]
    labelled += [(f"{each.name}, {each.size:,} bytes", each.picture) for each in (ours, jpeg)]
    write_atomically(output, encode_file(side_by_side(labelled), ".png"), force=True)
    print(f"\noriginal, promptcodec and JPEG side by side: {output}")


def main() -> int:
    """Run the demonstration with the bundled checkpoint; returns the exit code."""
    try:
        run(Codec.load())
    except Exception as error:
        message, code = console.describe(error)
        print(f"promptcodec: error: {console.one_line(message)}", file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
