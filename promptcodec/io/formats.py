"""Pictures as they come from files: size and depth from the header, then upright L/LA/RGB/RGBA.

    file -> header: size, bits per sample -> pixels -> colours -> orientation -> Picture

Pillow decodes; this module decides what is accepted. Every fault is a `PictureError` of one line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import Image, ImageFile

from promptcodec.errors import PictureError
from promptcodec.io.conversion import TARGET_MODES, to_target
from promptcodec.io.depth import DEEP_MODES, bits_per_sample, eight_bits, head_of, hidden_below
from promptcodec.io.exif import UPRIGHT, is_sideways
from promptcodec.io.metadata import Metadata, is_turned_by_pillow, orientation_of, read_metadata
from promptcodec.io.opening import FORMATS, HEAD, open_header, open_picture
from promptcodec.io.pictures import Picture, Pixels
from promptcodec.io.tiff import MAGICS, describe_tags, describe_tiff

_WIDTH, _LENGTH = 256, 257  # tags of TIFF


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading picture files and PIL pictures.

    Args:
        max_pixels: largest allowed number of pixels, compared with the size in the header.
        allow_8bit: permission to take the upper 8 bits of files with 9 to 16 bits a channel, which
            are refused otherwise.
        strip: omission of EXIF, XMP, ICC profile and resolution; the orientation is applied all
            the same.
        in_place: pixels are left with Pillow, which halves the memory.
    """

    max_pixels: int
    allow_8bit: bool = False
    strip: bool = False
    in_place: bool = False


def read_picture(file: BinaryIO, name: str, options: ReadOptions) -> Picture:
    """Decode the picture in a file; of an animation or a multi-page file the first frame.

    Args:
        file: seekable file, at its start.
        name: name of the picture in messages.
        options: limits and omissions.

    Raises:
        PictureError: the file is empty, no picture, damaged, too large, or of too many bits.
    """
    head = _attempt(lambda: file.read(HEAD), f"{name}: cannot be read")
    if not head:
        raise PictureError(f"{name}: is empty (0 bytes); give a picture")
    file.seek(0)
    try:
        image = open_picture(file)
    except Exception as error:  # Pillow raises many types on damaged headers
        if head[:4] in MAGICS and (kind := describe_tiff(file)):
            raise PictureError(
                f"{name}: is a TIFF of {kind}, a kind that is not read; convert it to RGB of 8 bits"
            ) from None
        if isinstance(error, Image.UnidentifiedImageError):
            raise PictureError(
                f"{name}: is no picture that can be read; give one of {', '.join(FORMATS)}"
            ) from None
        raise PictureError(
            f"{name}: is no picture or a damaged one ({_reason(error)}); give a whole copy"
        ) from error
    with image:
        frames = count_frames(image, file)
        picture = replace(normalise(image, name, options, head=head), frames=frames)
    return replace(picture, notes=(*note_on_frames(frames, image.format), *picture.notes))


def normalise(
    image: Image.Image, name: str, options: ReadOptions, *, head: bytes | None = None
) -> Picture:
    """Decode a Pillow picture and bring it to L, LA, RGB or RGBA; `image` keeps its mode.

    Args:
        image: PIL picture, decoded or not; of several frames the current one is taken.
        name: name of the picture in messages.
        options: limits and omissions.
        head: first bytes of its file; None reads them from an undecoded picture.

    Raises:
        PictureError: empty, too large, deeper than is allowed, damaged, or metadata over its bound.
    """
    check_size(*image.size, name=name, max_pixels=options.max_pixels)
    fault = f"{name}: damaged or truncated {image.format or 'picture'}"
    head = head_of(image) if head is None else head
    bits = _attempt(lambda: bits_per_sample(image, head), fault)
    if bits > 8 and not (options.allow_8bit and bits <= 16):
        way = (
            "convert it, or let `encode --allow-8bit` (in Python allow_8bit=True) take the upper 8"
            if bits <= 16
            else "convert it to 8 bits first"
        )
        kind = " of floating point" if image.mode == "F" else ""
        raise PictureError(f"{name}: has {bits} bits per channel{kind} and only 8 are coded; {way}")
    if image.mode not in (TARGET_MODES if bits <= 8 else (*TARGET_MODES, *DEEP_MODES)):
        raise PictureError(f"{name}: has mode {image.mode}; convert it to L, LA, RGB or RGBA")
    below = _attempt(lambda: hidden_below(image, bits), fault)
    kind = describe_tags(image)
    # The orientation of TIFF is gone once Pillow has turned it; PNG may have it behind the pixels.
    before = orientation_of(image) if image.format == "TIFF" else None
    is_turned = is_turned_by_pillow(image)
    _attempt(image.load, fault, hint=f", or convert this kind: {kind}" if kind else "")
    orientation = orientation_of(image) if before is None else before
    upright = _attempt(lambda: to_target(eight_bits(image, bits, head=head, below=below)), fault)
    if orientation != 1 and not is_turned:
        upright = upright.transpose(UPRIGHT[orientation])
    pixels, grey = Pixels(upright), upright.mode in ("L", "LA")
    metadata = (
        Metadata()
        if options.strip
        else read_metadata(image, head, orientation=orientation, grey=grey, name=name)
    )
    return Picture(
        pixels if options.in_place else pixels[:, :],
        grey,
        pixels.alpha(),
        icc=metadata.icc,
        exif=metadata.exif,
        xmp=metadata.xmp,
        resolution=metadata.resolution,
        notes=metadata.notes,
    )


def upright_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height, px, of a picture as it is coded; errors are Pillow's.

    Args:
        file: seekable file, at its start.
    """
    with open_picture(file) as image:
        orientation, (width, height) = orientation_of(image), image.size
        if tags := getattr(image, "tag_v2", None):  # of TIFF, Pillow gives the size after the turn
            width, height = tags[_WIDTH], tags[_LENGTH]
        return (height, width) if is_sideways(orientation) else (width, height)


def check_size(width: int, height: int, *, name: str, max_pixels: int) -> None:
    """Refuse a picture without pixels or with more than `max_pixels`, with a `PictureError`."""
    if width < 1 or height < 1:
        raise PictureError(f"{name}: is {width} x {height} pixels; need at least 1 x 1")
    if width * height > max_pixels:
        raise PictureError(
            f"{name}: has {width} x {height} = {width * height} pixels and the limit is "
            f"{max_pixels}; reduce it, or raise --max-pixels (in Python max_pixels) if you trust it"
        )


def note_on_frames(frames: int, kind: str | None) -> tuple[str, ...]:
    """Note on what is left out of a file of several frames; none for a single one.

    Args:
        frames: number of frames or pages.
        kind: format of the file, as Pillow names it.
    """
    what = "pages" if kind == "TIFF" else "frames"
    return (f"of {frames} {what} the first alone is used",) if frames > 1 else ()


def count_frames(image: ImageFile.ImageFile, file: BinaryIO) -> int:
    """Number of frames or pages; 1 where they cannot be counted."""
    try:
        if image.format not in ("GIF", "TIFF"):
            return max(1, getattr(image, "n_frames", 1))
        file.seek(0)  # these go through the file, which would leave `image` at another frame
        with open_header(file, (image.format,)) as other:
            return max(1, getattr(other, "n_frames", 1))
    except Exception:  # what follows the first frame is damaged
        return 1


def _attempt(step, fault: str, *, hint: str = ""):
    """Run `step()`; whatever Pillow raises, of a dozen unrelated types, is one PictureError."""
    try:
        return step()
    except Exception as error:
        raise PictureError(f"{fault} ({_reason(error)}); give a whole copy{hint}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:100] if text.isprintable() and text else type(error).__name__
