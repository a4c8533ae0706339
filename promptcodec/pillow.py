"""A plugin for Pillow: after `import promptcodec.pillow` it opens and saves streams.

    import promptcodec.pillow
    from PIL import Image

    picture = Image.open("photo.pc")            # size, mode, EXIF, ICC, XMP: from the header
    picture.save("copy.png")                    # now torch and the weights are loaded, once
    picture.save("small.pc", rate_index=2)      # as `Codec.encode` takes it

The codec is the bundled one; `use` chooses another. `ImageFile.LOAD_TRUNCATED_IMAGES` lets what is
whole of a stream be decoded that was cut off. The limit of pixels is that of Pillow,
`Image.MAX_IMAGE_PIXELS`. Pillow empties a file before anything is saved into it, in any format:
where an earlier stream must outlive a failed save, save under another name and rename it.
"""

from __future__ import annotations

import threading
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
from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from promptcodec.api import Codec

FORMAT = "PROMPTCODEC"
_ANY_SIZE = 1 << 64  # px; Pillow has a limit of its own
_PARAMETERS = {each.name for each in fields(EncodeSettings)} - {"max_pixels", "task"}
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


class StreamImageFile(ImageFile.ImageFile):
    """A stream whose pixels are decoded when they are first used.

    `info` has rate_index and gain_steps beside exif, icc_profile and xmp. Errors are those of
    `Codec.decode`.
    """

    format = FORMAT
    format_description = "promptcodec stream"

    def _open(self) -> None:
        stream = read_stream(
            self._read_at,
            self._file().seek(0, 2),
            max_pixels=_ANY_SIZE,
            allow_partial=ImageFile.LOAD_TRUNCATED_IMAGES,
        )
        header = stream.header
        self._size = header.width, header.height
        self.info["rate_index"] = fixed_to_rate(header.rate)
        self.info["gain_steps"] = header.gain / GAIN_STEPS
        chunks = stream.chunks(allow_partial=ImageFile.LOAD_TRUNCATED_IMAGES)
        self._mode = ("L" if header.grey else "RGB") + "A" * (b"ALPH" in chunks)
        for name, kind in _METADATA.items():
            if kind in chunks:
                prefix = b"Exif\0\0" if name == "exif" else b""
                self.info[name] = prefix + chunks[kind]
        self._decoded = False

    def load(self) -> Any:
        """Decode the pixels, once."""
        if not self._decoded:
            partial = ImageFile.LOAD_TRUNCATED_IMAGES
            data = self._read_at(0, -1)
            limit = max(decoded_pixels(*self.size), MAX_PIXELS)
            picture = _current().decode(data, allow_partial=partial, max_pixels=limit)
            self._decoded = True
            self.im, self._mode = picture.im, picture.mode
            if self._exclusive_fp:  # as other plugins: the file that Pillow opened is done with
                self._file().close()
                self.fp = None
        return super().load()

    def verify(self) -> None:
        """Compare every checksum of the file; no pixel is decoded."""
        parse(self._read_at(0, -1), max_pixels=_ANY_SIZE)
        super().verify()

    def _file(self) -> IO[bytes]:
        if self.fp is None:
            raise ValueError("the stream is closed: open it again")
        return self.fp

    def _read_at(self, at: int, size: int) -> bytes:
        self._file().seek(at)
        return self._file().read(size)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write a stream; what `save` was given beside `Codec.encode`'s arguments is metadata."""
    given = dict(getattr(image, "encoderinfo", {}))
    metadata = {name: given.pop(name) for name in _METADATA if name in given}
    if unknown := set(given) - _PARAMETERS:
        known = ", ".join(sorted(_PARAMETERS | set(_METADATA)))
        raise UsageError(f"a stream cannot be saved with {', '.join(unknown)}; known: {known}")
    if metadata:
        image = image.copy()
    for name, value in metadata.items():
        image.info[name] = value.tobytes() if isinstance(value, Image.Exif) else value
    limit = max(decoded_pixels(*image.size), MAX_PIXELS)
    file.write(_current().encode(image, max_pixels=limit, **given))


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


Image.register_open(FORMAT, StreamImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".pc")
Image.register_mime(FORMAT, "image/x-promptcodec")
