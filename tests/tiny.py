"""The architecture that tests of single parts run on."""

import json
from dataclasses import asdict, replace

from promptcodec.coding.head_config import LATENTS, TRUNK, HeadConfig
from promptcodec.coding.trunk import StageConfig, StemConfig, TrunkConfig
from promptcodec.config import CodecConfig

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


def of_trunk(head: HeadConfig, *, begins: int = 16, channels: int = 8) -> HeadConfig:
    """A head like another one, with stages of a trained network as its body."""
    stages = (
        StageConfig(width=8, blocks=2, kernel=5, stride=2, expansion=2),
        StageConfig(width=12, blocks=1, expansion=3),
        StageConfig(width=12, blocks=2, stride=2, expansion=1),
    )
    trunk = TrunkConfig(network="tiny", begins=16, channels=channels, stages=stages, last=16)
    if head.reads != LATENTS or begins == 1:
        trunk = replace(trunk, begins=1, channels=3, entry=8, stages=stages + stages[-1:])
    else:
        trunk = replace(trunk, begins=begins)
    stem = StemConfig(width=16, blocks=2) if head.reads == LATENTS else None
    return replace(head, body=TRUNK, stem=stem, trunk=trunk)
