"""Pictures with masks, in folders or in zip files of such folders.

train/images/NAME.webp     RGB
train/masks/NAME.png       number of the class of each pixel, 8 bits
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec.coding.head_config import IGNORE
from promptcodec.errors import DataError
from promptcodec.io.formats import count_frames, note_on_frames
from promptcodec.io.notes import note_lines
from promptcodec.training.data.picture_cache import decode_usable
from promptcodec.training.data.sources import PictureFile, find_pictures

logger = logging.getLogger(__name__)

RUN = 12  # neighbouring frames, which are alike, are held out together


@dataclass(frozen=True, eq=False)
class MaskedPictures:
    """Pictures of one split.

    Args:
        pictures: pictures, uint8 (3, H, W) each.
        masks: numbers of the classes, uint8 (H, W) each; `IGNORE` is no class.
        names: file names without suffix, sorted.
    """

    pictures: list[Tensor]
    masks: list[Tensor]
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def part(self, chosen: list[int]) -> MaskedPictures:
        """Some of the pictures."""
        return MaskedPictures(
            pictures=[self.pictures[i] for i in chosen],
            masks=[self.masks[i] for i in chosen],
            names=[self.names[i] for i in chosen],
        )

    def held_out(self, *, one_in: int) -> tuple[MaskedPictures, MaskedPictures]:
        """Split into (training, held out): every `one_in`-th run of neighbours is held out.

        Raises:
            DataError: there are fewer than `one_in` pictures.
        """
        if len(self) < one_in:
            raise DataError(f"{len(self)} pictures; need {one_in} or more to hold one out of them")
        run = min(RUN, max(1, len(self) // one_in))
        held = [i for i in range(len(self)) if i // run % one_in == one_in // 2]
        rest = sorted(set(range(len(self))) - set(held))
        return self.part(rest), self.part(held)

    def frequencies(self, classes: int) -> Tensor:
        """Share of each class in the labelled pixels, float64 (classes,)."""
        counts = sum(torch.bincount(m.flatten(), minlength=IGNORE + 1) for m in self.masks)
        shares = torch.as_tensor(counts)[:classes].double()
        return shares / shares.sum()


def read_masked(
    source: Path, *, split: str, classes: int, ignore: tuple[int, ...]
) -> MaskedPictures:
    """Read one split of a set of pictures with masks.

    A picture that cannot be read, or whose mask cannot, is named and left out with the other.

    Args:
        source: folder or zip file.
        split: name of the folder above `images` and `masks`.
        classes: number of classes; masks hold 0 to classes - 1.
        ignore: values for pixels of no class.
    Raises:
        DataError: the split is missing, a picture has no mask or a mask no picture, sizes differ,
            or a mask has another value.
    """
    found: dict[str, dict[str, PictureFile]] = {"images": {}, "masks": {}}
    for place in find_pictures(source):
        parts = PurePosixPath(place.member or place.path.as_posix()).parts
        if len(parts) >= 3 and parts[-3] == split and parts[-2] in found:
            found[parts[-2]][PurePosixPath(parts[-1]).stem] = place
    decoded = decode_usable(list(found["images"].values()))
    pictures = {name: decoded[p] for name, p in found["images"].items() if p in decoded}
    masks = _read_masks(found["masks"])
    for ours, others, other in (
        (pictures.keys(), found["masks"].keys(), "mask"),
        (masks.keys(), found["images"].keys(), "picture"),
    ):
        alone = sorted(ours - others)
        if alone:
            raise DataError(f"{source}: {split}/{alone[0]} has no {other} beside it; add it")
    if not pictures.keys() & masks.keys():
        unread = " that can be read" if found["images"] else ""
        raise DataError(
            f"{source} has no pictures in {split!r}{unread}; need {split}/images/NAME and "
            f"{split}/masks/NAME.png"
        )
    names = sorted(pictures.keys() & masks.keys())
    return MaskedPictures(
        pictures=[pictures[name].permute(2, 0, 1) for name in names],
        masks=[
            _checked_mask(
                masks[name], size=pictures[name].shape[:2], classes=classes, ignore=ignore
            )
            for name in names
        ],
        names=names,
    )


@dataclass(frozen=True, eq=False)
class _Mask:
    """A mask as its file has it."""

    place: PictureFile
    mode: str
    values: np.ndarray


def _read_masks(places: dict[str, PictureFile]) -> dict[str, _Mask]:
    """Masks by name; the log names those that cannot be read."""
    masks: dict[str, _Mask] = {}
    notes: list[tuple[str, str]] = []
    for name, place in places.items():
        try:
            file = io.BytesIO(place.read())
            with Image.open(file) as picture:
                masks[name] = _Mask(place, picture.mode, np.array(picture))
                for note in note_on_frames(count_frames(picture, file), picture.format):
                    notes.append((f"mask {place}", note))
        except (OSError, SyntaxError, ValueError) as error:
            logger.warning("skipped mask %s: %s", place, error)
    for line in note_lines(notes):
        logger.warning("note: %s", line)
    return masks


def _checked_mask(
    mask: _Mask, *, size: tuple[int, ...], classes: int, ignore: tuple[int, ...]
) -> Tensor:
    place, mode, values = mask.place, mask.mode, mask.values
    if mode not in ("L", "P") or values.dtype != np.uint8:
        raise DataError(f"mask {place} is of mode {mode}; need one number of 8 bits for each pixel")
    if values.shape != tuple(size):
        raise DataError(
            f"mask {place} is {values.shape[1]}x{values.shape[0]} and its picture "
            f"{size[1]}x{size[0]}; need the same size"
        )
    none = np.isin(values, ignore)
    wrong = values[~none & (values >= classes)]
    if wrong.size:
        raise DataError(
            f"mask {place} has the value {wrong[0]}; there are {classes} labels, 0 to "
            f"{classes - 1}: name all of them, or add the value to `ignore`"
        )
    return torch.from_numpy(np.where(none, np.uint8(IGNORE), values))
