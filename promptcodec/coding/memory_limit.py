"""Memory of a picture, estimated from its size before anything is allocated.

Memory grows with the pixels of a picture, the latents of a tile and the features of a window. The
first is bounded by the limit of pixels; the others are checked here, for streams of huge tiles.
"""

from promptcodec.bitstream import MAX_PIXELS, Header
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import CodecConfig
from promptcodec.errors import StreamError

ALLOWED = 48  # bytes for each pixel of the limit: 4.3 GB at the default one

_PICTURE = 7  # bytes/px: 4 in Pillow, 3 in the array
_TENSORS = 3  # tensors of a stage in memory at a time: input, output, work space
_CODING = 4  # numbers in memory for each latent during entropy coding
_WEBP = 32  # bytes/px of an exact tile in libwebp, which takes more to write than to read


def estimate(
    config: CodecConfig,
    tiling: Tiling,
    region: Box,
    *,
    latents_alone: bool = False,
    exact: bool = False,
) -> int:
    """Bytes to rebuild a region, without the weights; an upper bound for encoding it as well.

    Args:
        config: architecture of the base.
        tiling: tiles of the picture.
        region: rectangle to rebuild, px.
        latents_alone: whether to leave out g_s.
        exact: whether every tile is exact, so that no network runs.
    """
    first = next(tiling.touching(region))
    window = tiling.window(next(tiling.bands(first)))
    tile = tiling.tile(first)
    latent = 4 * config.latent_channels / 256  # bytes/px of y_hat
    latents = latent * (_CODING * tile.area + region.within(tiling.whole).area)
    if exact:
        webp = _PICTURE * region.area + _WEBP * tile.area
        return int(webp + latents) if latents_alone else webp
    if latents_alone:
        return int(latents)
    # Either side may be the wider one at a resolution.
    widths = map(max, config.encoder_channels, config.decoder_channels)
    stages = sum(width / 4 ** (n + 1) for n, width in enumerate(widths))
    networks = 4 * _TENSORS * stages * window.area
    return int(_PICTURE * region.area + networks + latents)


def excess(
    config: CodecConfig,
    tiling: Tiling,
    region: Box,
    *,
    max_pixels: int,
    latents_alone: bool = False,
    exact: bool = False,
) -> str:
    """Message about a picture that takes more memory than allowed; empty for other pictures.

    Args:
        config: architecture of the base.
        tiling: tiles of the picture.
        region: rectangle to rebuild, px.
        max_pixels: limit of pixels; values below the default count as the default.
        latents_alone: whether to leave out g_s.
        exact: whether every tile is exact.
    """
    needed = estimate(config, tiling, region, latents_alone=latents_alone, exact=exact)
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
    """Refuse a stream that takes more memory than allowed; arguments as `excess`.

    Raises:
        StreamError: the estimate is above the limit.
    """
    tiling = Tiling.of(header, config)
    more = excess(
        config,
        tiling,
        region,
        max_pixels=max_pixels,
        latents_alone=latents_alone,
        exact=header.exact_tiles.issuperset(tiling.touching(region)),
    )
    if more:
        raise StreamError(
            f"{more}: if you trust the stream, raise --max-pixels (in Python max_pixels)"
        )
