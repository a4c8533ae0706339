"""Mean IoU, PSNR and MS-SSIM of a codec that was trained with its segmentation head.

    python -m benchmarks.analysis.joint_segmentation DATA --base runs/joint-segment/joint
        --control runs/joint-segment-control/task/heads/segment [--prompts DIR] [--heads DIR]
        [--frozen DIR] [--rate 0] [--gains=-4,0,4] [--split test] [--streams DIR] [--threads 1]
        [--out docs/results/joint-segmentation.json]

Beside it is the codec before, with a head that was trained as long, at several gains: at the size
of the joint codec's files it is read between two of them, and nowhere else. Differences are over
the same pictures. DATA is that of `benchmarks.analysis.segmentation`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.analysis.masks import compare_overlap, quality_of, stream_of
from benchmarks.analysis.sources import source_of
from benchmarks.common import parse, parser, write_record
from promptcodec.coding.head_config import SEGMENT
from promptcodec.coding.head_file import head_folder
from promptcodec.errors import UsageError
from promptcodec.evaluation.accuracy import at_size
from promptcodec.evaluation.classification import weights_of
from promptcodec.io.checkpoints import find_heads
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.iou import confusion_counts, mean_iou
from promptcodec.training.data.masked import MaskedPictures, read_masked


@dataclass(frozen=True, eq=False)
class Point:
    """A codec with its head at one rate.

    Args:
        bpp: bits of the files by pixels of the pictures.
        counts: `confusion_counts` of each picture, (pictures, classes, classes).
        quality: PSNR and MS-SSIM.
    """

    bpp: float
    counts: np.ndarray
    quality: dict[str, float | None]

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {"bpp": self.bpp, "miou": float(mean_iou(self.counts.sum(axis=0))), **self.quality}


def measure(
    codec: TorchCodec, data: MaskedPictures, *, rate: float, gain_steps: float, streams: Path
) -> Point:
    """A codec's files at a rate, segmented from their latents."""
    classes, counts, pairs = len(codec.labels(SEGMENT)), [], []
    bits, area = 0, 0
    for name, picture, truth in zip(data.names, data.pictures, data.masks, strict=True):
        stream = stream_of(codec, picture, name, rate=rate, gain_steps=gain_steps, folder=streams)
        found = codec.segment(stream)
        counts.append(confusion_counts(found, truth.numpy(), classes=classes))
        pairs.append((picture, np.array(codec.decode(stream).convert("RGB"))))
        bits, area = bits + 8 * len(stream), area + truth.numel()
    return Point(bits / area, np.stack(counts), quality_of(pairs))


def compare(joint: Point, control: list[Point]) -> dict[str, Any] | None:
    """Lead of a codec at the size of its files; None outside of the control's sizes."""
    sizes = [point.bpp for point in control]
    counts = at_size(sizes, [point.counts for point in control], joint.bpp)
    if counts is None:
        return None
    overlap = compare_overlap(joint.counts, counts)
    quality = {}
    for name in joint.quality:
        values = [value for point in control if (value := point.quality[name]) is not None]
        if len(values) == len(control):  # pictures may be too small for a metric
            quality[name] = float(np.asarray(at_size(sizes, values, joint.bpp)))
    return {**dataclasses.asdict(overlap), "quality": quality}


def main() -> None:
    """Measure both and write the record."""
    options = parser(__doc__, out="joint-segmentation")
    options.add_argument("data", type=Path)
    options.add_argument("--base", required=True, help="joint codec")
    options.add_argument("--prompts", help="default: those of the joint codec")
    options.add_argument("--heads", help="default: that of the joint codec")
    options.add_argument("--control", required=True, help="head of the codec before")
    options.add_argument("--frozen", help="the codec before; default: the bundled one")
    options.add_argument("--rate", type=float, default=0.0)
    options.add_argument("--gains", default="-4,0,4", help="of the codec before, coarsest first")
    options.add_argument("--split", default="test")
    options.add_argument("--streams", type=Path, default=Path("runs/segmentation-streams"))
    arguments = parse(options)
    folder = head_folder(find_heads(arguments.heads, base=arguments.base), SEGMENT)
    joint = TorchCodec.load(arguments.base, arguments.prompts, heads=folder)
    frozen = TorchCodec.load(arguments.frozen, heads=arguments.control)
    labels = joint.labels(SEGMENT)
    if frozen.labels(SEGMENT) != labels:
        raise UsageError("the heads of both codecs have other labels: train them on one set")
    none = tuple(range(len(labels), 256))
    data = read_masked(arguments.data, split=arguments.split, classes=len(labels), ignore=none)
    gains = [float(each) for each in arguments.gains.split(",")]
    options = {"rate": arguments.rate, "streams": arguments.streams}
    own = measure(joint, data, gain_steps=0.0, **options)
    control = [measure(frozen, data, gain_steps=gain, **options) for gain in gains]
    points = zip(gains, control, strict=True)
    report = {
        "data": arguments.data.name,
        "split": arguments.split,
        "pictures": len(data),
        "rate_index": arguments.rate,
        "joint": own.facts(),
        "control": [{"gain_steps": gain} | point.facts() for gain, point in points],
        "equal_size": compare(own, control),
        "weights": weights_of(source_of({"segmentation control": arguments.control}), frozen),
        "joint_weights": weights_of(source_of({"joint segmentation": folder}), joint),
    }
    write_record(arguments.out, report)


if __name__ == "__main__":
    main()
