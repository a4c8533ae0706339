"""Evaluate a codec on a folder of pictures, from the bytes of real files.

Only pixels are compared: alpha, profiles and EXIF are left out on both sides, so that a
baseline which drops them gains nothing by it.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from promptcodec.errors import DataError, UsageError
from promptcodec.evaluation.codecs.registry import Peer, find_peers
from promptcodec.evaluation.codecs.sweep import summarise
from promptcodec.evaluation.comparison import bd_rates, compare_all, is_kodak, psnr_above
from promptcodec.evaluation.journal import Journal
from promptcodec.evaluation.measure import Measurement, RatePoint, Setup
from promptcodec.evaluation.metrics import Metric
from promptcodec.evaluation.perceptual import Judge
from promptcodec.evaluation.results import (
    Failure,
    Measured,
    PointResult,
    Results,
    write_results,
)
from promptcodec.evaluation.workers import measure_in_processes
from promptcodec.io.provenance import provenance
from promptcodec.io.suffixes import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from promptcodec.api import Codec

Progress = Callable[[int, int], None]


def evaluate_folder(
    folder: str | Path,
    setup: Setup,
    *,
    out: Path | None = None,
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Load a codec, run it over a folder and compare it with its peers.

    A run that was stopped goes on where `out` is given: pictures that are done, and whose files
    and settings are the same, are not measured again.

    Args:
        folder: pictures, nested folders included.
        setup: codec, rates, peers and metrics.
        out: where to write results.json; None writes nothing. An existing file is replaced.
        jobs: processes; the bytes that they measure are the same for any number.
        force: begin anew where a stopped run had other settings.
        progress: called with (pictures done, pictures).

    Raises:
        DataError: the folder has no picture that can be used.
        UsageError: an unknown peer or metric, or one that cannot run here.
        PromptCodecError: the codec cannot be loaded or the results cannot be written.
    """
    folder = Path(folder)
    notes: list[str] = []
    pictures = [(path, path.relative_to(folder).as_posix()) for path in find_pictures(folder)]
    kodak = is_kodak(name for _, name in pictures)
    # All of these refuse before a checkpoint is loaded.
    peers = find_peers(setup.against, weights=setup.weights, kodak=kodak, notes=notes)
    Judge(setup.metrics, lpips_weights=setup.lpips_weights)
    setup = replace(setup, against=tuple(peers))
    codec = setup.load()
    identity = _identity(codec, setup, peers)
    measurement = setup.build(codec)
    place = None if out is None else out.with_name(out.name + ".partial")
    journal = Journal(place, identity, force=force)
    todo = [(path, name) for path, name in pictures if not _is_done(path, journal.done.get(name))]
    if jobs > 1 and len(todo) > 1:
        outcomes = measure_in_processes(setup, todo, jobs=min(jobs, len(todo)))
    else:
        outcomes = (measurement(path, name) for path, name in todo)
    failures = _collect(
        outcomes,
        journal,
        total=len(pictures),
        before=len(pictures) - len(todo),
        progress=progress,
    )
    measured = [journal.done[name] for _, name in pictures if name in journal.done]
    if not measured:
        journal.close()  # nothing to go on with
    results = _conclude(
        folder, measurement, measured, failures=failures, metrics=setup.metrics, notes=notes
    )
    results = replace(
        results,
        base_hash=str(identity["base_hash"]),
        precision=setup.precision,
        device=setup.device,
        adapter_hashes=cast("dict[str, str]", identity["adapter_hashes"]),
        jobs=jobs,
    )
    if out is not None:
        write_results(results, out)
    journal.close()
    return results


def evaluate(
    folder: str | Path,
    points: Sequence[RatePoint],
    *,
    against: Sequence[str] = ("jpeg", "webp"),
    metrics: Sequence[str] = ("psnr",),
) -> Results:
    """Measure any rate points and peers on every picture of a folder, in this process.

    A picture that fails is recorded by name and left out of every average, also of the
    baselines, so that all averages are over the same pictures.

    Args:
        folder: pictures, nested folders included.
        points: at least one, with distinct labels.
        against: names of peers.
        metrics: of `perceptual.METRICS`.

    Raises:
        DataError: the folder has no picture that can be used.
        UsageError: no points, two of one label, an unknown peer or metric.
    """
    labels = [point.label for point in points]
    if not labels or len(set(labels)) != len(labels):
        raise UsageError(f"rate points {labels} are none or not distinct: name each one once")
    folder = Path(folder)
    measurement = Measurement(tuple(points), find_peers(against), Judge(metrics))
    pictures = [(path, path.relative_to(folder).as_posix()) for path in find_pictures(folder)]
    journal = Journal(None, {})
    outcomes = (measurement(path, name) for path, name in pictures)
    failures = _collect(outcomes, journal, total=len(pictures), before=0, progress=None)
    measured = list(journal.done.values())
    return _conclude(folder, measurement, measured, failures=failures, metrics=metrics, notes=[])


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
        if path.suffix.lower() in PICTURE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise DataError(f"{folder} holds no picture ({', '.join(PICTURE_SUFFIXES)}): name another")
    return found


def check_complete(results: Results) -> None:
    """Say which pictures are missing from the averages.

    Raises:
        DataError: there are such pictures.
    """
    failures = results.failures
    if failures:
        named = "; ".join(f"{each.picture} ({each.reason})" for each in failures[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise DataError(
            f"{len(failures)} of {len(failures) + len(results.picture_hashes)} pictures could not "
            f"be evaluated, the results are of the others: {named}{more}"
        )


def _identity(codec: "Codec", setup: Setup, peers: dict[str, Peer]) -> dict[str, object]:
    """Settings that two parts of one run must share."""
    from promptcodec.io.hub import find_prompts
    from promptcodec.io.provenance import commit, versions
    from promptcodec.models.adapters.checkpoint import adapter_digest

    folders = find_prompts(setup.prompts, base=setup.base)
    return {
        "base_hash": codec.base_hash.hex(),
        "adapter_hashes": {folder.name: adapter_digest(folder).hex() for folder in folders},
        "rates": None if setup.rates is None else list(setup.rates),
        "gains": list(setup.gains),
        "precision": setup.precision,
        "device": setup.device,
        "peers": {name: peer.options() for name, peer in peers.items()},
        "metrics": sorted(setup.metrics),
        "threads": setup.threads,
        "commit": commit(),
        "versions": versions(),
    }


def _is_done(path: Path, measured: Measured | None) -> bool:
    if measured is None:
        return False
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == measured.sha256
    except OSError:
        return False


def _collect(
    outcomes: Iterable[Measured | Failure],
    journal: Journal,
    *,
    total: int,
    before: int,
    progress: Progress | None,
) -> list[Failure]:
    """Note every picture as it is done; returns those that failed, by name."""
    report = progress or (lambda done, total: None)
    failures: list[Failure] = []
    report(before, total)
    for done, outcome in enumerate(outcomes, before + 1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            journal.done.pop(outcome.picture, None)  # an earlier file of that name
        else:
            journal.add(outcome)
        report(done, total)
    return sorted(failures, key=lambda failure: failure.picture)


def _conclude(
    folder: Path,
    measurement: Measurement,
    measured: Sequence[Measured],
    *,
    failures: Sequence[Failure],
    metrics: Sequence[str],
    notes: list[str],
) -> Results:
    """Averages and comparisons of all pictures that were measured."""
    if not measured:
        raise DataError(
            f"{folder}: none of its {len(failures)} pictures could be evaluated, "
            f"the first for {failures[0].reason}"
        )
    baselines = tuple(
        summarise(name, peer, [point for each in measured for point in each.baselines[name]])
        for name, peer in measurement.peers.items()
    )
    points = []
    for number, point in enumerate(measurement.points):
        records = [each.points[number] for each in measured]
        above = psnr_above(records, baselines, notes=notes)
        points.append(PointResult.average(point.label, records, psnr_above=above))
    kinds = cast("Sequence[Metric]", list(dict.fromkeys(("psnr", *metrics))))
    compared = compare_all(points, baselines, metrics=kinds, notes=notes)
    return Results(
        folder=folder.resolve().name,
        base_hash="",
        precision="float32",
        provenance=provenance(),
        points=tuple(points),
        baselines=baselines,
        bd_rate=bd_rates(compared),
        failures=tuple(failures),
        notes=tuple(dict.fromkeys(notes)),
        metrics=tuple(kinds),
        comparisons=compared,
        picture_hashes={each.picture: each.sha256 for each in measured},
        peak_rss_mb=max(each.peak_rss_mb for each in measured),
    )
