"""Domain packs: a few pictures in, adapters with figures out; the best validation wins."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.api import Codec
from promptcodec.config import LAMBDAS
from promptcodec.errors import CheckpointError, DataError, ModelMismatchError, UsageError
from promptcodec.packs import savings as figures
from promptcodec.packs.adapt import adapt, default_recipe
from promptcodec.packs.savings import Point, savings
from promptcodec.training.best import BEST_FILE, Best


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of rectangles in few colours, one of them too small for a large crop."""
    folder = tmp_path_factory.mktemp("screens")
    rng = np.random.default_rng(0)
    for number in range(10):
        cells = rng.integers(0, 3, (6, 8)) * 100
        rgb = np.repeat(np.repeat(cells, 24, 0), 20, 1)[..., None] + np.arange(3) * 20
        Image.fromarray(rgb.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def make(screens: Path, tiny_checkpoint: Path, tiny_ladder: Path, tmp_path: Path):
    """Make a pack of the tiny ladder in few steps."""
    recipe = replace(
        default_recipe(), steps=4, batch=1, validate_every=2, save_every=1, precision="no"
    )

    def make(data: Path = screens, name: str = "screens", **options):
        options = {"rates": [2, 6], "recipe": recipe} | options
        return adapt(
            data,
            name=name,
            out=tmp_path / "packs" / name,
            work=tmp_path / "runs",
            base=str(tiny_checkpoint),
            prompts=str(tiny_ladder),
            **options,
        )

    return make


def test_a_pack_has_adapters_figures_and_a_card(make, tiny_checkpoint, tiny_ladder) -> None:
    pack = make()
    names = sorted(path.name for path in pack.folder.iterdir())
    assert names == ["README.md", "pack.json", "rate-2", "rate-6"]
    results = json.loads((pack.folder / "pack.json").read_text())
    assert [row["rate_index"] for row in results["held_out"]] == [2, 6]
    assert results["held_out"][0]["pictures"] == 1 and results["pictures"] == 9
    card = (pack.folder / "README.md").read_text()
    assert f"| 6 | {results['held_out'][1]['percent']['value']:+.1f} % |" in card
    codec = Codec.load(tiny_checkpoint, pack.folder)
    assert [rate.index for rate in codec.rates] == [2, 6]
    with pytest.raises(ModelMismatchError, match="not installed"):
        Codec.load(tiny_checkpoint, tiny_ladder).decode(
            codec.encode(np.zeros((64, 64, 3), np.uint8), rate_index=2)
        )
    config = json.loads((pack.folder / "rate-2" / "adapter_config.json").read_text())
    assert config["init_from"] is not None and config["block_rank"] == 8


def test_a_pack_for_another_metric(make, screens: Path, tmp_path: Path) -> None:
    """Trained, stopped early and judged by MS-SSIM; its loss weighs 1280 lambda (1 - MS-SSIM)."""
    with pytest.raises(DataError, match="has 0 usable pictures of at least 256 px"):
        make(metric="ms-ssim")
    large = tmp_path / "large"
    large.mkdir()
    for path in sorted(screens.iterdir())[:6]:
        Image.open(path).resize((270, 260)).save(large / path.name)
    pack = make(large, metric="ms-ssim", rates=[2])
    results = json.loads((pack.folder / "pack.json").read_text())
    (row,) = results["held_out"]
    assert results["metric"] == "ms-ssim" and 0.0 < row["ms_ssim"] < 1.0
    assert row["at_equal_psnr"]["value"] != row["percent"]["value"]
    card = (pack.folder / "README.md").read_text()
    assert "## Rate saved at equal MS-SSIM" in card and f"| {row['ms_ssim']:.4f} | " in card
    config = json.loads((pack.folder / "rate-2" / "adapter_config.json").read_text())
    assert config["metric"] == "ms-ssim"
    record = json.loads((pack.folder / "rate-2" / "training.json").read_text())
    assert record["recipe"]["metric"] == "ms-ssim"
    (log,) = (tmp_path / "runs").rglob("log.jsonl")
    found = [row for row in map(json.loads, log.open()) if "validation" in row][-1]["validation"]
    weight = 1280.0 * LAMBDAS[2] * (1.0 - found["ms_ssim"])
    assert found["loss"] == pytest.approx(found["bpp_estimate"] + weight, rel=1e-4)


def test_a_stopped_pack_continues(make, monkeypatch) -> None:
    from promptcodec.packs import adapt as module

    with monkeypatch.context() as patched:
        patched.setattr(module, "savings", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make()
    with pytest.raises(UsageError, match="--resume"):
        make()
    assert make(resume=True).folder.is_dir()
    with pytest.raises(UsageError, match="exists"):
        make()


def test_a_pack_has_its_own_rates_alone(make) -> None:
    """The folder of the runs keeps those of an earlier pack."""
    make(rates=[2, 6])
    pack = make(name="fewer", rates=[2], resume=True)
    assert sorted(path.name for path in pack.folder.glob("rate-*")) == ["rate-2"]


def test_what_cannot_become_a_pack(make, screens, tmp_path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    with pytest.raises(DataError):
        make(few)
    for number in range(2):
        (few / f"{number}.png").write_bytes((screens / f"{number}.png").read_bytes())
    with pytest.raises(DataError, match=r"has 2 usable pictures .* needs 5"):
        make(few)
    small = tmp_path / "small"
    small.mkdir()
    for number in range(6):
        Image.new("RGB", (40, 50)).save(small / f"{number}.png")
    with pytest.raises(DataError):
        make(small)
    for name in ("auto", "Screens", "../up", ""):
        with pytest.raises(UsageError, match="cannot be called"):
            make(name=name)
    with pytest.raises(UsageError, match=r"took 0\.\d\d of 1e-06 minutes, .* give more"):
        make(minutes=1e-6)
    with pytest.raises(UsageError, match="no rate 3: choose among 2, 4, 6"):
        make(rates=[3])


def test_savings_are_at_equal_psnr(monkeypatch) -> None:
    """A ladder of 6 dB a doubling, and adapters with a quarter less rate at each of its points."""

    def measure(codec, part, *, rate_index, gain_steps=0.0, metric="psnr"):
        at = rate_index + gain_steps / 6
        own = 30 + 6 * at + float(part.mean())
        if metric == "psnr":
            return Point(codec * 0.1 * 2**at, own)
        return Point(codec * 0.1 * 2**at, own + 2, 1 - 10 ** (-own / 10))  # 2 dB above in PSNR

    monkeypatch.setattr(figures, "measure", measure)

    class Plain(float):
        rates = tuple(SimpleNamespace(index=index) for index in range(8))

    parts = [np.full((64, 64, 3), value, np.uint8) for value in range(6)]
    for rate in (0, 3, 7):
        (found,) = savings(Plain(1.0), 0.75, parts, rates=[rate])  # type: ignore[arg-type]
        assert found.percent.value == pytest.approx(25.0)
        assert found.percent.low == pytest.approx(25.0) and found.pictures == 6
        assert found.bpp == pytest.approx(0.075 * 2**rate)
    with pytest.raises(DataError, match="no held-out picture has 161 px"):
        savings(Plain(1.0), 1.5, parts, rates=[7], metric="ms-ssim")  # type: ignore[arg-type]
    large = [np.full((200, 170, 3), value, np.uint8) for value in range(6)]
    (found,) = savings(Plain(1.0), 0.75, large, rates=[3], metric="ms-ssim")  # type: ignore[arg-type]
    assert found.percent.value == pytest.approx(25.0)
    assert found.at_equal_psnr is not None
    assert found.at_equal_psnr.value == pytest.approx(25.0)  # the ladder is 2 dB above as well
    (few,) = savings(Plain(1.0), 1.5, parts[:2], rates=[7])  # type: ignore[arg-type]
    assert few.percent.value == pytest.approx(-50.0) and few.percent.low is None


def test_the_best_validation_is_kept_across_a_stop(tmp_path: Path) -> None:
    values = [{"w": torch.tensor([float(n)])} for n in range(5)]
    best = Best(tmp_path, patience=2, resumed=False)
    for loss, value in zip((3.0, 1.0, 2.0), values, strict=False):
        best.add(loss, value)
    assert not best.is_over
    again = Best(tmp_path, patience=2, resumed=True)
    again.add(1.0, values[3])  # no lower
    assert again.is_over and again.values["w"] == 1.0
    (tmp_path / BEST_FILE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="start again"):
        Best(tmp_path, patience=2, resumed=True)
    none = Best(tmp_path / "none", patience=None, resumed=False)
    none.add(1.0, values[0])
    assert not none.is_over and not none.values and not (tmp_path / "none").exists()


def test_savings_are_those_of_adapters_alone(tiny_checkpoint: Path, tiny_ladder: Path) -> None:
    codec = Codec.load(tiny_checkpoint, tiny_ladder, engine="torch")
    flat = np.full((96, 128, 3), 200, np.uint8)
    assert figures.measure(codec, flat, rate_index=4).psnr < 100
