"""EXIF blocks: numbers that are read, and what a turned picture needs, edited in place.

All bytes that are not edited stay where they were, maker notes included, which hold offsets.
"""

from __future__ import annotations

import io
import math
import struct

from PIL import Image

from promptcodec.io.resolution import Resolution

ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I"}  # by type
_SHORT, _LONG = 3, 4
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_EXIF_FOLDER = 0x8769
# Pairs of tags about columns and rows: sizes, resolution, and those of the focal plane.
_PAIRS = ((0x0100, 0x0101), (_X_RESOLUTION, _Y_RESOLUTION), (0xA002, 0xA003), (0xA20E, 0xA20F))
_MOST_THUMBNAIL_PIXELS = 1 << 20
_QUALITIES = (90, 80, 65, 50, 30)


def is_sideways(orientation: int) -> bool:
    """Whether an orientation exchanges rows and columns."""
    return orientation >= 5


def as_orientation(value: object) -> int:
    """Orientation of a value of any type that holds a whole number; 1 for what is none."""
    if isinstance(value, (bytes, bytearray)):
        value = value[0] if len(value) == 1 else 1
    if isinstance(value, (tuple, list)):
        value = value[0] if value else 1
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, ArithmeticError):
        return 1
    return number if number in UPRIGHT and number == value else 1


def upright_exif(exif: bytes, orientation: int) -> bytes:
    """Describe the picture after its turn: orientation 1, sizes and thumbnail turned as well.

    Args:
        exif: a TIFF block.
        orientation: what the picture was turned by, 1 to 8.
    """
    try:
        block = _Block(exif)
        block.turn(orientation)
    except (ValueError, struct.error):  # damaged: as it was
        return exif
    return bytes(block.data)


def exif_resolution(exif: bytes | None) -> Resolution | None:
    """Resolution in the first folder of a TIFF block; None for none."""
    try:
        block = _Block(exif or b"")
        folder = block.folder(block.first)
        x, y = (block.rational(folder[tag]) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
        unit = block.integer(folder[_RESOLUTION_UNIT]) if _RESOLUTION_UNIT in folder else 2
    except (ValueError, KeyError, struct.error):
        return None
    return Resolution.of_tags(x, y, unit)


class _Block:
    """A TIFF block. Folders are dicts from tag to the offset of an entry of 12 bytes."""

    def __init__(self, data: bytes) -> None:
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
        if order is None:
            raise ValueError("no TIFF block")
        self.data, self.order = bytearray(data), order
        self.first = self._unpack("I", 4)

    def _unpack(self, form: str, at: int) -> int:
        return struct.unpack_from(self.order + form, self.data, at)[0]

    def _pack(self, form: str, at: int, *values: int) -> None:
        struct.pack_into(self.order + form, self.data, at, *values)

    def folder(self, at: int) -> dict[int, int]:
        """Entries of a folder; those that the block does not hold whole are left out."""
        count = self._unpack("H", at)
        starts = range(at + 2, min(at + 2 + 12 * count, len(self.data) - 11), 12)
        return {self._unpack("H", start): start for start in starts}

    def _link(self, at: int) -> int:
        """Place of the offset of the folder that follows one."""
        return at + 2 + 12 * self._unpack("H", at)

    def integer(self, entry: int) -> int | None:
        """The value of an entry that is one whole number."""
        form, count = _INTEGERS.get(self._unpack("H", entry + 2)), self._unpack("I", entry + 4)
        return self._unpack(form, entry + 8) if form and count == 1 else None

    def set_integer(self, entry: int, value: int) -> None:
        """Replace a value; the type stays where it is one that EXIF allows for it."""
        kind = self._unpack("H", entry + 2)
        if kind not in (_SHORT, _LONG) or self.integer(entry) is None:
            kind = _SHORT
        self._pack("HII", entry + 2, kind, 1, 0)
        self._pack(_INTEGERS[kind], entry + 8, value)

    def rational(self, entry: int) -> float:
        """The value of an entry that is a quotient or a whole number; NaN for another type."""
        if self._unpack("H", entry + 2) != 5:
            whole = self.integer(entry)
            return math.nan if whole is None else float(whole)
        at = self._unpack("I", entry + 8)
        above, below = self._unpack("I", at), self._unpack("I", at + 4)
        return above / below if below else math.nan

    def turn(self, orientation: int) -> None:
        """See `upright_exif`."""
        folder = self.folder(self.first)
        if ORIENTATION in folder:
            self.set_integer(folder[ORIENTATION], 1)
        if orientation == 1:
            return
        link = self._link(self.first)
        second = self._unpack("I", link) if link + 4 <= len(self.data) else 0
        folders = [folder]
        if _EXIF_FOLDER in folder:
            folders.append(self.folder(self._unpack("I", folder[_EXIF_FOLDER] + 8)))
        if second and not self._turn_thumbnail(second, orientation):
            self._pack("I", link, 0)
        elif second:
            folders.append(self.folder(second))
        for each in folders if is_sideways(orientation) else []:
            self._exchange(each)

    def _exchange(self, folder: dict[int, int]) -> None:
        for one, other in _PAIRS:
            if one in folder and other in folder:
                a, b = (slice(folder[tag] + 2, folder[tag] + 12) for tag in (one, other))
                self.data[a], self.data[b] = self.data[b], self.data[a]

    def _turn_thumbnail(self, at: int, orientation: int) -> bool:
        """Turn the JPEG of the second folder in the room that it has; False where it cannot be."""
        try:
            folder = self.folder(at)
            if _THUMBNAIL not in folder or _THUMBNAIL_BYTES not in folder:
                return False
            start, size = (self._unpack("I", folder[t] + 8) for t in (_THUMBNAIL, _THUMBNAIL_BYTES))
            turned = _turned_jpeg(bytes(self.data[start : start + size]), orientation)
        except (ValueError, struct.error):
            return False
        if turned is None or start + size > len(self.data):
            return False
        self.data[start : start + size] = turned.ljust(size, b"\0")
        self.set_integer(folder[_THUMBNAIL_BYTES], len(turned))
        if ORIENTATION in folder:
            self.set_integer(folder[ORIENTATION], 1)
        return True


def _turned_jpeg(data: bytes, orientation: int) -> bytes | None:
    """A JPEG upright, in no more bytes than it had; None where that is not possible."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.width * image.height > _MOST_THUMBNAIL_PIXELS:
                return None
            upright = image.transpose(UPRIGHT[orientation])
        for quality in _QUALITIES:
            output = io.BytesIO()
            upright.save(output, "JPEG", quality=quality, optimize=True)
            if output.tell() <= len(data):
                return output.getvalue()
    except Exception:  # Pillow raises a dozen unrelated types on damaged files
        return None
    return None
