"""A tiny seeded codec for all tests: made once, runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden streams be added; none is ever replaced."""
    parser.addoption("--add-golden", action="store_true", help="write golden streams not yet there")


TINY = Path(__file__).parent.parent / "recipes" / "base-tiny.yaml"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained but lively tiny base codec."""
    from promptcodec.codec.checkpoint import write_base
    from promptcodec.codec.model import CodecModel
    from promptcodec.config import BaseConfig
    from promptcodec.training.config import read_recipe

    config = read_recipe(TINY)
    torch.manual_seed(7)
    model = CodecModel(config.codec)
    with torch.no_grad():
        # Latents and indexes of a trained codec's size, so that every coding path is walked.
        model.g_a.head.weight.mul_(40.0)
        model.hyperprior.h_a[-1].weight.mul_(6.0)
        model.hyperprior.scale_path.layers[-1].weight.mul_(0.5)
        model.hyperprior.scale_path.layers[-1].bias.fill_(0.9)
    folder = tmp_path_factory.mktemp("tiny") / "base"
    write_base(folder, model, config=BaseConfig(codec=config.codec))
    return folder


@pytest.fixture(scope="session")
def tiny_codec(tiny_checkpoint: Path):
    """The same codec, loaded."""
    from promptcodec.api import Codec

    return Codec.load(tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_ladder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of untrained but lively adapters for rates 2, 4 and 6 of the tiny base."""
    import math

    from promptcodec.adapters.prompts import LayerAdaptivePrompts
    from promptcodec.adapters.store import AdapterConfig, write_adapter
    from promptcodec.codec.checkpoint import read_base
    from promptcodec.codec.tables import SCALE_STEP
    from promptcodec.config import LAMBDAS

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
