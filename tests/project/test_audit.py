"""The audit reads what is printed, computes it by code of its own, and fails where it must."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from places import ROOT
from pytorch_msssim import ms_ssim

from benchmarks import audit
from promptcodec.evaluation.bdrate import Curve, bd_rate

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_cell_of_both_tables_is_read() -> None:
    """The README has at least eight rates and a rival, so that an empty reading is seen."""
    printed = audit.read_figures(TEXT)
    assert len(printed) >= audit.LEAST
    part = re.sub(r"\([^)]*\)", "", TEXT[TEXT.index("<!-- results:begin") :])
    part = part[: part.index("<!-- results:end")]
    cells = [c for row in re.findall(r"^\|.*$", part, re.MULTILINE) for c in row.split("|")[2:]]
    numbers = [number for cell in cells for number in re.findall(r"\d\.\d", cell)]
    assert len(printed) == len(numbers)
    assert printed["rate 4: bpp"][1] == 3 and printed["rate 4: PSNR"][1] == 2
    assert any(name.startswith("BD-rate against VTM (published): our bpp") for name in printed)


def figures(count: int) -> tuple[dict[str, tuple[float, int]], dict[str, float]]:
    printed = {f"rate {k}: PSNR": (30.0 + k, 2) for k in range(count)}
    return printed, {name: value for name, (value, _) in printed.items()}


def test_one_wrong_digit_fails() -> None:
    printed, computed = figures(audit.LEAST)
    assert audit.passes(audit.compare(printed, computed))
    computed["rate 7: PSNR"] += 0.0099
    assert audit.passes(audit.compare(printed, computed))
    computed["rate 7: PSNR"] += 0.01
    found = audit.compare(printed, computed)
    assert not audit.passes(found)
    assert audit.verdict(found).splitlines() == [
        f"{audit.LEAST - 1} of {audit.LEAST} figures agree",
        "rate 7: PSNR: printed 37.0, computed 37.0199",
    ]


def test_too_few_figures_fail() -> None:
    found = audit.compare(*figures(audit.LEAST - 1))
    assert all(each["agrees"] for each in found) and not audit.passes(found)
    assert f"fewer than {audit.LEAST}" in audit.verdict(found)


@pytest.mark.parametrize("size", [(176, 192), (181, 203)])
def test_own_ms_ssim_is_that_of_the_tables(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
    before = np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC), np.float64)
    after = np.clip(before + rng.normal(0, 12, before.shape), 0, 255)
    tensors = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (before, after)]
    expected = float(ms_ssim(*tensors, data_range=255.0))
    assert audit.ms_ssim(before, after) == pytest.approx(expected, abs=1e-6)


def test_own_bd_rate_is_that_of_the_tables() -> None:
    ours = np.array([[0.2, 0.4, 0.8, 1.6], [28.0, 31.0, 34.5, 38.0]])
    theirs = np.array([[0.25, 0.5, 0.9, 1.7, 2.5], [29.0, 31.5, 34.0, 37.0, 39.5]])
    curves = [Curve("x", tuple(each[0]), tuple(each[1])) for each in (ours, theirs)]
    found = audit.bd_rate(ours, theirs)
    assert found is not None
    assert found[0] == pytest.approx(bd_rate(*curves), abs=1e-4)
    assert found[1:] == pytest.approx((curves[0].bpp_at(29.0), 1.6))
    assert audit.bd_rate(ours, theirs + np.array([[0.0], [20.0]])) is None


def test_figures_are_computed_from_files() -> None:
    """One small picture, every rate, one classic and one published rival."""
    with Image.open(ROOT / "promptcodec/io/assets/coffee.png") as opened:
        picture = opened.convert("RGB").crop((0, 0, 192, 176))
    audit_rivals = {"JPEG", "VTM (published)", "jpegli"}
    found = audit.compute([picture], audit_rivals)
    assert {name.partition(":")[0] for name in found} >= {
        *(f"rate {k}" for k in range(8)),
        *("BD-rate against JPEG", "BD-rate against VTM (published)"),
    }
    assert not any("jpegli" in name for name in found)
    assert found["rate 0: bpp"] < found["rate 7: bpp"]
    assert found["BD-rate against JPEG: our bpp, lowest"] >= found["rate 0: bpp"] - 1e-9
