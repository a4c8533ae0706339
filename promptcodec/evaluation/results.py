"""Results of an evaluation, as dataclasses and as results.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from promptcodec.errors import DataError, not_found
from promptcodec.evaluation.bootstrap import Deltas
from promptcodec.evaluation.codecs.sweep import BaselinePicture, BaselineResult, average
from promptcodec.io.atomic import write_atomically

FORMAT = 2
"""Version of results.json that is written; version 1 lacks fields that no table needs."""
READABLE = (1, FORMAT)
OWN_NAME = "promptcodec"

_COMPRESSAI_KEYS = {
    "bpp": "bpp",
    "psnr-rgb": "psnr",
    "ms-ssim-rgb": "ms_ssim",
    "ssimulacra2": "ssimulacra2",
    "lpips": "lpips",
    "encoding_time": "encode_seconds",
    "decoding_time": "decode_seconds",
}
"""Name in CompressAI's files, name in ours."""


@dataclass(frozen=True)
class PictureRecord:
    """One picture at one rate point.

    Attributes:
        picture: path within the folder.
        width: width in px.
        height: height in px.
        bytes: size of the whole stream.
        header_bytes: size of its header.
        bpp: bits per pixel, 8 * bytes / pixels.
        bpp_estimate: bits per pixel by the likelihoods of the latents, no header.
        excess_over_estimate: bytes / (estimate + header) - 1.
        psnr: PSNR over RGB, dB.
        encode_seconds: wall time from a picture in memory to bytes.
        decode_seconds: wall time from bytes to a picture in memory.
        seconds: parts of the encoding, by name.
        ms_ssim: MS-SSIM, 0 to 1; None if it was not measured.
        ssimulacra2: SSIMULACRA 2, 100 is best; None if it was not measured.
        lpips: LPIPS, 0 is best; None if it was not measured.
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
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    lpips: float | None = None


@dataclass(frozen=True)
class Measured:
    """Measurements of one picture.

    Attributes:
        picture: path within the folder.
        sha256: hash of the file.
        points: records of the rate points, in their order.
        baselines: the sweep of each baseline codec, by name.
        peak_rss_mb: largest resident set of the process so far, MB of 10^6 bytes.
        notes: what the file has and was not measured, each in a few words.
    """

    picture: str
    sha256: str
    points: tuple[PictureRecord, ...]
    baselines: dict[str, tuple[BaselinePicture, ...]]
    peak_rss_mb: float
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, facts: dict) -> "Measured":
        """The inverse of `asdict`."""
        return cls(
            picture=facts["picture"],
            sha256=facts["sha256"],
            points=tuple(PictureRecord(**record) for record in facts["points"]),
            baselines={
                name: tuple(BaselinePicture(**point) for point in sweep)
                for name, sweep in facts["baselines"].items()
            },
            peak_rss_mb=facts["peak_rss_mb"],
            notes=tuple(facts["notes"]),
        )


@dataclass(frozen=True)
class PointResult:
    """One rate point over the set.

    Attributes:
        label: name of the rate point.
        bpp: mean over the pictures.
        psnr: mean over the pictures, dB.
        psnr_above: PSNR over each baseline at the same bpp, dB; None if it has no such rate.
        encode_seconds: median over the pictures.
        decode_seconds: median over the pictures.
        max_header_bytes: size of the largest header.
        excess_over_estimate: as in `PictureRecord`, over the bytes of all pictures together.
        pictures: one record for each picture.
        ms_ssim: mean over the pictures; None if it was not measured on all.
        ssimulacra2: mean over the pictures; None if it was not measured on all.
        lpips: mean over the pictures; None if it was not measured on all.
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
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    lpips: float | None = None

    @classmethod
    def average(
        cls, label: str, records: list[PictureRecord], *, psnr_above: dict[str, float | None]
    ) -> "PointResult":
        """Average records of at least one picture."""
        expected = sum(r.bpp_estimate * r.width * r.height / 8 + r.header_bytes for r in records)
        return cls(
            label=label,
            **average(records),
            psnr_above=psnr_above,
            max_header_bytes=max(r.header_bytes for r in records),
            excess_over_estimate=sum(r.bytes for r in records) / expected - 1.0,
            pictures=tuple(records),
        )


@dataclass(frozen=True)
class Failure:
    """A picture that could not be measured, with the reason."""

    picture: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Our curve against another.

    Attributes:
        rival: name of a baseline or of a published curve.
        metric: quality on the vertical axis of both curves.
        published: whether the rival's averages are its authors' own, on the same pictures.
        deltas: differences of the two curves.
    """

    rival: str
    metric: str
    published: bool
    deltas: Deltas


@dataclass(frozen=True)
class Results:
    """One evaluation.

    Attributes:
        folder: name of the folder of pictures, without its parents.
        base_hash: SHA-256 of the base codec, hexadecimal.
        precision: arithmetic of the float networks.
        provenance: record of `io.provenance.provenance`.
        points: rate points of our codec.
        baselines: sweeps of the other codecs.
        bd_rate: per cent at equal PSNR against each baseline, and against VTM where the set is
            Kodak; empty for fewer than four points.
        failures: pictures that could not be measured.
        notes: reasons why comparisons are missing, and files of which a part was not measured.
        metrics: names of the metrics that were measured.
        comparisons: differences with intervals and by segment, for each rival and metric.
        adapter_hashes: hashes of the adapters, by rate index.
        picture_hashes: SHA-256 of each picture's file, by name.
        jobs: processes that ran at a time; with several, times are longer than with one.
        peak_rss_mb: largest resident set of any process, MB of 10^6 bytes.
        device: device of our codec; baselines run on the CPU.
        engine: engine of our codec.
        format: version of results.json.
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
    metrics: tuple[str, ...] = ("psnr",)
    comparisons: tuple[Comparison, ...] = ()
    adapter_hashes: dict[str, str] = field(default_factory=dict)
    picture_hashes: dict[str, str] = field(default_factory=dict)
    jobs: int = 1
    peak_rss_mb: float | None = None
    device: str = "cpu"
    engine: str = "torch"
    format: int = FORMAT


def as_json(results: Results) -> dict:
    """The content of results.json.

    It and each baseline in it have the keys of CompressAI's result files ("name", "description",
    "results" with a list for each metric), and our records beside them.
    """
    facts = json.loads(json.dumps(asdict(results), allow_nan=False))
    pictures = len(results.points[0].pictures)
    description = f"{pictures} pictures of {results.folder}, bytes of whole files"
    own = {
        "name": OWN_NAME,
        "description": f"{description}; base {results.base_hash[:16]}",
        "results": _compressai_lists(facts["points"]),
    }
    for baseline in facts["baselines"]:
        baseline["description"] = f"{description}; options in this file"
        baseline["results"] = _compressai_lists(baseline["averages"])
    return own | facts


def _compressai_lists(points: list[dict]) -> dict[str, list]:
    """A list for each metric that every point has, by rising rate."""
    points = sorted(points, key=lambda point: point["bpp"])
    lists = {name: [point.get(key) for point in points] for name, key in _COMPRESSAI_KEYS.items()}
    return {name: values for name, values in lists.items() if None not in values}


def write_results(results: Results, path: str | Path) -> None:
    """Write results.json atomically; an existing file is replaced.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json.dumps(as_json(results), indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode(), force=True)


def read_results(path: str | Path) -> dict:
    """Parse a results.json.

    Raises:
        DataError: the file is missing, or `write_results` did not write it.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path} is no results file ({error}): run `promptcodec eval`"
        raise DataError(not_found(path, message)) from error
    if not isinstance(found, dict) or found.get("format") not in READABLE:
        raise DataError(
            f"{path} is no results file of format {FORMAT}: run `promptcodec eval` again"
        )
    return found
