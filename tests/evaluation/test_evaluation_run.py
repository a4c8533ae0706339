import io
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import DataError, OutputError, PictureError, UsageError
from promptcodec.evaluation import evaluate as evaluating
from promptcodec.evaluation.codecs.registry import find_codecs
from promptcodec.evaluation.evaluate import evaluate_folder, find_pictures
from promptcodec.evaluation.measure import CurvePoint, Measurement, MeasurementConfig
from promptcodec.evaluation.perceptual import QualityMetrics
from promptcodec.evaluation.results import Results, read_results, write_results

HEADER = 20


@dataclass(frozen=True)
class FakeEncoded:
    data: bytes
    bpp_estimate: float
    header_bytes: int = HEADER
    seconds: dict[str, float] = field(default_factory=lambda: {"coding": 0.001})


def webp_point(label: str, quality: int, *, fails_on: Callable[[np.ndarray], bool] | None = None):
    """A codec whose rate and quality are known: WebP behind a header."""

    def encode(source: np.ndarray) -> FakeEncoded:
        if fails_on is not None and fails_on(source):
            raise PictureError("too odd for this codec: leave it out")
        buffer = io.BytesIO()
        Image.fromarray(source).save(buffer, "WEBP", quality=quality, method=6)
        estimate = 8 * len(buffer.getvalue()) / (source.shape[0] * source.shape[1])
        return FakeEncoded(bytes(HEADER) + buffer.getvalue(), estimate)

    return CurvePoint(label, encode, lambda data: Image.open(io.BytesIO(data[HEADER:])))


def evaluate(folder: Path, points: list[CurvePoint], *, against=("jpeg", "webp")) -> Results:
    measurement = Measurement(tuple(points), find_codecs(against), QualityMetrics())
    return evaluating.evaluate(folder, measurement)


def photo(height: int, width: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    waves = np.stack([np.sin(x / (7 + c + seed)) * np.cos(y / 9) for c in range(3)], axis=-1)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "nested").mkdir(parents=True)
    Image.fromarray(photo(96, 128, 0)).save(root / "a.png")
    Image.fromarray(photo(64, 64, 1)).save(root / "nested" / "b.png")
    Image.fromarray(photo(80, 64, 2)[..., 0]).save(root / "grey.png")
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(b"no picture")
    return root


def test_records_count_whole_files(folder: Path) -> None:
    results = evaluate(folder, [webp_point("webp 60", 60)], against=("webp",))
    (point,) = results.points
    assert [record.picture for record in point.pictures] == ["a.png", "grey.png", "nested/b.png"]
    for record in point.pictures:
        assert record.bpp == 8 * record.bytes / (record.width * record.height)
        assert record.excess_over_estimate == pytest.approx(0, abs=1e-12)
        assert record.encode_seconds > 0 < record.decode_seconds
    assert point.bpp == pytest.approx(np.mean([r.bpp for r in point.pictures]))
    assert point.max_header_bytes == HEADER
    # The fake is that baseline and a header dearer, so it lies below it by what 20 bytes buy.
    assert -2.0 < point.psnr_above["webp"] < 0.0
    assert results.folder == "photos"
    assert results.failures == ()


def test_grey_pictures_reach_the_codec_with_one_channel(folder: Path) -> None:
    seen = []
    point = webp_point("x", 50)
    spy = CurvePoint("x", lambda a: (seen.append(a.shape), point.encode(a))[1], point.decode)
    evaluate(folder, [spy], against=())
    assert seen == [(96, 128, 3), (80, 64), (64, 64, 3)]


def test_a_broken_picture_is_named_and_the_rest_done(folder: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    refuse = webp_point("second", 70, fails_on=lambda source: source.shape == (64, 64, 3))
    results = evaluate(folder, [webp_point("first", 50), refuse], against=("jpeg",))
    assert [failure.picture for failure in results.failures] == ["broken.png", "nested/b.png"]
    assert results.failures[1].reason == "PictureError: too odd for this codec: leave it out"
    assert str(folder) not in results.failures[0].reason
    # One set of pictures for every average.
    for point in results.points:
        assert [record.picture for record in point.pictures] == ["a.png", "grey.png"]
    assert {p.picture for p in results.baselines[0].pictures} == {"a.png", "grey.png"}


def test_only_broken_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of its 1 pictures"):
        evaluate(tmp_path, [webp_point("x", 50)])


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        find_pictures(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        find_pictures(tmp_path / "missing")


def test_points_need_distinct_labels(folder: Path) -> None:
    for points in ([], [webp_point("same", 50), webp_point("same", 60)]):
        with pytest.raises(UsageError, match="not distinct"):
            evaluate(folder, points)


def test_a_curve_of_points_gets_a_bd_rate(folder: Path) -> None:
    points = [webp_point(f"q{quality}", quality) for quality in (10, 40, 60, 80)]
    results = evaluate(folder, points, against=("jpeg", "webp"))
    assert results.bd_rate["webp"] is not None
    assert results.bd_rate["webp"] > 0  # the header costs
    assert "VTM" not in results.bd_rate  # these are not the Kodak pictures
    assert evaluate(folder, points[:3], against=("webp",)).bd_rate == {}


def test_a_rate_that_no_baseline_reaches_is_explained(folder: Path) -> None:
    def wasteful(source: np.ndarray) -> FakeEncoded:
        encoded = webp_point("x", 90).encode(source)
        return FakeEncoded(encoded.data + bytes(10**6), encoded.bpp_estimate)

    point = CurvePoint("wasteful", wasteful, webp_point("x", 90).decode)
    results = evaluate(folder, [point], against=("webp",))
    assert results.points[0].psnr_above == {"webp": None}
    assert "outside curve webp" in results.notes[0]
    assert results.points[0].excess_over_estimate > 1


def test_results_file_round_trip(folder: Path, tmp_path: Path) -> None:
    results = evaluate(folder, [webp_point("only", 60)], against=("jpeg",))
    path = tmp_path / "results.json"
    path.write_text("old")
    write_results(results, path)
    found = read_results(path)
    assert found["points"][0]["psnr"] == results.points[0].psnr
    assert {"date", "commit", "command", "versions", "machine"} == set(found["provenance"])
    assert found["provenance"]["versions"]["torch"]
    assert str(tmp_path) not in path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "results.json"]
    with pytest.raises(OutputError):
        write_results(results, tmp_path / "missing" / "results.json")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 99}'])
def test_other_files_are_no_results(content: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match="promptcodec eval"):
        read_results(path)


def test_the_real_codec_makes_a_curve_by_gains(
    folder: Path, tmp_path: Path, tiny_checkpoint: Path, tiny_codec
) -> None:
    out = tmp_path / "results.json"
    results = evaluate_folder(
        folder,
        MeasurementConfig(base=tiny_checkpoint, gains=(-6, 0, 6, 12), against=("jpeg",)),
        out=out,
    )
    labels = [point.label for point in results.points]
    assert labels == ["rate 4, gain -6", "rate 4", "rate 4, gain +6", "rate 4, gain +12"]
    assert all(low.bpp < high.bpp for low, high in pairwise(results.points))
    for point, steps in zip(results.points, (-6, 0, 6, 12), strict=True):
        # Each point took its own gain: the same bytes as a plain call of the codec.
        plain = tiny_codec.encode(photo(96, 128, 0), gain_steps=steps)
        assert point.pictures[0].bytes == len(plain)
        for record in point.pictures:
            # Each of two payloads is whole 32-bit words: it may end a word early, as its length
            # tells something too, or some words late for the state of the coder.
            ideal = record.bpp_estimate * record.width * record.height / 8 + record.header_bytes
            assert -8 <= record.bytes - ideal <= 24
    found = read_results(out)
    assert len(bytes.fromhex(found["base_hash"])) == 32
    assert [point["label"] for point in found["points"]] == labels


def test_pictures_beyond_the_limit_are_named(folder: Path, tiny_checkpoint: Path) -> None:
    setup = MeasurementConfig(base=tiny_checkpoint, against=(), max_pixels=64 * 64)
    results = evaluate_folder(folder, setup)
    assert [failure.picture for failure in results.failures] == ["a.png", "grey.png"]
    assert "96" in results.failures[0].reason and "limit" in results.failures[0].reason


def test_baselines_are_checked_before_anything_is_loaded(folder: Path) -> None:
    with pytest.raises(UsageError, match="'av2'"):
        evaluate_folder(folder, MeasurementConfig(base=folder / "missing", against=("av2",)))
