"""Options of `encode` and `decode`, beside those that other commands have too."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from promptcodec.cli.options import MAX_THREADS
from promptcodec.errors import UsageError


def read_region(text: str) -> tuple[int, int, int, int]:
    """Four whole numbers with commas between.

    Raises:
        UsageError: anything else.
    """
    words = text.split(",")
    if len(words) != 4 or not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--region is {text!r}; need four whole numbers, x,y,width,height")
    x, y, width, height = (int(word) for word in words)
    return x, y, width, height


Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PICTURE]...",
        help="Picture files, patterns, folders with --recursive; - is standard input.",
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STREAM]...",
        help="Stream files, patterns, folders with --recursive; - is standard input.",
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Folders too, with all that is in them.")
]
FileJobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes; the bytes do not depend on it.")
]
FileThreads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MAX_THREADS,
        help="CPU threads; default: one a core; of several files: 1.",
    ),
]
Failures = Annotated[
    Path | None,
    typer.Option(help="JSONL file for what failed, a line a file; an earlier one is replaced."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
PictureFormat = Annotated[
    Literal["png", "webp", "jpg", "tif"],
    typer.Option("--format", help="Of pictures that -o does not name one by one."),
]
EncodeOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Stream to write; default: PICTURE as .pc."),
]
DecodeOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Picture, format by suffix; default: STREAM as .png."),
]
GainSteps = Annotated[
    float,
    typer.Option(help="Finer (positive) or coarser around that rate; 6 is about twice as fine."),
]
TargetBpp = Annotated[
    float | None, typer.Option(help="Instead of a rate: 8 * bytes / pixels, met within 1 %.")
]
TargetBytes = Annotated[
    float | None, typer.Option(help="Instead of a rate: size of the file, met within 1 %.")
]
TargetPsnr = Annotated[
    float | None, typer.Option(help="Instead of a rate: dB over RGB, met within 0.05 dB.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Never exceed the target size.")]
Effort = Annotated[
    int,
    typer.Option(min=0, max=9, help="Seconds (1 to 6) to minutes (9) a picture for fewer bytes."),
]
TileSize = Annotated[
    int | None,
    typer.Option(
        help="Cut the picture into tiles of so many px, a multiple of 64; 0 is one tile.",
        show_default="512 beyond 4 megapixels",
    ),
]
Allow8Bit = Annotated[
    bool,
    typer.Option("--allow-8bit", help="Of 16 bits a channel code the upper 8; else a refusal."),
]
Strip = Annotated[bool, typer.Option("--strip", help="Leave out EXIF, XMP and ICC profile.")]
RegionText = Annotated[
    str | None,
    typer.Option("--region", metavar="X,Y,W,H", help="Decode this part alone, px."),
]
AllowPartial = Annotated[
    bool,
    typer.Option("--allow-partial", help="Decode what is whole of a stream that was cut off."),
]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="Move the encoder toward a task, by its prompts: classify."),
]
TaskFolders = Annotated[
    str | None, typer.Option("--tasks", help="Task prompts or folder of them; default: bundled.")
]
