"""How files are coded: the options of `encode` and `decode` as values."""

from dataclasses import dataclass

from promptcodec.bitstream import MAX_PIXELS


@dataclass(frozen=True)
class EncodeSettings:
    """Arguments of `Codec.encode`; defaults and units are explained there."""

    rate_index: float | None = None
    gain_steps: float = 0.0
    target_bpp: float | None = None
    target_bytes: float | None = None
    target_psnr: float | None = None
    strict: bool = False
    effort: int = 0
    tile_size: int | None = None
    task: str | None = None
    max_pixels: int = MAX_PIXELS
    allow_8bit: bool = False
    strip: bool = False

    @property
    def has_target(self) -> bool:
        """Whether a target chooses the rate."""
        targets = (self.target_bpp, self.target_bytes, self.target_psnr)
        return any(each is not None for each in targets)


@dataclass(frozen=True)
class DecodeSettings:
    """Arguments of `Codec.decode`, explained there.

    Args:
        strip: the picture file gets no EXIF, XMP and ICC profile.
    """

    region: tuple[int, int, int, int] | None = None
    allow_partial: bool = False
    max_pixels: int = MAX_PIXELS
    strip: bool = False
