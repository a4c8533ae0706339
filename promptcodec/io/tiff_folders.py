"""Folders Exif and GPS at the end of a TIFF file, where Pillow's compressed writer has none."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

FOLDERS = {0x8769: "Exif", 0x8825: "GPS"}
_INTEROPERABILITY = 0xA005  # the offset of a folder that is not copied
_LONG = 4
_HEADERS = {b"II*\0": "<", b"MM\0*": ">"}

Folder = Mapping[int, Any]


def writable(title: str, folder: Folder) -> tuple[dict[int, Any], list[str]]:
    """The tags of a folder that can be written, and names of the others.

    Args:
        title: name of the folder in those names.
        folder: values by tag.
    """
    kept, names = {}, []
    for tag, value in folder.items():
        if tag == _INTEROPERABILITY:
            continue
        try:
            _directory({tag: value}).tobytes(0)
        except Exception:  # Pillow raises a dozen unrelated types on values that it cannot pack
            names.append(f"{title} tag 0x{tag:04X}")
        else:
            kept[tag] = value
    return kept, names


def append_folders(file: BinaryIO, folders: Mapping[int, Folder]) -> None:
    """Add folders to a TIFF file: behind its end with a new first directory that points to them.

    Args:
        file: whole TIFF file, readable and writable.
        folders: values by tag, by the tag of each folder.
    """
    file.seek(0)
    header = file.read(8)
    order = _HEADERS[header[:4]]
    (first,) = struct.unpack(f"{order}I", header[4:])
    file.seek(first)
    (count,) = struct.unpack(f"{order}H", file.read(2))
    table = file.read(12 * count + 4)
    entries = [table[12 * n : 12 * n + 12] for n in range(count)]
    for tag, folder in folders.items():
        at = _even_end(file)
        file.write(_directory(folder, header[:4]).tobytes(at))
        entries.append(struct.pack(f"{order}HHII", tag, _LONG, 1, at))
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    at = _even_end(file)
    file.write(struct.pack(f"{order}H", len(entries)) + b"".join(entries) + table[12 * count :])
    file.seek(4)
    file.write(struct.pack(f"{order}I", at))


def _even_end(file: BinaryIO) -> int:
    end = file.seek(0, 2)
    file.write(bytes(end % 2))
    return end + end % 2


def _directory(folder: Folder, magic: bytes = b"II*\0") -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2(magic + bytes(4), group=0x8769)
    for tag, value in folder.items():
        directory[tag] = value
    return directory
