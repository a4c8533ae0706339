"""A stopped evaluation goes on, over any number of processes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import DataError, UsageError
from promptcodec.evaluation import evaluate
from promptcodec.evaluation.evaluate import check_complete, evaluate_folder
from promptcodec.evaluation.journal import Journal
from promptcodec.evaluation.measure import Measurement, MeasurementConfig
from promptcodec.evaluation.results import Measured, as_json

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for seed, name in enumerate(NAMES):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).resize((192, 176), Image.Resampling.BICUBIC).save(root / name)
    return root


@pytest.fixture
def setup(tiny_checkpoint: Path) -> MeasurementConfig:
    return MeasurementConfig(base=tiny_checkpoint, against=("jpeg",))


def rates_and_qualities(results) -> list:
    """What must not depend on how the work was divided."""
    facts = as_json(results)
    everything = [*facts["points"][0]["pictures"], *facts["baselines"][0]["pictures"]]
    return [(e["picture"], e["bytes"], e["psnr"], e["ms_ssim"]) for e in everything]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are measured, and a stop after the second."""
    names: list[str] = []
    measure = Measurement.__call__

    def spy(self: Measurement, path: Path, name: str):
        if len(names) == 2:
            names.append("stop")
            raise KeyboardInterrupt
        names.append(name)
        return measure(self, path, name)

    monkeypatch.setattr(Measurement, "__call__", spy)
    return names


def test_a_stopped_run_measures_only_the_rest(
    folder: Path, setup: MeasurementConfig, seen: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(folder, setup, out=out)
    partial = tmp_path / "results.json.partial"
    assert not out.exists()
    with partial.open("a") as file:
        file.write('{"picture": "c.png", "sha')  # cut off by a crash
    reports: list[tuple[int, int]] = []
    results = evaluate_folder(folder, setup, out=out, progress=lambda *r: reports.append(r))
    assert seen == ["a.png", "b.png", "stop", "c.png"]
    assert reports == [(2, 3), (3, 3)]
    assert not partial.exists() and json.loads(out.read_text())["picture_hashes"].keys() == {*NAMES}
    whole = evaluate_folder(folder, setup)
    assert rates_and_qualities(results) == rates_and_qualities(whole)


def test_a_changed_picture_is_measured_again(
    folder: Path, setup: MeasurementConfig, seen: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(folder, setup, out=out)
    Image.open(folder / "c.png").save(folder / "a.png")
    evaluate_folder(folder, setup, out=out)
    assert seen[3:] == ["a.png", "c.png"]


def test_other_settings_are_not_mixed_in(
    folder: Path, setup: MeasurementConfig, seen: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(folder, setup, out=out)
    other = replace(setup, gains=(3.0,))
    with pytest.raises(UsageError, match=r"other settings.*finish that run"):
        evaluate_folder(folder, other, out=out)
    evaluate_folder(folder, other, out=out, force=True)
    assert seen[3:] == NAMES


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("commit", "0123456789ab"),
        ("changes", "of a file"),
        ("machine", {"cpu": "another"}),
        ("versions", {"numpy": "another"}),
    ],
)
def test_code_and_machine_are_not_mixed(
    what: str,
    value: object,
    folder: Path,
    setup: MeasurementConfig,
    seen: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(folder, setup, out=out)
    monkeypatch.setattr(evaluate, what, lambda **_: value)
    with pytest.raises(UsageError, match="other settings"):
        evaluate_folder(folder, setup, out=out)


def test_times_of_pictures_alone_and_together_are_not_mixed(
    folder: Path, setup: MeasurementConfig, seen: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(folder, setup, out=out)
    with pytest.raises(UsageError, match="other settings"):
        evaluate_folder(folder, setup, out=out, jobs=2)


def test_processes_change_no_byte(folder: Path, setup: MeasurementConfig, tmp_path: Path) -> None:
    setup = replace(setup, metrics=("psnr", "ms-ssim"))
    (folder / "broken.png").write_bytes(b"no picture")
    alone = evaluate_folder(folder, setup)
    shared = evaluate_folder(folder, setup, jobs=2, out=tmp_path / "results.json")
    assert rates_and_qualities(alone) == rates_and_qualities(shared)
    assert all(ms_ssim is not None for *_, ms_ssim in rates_and_qualities(alone))
    assert alone.failures == shared.failures and len(alone.failures) == 1
    with pytest.raises(DataError, match=r"1 of 4 pictures could not.*the others: broken.png"):
        check_complete(shared)


def test_records_survive_json(folder: Path, setup: MeasurementConfig, tmp_path: Path) -> None:
    codec = setup.load()
    measured = setup.build(codec)(folder / "a.png", "a.png")
    assert isinstance(measured, Measured)
    path = tmp_path / "x.partial"
    Journal(path, {"a": (1,)}).add(measured)
    assert Journal(path, {"a": [1]}).done == {"a.png": measured}
    assert evaluate._is_done(folder / "a.png", measured)
    assert not evaluate._is_done(folder / "missing.png", measured)


@pytest.mark.peers
def test_results_are_of_compressais_layout(
    folder: Path, setup: MeasurementConfig, tmp_path: Path
) -> None:
    from compressai.utils.plot.__main__ import parse_json_file

    out = tmp_path / "results.json"
    setup = replace(setup, gains=(-4.0, 0.0, 4.0))
    results = evaluate_folder(folder, setup, out=out)
    found = parse_json_file(str(out), "psnr")
    assert found["name"] == "promptcodec"
    assert found["xs"] == [point.bpp for point in results.points]
    assert found["ys"] == [point.psnr for point in results.points]
    (jpeg,) = json.loads(out.read_text())["baselines"]
    assert jpeg["name"] == "jpeg" and jpeg["results"]["bpp"] == sorted(jpeg["results"]["bpp"])
    assert set(jpeg["results"]) == {"bpp", "psnr-rgb", "encoding_time", "decoding_time"}
