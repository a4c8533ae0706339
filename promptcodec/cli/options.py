"""Options that several commands share, each with one name, meaning and help text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

from typer import Argument, Option

from promptcodec.cli.codec_options import EngineName, PrecisionName
from promptcodec.errors import UsageError

MAX_THREADS = 1024  # OpenMP ends the process if it cannot start all threads


def split_words(values: Sequence[str] | None, *, default: str) -> tuple[str, ...]:
    """Words of an option with commas that may be repeated.

    Args:
        values: texts from the command line.
        default: text in place of no values.
    """
    words = [word.strip() for value in values or [default] for word in value.split(",")]
    return tuple(dict.fromkeys(word for word in words if word))


def parse_rates(text: str) -> tuple[float, ...] | None:
    """Rate indexes of "0,3.5,6"; None for "all".

    Raises:
        UsageError: a word is no number.
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
        text: counts with commas between.
        option: name of the option in the message.

    Raises:
        UsageError: a word is no positive whole number.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"{option} is {text!r}: give counts separated by commas, such as 1,2")
    return tuple(dict.fromkeys(int(word) for word in words))


def parse_engines(text: str) -> tuple[EngineName, ...]:
    """Names of engines of "onnx,torch".

    Raises:
        UsageError: a word is no engine.
    """
    known = get_args(EngineName)
    words = split_words([text], default="")
    if not words or not set(words) <= set(known):
        raise UsageError(f"--engine is {text!r}: give {', '.join(known)}, separated by commas")
    return words  # type: ignore[return-value]


Force = Annotated[bool, Option("--force", "-f", help="Replace an existing output.")]

# Codec.
Base = Annotated[
    str | None,
    Option(
        help="Base codec: a folder, or owner/name[@revision] on the Hub.", show_default="bundled"
    ),
]
Precision = Annotated[PrecisionName, Option(help="Arithmetic of the transforms.")]
Threads = Annotated[
    int | None, Option(min=1, max=MAX_THREADS, help="CPU threads; default: one a core.")
]
CODEC = {
    "base": Base,
    "prompts": Annotated[
        list[str],
        Option(
            help="Rate adapters: a folder or owner/name on the Hub; may be repeated.",
            show_default="those in the folder of the base",
        ),
    ],
    "device": Option(help="cpu, cuda, cuda:1, ..."),
    "engine": Annotated[
        EngineName | None,
        Option(
            help="onnx: ONNX Runtime on the CPU; openvino; or torch.",
            show_default="torch if an option needs it",
        ),
    ],
    "threads": Threads,
}

PACKS = Annotated[
    list[str],
    Option(
        help="Packs: a folder of one or of several, or owner/name on the Hub; may be repeated.",
        show_default="those beside the checkpoints",
    ),
]

# Rates and pictures.
RateIndex = Annotated[
    float | None,
    Option(help="0 (smallest) to 7 (best), fractions between; default: the base's own."),
]
RateList = Annotated[str, Option("--rates", help="Rates: all, or numbers such as 0,3.5,6.")]
MaxPixels = Annotated[int, Option(min=1, help="Refuse larger pictures.", show_default="89 million")]

# Recipes.
Recipe = Annotated[
    Path,
    Argument(metavar="RECIPE", help="YAML file, for instance recipes/base/base-small.yaml."),
]
ClassData = Annotated[
    Path,
    Option(
        "--data",
        help="Folder or zip file with train/CLASS/..., or the split that the recipe names.",
    ),
]
