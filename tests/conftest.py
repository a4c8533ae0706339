"""A tiny seeded codec for all tests, made once, and the command line as a function."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from places import RECIPES

# Those have an environment of their own: `make test-light`.
collect_ignore = ["light"] if find_spec("torch") else []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden streams be added; none is ever replaced."""
    parser.addoption("--add-golden", action="store_true", help="write golden streams not yet there")


TINY = RECIPES / "base" / "base-tiny.yaml"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained but lively tiny base codec, with its graphs."""
    import torch

    from promptcodec.config import BaseConfig
    from promptcodec.models.checkpoint import write_base
    from promptcodec.models.codec_model import CodecModel
    from promptcodec.runtime.export import export
    from promptcodec.training.config import BaseTrainingConfig, read_recipe

    config = read_recipe(TINY, BaseTrainingConfig)
    torch.manual_seed(7)
    model = CodecModel(config.codec)
    with torch.no_grad():
        # Latents and indexes of a trained codec's size, so that every coding path is walked.
        model.g_a.head.weight.mul_(40.0)
        model.hyperprior.scale_path.layers[-1].weight.mul_(0.5)
        model.hyperprior.scale_path.layers[-1].bias.fill_(0.9)
    folder = tmp_path_factory.mktemp("tiny") / "base"
    write_base(folder, model, config=BaseConfig(codec=config.codec))
    export(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_codec(tiny_checkpoint: Path):
    """The same codec, loaded."""
    from promptcodec.models.codec import TorchCodec

    return TorchCodec.load(tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_ladder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of untrained but lively adapters for rates 2, 4 and 6 of the tiny base."""
    import math

    import torch

    from promptcodec.coding.adapter import AdapterConfig
    from promptcodec.coding.entropy.tables import SCALE_STEP
    from promptcodec.config import LAMBDAS
    from promptcodec.models.adapters.checkpoint import write_adapter
    from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
    from promptcodec.models.checkpoint import read_base

    base = read_base(tiny_checkpoint)
    folder = tmp_path_factory.mktemp("ladder")
    for index in (2, 4, 6):
        torch.manual_seed(index)
        prompts = LayerAdaptivePrompts(base.config.codec, width=4, rank=2)
        with torch.no_grad():
            for parameter in prompts.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
            prompts.log_gains.add_(0.5 * math.log(LAMBDAS[index] / base.config.lmbda) / SCALE_STEP)
        config = AdapterConfig(
            rate_index=index, lmbda=LAMBDAS[index], base_sha256=base.sha256.hex(), width=4, rank=2
        )
        write_adapter(folder / f"rate-{index}", prompts, config=config)
    return folder


@dataclass(frozen=True)
class Outcome:
    code: int
    out: bytes
    err: str


@pytest.fixture
def run(capfdbinary, monkeypatch):
    """Run the command line in this process, with bytes or a terminal on standard input."""

    from promptcodec.cli import main

    def run(*arguments, stdin: bytes | io.StringIO = b""):
        if isinstance(stdin, bytes):
            stdin = io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", stdin)
        code = main.main([str(each) for each in arguments])
        captured = capfdbinary.readouterr()
        return Outcome(code, captured.out, captured.err.decode())

    return run


@pytest.fixture
def refused(run):
    """Run a command that must fail with one line, and leave the folder as it was."""

    def refused(code, says, *arguments, folder, stdin=b""):
        before = contents(folder)
        outcome = run(*arguments, stdin=stdin)
        assert outcome.code == code, outcome.err
        assert outcome.err.startswith("promptcodec: error: ")
        assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n")
        assert says in outcome.err
        assert outcome.out == b""
        assert contents(folder) == before

    return refused


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tiny_heads(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained but lively head for each task of the tiny base, with graphs."""
    from tiny import lively_head, tiny_head

    from promptcodec.models.checkpoint import read_base
    from promptcodec.models.heads.checkpoint import write_head
    from promptcodec.runtime.export import export

    base = read_base(tiny_checkpoint)
    channels, own = base.config.codec.latent_channels, base.sha256.hex()
    folder = tmp_path_factory.mktemp("heads")
    for task, labels in (("classify", ("cat", "dog", "fish")), ("segment", ("road", "sky"))):
        config = tiny_head(task, labels=labels, latent_channels=channels, base_sha256=own)
        write_head(folder / task, lively_head(config), config=config)
    export(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained but lively classifier on pixels."""
    from tiny import lively_head, tiny_head

    from promptcodec.models.heads.checkpoint import write_head

    folder = tmp_path_factory.mktemp("network")
    config = tiny_head(reads="pixels")
    write_head(folder, lively_head(config), config=config)
    return folder


@pytest.fixture(scope="session")
def labelled_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in colour, 12 noisy pictures of each."""
    folder = tmp_path_factory.mktemp("labelled")
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for label, colour in (("n00000001_blue", (40, 60, 200)), ("red", (200, 60, 40))):
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-40, 40, (64, 64, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder
