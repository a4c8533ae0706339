"""Peers that can run, and what is said of those that cannot."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from places import ASSETS

from promptcodec.errors import CheckpointError, UsageError
from promptcodec.evaluation.codecs import compressai, pillow
from promptcodec.evaluation.codecs.compressai import CompressAiModel, find_weights
from promptcodec.evaluation.codecs.hevc import Hevc
from promptcodec.evaluation.codecs.registry import CLASSIC, find_codecs
from promptcodec.evaluation.metrics import psnr


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    y, x = np.mgrid[0:70, 0:100]
    waves = [128 + 90 * np.sin(x / (5 + c)) * np.cos(y / 9) for c in range(3)]
    return Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))


def test_peers_come_in_the_order_they_are_named() -> None:
    assert list(find_codecs(["webp", "jpeg", "webp"])) == ["webp", "jpeg"]
    with pytest.raises(UsageError, match=r"'av2': choose among jpeg, jpeg-444, jpeg-progressive"):
        find_codecs(["jpeg", "av2"])


def test_a_peer_that_cannot_run_is_skipped_under_all_and_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(pillow.importlib.util, "find_spec", lambda name: None)
    notes: list[str] = []
    found = find_codecs(["all"], weights=tmp_path, notes=notes)
    running = [name for name in CLASSIC if not name.startswith(("jpegli", "jxl", "hevc"))]
    assert list(found) == [name for name in running if not name.endswith("-slow")]
    assert "avif-slow" in find_codecs(["all", "avif-slow"], weights=tmp_path)
    assert any(note.startswith("jxl: skipped") and "promptcodec[jxl]" in note for note in notes)
    assert any(note.startswith("hevc, hevc-psnr: skipped") and "libx265" in note for note in notes)
    assert any("mbt2018-mean, " in note and "promptcodec[peers]" in note for note in notes)
    for name, remedy in (("jxl", "pip install"), ("hevc", "ffmpeg"), ("mbt2018", "pip install")):
        with pytest.raises(UsageError, match=f"peer {name} cannot run.*{remedy}"):
            find_codecs([name], weights=tmp_path)
        with pytest.raises(UsageError, match=f"peer {name} cannot run"):
            find_codecs(["all", name], weights=tmp_path)  # by name as well


@pytest.mark.peers
def test_a_model_without_weights_is_skipped_under_all_and_refused_by_name(tmp_path: Path) -> None:
    notes: list[str] = []
    find_codecs(["all"], weights=tmp_path, notes=notes)
    assert any("mbt2018-mean, " in note and "--weights" in note for note in notes)
    with pytest.raises(UsageError, match=r"peer mbt2018 cannot run.*--weights"):
        find_codecs(["mbt2018"], weights=tmp_path)


def test_on_kodak_published_points_stand_in_for_weights(tmp_path: Path) -> None:
    notes: list[str] = []
    found = find_codecs(["mbt2018-mean-vbr"], weights=tmp_path, kodak=True, notes=notes)
    assert found == {}
    assert "published points" in notes[0]


@pytest.mark.parametrize("name", sorted(CLASSIC))
def test_options_are_complete_and_fit_json(name: str) -> None:
    if CLASSIC[name].missing():
        pytest.skip(f"{name} cannot run here")
    facts = json.loads(json.dumps(CLASSIC[name].options()))
    assert facts["qualities"] == list(CLASSIC[name].qualities)
    assert all(value not in (None, "") for value in facts.values())


def test_rates_rise_with_quality_wherever_a_sweep_looks() -> None:
    path = ASSETS / "coffee.png"
    with Image.open(path) as file:
        photograph = file.convert("RGB").crop((100, 100, 260, 260))
    for name, peer in CLASSIC.items():
        if peer.missing():
            continue
        sizes = [len(peer.compress(photograph, quality)) for quality in peer.qualities]
        assert sizes == sorted(sizes), name


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models under published names."""
    from compressai.models import FactorizedPrior, MeanScaleHyperprior, MeanScaleHyperpriorVbr

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, model in (
        ("mbt2018-mean-3-723404a8.pth.tar", MeanScaleHyperprior(8, 12)),
        ("mbt2018-mean-1-e522738d.pth.tar", MeanScaleHyperprior(8, 12)),
        ("bmshj2018-factorized-prior-2-87279a02.pth.tar", FactorizedPrior(8, 12)),
        (
            "mbt2018-mean-mse-vbr-45d095e9.pth.tar",
            MeanScaleHyperpriorVbr(8, 12, vr_entbttlnck=True),
        ),
    ):
        torch.save(model.state_dict(), folder / name)
    return folder


@pytest.mark.peers
class TestCompressAi:
    def test_weights_are_found_by_their_published_names(self, weights: Path) -> None:
        assert list(find_weights("mbt2018-mean", weights)) == [1, 3]
        assert list(find_weights("mbt2018-mean-vbr", weights)) == [0]
        assert find_weights("mbt2018", weights) == {}
        assert list(find_weights("bmshj2018-factorized", weights)) == [2]

    def test_every_published_name_is_recognised(self, tmp_path: Path) -> None:
        from compressai.zoo import image, image_vbr

        urls = {**image.model_urls, **image_vbr.model_urls}
        for name in compressai.NAMES:
            mse = urls[name]["mse"]
            files = mse if isinstance(mse, dict) else {0: mse}
            for url in files.values():
                (tmp_path / url.rsplit("/", 1)[1]).touch()
            found = find_weights(name, tmp_path)
            assert {q: p.name for q, p in found.items()} == {
                quality: url.rsplit("/", 1)[1] for quality, url in files.items()
            }

    @pytest.mark.parametrize("name", ["mbt2018-mean", "bmshj2018-factorized", "mbt2018-mean-vbr"])
    def test_streams_decode_to_the_size_of_the_picture(
        self, name: str, weights: Path, picture: Image.Image
    ) -> None:
        model = CompressAiModel(name, find_weights(name, weights))
        quality = model.qualities[-1]
        data = model.compress(picture, quality)
        decoded = model.decompress(data)
        assert decoded.size == picture.size and decoded.mode == "RGB"
        # Random weights say little of the picture, but always the same.
        assert np.array_equal(np.asarray(decoded), np.asarray(model.decompress(data)))
        facts = json.loads(json.dumps(model.options()))
        assert all(len(digest) == 64 for digest in facts["weights_sha256"].values())

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "mbt2018-mean-1-e522738d.pth.tar"
        path.write_bytes(b"not weights")
        with pytest.raises(CheckpointError, match="holds no weights of mbt2018-mean"):
            find_codecs(["mbt2018-mean"], weights=tmp_path)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_hevc_comes_back(picture: Image.Image) -> None:
    codec = Hevc()
    data = codec.compress(picture, -20)
    decoded = np.asarray(codec.decompress(data))
    assert psnr(np.asarray(picture), decoded) > 35
    assert len(data) < len(codec.compress(picture, -10))
    units = [(data[found.end()] >> 1) & 63 for found in re.finditer(b"\x00\x00\x01", data)]
    assert units[:3] == [32, 33, 34] and not {39, 40} & set(units)  # no message (SEI)
    tuned = Hevc(tune="psnr")
    better = psnr(np.asarray(picture), np.asarray(tuned.decompress(tuned.compress(picture, -20))))
    assert better > psnr(np.asarray(picture), decoded)
