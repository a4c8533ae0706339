"""`classify` and `segment` say the same on both engines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from promptcodec.coding.codec import PictureCodec
from promptcodec.config import SEGMENT
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import PromptsSource, bundled, find_prompts
from promptcodec.models.codec import TorchCodec
from promptcodec.runtime.engine import OnnxEngine
from promptcodec.runtime.export import export

Codecs = tuple[TorchCodec, PictureCodec]
ASSETS = ROOT / "promptcodec" / "io" / "assets"


def on_onnx(
    base: Path | None = None, prompts: PromptsSource | None = None, heads: Path | None = None
) -> PictureCodec:
    codec = PictureCodec(OnnxEngine.load(base, heads=heads, threads=1))
    codec.install(prompts, find_prompts(prompts, base=base))
    return codec


@pytest.fixture(scope="module")
def places(
    tiny_checkpoint: Path, tiny_heads: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Folders of the tiny base and its heads, with graphs."""
    base = tmp_path_factory.mktemp("tasks") / "base"
    export(Path(shutil.copytree(tiny_checkpoint, base)))
    return base, tiny_heads


@pytest.fixture(scope="module")
def codecs(places: tuple[Path, Path], tiny_ladder: Path) -> Codecs:
    base, heads = places
    return TorchCodec.load(base, tiny_ladder, heads=heads), on_onnx(base, tiny_ladder, heads)


def assert_same_answers(codecs: Codecs, stream: bytes, *, classes: int) -> None:
    theirs, ours = codecs
    a, b = (codec.classify(stream, top=classes) for codec in codecs)
    assert [each.label for each in a] == [each.label for each in b] and len(b) == classes
    assert [each.probability for each in b] == pytest.approx(
        [each.probability for each in a], abs=1e-4
    )
    a, b = theirs.segment(stream), ours.segment(stream)
    assert b.dtype == np.uint8 and np.array_equal(a, b)


@pytest.mark.parametrize("size", [(1, 1), (17, 80), (65, 63), (100, 150)])
def test_sizes(codecs: Codecs, picture: np.ndarray, size: tuple[int, int]) -> None:
    stream = codecs[0].encode(picture[: size[0], : size[1]], rate_index=5.5)
    assert_same_answers(codecs, stream, classes=3)


def test_tiles_and_batches(codecs: Codecs, picture: np.ndarray) -> None:
    theirs, ours = codecs
    tiled = ours.encode(picture, tile_size=64, gain_steps=3)
    assert_same_answers(codecs, tiled, classes=3)
    streams = [tiled, *(ours.encode(picture[::-1], rate_index=rate) for rate in (2, 4, 6))]
    for a, b in zip(theirs.classify_batch(streams), ours.classify_batch(streams), strict=True):
        assert dict(b) == pytest.approx(dict(a), abs=1e-4)
    assert ours.labels(SEGMENT) == theirs.labels(SEGMENT) == ("road", "sky")
    with pytest.raises(UsageError, match="top is 0"):
        ours.classify(tiled, top=0)


@pytest.fixture(scope="module")
def small() -> Codecs:
    return TorchCodec.load(), on_onnx()


@pytest.mark.parametrize(("name", "rate"), [("chelsea", 1), ("coffee", 6.5)])
def test_bundled_heads(small: Codecs, name: str, rate: float) -> None:
    with Image.open(ASSETS / f"{name}.png") as picture:
        stream = small[1].encode(picture.convert("RGB").resize((211, 150)), rate_index=rate)
    assert len(np.unique(small[1].segment(stream))) > 3
    assert_same_answers(small, stream, classes=10)


def test_bundled_graphs_are_what_export_makes(tmp_path: Path) -> None:
    for place in ("base", "heads/classify", "heads/segment"):
        own, copy = bundled() / place, tmp_path / place
        shutil.copytree(own, copy)
        shutil.rmtree(copy / "graphs")
        (folder,) = export(copy)
        names = {path.name for path in folder.iterdir()}
        assert names == {path.name for path in (own / "graphs").iterdir()}
        for file in names:
            assert (folder / file).read_bytes() == (own / "graphs" / file).read_bytes(), file


def test_no_torch_is_imported(places: tuple[Path, Path], tmp_path: Path) -> None:
    pixels = np.zeros((9, 9, 3), np.uint8)
    (tmp_path / "a.pc").write_bytes(on_onnx(places[0], []).encode(pixels))
    base, heads = map(str, places)
    script = (
        "import sys; from promptcodec.coding.codec import PictureCodec;"
        "from promptcodec.runtime.engine import OnnxEngine;"
        f"codec = PictureCodec(OnnxEngine.load({base!r}, heads={heads!r}));"
        "codec.classify(sys.argv[1]), codec.segment(sys.argv[1]);"
        "sys.exit(bool({'torch', 'onnx', 'timm'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.pc")]
    assert subprocess.run(command).returncode == 0
