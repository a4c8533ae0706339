"""Pictures for training, kept decoded as uint8; crops are a function of the step.

Which crops step n of process r sees depends on (seed, n, r) alone, so a resumed run sees exactly
what an uninterrupted one would have, without replaying anything.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptcodec import images
from promptcodec.errors import DataError, PictureError
from promptcodec.training.config import DataConfig

logger = logging.getLogger(__name__)

Entry = tuple[str, bytes | Path | Tensor]  # name, and the file or the decoded picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def find_pictures(source: Path) -> Iterator[tuple[str, bytes | Path]]:
    """Every picture of a folder, nested folders and zip files, in sorted order.

    Raises:
        DataError: the folder does not exist, or an archive is broken.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"data {source} does not exist; give a folder of pictures or a zip file")
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    for path in paths:
        if path.suffix.lower() == ".zip":
            yield from _zipped(path)
        elif path.suffix.lower() in SUFFIXES:
            yield str(path), path


def _zipped(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(SUFFIXES):
                    yield f"{path}:{name}", archive.read(name)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"archive {path} cannot be read: {error}") from None


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
        for name, data in find_pictures(source):
            entry: Entry = (name, data)
            if config.in_memory:
                picture = self._read(name, data)
                if picture is None:
                    continue
                entry = (name, picture)
            entries.append(entry)
        held_out = 0 if validation else config.validation_pictures
        if len(entries) <= held_out:
            raise DataError(
                f"{source} has {len(entries)} usable pictures of at least {config.crop} px; need "
                f"more than the {held_out} held out for validation"
            )
        chosen = set(np.linspace(0, len(entries) - 1, held_out).round().astype(int).tolist())
        self._training = [e for i, e in enumerate(entries) if i not in chosen]
        held = [self._first_usable(entries[i:]) for i in sorted(chosen)]
        if validation:
            found = list(find_pictures(validation))[: config.validation_pictures]
            held = [self._read(name, data) for name, data in found]
        self.validation = [p for p in held if p is not None]
        if not self.validation:
            raise DataError(f"no picture in {validation or source} can be used for validation")

    def _first_usable(self, entries: list[Entry]) -> Tensor | None:
        return next((p for e in entries if (p := self._picture(e)) is not None), None)

    def _picture(self, entry: Entry) -> Tensor | None:
        name, data = entry
        return data if isinstance(data, Tensor) else self._read(name, data)

    def _read(self, name: str, data: bytes | Path) -> Tensor | None:
        """A picture as uint8 (3, H, W), or None after saying why it is skipped."""
        try:
            rgb = images.load(data).rgb
        except PictureError as error:
            return self._skip(name, str(error))
        if min(rgb.shape[:2]) < self.config.crop:
            return self._skip(name, f"smaller than the crop of {self.config.crop} px")
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
        if source != size:  # in uint8: five times as fast, and pictures are stored so anyway
            crop = F.interpolate(
                crop[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )[0]
        return crop.float() / 255.0
