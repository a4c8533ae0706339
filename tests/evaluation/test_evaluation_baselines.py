import io

import numpy as np
import pytest
from PIL import Image

from promptcodec.evaluation.codecs.pillow import Jpeg, WebP
from promptcodec.evaluation.codecs.registry import CLASSIC
from promptcodec.evaluation.codecs.sweep import summarise, sweep


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:48, 0:64]
    waves = np.stack([np.sin(x / (3 + c)) * np.cos(y / (5 - c)) for c in range(3)], axis=-1)
    return np.clip(128 + 90 * waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", [n for n, peer in CLASSIC.items() if not peer.missing()])
def test_sweep_measures_real_files(name: str, rgb: np.ndarray) -> None:
    codec = CLASSIC[name]
    points = sweep(codec, rgb, picture="waves.png", grey=False)
    assert [point.quality for point in points] == list(codec.qualities)
    first = points[0]
    data = codec.compress(Image.fromarray(rgb), codec.qualities[0])
    assert (first.bytes, first.bpp) == (len(data), 8 * len(data) / (48 * 64))
    decoded = np.asarray(codec.decompress(data)).astype(float)
    expected = 10 * np.log10(255**2 / np.mean((decoded - rgb) ** 2))
    assert first.psnr == pytest.approx(expected, abs=1e-9)
    assert points[-1].psnr > first.psnr + 5
    assert points[-1].bytes > first.bytes


def test_formats_and_options_are_what_they_say(rgb: np.ndarray) -> None:
    picture = Image.fromarray(rgb)
    subsampled = Image.open(io.BytesIO(Jpeg().compress(picture, 50)))
    full = Image.open(io.BytesIO(Jpeg(full_chroma=True).compress(picture, 50)))
    assert subsampled.format == full.format == "JPEG"
    # Pillow's plugin exposes each component as (id, horizontal, vertical, table).
    assert [layer[1:3] for layer in subsampled.layer] == [(2, 2), (1, 1), (1, 1)]
    assert [layer[1:3] for layer in full.layer] == [(1, 1)] * 3
    plain = Jpeg(optimize=False).compress(picture, 50)
    assert len(Jpeg().compress(picture, 50)) < len(plain)
    assert WebP().compress(picture, 50)[8:12] == b"WEBP"


def test_grey_pictures_are_given_as_grey(rgb: np.ndarray) -> None:
    grey = np.repeat(rgb[..., :1], 3, axis=-1)
    codec = Jpeg(qualities=(50,))
    (as_grey,) = sweep(codec, grey, picture="g", grey=True)
    (as_rgb,) = sweep(codec, grey, picture="g", grey=False)
    assert as_grey.bytes < as_rgb.bytes


def test_summary_averages_each_picture_not_the_pixels(rgb: np.ndarray) -> None:
    codec = WebP(qualities=(20, 80))
    large = sweep(codec, rgb, picture="large", grey=False)
    small = sweep(codec, rgb[:16, :16], picture="small", grey=False)
    result = summarise("webp", codec, [*large, *small])
    assert result.averages[1].bpp == pytest.approx((large[1].bpp + small[1].bpp) / 2)
    assert result.averages[1].psnr == pytest.approx((large[1].psnr + small[1].psnr) / 2)
    assert result.options["method"] == 6
    assert "pillow" in result.options
    middle = (result.averages[0].bpp + result.averages[1].bpp) / 2
    between = result.curve().psnr_at(middle)
    assert result.averages[0].psnr < between < result.averages[1].psnr
