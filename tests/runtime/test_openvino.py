"""OpenVINO runs g_a and g_s, and nothing that decides about symbols."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from promptcodec.api import Codec
from promptcodec.errors import UsageError
from promptcodec.models.codec import TorchCodec
from promptcodec.runtime import openvino
from promptcodec.runtime.openvino import OpenVinoModel, OpenVinoModels
from promptcodec.runtime.ort import OnnxModel

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def served(base: Path) -> Codec:
    return Codec.load(base / "base", base / "prompts", engine="openvino", threads=1)


@pytest.mark.parametrize("rate", [2, 3.25])
def test_it_reads_and_writes_what_onnx_runtime_does(
    served: Codec, codecs: tuple[TorchCodec, Codec], picture: np.ndarray, rate: float
) -> None:
    _, other = codecs
    found = served.encode_detailed(picture, rate_index=rate)
    assert found.engine == "openvino"
    for stream in (found.data, other.encode(picture, rate_index=rate)):
        a, b = (codec.decode_latents(stream) for codec in (served, other))
        for name in ("z_hat", "indexes", "symbols", "y_hat"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        levels = [np.asarray(codec.decode(stream)).astype(int) for codec in (served, other)]
        assert np.abs(levels[0] - levels[1]).max() <= 1


def test_threads_and_pickles(served: Codec, picture: np.ndarray) -> None:
    stream = served.encode(picture)
    wanted = np.asarray(served.decode(stream))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: np.asarray(served.decode(stream)), range(8)))
    assert all(np.array_equal(each, wanted) for each in found)
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(served)).decode(stream)), wanted)


def test_only_the_transforms_are_its_work(served: Codec, picture: np.ndarray) -> None:
    served.decode(served.encode(picture))
    sessions = served.engine._sessions._kept  # type: ignore[attr-defined]
    kinds = {graph: type(session._model) for (graph, _), session in sessions.items()}
    assert {graph for graph, kind in kinds.items() if kind is OpenVinoModel} == {
        "analyse",
        "synthesise",
    }
    assert set(kinds.values()) == {OpenVinoModel, OnnxModel}


def test_bfloat16_is_asked_of_processors_that_have_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "computes_in_bfloat16", lambda: False)
    with pytest.raises(UsageError, match="does not compute in bfloat16"):
        Codec.load(base / "base", engine="openvino", precision="bfloat16")
    monkeypatch.setattr(openvino, "computes_in_bfloat16", lambda: True)
    codec = Codec.load(base / "base", engine="openvino", precision="bfloat16", threads=3)
    assert codec.engine._sessions._models == OpenVinoModels(3, "bfloat16")  # type: ignore[attr-defined]


def test_its_extra_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'promptcodec\[openvino\]'"):
        Codec.load(base / "base", engine="openvino")


def test_its_processor_is_the_one_device(base: Path) -> None:
    with pytest.raises(UsageError, match="a device other than cpu needs torch"):
        Codec.load(base / "base", engine="openvino", device="cuda")
