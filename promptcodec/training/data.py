"""Pictures for training, kept decoded as uint8; crops are a function of the step.

Which crops step n of process r sees depends on (seed, n, r) alone, so a resumed run sees exactly
what an uninterrupted one would have, without replaying anything.
"""

from __future__ import annotations

import functools
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptcodec import images
from promptcodec.errors import DataError, PictureError
from promptcodec.selection import PICTURE_SUFFIXES
from promptcodec.training.config import DataConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a picture's bytes lie.

    Args:
        path: file, or the archive that holds it.
        member: name inside the archive; None is a file of its own.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            PictureError: they cannot be read.
        """
        try:
            if self.member is None:
                return self.path.read_bytes()
            changed = self.path.stat().st_mtime_ns
            return _archive(self.path, changed, os.getpid()).read(self.member)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
            raise PictureError(f"{self} cannot be read: {error}") from None


@functools.lru_cache(maxsize=4)
def _archive(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    """An archive, left open: its list of members is long. Processes do not share a file."""
    return zipfile.ZipFile(path)


Entry = tuple[Source, Tensor | None]  # where it lies, and the decoded picture if it is kept


def find_pictures(source: Path) -> Iterator[Source]:
    """Every picture of a folder, nested folders and zip files, in sorted order.

    Raises:
        DataError: the folder does not exist, or a zip file is none.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"data {source} does not exist; give a folder of pictures or a zip file")
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    for path in paths:
        if path.suffix.lower() == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    names = sorted(archive.namelist())
            except (zipfile.BadZipFile, OSError) as error:
                raise DataError(f"archive {path} cannot be read: {error}") from None
            yield from (
                Source(path, name) for name in names if name.lower().endswith(PICTURE_SUFFIXES)
            )
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            yield Source(path)


class PictureStore:
    """Pictures split into training and validation.

    Args:
        source: folder or zip file.
        config: crops and the size of the validation part.
        device: where decoded pictures are kept; a GPU with room saves every copy.
        validation: folder of its own to validate on; None holds pictures out of `source`.
    Raises:
        DataError: fewer usable pictures than validation_pictures + 1.
    """

    def __init__(
        self,
        source: Path,
        config: DataConfig,
        *,
        device: str = "cpu",
        validation: Path | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.name = Path(source).name
        self.skipped: list[str] = []
        entries: list[Entry] = []
        for place in find_pictures(source):
            picture = self._read(place) if config.in_memory else None
            if picture is not None or not config.in_memory:
                entries.append((place, picture))
        held_out = 0 if validation else config.validation_pictures
        if len(entries) <= held_out:
            raise DataError(
                f"{source} has {len(entries)} usable pictures of at least {config.crop} px; need "
                f"more than the {held_out} held out for validation"
            )
        held_entries = self._hold_out(entries, held_out)
        self._training = [e for e in entries if e[0] not in held_entries]
        held = list(held_entries.values())
        if validation:
            found = list(find_pictures(validation))[: config.validation_pictures]
            held = [self._read(place) for place in found]
        self.validation = [p for p in held if p is not None]
        if not self.validation:
            raise DataError(f"no picture in {validation or source} can be used for validation")

    def _hold_out(self, entries: list[Entry], count: int) -> dict[Source, Tensor | None]:
        """Usable pictures spread over the set; where one is broken, the next one."""
        held: dict[Source, Tensor | None] = {}
        for start in np.linspace(0, len(entries) - 1, count).round().astype(int):
            for place, kept in entries[start:]:
                picture = self._read(place) if kept is None else kept
                if picture is not None and place not in held:
                    held[place] = picture
                    break
        return held

    def _picture(self, entry: Entry) -> Tensor | None:
        place, picture = entry
        return self._read(place) if picture is None else picture

    def _read(self, place: Source) -> Tensor | None:
        """A picture as uint8 (3, H, W), or None after saying why it is skipped."""
        try:
            rgb = images.load(place.read()).rgb
        except PictureError as error:
            return self._skip(str(place), str(error))
        if min(rgb.shape[:2]) < self.config.crop:
            return self._skip(str(place), f"smaller than the crop of {self.config.crop} px")
        return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).to(self.device)

    def _skip(self, name: str, reason: str) -> None:
        if name not in self.skipped:
            logger.warning("skipped %s: %s", name, reason)
            self.skipped.append(name)

    def __len__(self) -> int:
        return len(self._training)

    def sample(self, count: int) -> Iterator[Tensor]:
        """Up to `count` training pictures, spread over the set, uint8 (3, H, W)."""
        stride = max(1, len(self._training) // count)
        for entry in self._training[::stride][:count]:
            picture = self._picture(entry)
            if picture is not None:
                yield picture

    def batch(self, count: int, *, seed: int, step: int, rank: int = 0) -> Tensor:
        """Crops of one step: float32 in [0, 1], (count, 3, crop, crop)."""
        rng = np.random.default_rng([seed, step, rank])
        crops = [self._crop(rng) for _ in range(count)]
        return torch.stack(crops).contiguous(memory_format=torch.channels_last)

    def _crop(self, rng: np.random.Generator) -> Tensor:
        picture = None
        for _ in range(len(self._training)):
            picture = self._picture(self._training[int(rng.integers(len(self._training)))])
            if picture is not None:
                break
        if picture is None:
            raise DataError("none of the drawn pictures can be read; see the warnings above")
        _, height, width = picture.shape
        size = self.config.crop
        scale = 1.0
        if rng.random() < self.config.reduce_probability:
            scale = rng.uniform(self.config.reduce_min, self.config.reduce_max)
        source = min(round(size / scale), height, width)
        top = int(rng.integers(height - source + 1))
        left = int(rng.integers(width - source + 1))
        crop = picture[:, top : top + source, left : left + source]
        if rng.random() < 0.5:
            crop = crop.flip(2)
        if source != size:
            # CPUs reduce uint8 as it is, and faster; GPUs have no such kernel.
            exact = crop if crop.device.type == "cpu" else crop.float()
            crop = F.interpolate(
                exact[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )[0]
            if crop.is_floating_point():
                crop = crop.round().clamp(0.0, 255.0)
        return crop.float() / 255.0
