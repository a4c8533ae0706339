"""Pictures with labels, in folders of classes or in zip files of such folders.

train/n01440764_tench/1.webp        class "tench", without the WordNet number before the name
val/...                             another split, with folders of the same classes
tench/1.webp                        to train on, without any splits
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from promptcodec.errors import DataError
from promptcodec.training.data.picture_cache import decode_usable
from promptcodec.training.data.sources import PictureFile, find_pictures

logger = logging.getLogger(__name__)

WORDNET = re.compile(r"^n\d{8}_")
TRAIN = "train"
SPLITS = (TRAIN, "val", "test")


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Pictures of one split.

    Args:
        pictures: pictures, uint8 (3, H, W) each.
        labels: indexes in `classes`, int64 (N,).
        classes: names of the classes, sorted.
        names: file names, for records.
    """

    pictures: list[Tensor]
    labels: Tensor
    classes: tuple[str, ...]
    names: list[str]

    def part(self, chosen: list[int]) -> LabelledPictures:
        """Some of the pictures."""
        return LabelledPictures(
            pictures=[self.pictures[i] for i in chosen],
            labels=self.labels[chosen],
            classes=self.classes,
            names=[self.names[i] for i in chosen],
        )

    def held_out(self, *, one_in: int) -> tuple[LabelledPictures, LabelledPictures]:
        """Split into (training, held out): every `one_in`-th picture of a class is held out."""
        held: list[int] = []
        for label in range(len(self.classes)):
            held += (self.labels == label).nonzero().flatten().tolist()[::one_in]
        inside = set(held)
        return self.part([i for i in range(len(self.names)) if i not in inside]), self.part(held)


def read_labelled(source: Path, *, split: str) -> LabelledPictures:
    """Read one split of a labelled set.

    Pictures that cannot be read are left out; the log names and counts them.

    Args:
        source: folder or zip file.
        split: name of the folder above the classes.
    Raises:
        DataError: the split is missing, has fewer than two classes, or a class of which no picture
            can be read.
    """
    found = _find(source, split=split)
    classes = tuple(sorted({label for label, _, _ in found}))
    if len(classes) < 2:
        raise DataError(
            f"{source} has {len(classes)} classes in {split!r}; need folders {split}/CLASS/picture "
            "of two classes or more"
        )
    found.sort(key=lambda item: item[:2])
    decoded = decode_usable([place for _, _, place in found])
    if len(decoded) < len(found):
        logger.warning("%d of %d pictures skipped", len(found) - len(decoded), len(found))
    found = [item for item in found if item[2] in decoded]
    empty = set(classes) - {label for label, _, _ in found}
    if empty:
        raise DataError(
            f"{source} has no picture of {min(empty)!r} in {split!r} that can be read: mend them, "
            "or remove the folder"
        )
    return LabelledPictures(
        pictures=[decoded[place].permute(2, 0, 1) for _, _, place in found],
        labels=torch.tensor([classes.index(label) for label, _, _ in found]),
        classes=classes,
        names=[f"{label}/{name}" for label, name, _ in found],
    )


def _find(source: Path, *, split: str) -> list[tuple[str, str, PictureFile]]:
    """Class, name and place of every picture of a split; the one to train on may be all there is.

    Without a folder `train` it is every folder of pictures, other splits excepted.
    """
    found, without = [], []
    for place in find_pictures(source):
        parts = _parts(place, source)
        if len(parts) < 2:
            continue
        item = WORDNET.sub("", parts[-2]), parts[-1], place
        if len(parts) >= 3 and parts[-3] == split:
            found.append(item)
        elif len(parts) == 2 or parts[-3] not in SPLITS:
            without.append(item)
    return found if found or split != TRAIN else without


def _parts(place: PictureFile, source: Path) -> tuple[str, ...]:
    """Folders below the source, and the file name."""
    if place.member is not None:
        return PurePosixPath(place.member).parts
    return place.path.relative_to(source).parts if source.is_dir() else place.path.parts[-1:]
