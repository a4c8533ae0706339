"""Accuracy over rate of classifiers on real files.

    picture -> codec -> file -> y_hat -> head on latents -> label
                         '----> pixels -> network on pixels -> label

A recipe has sources (our codec with some base, prompts or task; or a classic codec), the settings
of each, and the classifiers of its files. A classifier may have more classes than the set. Right
or wrong is recorded for each picture, so that classifiers are compared in pairs (`accuracy`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec.coding.head_config import CLASSIFY, LATENTS
from promptcodec.coding.head_file import read_head_config
from promptcodec.coding.latents import inside
from promptcodec.config import Count, NotNegative, Ranged
from promptcodec.errors import ConfigError
from promptcodec.evaluation.accuracy import calibration_error, tally
from promptcodec.evaluation.codecs.payload import payload_bytes
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.checkpoints import HEADS, TASKS, find_tasks
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, read_head
from promptcodec.training.data.inputs import FORMATS, FileInput
from promptcodec.training.data.labelled import LabelledPictures

ORIGINAL = "original"
BATCH = 50  # pictures in one pass of a network


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """A classifier of the files of a source.

    Args:
        name: label in the results.
        heads: folders of heads that differ only in their seed.
    """

    name: str
    heads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SourceConfig(Ranged):
    """A codec that writes files.

    Args:
        name: label in the results.
        format: format of the files, "pc", "jpeg", "jpeg-progressive", "webp" or "avif"; "original"
            is the pictures as they are, of 24 bits a pixel.
        settings: rate indexes or qualities, lowest rate first.
        gain_steps: gain of our codec at each setting; empty is 0 at all settings.
        readers: classifiers of its files.
        base: checkpoint of our codec; None is the bundled one.
        prompts: adapters of the base; None are the bundled ones.
        tasks: folder of task prompts; None has none.
        task: name of the task prompts of the encoder.
    """

    name: str
    format: str = "pc"
    settings: tuple[NotNegative, ...]
    gain_steps: tuple[float, ...] = ()
    readers: tuple[ReaderConfig, ...]
    base: str | None = None
    prompts: str | None = None
    tasks: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format not in ("pc", ORIGINAL, *FORMATS):
            known = ", ".join(["pc", ORIGINAL, *FORMATS])
            raise ConfigError(f"source {self.name}: format is {self.format!r}; need one of {known}")
        if not self.settings or not self.readers:
            raise ConfigError(f"source {self.name}: need settings and readers, one or more")
        if self.gain_steps and (self.format != "pc" or len(self.gain_steps) != len(self.settings)):
            raise ConfigError(
                f"source {self.name}: {len(self.gain_steps)} gain_steps for {len(self.settings)} "
                f"settings of format {self.format!r}; need one for each, of format 'pc'"
            )

    def points(self) -> list[tuple[float, float]]:
        """Setting and gain steps of every point."""
        return list(zip(self.settings, self.gain_steps or [0.0] * len(self.settings), strict=True))


@dataclass(frozen=True, kw_only=True)
class TaskEvaluation(Ranged):
    """A recipe of `promptcodec eval-task`.

    Args:
        split: part of the labelled set, such as "val".
        size: edge that pictures are scaled to, px.
        sources: codecs that write files, one or more.
    """

    split: str = "val"
    size: Count = 128
    sources: tuple[SourceConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources:
            raise ConfigError("the recipe has no sources; need one or more")


@dataclass(frozen=True, eq=False)
class Files:
    """The files of a source at one setting.

    Args:
        data: one file for each picture.
        shown: decoded pictures, uint8 (N, 3, H, W).
        lmbda: rate-distortion weight of the setting; 1 for classic codecs.
        y_hat: latents of the files, (N, M, h, w); None for classic codecs.
    """

    data: list[bytes]
    shown: Tensor
    lmbda: float
    y_hat: Tensor | None


def write_files(
    source: SourceConfig,
    codec: TorchCodec | None,
    pictures: Tensor,
    setting: float,
    *,
    gain_steps: float = 0.0,
) -> Files:
    """Encode uint8 pictures (N, 3, H, W) to files and decode them; `codec` is None for others."""
    if source.format == ORIGINAL:
        return Files([picture.numpy().tobytes() for picture in pictures], pictures, 1.0, None)
    if codec is None:
        file_input = FileInput(source.format)
        data = [file_input.compress(picture, setting) for picture in pictures]
        return Files(data, torch.stack([file_input.show(d) for d in data]), 1.0, None)
    arrays = [picture.permute(1, 2, 0).numpy() for picture in pictures]
    if source.task is None:
        data = codec.encode_batch(
            arrays, rate_index=setting, gain_steps=gain_steps, graphics="never"
        )
    else:
        options = {"rate_index": setting, "gain_steps": gain_steps, "task": source.task}
        data = [codec.encode(a, **options) for a in arrays]
    height, width = pictures.shape[2:]
    latents = [inside(codec.latents(d), height=height, width=width) for d in data]
    y_hat = torch.cat(latents)
    return Files(data, _stack(codec.decode_batch(data)), codec.at(setting).lmbda, y_hat)


def _stack(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as uint8 (N, 3, H, W)."""
    rgb = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2)


@torch.inference_mode()
def predict(head: Head, files: Files) -> Tensor:
    """Logits, (N, classes)."""
    found = []
    inputs = files.y_hat if head.config.reads == LATENTS else files.shown
    if inputs is None:
        raise ConfigError("a head on latents cannot read the files of a classic codec")
    for part in inputs.split(BATCH):
        x = part.float() / 255.0 if part.dtype == torch.uint8 else part
        lmbda = torch.full((len(x),), files.lmbda)
        found.append(head.model(x, lmbda))
    return torch.cat(found)


def open_heads(folders: Sequence[str], *, labels: Sequence[str], base: bytes) -> list[Head]:
    """Read the heads of a reader and check that they have the classes of a set.

    Raises:
        CheckpointError: a folder has no usable head.
        ConfigError: a head has another task, or lacks a class.
        ModelMismatchError: a head belongs to another base.
    """
    heads = []
    for folder in folders:
        config = read_head_config(Path(folder))
        own = base if config.reads == LATENTS else b""
        head = read_head(Path(folder), base_sha256=own)
        missing = {plain(label) for label in labels} - {plain(label) for label in config.labels}
        if config.task != CLASSIFY or missing:
            raise ConfigError(
                f"head {folder} has {len(config.labels)} classes to {config.task}, and the set has "
                f"{len(labels)}, of which it lacks {min(missing, default='none')}: name a "
                "classifier of this set"
            )
        heads.append(head)
    return heads


def plain(label: str) -> str:
    """Name of a class as it is compared: sets have underscores and small letters."""
    return label.lower().replace(" ", "_")


def evaluate_tasks(
    config: TaskEvaluation,
    data: LabelledPictures,
    *,
    pictures: Tensor,
    report: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Rate, PSNR and accuracy of every source at every setting, for each classifier.

    Args:
        config: recipe.
        data: split of the labelled set, for labels and names.
        pictures: pictures of the split at one size, uint8 (N, 3, H, W).
        report: function that receives a line for each setting.
    """
    opened = []
    for source in config.sources:
        ours = source.format == "pc"
        codec = TorchCodec.load(source.base, source.prompts, tasks=source.tasks) if ours else None
        base = codec.base_hash if codec else b""
        heads = {
            reader.name: open_heads(reader.heads, labels=data.classes, base=base)
            for reader in source.readers
        }
        opened.append((source, codec, heads))
    rows = []
    for source, codec, readers in opened:
        settings = []
        for setting, gain_steps in source.points():
            files = write_files(source, codec, pictures, setting, gain_steps=gain_steps)
            row = {
                "setting": setting,
                "gain_steps": gain_steps,
                **_rates(files, pictures),
                "readers": {name: _judge(heads, files, data) for name, heads in readers.items()},
            }
            settings.append(row)
            shown = {name: round(100 * r["accuracy"], 1) for name, r in row["readers"].items()}
            report(f"{source.name} {setting:g} {gain_steps:+g}: {row['bpp']:.4f} bpp, {shown}")
        facts = {"name": source.name, "format": source.format, "task": source.task}
        rows.append({**facts, **weights_of(source, codec), "settings": settings})
    return rows


def weights_of(source: SourceConfig, codec: TorchCodec | None) -> dict[str, Any]:
    """Hashes of the networks of a source and its readers, as `io.hub.results` reads them."""
    adapters, bases = set(), []
    if codec is not None:
        adapters = {each.hex() for rate in codec.rates for each in codec.at(rate.index).hashes}
        bases = [codec.base_hash.hex()]
    readers = {
        reader.name: [sha256_of(Path(folder) / HEADS.weights) for folder in reader.heads]
        for reader in source.readers
    }
    tasks = find_tasks(source.tasks) if source.tasks is not None else []
    return {
        "bases_sha256": bases,
        "adapters_sha256": sorted(adapters),
        "heads_sha256": sorted({each for own in readers.values() for each in own}),
        "tasks_sha256": sorted({sha256_of(folder / TASKS.weights) for folder in tasks}),
        "readers_sha256": readers,
    }


def _rates(files: Files, pictures: Tensor) -> dict[str, float]:
    """Means over the set."""
    area = pictures.shape[2] * pictures.shape[3]
    whole = [8 * len(d) / area for d in files.data]
    raw = 3 * area  # bytes of an original, which has no headers
    bare = [8 * (raw if len(d) == raw else payload_bytes(d)) / area for d in files.data]
    quality = [
        psnr(x.permute(1, 2, 0).numpy(), y.permute(1, 2, 0).numpy())
        for x, y in zip(pictures, files.shown, strict=True)
    ]
    return {
        "bpp": float(np.mean(whole)),
        "bpp_payload": float(np.mean(bare)),
        "psnr": float(np.mean(quality)),
    }


def _judge(heads: list[Head], files: Files, data: LabelledPictures) -> dict[str, Any]:
    """Accuracy and calibration of a reader's heads, of all their classes.

    Where they have more than the set, further entries are `top5`, whether the right class is among
    the five most probable, and `among`, accuracy where only the classes of the set can be named.
    """
    right: dict[str, list[np.ndarray]] = {"top1": [], "top5": [], "among": []}
    fewer, errors = False, []
    for head in heads:
        labels = [plain(label) for label in head.config.labels]
        places = torch.tensor([labels.index(plain(label)) for label in data.classes])
        logits, truth = predict(head, files), places[data.labels]
        best = logits.topk(min(5, logits.shape[1])).indices
        first = (best[:, 0] == truth).numpy()
        likely = (logits / head.config.temperature).softmax(dim=1).amax(dim=1).numpy()
        errors.append(calibration_error(likely, first))
        right["top1"].append(first)
        right["top5"].append((best == truth[:, None]).any(dim=1).numpy())
        right["among"].append((logits[:, places].argmax(dim=1) == data.labels).numpy())
        fewer = fewer or len(labels) > len(places)
    found = {name: tally(np.stack(rows)) for name, rows in right.items()}
    more = {"top5": found["top5"], "among": found["among"]} if fewer else {}
    return found["top1"] | {"calibration_error": float(np.mean(errors))} | more
