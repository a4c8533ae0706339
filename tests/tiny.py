"""The architecture that tests of single parts run on."""

import json
from dataclasses import asdict

import torch

from promptcodec.coding.head_config import LATENTS, HeadConfig
from promptcodec.coding.trunk import StageConfig, StemConfig, TrunkConfig
from promptcodec.config import CLASSIFY, CodecConfig
from promptcodec.models.heads.checkpoint import build_head
from promptcodec.models.heads.network import HeadNetwork

TINY = CodecConfig(
    name="tiny",
    encoder_channels=(8, 12, 16, 24),
    encoder_blocks=("", "", "cs", "scs"),
    decoder_channels=(8, 8, 16, 16),
    decoder_blocks=("", "c", "cs", "ss"),
    windows=(8, 8, 4, 2),
    head_channels=8,
    mlp_ratio=1.5,
    latent_channels=12,
    detail_channels=4,
    hyper_channels=8,
    z_channels=4,
    scale_channels=4,
    context="checkerboard",
    context_channels=4,
)


def recipe_of(config: CodecConfig = TINY) -> str:
    """The line of a recipe that describes an architecture."""
    return f"codec: {json.dumps(asdict(config))}\n"


STAGES = (
    StageConfig(width=8, blocks=2, kernel=5, stride=2, expansion=2),
    StageConfig(width=12, blocks=1, expansion=3),
    StageConfig(width=12, blocks=2, stride=2, expansion=1),
)


def tiny_head(
    task: str = CLASSIFY,
    *,
    labels: tuple[str, ...] = ("cat", "dog", "fish"),
    reads: str = LATENTS,
    begins: int = 8,
    channels: int = 8,
    latent_channels: int = TINY.latent_channels,
    base_sha256: str = "",
) -> HeadConfig:
    """A head with few stages, from features, or from pixels where `begins` is 1."""
    on_latents = reads == LATENTS
    options = {"begins": begins, "channels": channels, "stages": STAGES}
    if begins == 1 or not on_latents:
        options = {"begins": 1, "channels": 3, "entry": 8, "stages": STAGES + STAGES[-1:]}
    trunk = TrunkConfig(network="tiny", last=16, **options)
    return HeadConfig(
        task=task,
        labels=labels,
        trunk=trunk if task == CLASSIFY else trunk.without_classes(),
        reads=reads,
        latent_channels=latent_channels if on_latents else 0,
        stem=StemConfig(width=16, blocks=2) if on_latents else None,
        base_sha256=base_sha256 if on_latents else "",
    )


def lively_head(config: HeadConfig) -> HeadNetwork:
    """A head of random weights whose scores depend on its input."""
    torch.manual_seed(4)
    model = build_head(config).eval()
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("stem.spread"):
                value.copy_(0.5 + torch.rand_like(value))
            else:
                value.add_(0.2 * torch.randn_like(value))
            if name.startswith("trunk") and value.ndim > 1:  # many layers without normalisation
                value.mul_(1.5)
    return model
