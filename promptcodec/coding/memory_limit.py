"""How much memory a picture takes, told by its size before anything is allocated.

What grows with a picture are its pixels, the latents of a tile and what the networks hold of a
window. The first is bounded by the limit of pixels; a stream that is one huge tile is caught here.
"""

from promptcodec.bitstream import MAX_PIXELS, Header
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import CodecConfig
from promptcodec.errors import StreamError

ALLOWED = 48  # bytes for each pixel of the limit: 4.3 GB at the default one

_PICTURE = 7  # bytes/px: Pillow holds 4, the array that it is made of 3
_TENSORS = 3  # of each stage that are held at a time: input, output, work space
_CODING = 4  # numbers for each latent while it is coded


def estimate(
    config: CodecConfig, tiling: Tiling, region: Box, *, latents_alone: bool = False
) -> int:
    """Bytes beside the weights that it takes to rebuild a region, and no less to encode it.

    Args:
        config: of the base.
        tiling: how the picture is cut.
        region: what is rebuilt, px.
        latents_alone: g_s does not run.
    """
    first = next(tiling.touching(region))
    window = tiling.window(next(tiling.bands(first)))
    tile = tiling.tile(first)
    widths = config.channels
    if config.wide:  # either side may be the wider one at a resolution
        widths = tuple(map(max, config.encoder_channels, config.decoder_channels))
    stages = sum(width / 4 ** (n + 1) for n, width in enumerate(widths))
    networks = 4 * _TENSORS * stages * window.area
    latent = 4 * config.latent_channels / 256  # bytes/px of y_hat
    latents = latent * (_CODING * tile.area + region.within(tiling.whole).area)
    if latents_alone:
        return int(latents)
    return int(_PICTURE * region.area + networks + latents)


def excess(
    config: CodecConfig,
    tiling: Tiling,
    region: Box,
    *,
    max_pixels: int,
    latents_alone: bool = False,
) -> str:
    """What to say where a picture takes more than is allowed; empty where it does not.

    Args:
        config: of the base.
        tiling: how the picture is cut.
        region: what is rebuilt, px.
        max_pixels: the limit that was given; a lower one than the default allows no less.
        latents_alone: g_s does not run.
    """
    needed = estimate(config, tiling, region, latents_alone=latents_alone)
    allowed = ALLOWED * max(max_pixels, MAX_PIXELS)
    if needed <= allowed:
        return ""
    tile = tiling.tile(next(tiling.touching(region)))
    return (
        f"tiles of {tile.width}x{tile.height} px take about {needed / 1e9:.1f} GB, and a limit of "
        f"{max(max_pixels, MAX_PIXELS)} px allows {allowed / 1e9:.1f} GB"
    )


def check_stream(
    config: CodecConfig,
    header: Header,
    region: Box,
    *,
    max_pixels: int,
    latents_alone: bool = False,
) -> None:
    """Refuse a stream that takes more than is allowed; arguments as `excess`.

    Raises:
        StreamError: it does.
    """
    tiling = Tiling.of(header, config)
    more = excess(config, tiling, region, max_pixels=max_pixels, latents_alone=latents_alone)
    if more:
        raise StreamError(
            f"{more}: if you trust the stream, raise --max-pixels (in Python max_pixels)"
        )
