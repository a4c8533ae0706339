"""Pictures with labels, in folders of classes or in zip files of such folders.

train/n01440764_tench/1.webp        class "tench", without the WordNet number before the name
val/...                             another split, with folders of the same classes
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from promptcodec.errors import DataError
from promptcodec.training.data.picture_cache import decode_usable
from promptcodec.training.data.sources import PictureFile, find_pictures

WORDNET = re.compile(r"^n\d{8}_")


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
    """Read one split of a labelled set; pictures that cannot be read are named and left out.

    Args:
        source: folder or zip file.
        split: name of the folder above the classes.
    Raises:
        DataError: the split is missing, has fewer than two classes, or a class of which no picture
            can be read.
    """
    found: list[tuple[str, str, PictureFile]] = []
    for place in find_pictures(source):
        parts = PurePosixPath(place.member or place.path.as_posix()).parts
        if len(parts) >= 3 and parts[-3] == split:
            found.append((WORDNET.sub("", parts[-2]), parts[-1], place))
    classes = tuple(sorted({label for label, _, _ in found}))
    if len(classes) < 2:
        raise DataError(
            f"{source} has {len(classes)} classes in {split!r}; need folders {split}/CLASS/picture "
            "of two classes or more"
        )
    found.sort(key=lambda item: item[:2])
    decoded = decode_usable([place for _, _, place in found])
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
