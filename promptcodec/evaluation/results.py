"""What an evaluation found, as dataclasses and as results.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from promptcodec.errors import DataError
from promptcodec.evaluation.baselines import BaselineResult
from promptcodec.files import write_atomically

FORMAT = 1
"""Version of results.json; a reader refuses what it does not know."""


@dataclass(frozen=True)
class PictureRecord:
    """One picture at one rate point.

    Attributes:
        picture: path within the folder.
        width: px.
        height: px.
        bytes: of the whole stream.
        header_bytes: of its header.
        bpp: 8 * bytes / pixels.
        bpp_estimate: of the latents from their likelihoods, no header.
        excess_over_estimate: bytes over (estimate + header), less one.
        psnr: dB over RGB.
        encode_seconds: wall time, picture in memory to bytes.
        decode_seconds: wall time, bytes to picture in memory.
        seconds: parts of the encoding as the codec reports them.
    """

    picture: str
    width: int
    height: int
    bytes: int
    header_bytes: int
    bpp: float
    bpp_estimate: float
    excess_over_estimate: float
    psnr: float
    encode_seconds: float
    decode_seconds: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class PointResult:
    """One rate point over the set.

    Attributes:
        label: of the rate point.
        bpp: mean over the pictures.
        psnr: mean over the pictures, dB.
        psnr_above: dB above each baseline at the same bpp; None where it has no such rate.
        encode_seconds: median.
        decode_seconds: median.
        max_header_bytes: the largest header.
        excess_over_estimate: of the bytes of all pictures together.
        pictures: one record for each.
    """

    label: str
    bpp: float
    psnr: float
    psnr_above: dict[str, float | None]
    encode_seconds: float
    decode_seconds: float
    max_header_bytes: int
    excess_over_estimate: float
    pictures: tuple[PictureRecord, ...]

    @classmethod
    def average(
        cls, label: str, records: list[PictureRecord], *, psnr_above: dict[str, float | None]
    ) -> "PointResult":
        """Average records of at least one picture."""
        expected = sum(r.bpp_estimate * r.width * r.height / 8 + r.header_bytes for r in records)
        return cls(
            label=label,
            bpp=float(np.mean([r.bpp for r in records])),
            psnr=float(np.mean([r.psnr for r in records])),
            psnr_above=psnr_above,
            encode_seconds=float(np.median([r.encode_seconds for r in records])),
            decode_seconds=float(np.median([r.decode_seconds for r in records])),
            max_header_bytes=max(r.header_bytes for r in records),
            excess_over_estimate=sum(r.bytes for r in records) / expected - 1.0,
            pictures=tuple(records),
        )


@dataclass(frozen=True)
class Failure:
    """A picture that was left out, and why."""

    picture: str
    reason: str


@dataclass(frozen=True)
class Results:
    """One evaluation.

    Attributes:
        folder: its last part.
        base_hash: SHA-256 of the base codec, hexadecimal.
        precision: of the float networks.
        provenance: as `provenance.provenance` gives it.
        points: of the codec.
        baselines: measured beside it.
        bd_rate: per cent against each baseline, and against VTM where the set is Kodak; empty
            for fewer than four points.
        failures: pictures left out.
        notes: why a comparison is missing.
        format: version of the file.
    """

    folder: str
    base_hash: str
    precision: str
    provenance: dict[str, object]
    points: tuple[PointResult, ...]
    baselines: tuple[BaselineResult, ...]
    bd_rate: dict[str, float | None] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    format: int = FORMAT


def write_results(results: Results, path: str | Path) -> None:
    """Write results.json whole or not at all; an existing file is replaced.

    Raises:
        OutputError: it cannot be written there.
    """
    text = json.dumps(asdict(results), indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode(), force=True)


def read_results(path: str | Path) -> dict:
    """Parse a results.json.

    Raises:
        DataError: there is no such file, or it is none that `write_results` wrote.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no results file ({error}): run `promptcodec eval`") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(
            f"{path} is no results file of format {FORMAT}: run `promptcodec eval` again"
        )
    return found
