"""The architecture that tests of single parts run on."""

from promptcodec.config import CodecConfig

TINY = CodecConfig(
    name="tiny",
    channels=(8, 8, 16, 16),
    residual_blocks=(0, 1, 0, 0),
    windows=(8, 8, 4, 2),
    head_channels=8,
    latent_channels=12,
    detail_channels=4,
    hyper_channels=8,
    z_channels=4,
    scale_channels=4,
    context_channels=4,
)
