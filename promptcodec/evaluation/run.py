"""Evaluate a codec on a folder of pictures, from the bytes of real files.

Only pixels are compared: alpha, profiles and EXIF are left out on both sides, so that a
baseline which drops them gains nothing by it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from promptcodec.errors import DataError, PromptCodecError, UsageError
from promptcodec.evaluation.baselines import (
    BaselinePoint,
    find_baselines,
    summarise,
    sweep,
)
from promptcodec.evaluation.compare import bd_rates, psnr_above
from promptcodec.evaluation.metrics import bpp, psnr
from promptcodec.evaluation.results import (
    Failure,
    PictureRecord,
    PointResult,
    Results,
    write_results,
)
from promptcodec.images import Picture, load
from promptcodec.provenance import provenance

if TYPE_CHECKING:
    from promptcodec.api import Codec, Encoded, Precision
    from promptcodec.locate import PromptsSource

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif"}


@dataclass(frozen=True)
class RatePoint:
    """One point of a curve: a name and the two directions.

    Whatever moves the rate (an adapter, a global gain, another checkpoint) is bound into
    `encode`, so that evaluation need not know of it.

    Attributes:
        label: unique among the points of one evaluation.
        encode: uint8 picture, (H, W, 3) or (H, W) when grey, to bytes and figures.
        decode: those bytes to a picture.
    """

    label: str
    encode: "Callable[[np.ndarray], Encoded]"
    decode: Callable[[bytes], Image.Image]


def rate_points(
    codec: "Codec", rates: Sequence[float] | None = None, *, gains: Sequence[float] = (0.0,)
) -> list[RatePoint]:
    """The points of a loaded codec: every rate at every gain.

    Args:
        codec: with its adapters.
        rates: rate indexes; None takes each one that the codec has loaded.
        gains: `gain_steps` of `Codec.encode`; several make a curve of one trained rate.
    """
    chosen = [rate.index for rate in codec.rates] if rates is None else list(rates)
    return [
        RatePoint(
            label=f"rate {index:g}" + (f", gain {steps:+g}" if steps else ""),
            encode=partial(codec.encode_detailed, rate_index=index, gain_steps=steps),
            decode=codec.decode,
        )
        for index in chosen
        for steps in gains
    ]


def evaluate_folder(
    folder: str | Path,
    *,
    base: str | Path | None = None,
    prompts: "PromptsSource | None" = None,
    rates: Sequence[float] | None = None,
    gains: Sequence[float] = (0.0,),
    out: Path | None = None,
    against: Sequence[str] = ("jpeg", "webp"),
    precision: "Precision" = "float32",
) -> Results:
    """Load a codec, run it over a folder and compare it with classic codecs.

    Args:
        folder: pictures, nested folders included.
        base: checkpoint as `Codec.load` takes it; None is the bundled one.
        prompts: adapters as `Codec.load` takes them.
        rates: rate indexes to measure; None measures all that are loaded.
        gains: gain steps to measure each rate at.
        out: where to write results.json; None writes nothing. An existing file is replaced.
        against: names in `baselines.BASELINES`.
        precision: of the float networks, as `Codec.load` takes it.

    Raises:
        DataError: the folder has no picture that can be used.
        UsageError: an unknown baseline.
        PromptCodecError: the codec cannot be loaded or the results cannot be written.
    """
    from promptcodec.api import Codec

    find_baselines(against)
    find_pictures(folder)  # both refuse before a checkpoint is loaded
    codec = Codec.load(base, prompts, precision=precision)
    results = evaluate(
        folder,
        rate_points(codec, rates, gains=gains),
        against=against,
        base_hash=codec.base_hash.hex(),
        precision=precision,
    )
    if out is not None:
        write_results(results, out)
    return results


def evaluate(
    folder: str | Path,
    points: Sequence[RatePoint],
    *,
    against: Sequence[str] = ("jpeg", "webp"),
    base_hash: str = "",
    precision: str = "float32",
) -> Results:
    """Measure rate points and baselines on every picture of a folder.

    A picture that fails is recorded by name and left out of every average, also of the
    baselines, so that all averages are over the same pictures.

    Args:
        folder: pictures, nested folders included.
        points: at least one, with distinct labels.
        against: names in `baselines.BASELINES`.
        base_hash: hexadecimal, for the record.
        precision: for the record.

    Raises:
        DataError: the folder has no picture that can be used.
        UsageError: no points, two of one label, or an unknown baseline.
    """
    labels = [point.label for point in points]
    if not labels or len(set(labels)) != len(labels):
        raise UsageError(f"rate points {labels} are none or not distinct: name each one once")
    baselines = find_baselines(against)
    folder = Path(folder)
    measured: dict[str, list[PictureRecord]] = {label: [] for label in labels}
    swept: dict[str, list[BaselinePoint]] = {name: [] for name in baselines}
    failures: list[Failure] = []
    for path in find_pictures(folder):
        name = path.relative_to(folder).as_posix()
        try:
            picture = load(path)
            records = [_measure(point, picture, name) for point in points]
        except (PromptCodecError, OSError) as error:
            # The message may hold the whole path; results are published, so cut it.
            reason = f"{type(error).__name__}: {error}".replace(str(path), name)
            failures.append(Failure(name, reason))
            continue
        for record, label in zip(records, labels, strict=True):
            measured[label].append(record)
        for key, codec in baselines.items():
            swept[key] += sweep(codec, picture.rgb, picture=name, grey=picture.grey)
    if not measured[labels[0]]:
        raise DataError(
            f"{folder}: none of its {len(failures)} pictures could be evaluated, "
            f"the first for {failures[0].reason}"
        )
    compared = tuple(summarise(key, codec, swept[key]) for key, codec in baselines.items())
    notes: list[str] = []
    averaged = tuple(
        PointResult.average(label, records, psnr_above=psnr_above(records, compared, notes=notes))
        for label, records in measured.items()
    )
    return Results(
        folder=folder.resolve().name,
        base_hash=base_hash,
        precision=precision,
        provenance=provenance(),
        points=averaged,
        baselines=compared,
        bd_rate=bd_rates(averaged, compared, notes=notes),
        failures=tuple(failures),
        notes=tuple(dict.fromkeys(notes)),
    )


def find_pictures(folder: str | Path) -> list[Path]:
    """Files with the suffix of a picture, hidden ones left out, in the order of their names.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: name one that holds pictures")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise DataError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}): name another")
    return found


def _measure(point: RatePoint, picture: Picture, name: str) -> PictureRecord:
    height, width = picture.rgb.shape[:2]
    source = picture.rgb[..., 0] if picture.grey else picture.rgb
    encoded = point.encode(source)
    start = time.perf_counter()
    decoded = point.decode(encoded.data)
    took = time.perf_counter() - start
    estimate = encoded.bpp_estimate * width * height / 8 + encoded.header_bytes
    return PictureRecord(
        picture=name,
        width=width,
        height=height,
        bytes=len(encoded.data),
        header_bytes=encoded.header_bytes,
        bpp=bpp(len(encoded.data), width=width, height=height),
        bpp_estimate=encoded.bpp_estimate,
        excess_over_estimate=len(encoded.data) / estimate - 1.0,
        psnr=psnr(picture.rgb, np.asarray(decoded.convert("RGB"))),
        # The estimate of the rate is made beside the encoding and is no part of it.
        encode_seconds=sum(encoded.seconds.values()),
        decode_seconds=took,
        seconds=dict(encoded.seconds),
    )
