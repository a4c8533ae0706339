"""Both engines give the same: equal integers, pixels within one level."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.api import Codec
from promptcodec.errors import UsageError
from promptcodec.models.codec import TorchCodec

Codecs = tuple[TorchCodec, Codec]
RATES = (2, 2.75, 4)


def assert_same_picture(a: object, b: object) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape and a.dtype == b.dtype
    assert int(np.abs(a.astype(int) - b).max()) <= 1


@pytest.mark.parametrize("rate", RATES)
def test_each_reads_what_the_other_writes(codecs: Codecs, picture: np.ndarray, rate: float) -> None:
    theirs, ours = codecs
    assert ours.base_hash == theirs.base_hash and ours.rates == theirs.rates
    written = theirs.encode(picture, rate_index=rate), ours.encode(picture, rate_index=rate)
    for stream in written:
        a, b = (codec.decode_latents(stream) for codec in codecs)
        for name in ("z_hat", "indexes", "symbols"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert np.allclose(a.y_hat, b.y_hat, atol=1e-3)
        assert int(np.abs(a.symbols).max()) > 1
        assert_same_picture(theirs.decode(stream), ours.decode(stream))
    a, b = (theirs.decode_latents(stream).symbols for stream in written)
    assert (a != b).mean() < 1e-3  # a mean near the middle of an interval may fall either way


@pytest.mark.parametrize("size", [(1, 1), (17, 80), (65, 63), (64, 200)])
def test_sizes(codecs: Codecs, picture: np.ndarray, size: tuple[int, int]) -> None:
    theirs, ours = codecs
    part = np.tile(picture, (2, 2, 1))[: size[0], : size[1]]
    stream = ours.encode(part)
    assert_same_picture(theirs.decode(stream), ours.decode(stream))


def test_the_base_alone(base: Path, picture: np.ndarray) -> None:
    both = [kind.load(base / "base", []) for kind in (TorchCodec, Codec)]
    streams = [codec.encode(picture) for codec in both]
    for stream in streams:
        assert_same_picture(*(codec.decode(stream) for codec in both))


def test_tiles_alpha_and_regions(codecs: Codecs, picture: np.ndarray) -> None:
    theirs, ours = codecs
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    alpha[:20] = 0
    image = Image.fromarray(np.concatenate([picture, alpha], axis=2))
    stream = ours.encode(image, tile_size=64, rate_index=4)
    assert_same_picture(theirs.decode(stream), ours.decode(stream))
    region = (30, 20, 70, 60)
    assert_same_picture(theirs.decode(stream, region=region), ours.decode(stream, region=region))
    grey = ours.encode(picture[..., 0], rate_index=2)
    assert_same_picture(theirs.decode(grey), ours.decode(grey))


def test_batches(codecs: Codecs, picture: np.ndarray) -> None:
    theirs, ours = codecs
    pictures = [picture, picture[::-1], picture[:, ::-1]]
    streams = ours.encode_batch(pictures, rate_index=[2, 4, 4])
    for a, b in zip(theirs.decode_batch(streams), ours.decode_batch(streams), strict=True):
        assert_same_picture(a, b)


def test_what_needs_torch(codecs: Codecs, picture: np.ndarray) -> None:
    _, ours = codecs
    with pytest.raises(UsageError, match="effort above 0 needs torch"):
        ours.encode(picture, effort=3)
    with pytest.raises(UsageError, match="task 'classify' needs torch"):
        ours.encode(picture, task="classify")


def test_no_torch_is_imported(base: Path) -> None:
    script = (
        "import sys; from promptcodec.api import Codec;"
        f"codec = Codec.load({str(base / 'base')!r}, {str(base / 'prompts')!r});"
        "import numpy as np; codec.decode(codec.encode(np.zeros((9, 9, 3), np.uint8)));"
        "sys.exit(bool({'torch', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("base", ["blocks"], indirect=True)
def test_rates_share_the_memory_of_a_picture(base: Path) -> None:
    """What a picture takes while it is coded is kept once, not for each rate that was used."""
    script = (
        "import sys, numpy as np; from promptcodec.api import Codec;"
        f"codec = Codec.load({str(base / 'base')!r}, {str(base / 'prompts')!r}, threads=1);"
        "picture = np.zeros((1024, 1024, 3), np.uint8);"
        "pages = lambda: int(open('/proc/self/statm').read().split()[1]);"
        "found = [pages()];"
        "[found.append(pages()) for rate in (2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 4)"
        " if codec.decode(codec.encode(picture, rate_index=rate))];"
        "print(*found)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    before, first, *_, last = map(int, done.stdout.split())
    assert first - before > 2000 and last - first < 0.5 * (first - before)
