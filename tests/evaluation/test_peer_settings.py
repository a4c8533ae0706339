"""Settings of the peers as documents name them; a weaker setting would flatter our codec."""

import io
import itertools
import subprocess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import AvifImagePlugin, Image

from promptcodec.config import LAMBDAS
from promptcodec.errors import PictureError
from promptcodec.evaluation.classification import ReaderConfig, SourceConfig, write_files
from promptcodec.evaluation.codecs import hevc
from promptcodec.evaluation.codecs.registry import CLASSIC, SLOW, TITLES
from promptcodec.evaluation.metrics import psnr
from promptcodec.io import save
from promptcodec.io.samples import bundled, photograph
from promptcodec.models.codec import TorchCodec

SETTINGS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "subsampling": "4:2:0"},
    "jpeg-444": {"optimize": True, "subsampling": "4:4:4"},
    "jpeg-progressive": {"optimize": True, "subsampling": "4:2:0", "progressive": True},
    "webp": {"method": 6},
    "avif": {"speed": 6, "subsampling": "4:2:0", "max_threads": 1},
    "avif-444": {"speed": 6, "subsampling": "4:4:4", "max_threads": 1},
    "jxl": {"effort": 7, "num_threads": 1},
    "jxl-slow": {"effort": 9, "num_threads": 1},
}
FOR_PSNR = {"advanced": {"tune": "psnr"}}
for chroma in ("avif", "avif-444"):
    SETTINGS[f"{chroma}-psnr"] = SETTINGS[chroma] | FOR_PSNR
    SETTINGS[f"{chroma}-slow"] = SETTINGS[chroma] | {"speed": 2}
    SETTINGS[f"{chroma}-psnr-slow"] = SETTINGS[chroma] | {"speed": 2} | FOR_PSNR


class Saved:
    """A picture that keeps what it was saved with."""

    def save(self, file: io.BytesIO, kind: str, **options: Any) -> None:
        self.kind, self.options = kind, options


@pytest.mark.parametrize("name", SETTINGS)
def test_files_are_written_with_these_settings(name: str) -> None:
    peer: Any = CLASSIC[name]
    if peer.missing():
        pytest.skip(f"{name} cannot run here")
    picture: Any = Saved()
    peer.compress(picture, 42)
    assert picture.kind == name.partition("-")[0].upper()
    assert picture.options == {"quality": 42, **SETTINGS[name]}


def test_every_codec_of_pillow_has_its_settings_here() -> None:
    assert set(CLASSIC) == {*SETTINGS, "jpegli", "hevc", "hevc-psnr"} == set(TITLES)
    assert {name for name in CLASSIC if "slow" in name} == SLOW


def test_avif_for_psnr_takes_fewer_bytes_at_equal_psnr() -> None:
    rgb = np.asarray(photograph(bundled(), width=192, height=128))

    def measure(name: str, quality: int) -> tuple[int, float]:
        data = CLASSIC[name].compress(Image.fromarray(rgb), quality)
        return len(data), psnr(rgb, np.asarray(CLASSIC[name].decompress(data)))

    (eyes, lower), (numbers, higher) = measure("avif-444", 50), measure("avif-444-psnr", 40)
    assert numbers < 0.93 * eyes and higher > lower - 0.1


def test_jpegli_has_the_quality_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyjpegli

    asked: list[Any] = []
    monkeypatch.setattr(pyjpegli, "encode", lambda *args, **kw: asked.append((args[1:], kw)) or b"")
    CLASSIC["jpegli"].compress(Image.new("L", (9, 8)), 42)
    assert asked == [((9, 8), {"quality": 42})]


@pytest.mark.parametrize(("name", "tune"), [("hevc", None), ("hevc-psnr", "psnr")])
def test_hevc_is_asked_for_a_slow_intra_frame(
    name: str, tune: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hevc, "_ffmpeg", lambda words, data: asked.extend(words) or b"")
    CLASSIC[name].compress(Image.new("RGB", (8, 8)), -30)
    pairs = dict(itertools.pairwise(asked))
    assert pairs["-preset"] == "slow" and pairs["-c:v"] == "libx265" and pairs.get("-tune") == tune
    parameters = pairs["-x265-params"].split(":")
    # x265's message about itself would be 2 kB of every file; one thread.
    assert {"qp=30", "keyint=1", "info=0", "pools=none", "frame-threads=1"} <= set(parameters)
    # The input is converted already: what ffmpeg reads is what x265 codes.
    assert [after for word, after in itertools.pairwise(asked) if word == "-pix_fmt"] == [
        "yuv444p",
        "yuv444p",
    ]


def test_hevc_gets_colours_to_the_nearest_level() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    rgb[0, 0], rgb[0, 1], rgb[0, 2] = (0, 0, 0), (255, 255, 255), (255, 0, 0)
    planes = hevc.to_planes(rgb)
    assert planes[:, 0, :3].T.tolist() == [[0, 128, 128], [255, 128, 128], [54, 99, 255]]
    assert psnr(rgb, hevc.from_planes(planes)) > 51.5


def test_hevc_has_one_thread_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0, b"", b"")
    monkeypatch.setattr(hevc.subprocess, "run", lambda words, **_: asked.append(words) or done)
    CLASSIC["hevc"].compress(Image.new("RGB", (8, 8)), -30)
    with pytest.raises(PictureError, match="returned no picture"):
        CLASSIC["hevc"].decompress(b"")
    for words in asked:
        assert dict(itertools.pairwise(words))["-threads"] == "1"
        assert words.index("-threads") < words.index("-i")  # of the decoder, not of the output


@pytest.mark.parametrize("name", ["avif", "jxl"])
def test_files_are_read_by_one_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that say one thread mean both directions; the plugins read on every core."""
    if CLASSIC[name].missing():
        pytest.skip(f"{name} cannot run here")
    data = CLASSIC[name].compress(Image.new("RGB", (64, 48)), 50)
    asked: list[int] = []
    if name == "avif":
        decoder, module = AvifImagePlugin._avif.AvifDecoder, AvifImagePlugin

        def spy(*words):
            return asked.append(words[2]) or decoder(*words)

        monkeypatch.setattr(AvifImagePlugin, "_avif", SimpleNamespace(AvifDecoder=spy))
        option = "DEFAULT_MAX_THREADS"
    else:
        from pillow_jxl import JpegXLImagePlugin as module

        reader, option = module.Decoder, "DECODE_THREADS"

        def spy(num_threads):
            return asked.append(num_threads) or reader(num_threads=num_threads)

        monkeypatch.setattr(module, "Decoder", spy)
    earlier = getattr(module, option)
    assert CLASSIC[name].decompress(data).size == (64, 48)
    assert asked == [1]
    assert getattr(module, option) == earlier != 1  # others in this process are left alone


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"optimize": True}),
        ("WEBP", {"method": 6}),
        ("AVIF", {"speed": 6, "max_threads": 1}),
    ],
)
def test_lossy_files_of_inputs_and_tasks(kind: str, options: dict[str, Any]) -> None:
    picture: Any = Saved()
    save.encode_lossy(picture, kind, 30)
    assert (picture.kind, picture.options) == (kind, {"quality": 30, **options})


def test_qualities_of_the_sweeps_go_from_small_to_nearly_lossless() -> None:
    ends = {name: (peer.qualities[0], peer.qualities[-1]) for name, peer in CLASSIC.items()}
    assert ends == {
        "jpeg": (5, 95),
        "jpeg-444": (5, 95),
        "jpeg-progressive": (5, 95),
        "jpegli": (5, 95),
        "webp": (1, 95),
        **{name: (5, 95) for name in CLASSIC if name.startswith("avif")},
        "jxl": (20, 97),
        "jxl-slow": (20, 97),
        "hevc": (-46, -18),
        "hevc-psnr": (-46, -18),
    }


def test_a_head_is_told_the_lambda_of_the_files(tiny_ladder, tiny_checkpoint) -> None:
    """At a rate of the ladder, at the base's own, and between two."""
    codec = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8)
    reader = ReaderConfig(name="x", heads=("x",))
    source = SourceConfig(name="ours", settings=(2.0,), readers=(reader,))
    for setting, lmbda in ((2.0, LAMBDAS[2]), (4.0, LAMBDAS[4]), (6.0, LAMBDAS[6])):
        files = write_files(source, codec, torch.from_numpy(pictures), setting)
        assert files.lmbda == pytest.approx(lmbda) and files.y_hat is not None
    between = write_files(source, codec, torch.from_numpy(pictures), 5.0).lmbda
    assert LAMBDAS[4] < between < LAMBDAS[6]
    classic = SourceConfig(name="jpeg", format="jpeg", settings=(50.0,), readers=(reader,))
    assert write_files(classic, None, torch.from_numpy(pictures), 50.0).lmbda == 1.0
