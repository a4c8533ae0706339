"""Options of `encode` and `decode`: names, types and defaults are those of their settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from promptcodec.cli import options
from promptcodec.coding.settings import MAX_EFFORT
from promptcodec.errors import UsageError


def read_region(text: str | None) -> tuple[int, int, int, int] | None:
    """Parse four whole numbers with commas between; None stays None.

    Raises:
        UsageError: the text is anything else.
    """
    if text is None:
        return None
    words = text.split(",")
    if len(words) != 4 or not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--region is {text!r}; need four whole numbers, x,y,width,height")
    x, y, width, height = (int(word) for word in words)
    return x, y, width, height


@dataclass(frozen=True)
class FileOptions:
    """Options for many files and for their outputs."""

    recursive: Annotated[
        bool, Option("--recursive", "-r", help="Folders too, with all that is in them.")
    ] = False
    force: options.Force = False
    jobs: Annotated[
        int, Option("--jobs", "-j", min=1, help="Processes; the bytes do not depend on it.")
    ] = 1
    failures: Annotated[
        Path | None,
        Option(help="JSONL file for what failed, a line a file; an earlier one is replaced."),
    ] = None
    dry_run: Annotated[bool, Option("--dry-run", help="List the work; write nothing.")] = False

    @property
    def are_many(self) -> bool:
        """Whether an option for many files is given."""
        return self.dry_run or self.failures is not None


TASKS = Option(help="Task prompts or folder of them; default: bundled.")

CODEC = options.CODEC | {
    "packs": options.PACKS,
    "threads": Option(
        min=1,
        max=options.MAX_THREADS,
        help="CPU threads; default: one a core; of several files: 1.",
    ),
    "precision": options.Precision,
}
ENCODE = {
    "rate_index": options.RateIndex,
    "gain_steps": Option(
        help="Finer (positive) or coarser around that rate; 6 is about twice as fine."
    ),
    "target_bpp": Option(help="Instead of a rate: 8 * bytes / pixels, to 1 % or the nearest."),
    "target_bytes": Option(help="Instead of a rate: size of the file, to 1 % or the nearest."),
    "target_psnr": Option(help="Instead of a rate: dB over RGB, to 0.05 dB or the nearest."),
    "strict": Option("--strict", help="Never exceed the target size."),
    "effort": Option(
        min=0, max=MAX_EFFORT, help="Seconds (1 to 6) to minutes (9) a picture for fewer bytes."
    ),
    "graphics": Option(
        help="Code tiles exactly, without loss: where it costs less (auto), none or all of them."
    ),
    "tile_size": Option(
        help="Cut the picture into tiles of so many px, a multiple of 64; 0 is one tile.",
        show_default="512 beyond 4 megapixels, 256 beside exact tiles",
    ),
    "task": Option(help="Move the encoder toward a task, by its prompts: classify."),
    "pack": Option(
        metavar="NAME",
        help="Adapters of a pack instead of the ladder's: its name, or its folder with a slash; "
        "auto: the better in a sample of each picture; best: the same by coding with all.",
    ),
    "max_pixels": options.MaxPixels,
    "allow_8bit": Option(
        "--allow-8bit", help="Of 16 bits a channel code the upper 8; else a refusal."
    ),
    "strip": Option("--strip", help="Leave out EXIF, XMP, ICC profile and resolution."),
}
DECODE = {
    "region": Annotated[
        str | None,
        Option(metavar="X,Y,W,H", callback=read_region, help="Decode this part alone, px."),
    ],
    "allow_partial": Option(
        "--allow-partial", help="Decode what is whole of a stream that was cut off."
    ),
    "max_pixels": options.MaxPixels,
    "strip": ENCODE["strip"],
}
