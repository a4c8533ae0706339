"""Evaluation of a codec on a folder of pictures, from the bytes of real files.

Only pixels are compared: alpha, profiles and EXIF are left out of all files, so that a baseline
without them has no advantage.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptcodec.errors import DataError, UsageError, not_found
from promptcodec.evaluation.codecs.registry import BaselineCodec, find_codecs
from promptcodec.evaluation.codecs.sweep import summarise
from promptcodec.evaluation.comparison import bd_rates, compare_all, is_kodak, psnr_above
from promptcodec.evaluation.journal import Journal
from promptcodec.evaluation.measure import Measurement, MeasurementConfig
from promptcodec.evaluation.perceptual import QualityMetrics
from promptcodec.evaluation.reports.html import (
    choose_pictures,
    find_names,
    make_slides,
    write_report,
)
from promptcodec.evaluation.reports.markdown import render_table, split_markers, update_markers
from promptcodec.evaluation.reports.plot import check_plot, plot_curves
from promptcodec.evaluation.results import (
    Failure,
    Measured,
    PointResult,
    Results,
    as_json,
    write_results,
)
from promptcodec.evaluation.workers import measure_in_processes
from promptcodec.io.atomic import refuse_input
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.io.notes import note_lines
from promptcodec.io.provenance import changes, commit, machine, provenance, versions

if TYPE_CHECKING:
    from promptcodec.api import Codec

Progress = Callable[[int, int], None]


def evaluate_folder(
    folder: str | Path,
    config: MeasurementConfig,
    *,
    out: Path | None = None,
    plot: Path | None = None,
    readme: Path | None = None,
    report: Path | None = None,
    show: Sequence[str] = (),
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Load a codec, measure it on a folder, compare it with baselines and write the results.

    With `out` a run that was stopped is continued: pictures whose files and settings are unchanged
    are not measured again.

    Args:
        folder: pictures, nested folders included.
        config: codec, rates, baselines and metrics.
        out: results.json to write; an existing file is replaced.
        plot: picture of the curves to write.
        readme: Markdown file whose table of results is replaced.
        report: HTML page to write.
        show: names of the pictures on that page; empty is the best, middling and worst.
        jobs: processes; rates and qualities are the same for any number.
        force: whether to begin anew if a stopped run had other settings.
        progress: function of (pictures done, pictures).

    Raises:
        DataError: the folder has no usable picture, or the README no markers of a table.
        UsageError: a baseline or metric is unknown or cannot run here, or a picture to show is not
            in the folder.
        PromptCodecError: the codec cannot be loaded or a file cannot be written.
    """
    import_module("scipy")  # of curves; its absence is said before the work
    folder = Path(folder)
    pictures = _named(folder)
    # Outputs and names are checked before a checkpoint is loaded.
    for target in filter(None, (out, plot, report)):
        for path in pictures.values():
            refuse_input(target, path)
    if plot is not None:
        check_plot(plot)
    if readme is not None:
        split_markers(readme)
    find_names(show, list(pictures))
    notes: list[str] = []
    codecs = find_codecs(
        config.against, weights=config.weights, kodak=is_kodak(pictures), notes=notes
    )
    QualityMetrics(config.metrics, lpips_weights=config.lpips_weights)
    config = replace(config, against=tuple(codecs))
    codec = config.load()
    identity = _identity(codec, config, codecs, jobs=jobs)
    measurement = config.build(codec)
    journal = Journal(out and out.with_name(out.name + ".partial"), identity, force=force)
    todo = [
        (path, name)
        for name, path in pictures.items()
        if not _is_done(path, journal.done.get(name))
    ]
    if jobs > 1 and len(todo) > 1:
        outcomes = measure_in_processes(config, todo, jobs=min(jobs, len(todo)))
    else:
        outcomes = (measurement(path, name) for path, name in todo)
    failures = _collect(outcomes, journal, total=len(pictures), left=len(todo), progress=progress)
    measured = [journal.done[name] for name in pictures if name in journal.done]
    if not measured:
        journal.close()  # nothing to go on with
    results = replace(
        _conclude(folder, measurement, measured, failures, notes),
        base_hash=codec.base_hash.hex(),
        precision=config.precision,
        device=config.device,
        engine=codec.engine.name,
        provenance=provenance(threads=config.threads),
        adapter_hashes=identity["adapter_hashes"],
        jobs=jobs,
    )
    if out is not None:
        write_results(results, out)
    journal.close()
    facts = as_json(results)
    if plot is not None:
        plot_curves(facts, plot)
    if report is not None:
        slides = make_slides(folder, measurement, choose_pictures(facts, show))
        write_report(facts, report, slides=slides)
    if readme is not None:
        update_markers(readme, render_table(facts))
    return results


def evaluate(folder: str | Path, measurement: Measurement) -> Results:
    """Measure any rate points and baselines on every picture of a folder, in this process.

    A picture that fails is recorded by name and left out of every average, also of the
    baselines, so that all averages are over the same pictures.

    Args:
        folder: pictures, nested folders included.
        measurement: rate points, at least one, with distinct labels.

    Raises:
        DataError: the folder has no usable picture.
        UsageError: there are no points, or two of one label.
    """
    labels = [point.label for point in measurement.points]
    if not labels or len(set(labels)) != len(labels):
        raise UsageError(f"rate points {labels} are none or not distinct: name each one once")
    folder = Path(folder)
    pictures, journal = _named(folder), Journal(None, {})
    outcomes = (measurement(path, name) for name, path in pictures.items())
    failures = _collect(outcomes, journal, total=len(pictures), left=len(pictures))
    return _conclude(folder, measurement, list(journal.done.values()), failures, notes=[])


def find_pictures(folder: str | Path) -> list[Path]:
    """Files with the suffix of a picture, hidden ones left out, in the order of their names.

    Raises:
        DataError: the folder does not exist, or has no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        message = f"{folder} is no folder: name one that holds pictures"
        raise DataError(not_found(folder, message))
    found = sorted(find_files(folder, PICTURE_SUFFIXES))
    if not found:
        raise DataError(f"{folder} holds no picture ({', '.join(PICTURE_SUFFIXES)}): name another")
    return found


def check_complete(results: Results) -> None:
    """Refuse averages that lack pictures.

    Raises:
        DataError: pictures are missing; the message names them.
    """
    failures = results.failures
    if failures:
        named = "; ".join(f"{each.picture} ({each.reason})" for each in failures[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise DataError(
            f"{len(failures)} of {len(failures) + len(results.picture_hashes)} pictures could not "
            f"be evaluated, the results are of the others: {named}{more}"
        )


def _named(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by their paths within it."""
    return {path.relative_to(folder).as_posix(): path for path in find_pictures(folder)}


def _identity(
    codec: "Codec", config: MeasurementConfig, codecs: dict[str, BaselineCodec], *, jobs: int
) -> dict[str, Any]:
    """What the parts of one run must share."""
    from promptcodec.coding.adapter_file import adapter_digest
    from promptcodec.io.checkpoints import find_prompts

    folders = find_prompts(config.prompts, base=config.base)
    return {
        "base_hash": codec.base_hash.hex(),
        "adapter_hashes": {folder.name: adapter_digest(folder).hex() for folder in folders},
        "rates": None if config.rates is None else list(config.rates),
        "gains": list(config.gains),
        "precision": config.precision,
        "device": config.device,
        "engine": codec.engine.name,
        "peers": {name: each.options() for name, each in codecs.items()},
        "metrics": sorted(config.metrics),
        "lpips": config.lpips_weights and sha256_of(config.lpips_weights),
        "max_pixels": config.max_pixels,
        "machine": machine(threads=config.threads),
        "alone": jobs == 1,  # times of the two kinds must not be mixed
        "commit": commit(),
        "changes": changes(),
        "versions": versions(),
    }


def _is_done(path: Path, measured: Measured | None) -> bool:
    """Whether a picture is on record with the bytes that it has now."""
    if measured is None:
        return False
    try:
        return sha256_of(path) == measured.sha256
    except OSError:
        return False


def _collect(
    outcomes: Iterable[Measured | Failure],
    journal: Journal,
    *,
    total: int,
    left: int,
    progress: Progress | None = None,
) -> list[Failure]:
    """Record every picture as it is done; returns those that failed, ordered by name."""
    report = progress or (lambda done, total: None)
    failures: list[Failure] = []
    report(total - left, total)
    for done, outcome in enumerate(outcomes, total - left + 1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            journal.done.pop(outcome.picture, None)  # record of an earlier file of that name
        else:
            journal.add(outcome)
        report(done, total)
    return sorted(failures, key=lambda failure: failure.picture)


def _conclude(
    folder: Path,
    measurement: Measurement,
    measured: Sequence[Measured],
    failures: Sequence[Failure],
    notes: list[str],
) -> Results:
    """Averages and comparisons of all pictures that were measured."""
    if not measured:
        raise DataError(
            f"{folder}: none of its {len(failures)} pictures could be evaluated, "
            f"the first for {failures[0].reason}"
        )
    baselines = tuple(
        summarise(name, codec, [point for each in measured for point in each.baselines[name]])
        for name, codec in measurement.codecs.items()
    )
    points = []
    for number, point in enumerate(measurement.points):
        records = [each.points[number] for each in measured]
        above = psnr_above(records, baselines, notes=notes)
        points.append(PointResult.average(point.label, records, psnr_above=above))
    notes += note_lines((each.picture, note) for each in measured for note in each.notes)
    metrics = measurement.metrics.names
    compared = compare_all(points, baselines, metrics=metrics, notes=notes)
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
        metrics=metrics,
        comparisons=compared,
        picture_hashes={each.picture: each.sha256 for each in measured},
        peak_rss_mb=max(each.peak_rss_mb for each in measured),
    )
