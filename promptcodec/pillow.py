"""A plugin for Pillow: after `import promptcodec.pillow` it opens and saves streams.

    import promptcodec.pillow
    from PIL import Image

    picture = Image.open("photo.pc")            # size, mode, EXIF, ICC, XMP: from the header
    picture.save("copy.png")                    # now torch and the weights are loaded, once
    picture.save("small.pc", rate_index=2)      # options of `Codec.encode`

The codec is the bundled one, or that of `use`. With `ImageFile.LOAD_TRUNCATED_IMAGES` the complete
tiles of a truncated stream are decoded. The limit of pixels is that of Pillow,
`Image.MAX_IMAGE_PIXELS`, unless `save` is given `max_pixels`. As with other formats, damaged files
are an `OSError`, and options that the format does not have are ignored.

Pillow empties a file before calling the writer of a format. The import therefore wraps
`Image.Image.save` for streams: they are encoded first, and replace a file atomically. Other formats
are saved by Pillow's own method, unchanged.
"""

from __future__ import annotations

import functools
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from promptcodec.bitstream import (
    GAIN_STEPS,
    MAGIC,
    MAX_PIXELS,
    decoded_pixels,
    fixed_to_rate,
    parse,
    read_stream,
)
from promptcodec.coding.settings import EncodeSettings
from promptcodec.errors import ModelMismatchError, StreamError
from promptcodec.io.atomic import check_output, write_atomically
from promptcodec.io.metadata import stored_resolution
from promptcodec.io.resolution import info_of

if TYPE_CHECKING:
    from promptcodec.api import Codec

FORMAT = "PROMPTCODEC"
_ANY_SIZE = 1 << 64  # px; Pillow has a limit of its own
_PARAMETERS = {each.name for each in fields(EncodeSettings)}
_METADATA = {"exif": b"EXIF", "icc_profile": b"ICCP", "xmp": b"XMP "}

_codec: Codec | None = None
_lock = threading.Lock()


def use(codec: Codec | None) -> None:
    """Choose the codec that decodes and encodes from now on; None is the bundled one."""
    global _codec
    with _lock:
        _codec = codec


def _current() -> Codec:
    global _codec
    with _lock:
        if _codec is None:
            from promptcodec.api import Codec

            _codec = Codec.load()
        return _codec


class UnusableStreamError(StreamError, OSError):
    """A stream that is damaged, truncated, newer or too large, as Pillow's callers expect it."""


class ForeignStreamError(ModelMismatchError, OSError):
    """A stream of another base or adapter, as Pillow's callers expect it."""


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turn errors of a stream into those that are an `OSError` too."""
    try:
        yield
    except StreamError as error:
        raise UnusableStreamError(str(error)) from error
    except ModelMismatchError as error:
        raise ForeignStreamError(str(error)) from error


class StreamImageFile(ImageFile.ImageFile):
    """A stream whose pixels are decoded when they are first used.

    `info` has rate_index and gain_steps beside exif, icc_profile, xmp and dpi. Errors are
    those of `Codec.decode`; those of a stream are an `OSError` as well.
    """

    format = FORMAT
    format_description = "promptcodec stream"

    def _open(self) -> None:
        with _os_errors():
            stream = read_stream(
                self._read_at,
                self._file().seek(0, os.SEEK_END),
                max_pixels=_ANY_SIZE,
                allow_partial=ImageFile.LOAD_TRUNCATED_IMAGES,
            )
            chunks = stream.chunks(allow_partial=ImageFile.LOAD_TRUNCATED_IMAGES)
        header = stream.header
        self._size = header.width, header.height
        self.info["rate_index"] = fixed_to_rate(header.rate)
        self.info["gain_steps"] = header.gain / GAIN_STEPS
        self._mode = ("L" if header.grey else "RGB") + "A" * (b"ALPH" in chunks)
        for name, kind in _METADATA.items():
            if kind in chunks:
                prefix = b"Exif\0\0" if name == "exif" else b""
                self.info[name] = prefix + chunks[kind]
        if resolution := stored_resolution(chunks):
            self.info.update(info_of(resolution))
        self.tile = [ImageFile._Tile(FORMAT, (0, 0, *self.size), 0, None)]  # not yet decoded

    def load(self) -> Any:
        """Decode the pixels, once."""
        if self.tile:
            partial = ImageFile.LOAD_TRUNCATED_IMAGES
            limit = max(decoded_pixels(*self.size), MAX_PIXELS)
            with _os_errors():
                data = self._read_at(0, -1)
                picture = _current().decode(data, allow_partial=partial, max_pixels=limit)
            self.tile = []
            self.im, self._mode = picture.im, picture.mode
            if self._exclusive_fp:  # as other plugins: the file that Pillow opened is done with
                self._file().close()
                self.fp = None
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Never called; its presence has `ImageFile.Parser` wait for the whole stream."""

    def verify(self) -> None:
        """Compare every checksum of the file; no pixel is decoded."""
        with _os_errors():
            parse(self._read_at(0, -1), max_pixels=_ANY_SIZE)
        super().verify()

    def _file(self) -> IO[bytes]:
        file = getattr(self, "fp", None)  # a copy has none
        if file is None or getattr(file, "closed", False):
            raise StreamError("the file of the stream is closed: open it again")
        return file

    def _read_at(self, at: int, size: int) -> bytes:
        self._file().seek(at)
        return self._file().read(size)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write a stream; options are `Codec.encode`'s and metadata, others are ignored."""
    given = getattr(image, "encoderinfo", {})
    options: dict[str, Any] = {name: value for name, value in given.items() if name in _PARAMETERS}
    if metadata := {name: given[name] for name in _METADATA if name in given}:
        image = image.copy()
    for name, value in metadata.items():
        image.info[name] = value.tobytes() if isinstance(value, Image.Exif) else value
    options.setdefault("max_pixels", max(decoded_pixels(*image.size), MAX_PIXELS))
    file.write(_current().encode(image, **options))


def _streams_first(save: Any) -> Any:
    """`Image.Image.save`, but a stream is encoded before its file is opened."""

    @functools.wraps(save)
    def save_image(self: Image.Image, fp: Any, format: str | None = None, **params: Any) -> None:
        path = os.fsdecode(fp) if isinstance(fp, str | bytes | os.PathLike) else ""
        suffix = os.path.splitext(path)[1].lower()
        known = format.upper() if format else Image.EXTENSION.get(suffix)
        if known != FORMAT or not path or (os.path.exists(path) and not os.path.isfile(path)):
            return save(self, fp, format, **params)
        check_output(path, force=True)
        stream = io.BytesIO()
        save(self, stream, FORMAT, **params)
        write_atomically(path, stream.getvalue(), force=True)
        return None

    return save_image


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


Image.register_open(FORMAT, StreamImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".pc")
Image.register_mime(FORMAT, "image/x-promptcodec")
Image.Image.save = _streams_first(Image.Image.save)
