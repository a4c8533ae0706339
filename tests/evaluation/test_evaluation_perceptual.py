import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from promptcodec.coding.distortion import MS_SSIM_SIDE
from promptcodec.errors import CheckpointError, UsageError
from promptcodec.evaluation.metrics import MAX_PSNR, psnr, to_db
from promptcodec.evaluation.perceptual import QualityMetrics


def noisy(side: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:side, 0:side]
    plain = np.stack([128 + 60 * np.sin(x / 9) * np.cos(y / (7 + c)) for c in range(3)], axis=2)
    noise = np.random.default_rng(0).normal(0, sigma, plain.shape)
    return plain.astype(np.uint8), np.clip(plain + noise, 0, 255).astype(np.uint8)


def test_ms_ssim_falls_with_noise() -> None:
    judge = QualityMetrics(("psnr", "ms-ssim"))
    found = [judge(*noisy(MS_SSIM_SIDE, sigma)) for sigma in (2.0, 10.0, 40.0)]
    values = [each.ms_ssim for each in found]
    assert all(value is not None and 0 < value < 1 for value in values)
    assert values == sorted(values, reverse=True)
    assert found[0].psnr == psnr(*noisy(MS_SSIM_SIDE, 2.0))
    same = noisy(MS_SSIM_SIDE, 2.0)[0]
    assert judge(same, same).ms_ssim == pytest.approx(1.0)


def test_ssimulacra2_falls_with_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = QualityMetrics(("ssimulacra2",))
    found = [judge(*noisy(96, sigma)) for sigma in (0.0, 2.0, 40.0)]
    scores = [each.ssimulacra2 for each in found]
    assert scores[0] == pytest.approx(100.0, abs=0.01)
    assert None not in scores and scores == sorted(scores, reverse=True) and scores[2] < 50
    assert found[1].psnr == psnr(*noisy(96, 2.0)) and found[1].ms_ssim is None
    assert judge(*noisy(7, 2.0)).ssimulacra2 is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'promptcodec\[eval\]'"):
        QualityMetrics(("ssimulacra2",))


def test_small_pictures_and_other_metrics_are_left_open() -> None:
    assert QualityMetrics(("ms-ssim",))(*noisy(MS_SSIM_SIDE - 1, 2.0)).ms_ssim is None
    assert QualityMetrics()(*noisy(MS_SSIM_SIDE, 2.0)).ms_ssim is None
    with pytest.raises(UsageError, match="'vmaf': choose among psnr, ms-ssim, ssimulacra2, lpips"):
        QualityMetrics(("vmaf",))


def test_decibels_rise_with_quality() -> None:
    assert to_db("psnr", 33.3) == 33.3 and to_db("ssimulacra2", -7.5) == -7.5
    assert to_db("ms-ssim", 0.99) == pytest.approx(20.0)
    assert to_db("lpips", 0.1) == pytest.approx(10.0)
    assert to_db("ms-ssim", 1.0) == to_db("lpips", 0.0) == MAX_PSNR


def test_lpips_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'promptcodec\[lpips\]'"):
        QualityMetrics(("lpips",))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match="--lpips-weights"):
        QualityMetrics(("lpips",))


@pytest.mark.skipif(not importlib.util.find_spec("lpips"), reason="lpips is not installed")
def test_lpips_runs_on_the_weights_it_is_given(tmp_path: Path) -> None:
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path / "alexnet.pth"
    torch.save(alexnet(weights=None).state_dict(), path)
    judge = QualityMetrics(("lpips",), lpips_weights=path)
    little, much = (judge(*noisy(96, sigma)).lpips for sigma in (3.0, 60.0))
    assert little is not None and much is not None and 0 < little < much
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="holds no AlexNet"):
        QualityMetrics(("lpips",), lpips_weights=path)
