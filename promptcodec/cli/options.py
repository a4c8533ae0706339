"""Options that several commands share, each with one name, one meaning and one help text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from promptcodec import __version__
from promptcodec.errors import UsageError


@dataclass
class Session:
    """What the error handler must know about the command that failed.

    Args:
        verbose: show the traceback as well.
    """

    verbose: bool = False


def _set_verbose(context: typer.Context, value: bool) -> bool:
    session = context.find_object(Session)
    if value and session is not None:
        session.verbose = True
    return value


def split_words(values: list[str] | None, *, default: str) -> tuple[str, ...]:
    """Words of an option that takes commas and may be repeated.

    Args:
        values: as given.
        default: where nothing is.
    """
    words = [word.strip() for value in values or [default] for word in value.split(",")]
    return tuple(dict.fromkeys(word for word in words if word))


def parse_rates(text: str) -> tuple[float, ...] | None:
    """Rate indexes of "0,3.5,6"; None for "all".

    Raises:
        UsageError: something that is no number.
    """
    if text.strip() == "all":
        return None
    try:
        return tuple(dict.fromkeys(float(word) for word in text.split(",")))
    except ValueError:
        raise UsageError(
            f"--rates is {text!r}: give all, or numbers separated by commas, such as 0,3.5,6"
        ) from None


def parse_counts(text: str, *, option: str) -> tuple[int, ...]:
    """Counts of "1,2".

    Args:
        text: as given.
        option: for the message.

    Raises:
        UsageError: something that is no positive whole number.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"{option} is {text!r}: give counts separated by commas, such as 1,2")
    return tuple(dict.fromkeys(int(word) for word in words))


def _show_version(value: bool) -> None:
    if value:
        print(f"promptcodec {__version__}")
        raise typer.Exit


Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Stream file; - is standard input.")]
Base = Annotated[
    str | None,
    typer.Option(help="Base codec: a folder, or owner/name on the Hub.", show_default="bundled"),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        help="Rate adapters: a folder or owner/name on the Hub; may be repeated.",
        show_default="those bundled with the bundled base",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
MAX_THREADS = 1024  # OpenMP ends the process where it cannot have as many as are asked for
Threads = Annotated[
    int | None, typer.Option(min=1, max=MAX_THREADS, help="CPU threads; default: one a core.")
]
PrecisionName = Literal["float32", "bfloat16"]
Precision = Annotated[PrecisionName, typer.Option(help="Arithmetic of the transforms.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing output.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Refuse larger pictures; default: 89 million.")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_set_verbose, help="Show timings and tracebacks."),
]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]
RateIndex = Annotated[
    float | None,
    typer.Option(help="0 (smallest) to 7 (best), fractions between; default: the base's own."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="Train this one of the recipe's methods alone; may be repeated."),
]
RateList = Annotated[str, typer.Option("--rates", help="Rates: all, or numbers such as 0,3.5,6.")]
GainCurve = Annotated[
    list[float] | None,
    typer.Option("--gain-steps", help="Gain to measure at; repeat for a curve; default: 0."),
]
Recipe = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="YAML file, for instance recipes/base/base-nano.yaml."),
]
LabelledData = Annotated[
    Path,
    typer.Option(
        "--data", help="Folder or zip file with train/CLASS/..., or train/images and train/masks."
    ),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(help="Folder or zip shards of pictures that only the recipe's teacher judges."),
]
ClassData = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Folder or zip file with train/CLASS/..., or the split that the recipe names.",
    ),
]
TaskResults = Annotated[Path | None, typer.Option("-o", "--out", help="JSON file for the results.")]
ViewCache = Annotated[
    Path | None,
    typer.Option("--cache", help="File to keep the codec's views in, for other runs on them."),
]
Seed = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
Heads = Annotated[
    str | None, typer.Option(help="Head or folder of heads; default: the bundled ones.")
]
StreamOrPicture = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Stream or picture; - is standard input.")
]
MaskOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Picture to write; default: SOURCE as .mask.png."),
]
Overlay = Annotated[
    bool, typer.Option("--overlay", help="Lay the classes over the picture, with a legend.")
]
Top = Annotated[int, typer.Option(min=1, help="How many classes to name.")]
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SOURCE]...", help="Streams, pictures, folders; - is standard input."),
]
TrainingData = Annotated[Path, typer.Option(help="Folder or zip shards of training pictures.")]
Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.01, help="End in this time, decay and writing included; default: the recipe's steps."
    ),
]
OldState = Annotated[Path, typer.Argument(metavar="OLD", help="State of an older version.")]
NewState = Annotated[Path, typer.Argument(metavar="NEW", help="State to write.")]
StateRecipe = Annotated[Path, typer.Option(help="YAML file of the run, for this version.")]
Renames = Annotated[
    list[str] | None,
    typer.Option("--rename", help="old=new, of a module or parameter; may be repeated."),
]
RawWeights = Annotated[
    Path | None, typer.Option(help="Also write the weights alone, to start another run from.")
]
PictureCache = Annotated[
    Path | None,
    typer.Option("--cache", help="File to keep decoded pictures in, for other runs on them."),
]
Validation = Annotated[
    Path | None, typer.Option(help="Folder to validate on; default: pictures held out of DATA.")
]
RunFolder = Annotated[Path | None, typer.Option(help="Run folder; default: runs/RECIPE.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run where it stopped.")]
TrainingDevice = Annotated[
    str | None, typer.Option(help="cpu or cuda; default: the GPU where there is one.")
]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")]
Lambda = Annotated[
    float | None,
    typer.Option("--lambda", help="Rate-distortion weight; 0.0013 is small, 0.18 is best."),
]
PromptRate = Annotated[
    int | None, typer.Option(min=0, max=7, help="Rate index; default: the nearest to lambda.")
]
PromptRecipe = Annotated[
    Path | None, typer.Option(help="YAML file of steps, crops and optimiser; default: built in.")
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        help="Adapter to start from; 'none' starts from the base alone.",
        show_default="the nearest installed one",
    ),
]
PromptData = Annotated[
    Path | None,
    typer.Option(
        envvar="PROMPTCODEC_DATA",
        help="Folder or zip shards of training pictures.",
        show_default="the sample pictures, for a trial",
    ),
]
Only = Annotated[
    list[int] | None,
    typer.Option("--rate-index", min=0, max=7, help="Train only this rate; may be repeated."),
]
CardFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Holds README.md, results.json and base/.")
]
EvaluationFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of pictures.")]
ResultsFile = Annotated[Path | None, typer.Option(help="results.json to write.")]
Readme = Annotated[
    Path | None, typer.Option(help="Markdown file whose results table to bring up to date.")
]
Plot = Annotated[
    Path | None, typer.Option(help="Curves as a picture, .png or .svg; replaced if it exists.")
]
Report = Annotated[
    Path | None, typer.Option(help="One HTML file with curves, tables and pictures.")
]
ComparePicture = Annotated[Path, typer.Argument(metavar="PICTURE", help="Picture file.")]
Sheet = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="PNG to write; default: PICTURE as .compare.png."),
]
SliderPage = Annotated[
    Path | None,
    typer.Option("--page", help="HTML to write; default: PICTURE as .compare.html."),
]
Show = Annotated[
    list[str] | None,
    typer.Option(
        help="Pictures to look at in the report, separated by commas.",
        show_default="best, middling and worst against the first peer",
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        help="Peers: jpeg, jpeg-444, webp, avif, jxl, hevc, names of CompressAI's models, or all "
        "that can run here; separated by commas.",
        show_default="jpeg,webp",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Folder of weights of CompressAI's models.", show_default="where CompressAI keeps them"
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(help="psnr, ms-ssim, lpips; separated by commas.", show_default="psnr"),
]
LpipsWeights = Annotated[
    Path | None, typer.Option(help="State dict of torchvision's AlexNet, for LPIPS.")
]
Jobs = Annotated[
    int, typer.Option(min=1, help="Processes; the measured bytes are the same for any number.")
]
ProcessThreads = Annotated[
    int, typer.Option("--threads", min=1, max=MAX_THREADS, help="CPU threads a process.")
]
Peers = Annotated[
    list[str] | None,
    typer.Option(
        help="mbt2018-mean, jpeg, jpeg-444, webp, avif, jxl, hevc; separated by commas.",
        show_default="jpeg,webp",
    ),
]
ThreadCounts = Annotated[
    str, typer.Option("--threads", help="CPU threads of each comparison, such as 1,2.")
]
Repeats = Annotated[int, typer.Option(min=2, help="Rounds.")]
BenchPicture = Annotated[
    Path | None,
    typer.Option(help="Photograph, scaled to 768x512.", show_default="a bundled one"),
]
BenchFile = Annotated[Path | None, typer.Option(help="JSON to write, every value in it.")]
