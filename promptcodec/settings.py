"""How files are coded: the options of `encode` and `decode` as values."""

from dataclasses import dataclass

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.errors import UsageError
from promptcodec.targets import Target


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

    def target(self) -> Target | None:
        """What to aim at; None is the rate itself.

        Raises:
            UsageError: a target beside a rate, a gain or an effort, or one that makes no sense.
        """
        if not (self.strict or self.has_target):
            return None
        target = Target(
            bpp=self.target_bpp, size=self.target_bytes, psnr=self.target_psnr, strict=self.strict
        )
        if self.rate_index is not None or self.gain_steps or self.effort:
            raise UsageError(
                "a target chooses the rate itself, at effort 0: leave out rate_index, "
                "gain_steps and effort"
            )
        return target


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
