"""Choice of the engine, and what a codec on ONNX Runtime does as the one in torch."""

import copy
import json
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec import Codec
from promptcodec.api import engines
from promptcodec.errors import CheckpointError, UsageError
from promptcodec.models.codec import TorchCodec

PIXELS = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_ladder: Path) -> Codec:
    return Codec.load(tiny_checkpoint, tiny_ladder)


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = engines.find_spec
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "torch" else found(name))


@pytest.fixture
def bare(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny base without graphs."""
    without = shutil.ignore_patterns("graphs")
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "bare", ignore=without))


def test_the_engine_follows_from_what_is_asked(tiny_checkpoint, bare, codec):
    assert codec.engine.name == "onnx"
    assert Codec.load(tiny_checkpoint, engine="torch").engine.name == "torch"
    assert Codec.load(tiny_checkpoint, precision="bfloat16").engine.name == "torch"
    assert Codec.load(bare).engine.name == "torch"
    with pytest.raises(UsageError, match="engine is 'tensorrt'; need one of onnx, openvino, torch"):
        Codec.load(tiny_checkpoint, engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="engine 'onnx' computes in float32"):
        Codec.load(tiny_checkpoint, engine="onnx", precision="bfloat16")
    with pytest.raises(CheckpointError, match="has no graphs to run without torch"):
        Codec.load(bare, engine="onnx")
    with pytest.raises(CheckpointError, match="nowhere"):
        Codec.load("nowhere")


@pytest.mark.parametrize("engine", [None, "onnx", "openvino"])
def test_without_onnx_runtime(tiny_checkpoint, monkeypatch, engine):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs onnxruntime: pip install onnxruntime"):
        Codec.load(tiny_checkpoint, engine=engine)


def test_without_torch(tiny_checkpoint, tiny_ladder, bare, no_torch):
    codec = Codec.load(tiny_checkpoint, tiny_ladder)
    codec.decode(codec.encode(PIXELS))
    extra = r"needs torch: pip install 'promptcodec\[train\]'"
    for options in ({"engine": "torch"}, {"device": "cuda"}, {"precision": "bfloat16"}):
        with pytest.raises(UsageError, match=extra):
            Codec.load(tiny_checkpoint, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"which has no graphs .*{extra}"):
        Codec.load(bare)
    for options in ({"effort": 1}, {"task": "classify"}):
        with pytest.raises(UsageError, match=extra):
            codec.encode(PIXELS, **options)  # type: ignore[arg-type]


def test_an_effort_is_made_in_torch(tiny_checkpoint, tiny_ladder, codec):
    other = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    refined = codec.encode_detailed(PIXELS, effort=1, rate_index=2)
    assert refined.engine == "torch"
    assert refined.data == other.encode(PIXELS, effort=1, rate_index=2)
    assert codec.encode_detailed(PIXELS).engine == "onnx"
    assert codec.decode_detailed(refined.data).engine == "onnx"
    with pytest.raises(UsageError, match="effort above 0 needs torch"):
        Codec.load(tiny_checkpoint, engine="onnx").encode(PIXELS, effort=1)


def test_adapters_are_installed_in_both(tiny_checkpoint, tiny_ladder):
    codec = Codec.load(tiny_checkpoint, tiny_ladder / "rate-2")
    first = codec.encode(PIXELS, rate_index=2, effort=1)
    codec.add_prompts(tiny_ladder / "rate-6")
    assert codec.encode(PIXELS, rate_index=2, effort=1) == first
    found = codec.encode_detailed(PIXELS, rate_index=6, effort=1)
    assert found.engine == "torch" and found.rate_index == 6


def pixels_of(codec: Codec) -> bytes:
    return codec.decode(codec.encode(PIXELS, rate_index=3)).tobytes()


@pytest.mark.parametrize("duplicate", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy])
def test_copies_code_alike(codec, duplicate):
    other = duplicate(codec)
    assert type(other) is Codec and other.rates == codec.rates
    assert pixels_of(other) == pixels_of(codec)


def test_spawned_processes_code_alike(codec):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(pixels_of, (codec,)) == pixels_of(codec)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_codes_alike(tiny_checkpoint, tiny_ladder):
    codec = Codec.load(tiny_checkpoint, tiny_ladder, engine="onnx", threads=2)
    expected = pixels_of(codec)  # starts the threads that a fork does not copy
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(pixels_of(codec)), daemon=True)
    process.start()
    process.join(30)
    alive = process.is_alive()
    process.kill()
    assert not alive and process.exitcode == 0 and queue.get() == expected


def test_the_command_line_names_the_engine(run, tiny_checkpoint, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "in.png")
    for engine in ("onnx", "torch"):
        target = tmp_path / f"{engine}.pc"
        options = ("--base", tiny_checkpoint, "--engine", engine, "--json")
        outcome = run("encode", tmp_path / "in.png", "-o", target, *options)
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["engine"] == engine
        outcome = run("decode", target, *options)
        assert json.loads(outcome.out)["engine"] == engine
