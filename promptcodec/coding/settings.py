"""Options of `encode` and `decode` as values."""

import math
from dataclasses import dataclass, fields
from numbers import Number
from types import NoneType
from typing import Any, Literal, TypedDict, get_args

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.errors import UsageError
from promptcodec.io.packs import AUTO, BEST

MAX_EFFORT = 9

Graphics = Literal["auto", "never", "always"]
Region = tuple[int, int, int, int]  # x, y, width, height, px


@dataclass(frozen=True, kw_only=True)
class Target:
    """Target of a stream; exactly one of bpp, size and PSNR.

    Args:
        bpp: bits per pixel, 8 * bytes of the file / pixels of the original picture.
        size: bytes of the file.
        psnr: PSNR over RGB, dB.
        strict: whether the size is an upper bound.
    Raises:
        UsageError: none or several are given, a value is not positive, or strict goes with a PSNR.
    """

    bpp: float | None = None
    size: float | None = None
    psnr: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        names = {"target_bpp": self.bpp, "target_bytes": self.size, "target_psnr": self.psnr}
        given = {name: value for name, value in names.items() if value is not None}
        if len(given) != 1:
            known = ", ".join(names)
            raise UsageError(f"{' and '.join(given) or 'no target'} given: choose one of {known}")
        name, value = next(iter(given.items()))
        if not 0 < value < math.inf:
            raise UsageError(f"{name} is {value}; need a positive number")
        if self.strict and self.psnr is not None:
            raise UsageError("strict is for target_bpp and target_bytes: a PSNR has no ceiling")


@dataclass(frozen=True)
class EncodeSettings:
    """Options of `Codec.encode`.

    Args:
        rate_index: position on the ladder, one of `Codec.rates` or any number between two of
            them; None is the base's own.
        gain_steps: finer (positive) or coarser quantisation around that rate, in steps of the
            scale tables: +6 is about twice as fine.
        target_bpp: bits per pixel to reach instead of a rate, 8 * bytes of the file / pixels;
            within 1 %, or the nearest where one byte or one step of the gain is more.
        target_bytes: size of the file to reach instead of a rate, as near as `target_bpp`.
        target_psnr: PSNR over RGB to reach instead of a rate, dB; within 0.05 dB, or the nearest.
        strict: guarantee that a target of size is never exceeded.
        effort: amount of refinement, 0 to 9; above 0 the latents of this picture are searched for
            a lower rate-distortion cost, which takes seconds to minutes and about 1 GB for each
            megapixel; any decoder reads the result.
        graphics: tiles that are coded exactly, without loss, as screenshots and drawings are best:
            "auto", those that cost less so at the rate, "never", none, or "always", all.
        tile_size: side of the tiles that the picture is cut into, px, a multiple of 64; 0 is one
            tile; None is one tile up to 4 megapixels and with an effort, else 512 px; where
            graphics and photographs are mixed 256 px, and one tile where all is exact.
        task: name of a task, "classify" for instance, whose prompts adapt the encoder to it; any
            decoder of the rate reads the result. No tile is exact then.
        pack: name of a loaded pack, whose adapters are taken instead of the ladder's; "auto" takes
            the ladder or the pack that has the lowest rate-distortion cost in a sample of the
            picture; "best" codes with each and keeps the lowest; None is the ladder.
        max_pixels: largest allowed number of pixels of a picture.
        allow_8bit: permission to code the upper 8 bits of files with 9 to 16 bits a channel,
            which are refused otherwise.
        strip: omission of EXIF, XMP, ICC profile and resolution.
    Raises:
        UsageError: no number where one is needed, the effort is outside 0 to 9, there is no such
            choice of graphics, or options contradict each other.
    Examples:
        >>> EncodeSettings(target_bytes=20_000, strict=True).target
        Target(bpp=None, size=20000, psnr=None, strict=True)
        >>> EncodeSettings(effort=10)
        Traceback (most recent call last):
        promptcodec.errors.UsageError: effort is 10; need a whole number from 0 to 9
    """

    rate_index: float | None = None
    gain_steps: float = 0.0
    target_bpp: float | None = None
    target_bytes: float | None = None
    target_psnr: float | None = None
    strict: bool = False
    effort: int = 0
    graphics: Graphics = "auto"
    tile_size: int | None = None
    task: str | None = None
    pack: str | None = None
    max_pixels: int = MAX_PIXELS
    allow_8bit: bool = False
    strip: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self)
        if isinstance(self.effort, float) or self.effort not in range(MAX_EFFORT + 1):
            raise UsageError(f"effort is {self.effort}; need a whole number from 0 to {MAX_EFFORT}")
        if self.task is not None and self.effort:
            raise UsageError("effort refines latents for PSNR, not for the task: leave out one")
        if not isinstance(self.graphics, str) or self.graphics not in get_args(Graphics):
            known = ", ".join(get_args(Graphics))
            raise UsageError(f"graphics is {shown(self.graphics)}; need one of {known}")
        others = (self.task, self.pack)
        if self.graphics == "always" and (self.target or self.effort or others != (None, None)):
            raise UsageError(
                "graphics 'always' codes every pixel exactly, at one size: leave out target, "
                "effort, task and pack"
            )
        if self.pack is not None and not isinstance(self.pack, str):
            raise UsageError(
                f"pack is {shown(self.pack)}; need the name of a pack, 'auto' or 'best'"
            )
        if self.pack in (AUTO, BEST) and self.task is not None:
            raise UsageError(f"pack {self.pack!r} chooses by PSNR, not for the task: name a pack")
        if self.target and (self.rate_index is not None or self.gain_steps or self.effort):
            raise UsageError(
                "a target determines the rate, at effort 0: leave out rate_index, "
                "gain_steps and effort"
            )

    @property
    def target(self) -> Target | None:
        """Size or quality to reach; None codes at the given rate."""
        sizes = (self.target_bpp, self.target_bytes, self.target_psnr)
        if sizes == (None, None, None) and not self.strict:
            return None
        return Target(
            bpp=self.target_bpp, size=self.target_bytes, psnr=self.target_psnr, strict=self.strict
        )


class EncodeOptions(TypedDict, total=False):
    """`EncodeSettings` as keyword arguments, for editors and type checkers."""

    rate_index: float | None
    gain_steps: float
    target_bpp: float | None
    target_bytes: float | None
    target_psnr: float | None
    strict: bool
    effort: int
    graphics: Graphics
    tile_size: int | None
    task: str | None
    pack: str | None
    max_pixels: int
    allow_8bit: bool
    strip: bool


@dataclass(frozen=True)
class DecodeSettings:
    """Options of `Codec.decode`.

    Args:
        region: x, y, width, height of the part to rebuild, px; only its tiles and their
            neighbours are read and decoded.
        allow_partial: permission to rebuild the complete tiles of a truncated stream; the others
            are grey and listed in `Decoded.missing`.
        max_pixels: largest allowed number of pixels of a picture or region, checked before
            anything is allocated.
        strip: omission of EXIF, XMP, ICC profile and resolution.
    Raises:
        UsageError: no number where one is needed.
    """

    region: Region | None = None
    allow_partial: bool = False
    max_pixels: int = MAX_PIXELS
    strip: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self)


class DecodeOptions(TypedDict, total=False):
    """`DecodeSettings` as keyword arguments, for editors and type checkers."""

    region: Region | None
    allow_partial: bool
    max_pixels: int
    strip: bool


def _check_numbers(settings: Any) -> None:
    """Raise a UsageError for a field that is to be a number and holds none."""
    for each in fields(settings):
        kinds, value = set(get_args(each.type) or [each.type]), getattr(settings, each.name)
        if each.name == "rate_index" or not kinds & {int, float}:  # a ladder checks its positions
            continue
        if not ((value is None and NoneType in kinds) or _is_number(value)):
            raise UsageError(f"{each.name} is {shown(value)}; need a number")


def _is_number(value: Any) -> bool:
    """True for a number or an array or tensor of one, false for text and NaN."""
    try:
        return not isinstance(value, str | bytes) and not math.isnan(float(value))
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: of torch
        return False


def shown(value: Any) -> str:
    """A value in a message: itself if it is text or a number, else its type."""
    return f"{value}" if isinstance(value, str | Number) else f"a {type(value).__name__}"
