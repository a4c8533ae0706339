"""Accuracy over rate: what classifiers make of real files, by every way to get there.

    picture -> codec -> file -> y_hat -> head on latents -> label
                         '----> pixels -> network on pixels -> label

A recipe names sources (our codec with some base, prompts or task; or a classic codec), the settings
that each writes at, and the readers of what it wrote. Which pictures came out right is kept one by
one, so that readers are compared in pairs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec.config import from_dict
from promptcodec.errors import ConfigError
from promptcodec.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Estimate
from promptcodec.evaluation.codecs.payload import payload_bytes
from promptcodec.evaluation.metrics import psnr
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, read_head, read_head_config
from promptcodec.models.heads.config import CLASSIFY, LATENTS
from promptcodec.training.data.inputs import FORMATS, FileInput
from promptcodec.training.data.labelled import LabelledPictures

BATCH = 50  # pictures that a network reads at once


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """A classifier that reads what a source wrote.

    Args:
        name: in the results.
        heads: folders of heads that differ in their seed alone.
    """

    name: str
    heads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """What writes files.

    Args:
        name: in the results.
        format: "pc", "jpeg", "webp" or "avif".
        settings: rate indexes or qualities, lowest rate first.
        gain_steps: of our codec at each setting; none is 0 at all of them.
        readers: of what it writes.
        base: of our codec; None is the bundled one.
        prompts: its adapters; None are the bundled ones.
        tasks: task prompts that encode; None encodes without.
        task: which of them.
    """

    name: str
    format: str = "pc"
    settings: tuple[float, ...]
    gain_steps: tuple[float, ...] = ()
    readers: tuple[dict, ...]
    base: str | None = None
    prompts: str | None = None
    tasks: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        if self.format != "pc" and self.format not in FORMATS:
            known = ", ".join(["pc", *FORMATS])
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

    def read_readers(self) -> list[ReaderConfig]:
        """The readers, checked."""
        where = f"a reader of source {self.name}"
        return [from_dict(ReaderConfig, reader, where=where) for reader in self.readers]


@dataclass(frozen=True, kw_only=True)
class TaskEvaluation:
    """A recipe of `promptcodec eval-task`.

    Args:
        split: of the labelled set, "val" for instance.
        size: edge that pictures are brought to, px.
        sources: what writes files, as mappings of `SourceConfig`.
    """

    split: str = "val"
    size: int = 128
    sources: tuple[dict, ...] = field(default_factory=tuple)

    def read_sources(self) -> list[SourceConfig]:
        """The sources, checked.

        Raises:
            ConfigError: none, or one that does not fit.
        """
        if not self.sources:
            raise ConfigError("the recipe names no sources; need one or more")
        return [from_dict(SourceConfig, source, where="a source") for source in self.sources]


@dataclass(frozen=True, eq=False)
class Files:
    """One setting of a source.

    Args:
        data: a file for each picture.
        shown: decoded pictures, uint8 (N, 3, H, W).
        lmbda: rate-distortion weight of the setting; 1 for classic codecs.
        y_hat: latents out of the files, (N, M, h, w); None for classic codecs.
    """

    data: list[bytes]
    shown: Tensor
    lmbda: float
    y_hat: Tensor | None


def open_codec(source: SourceConfig) -> TorchCodec | None:
    """The codec of a source; None of a classic one."""
    if source.format != "pc":
        return None
    return TorchCodec.load(source.base, source.prompts, tasks=source.tasks)


def write_files(
    source: SourceConfig,
    codec: TorchCodec | None,
    pictures: Tensor,
    setting: float,
    *,
    gain_steps: float = 0.0,
) -> Files:
    """Send uint8 pictures (N, 3, H, W) through files."""
    if codec is None:
        file_input = FileInput(FORMATS[source.format])
        data = [file_input.compress(picture, setting) for picture in pictures]
        return Files(data, torch.stack([_pixels(d) for d in data]), 1.0, None)
    arrays = [picture.permute(1, 2, 0).numpy() for picture in pictures]
    if source.task is None:
        data = codec.encode_batch(arrays, rate_index=setting, gain_steps=gain_steps)
    else:
        options = {"rate_index": setting, "gain_steps": gain_steps, "task": source.task}
        data = [codec.encode(a, **options) for a in arrays]
    shown = [np.asarray(p.convert("RGB")) for p in codec.decode_batch(data)]
    return Files(
        data,
        torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2),
        codec.at(setting).lmbda,
        torch.cat([codec.latents(d) for d in data]),
    )


def _pixels(data: bytes) -> Tensor:
    with Image.open(io.BytesIO(data)) as picture:
        rgb = np.array(picture.convert("RGB"))
    return torch.from_numpy(rgb).permute(2, 0, 1)


@torch.inference_mode()
def predict(head: Head, files: Files) -> Tensor:
    """Places of the labels that a head finds, (N,)."""
    found = []
    inputs = files.y_hat if head.config.reads == LATENTS else files.shown
    if inputs is None:
        raise ConfigError("a head on latents cannot read the files of a classic codec")
    for part in inputs.split(BATCH):
        x = part.float() / 255.0 if part.dtype == torch.uint8 else part
        lmbda = torch.full((len(x),), files.lmbda)
        found.append(head.model(x, lmbda).argmax(dim=1))
    return torch.cat(found)


def open_heads(folders: Sequence[str], *, labels: Sequence[str], base: bytes) -> list[Head]:
    """Read the heads of a reader and check that they know the set's classes.

    Raises:
        CheckpointError: no usable head there.
        ConfigError: a head for another task or other classes.
        ModelMismatchError: a head of another base.
    """
    heads = []
    for folder in folders:
        config = read_head_config(Path(folder))
        own = base if config.reads == LATENTS else b""
        head = read_head(Path(folder), base_sha256=own)
        if config.task != CLASSIFY or config.labels != tuple(labels):
            raise ConfigError(
                f"head {folder} has {len(config.labels)} classes to {config.task}, and the set has "
                f"{len(labels)}, not all the same: name a classifier of this set"
            )
        heads.append(head)
    return heads


def evaluate_tasks(
    config: TaskEvaluation,
    data: LabelledPictures,
    *,
    pictures: Tensor,
    report: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Rate, PSNR and accuracy of every source at every setting, reader by reader.

    Args:
        config: the recipe.
        data: the split, for labels and names.
        pictures: its pictures at one size, uint8 (N, 3, H, W).
        report: told what was done.
    """
    opened = []
    for source in config.read_sources():
        codec = open_codec(source)
        base = b"" if codec is None else codec.base_hash
        opened.append((source, codec, _open_readers(source, data.classes, base=base)))
    rows = []
    for source, codec, readers in opened:
        settings = []
        for setting, gain_steps in source.points():
            files = write_files(source, codec, pictures, setting, gain_steps=gain_steps)
            row = {
                "setting": setting,
                "gain_steps": gain_steps,
                **_rates(files, pictures),
                "readers": {
                    name: _judge(heads, files, data.labels) for name, heads in readers.items()
                },
            }
            settings.append(row)
            shown = {name: round(100 * r["accuracy"], 1) for name, r in row["readers"].items()}
            report(f"{source.name} {setting:g} {gain_steps:+g}: {row['bpp']:.4f} bpp, {shown}")
        facts = {"name": source.name, "format": source.format, "task": source.task}
        rows.append({**facts, "settings": settings})
    return rows


def _open_readers(
    source: SourceConfig, labels: Sequence[str], *, base: bytes
) -> dict[str, list[Head]]:
    """Heads of each reader of a source, by its name."""
    return {
        reader.name: open_heads(reader.heads, labels=labels, base=base)
        for reader in source.read_readers()
    }


def _rates(files: Files, pictures: Tensor) -> dict[str, float]:
    """Means over the set."""
    area = pictures.shape[2] * pictures.shape[3]
    whole = [8 * len(d) / area for d in files.data]
    bare = [8 * payload_bytes(d) / area for d in files.data]
    quality = [
        psnr(x.permute(1, 2, 0).numpy(), y.permute(1, 2, 0).numpy())
        for x, y in zip(pictures, files.shown, strict=True)
    ]
    return {
        "bpp": float(np.mean(whole)),
        "bpp_payload": float(np.mean(bare)),
        "psnr": float(np.mean(quality)),
    }


def _judge(heads: list[Head], files: Files, labels: Tensor) -> dict[str, Any]:
    """Accuracy of a reader's heads: mean over seeds, each seed, and right or wrong by picture."""
    right = np.stack([(predict(head, files) == labels).numpy() for head in heads])
    each = right.mean(axis=1)
    return {
        "accuracy": float(each.mean()),
        "seeds": [float(value) for value in each],
        "right": ["".join("01"[int(value)] for value in row) for row in right],
    }


def paired_difference(ours: np.ndarray, others: np.ndarray) -> Estimate:
    """Points of accuracy by which one reader is ahead of another, with a 95 % interval.

    Pictures are drawn again with replacement, both readers over the same draw.

    Args:
        ours: share of seeds that had each picture right, (N,), see `shares`.
        others: of the other reader, over the same pictures.
    """
    gaps = ours - others
    draws = np.random.default_rng(0).integers(0, len(gaps), (RESAMPLES, len(gaps)))
    tails = 50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE)
    low, high = np.percentile(100.0 * gaps[draws].mean(axis=1), tails)
    return Estimate(float(100.0 * gaps.mean()), float(low), float(high))


def shares(right: Sequence[str]) -> np.ndarray:
    """Share of seeds that had each picture right, (N,), of one text of "1" and "0" for each."""
    return np.mean([[int(c) for c in row] for row in right], axis=0)
