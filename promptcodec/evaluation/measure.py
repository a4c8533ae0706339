"""Measurement of one picture: each rate point of ours, each baseline codec at each quality."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.coding.ladder import gain_to_fixed
from promptcodec.errors import PromptCodecError
from promptcodec.evaluation.codecs.registry import BaselineCodec, find_codecs
from promptcodec.evaluation.codecs.sweep import sweep
from promptcodec.evaluation.metrics import bpp
from promptcodec.evaluation.perceptual import QualityMetrics
from promptcodec.evaluation.results import Failure, Measured, PictureRecord
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import peak_rss_mb

if TYPE_CHECKING:
    from promptcodec.api import Codec
    from promptcodec.coding.engine import EngineName, Precision
    from promptcodec.coding.results import Encoded
    from promptcodec.io.checkpoints import PromptsSource


@dataclass(frozen=True)
class CurvePoint:
    """One point of a rate-distortion curve: a label, an encoder and a decoder.

    The setting of the rate (an adapter, a global gain, another checkpoint) is bound into `encode`.

    Attributes:
        label: name of the point, unique in an evaluation.
        encode: function from a uint8 picture, (H, W, 3) or (H, W) if grey, to bytes and figures.
        decode: function from those bytes to a picture.
    """

    label: str
    encode: "Callable[[np.ndarray], Encoded]"
    decode: Callable[[bytes], Image.Image]


def curve_points(
    codec: "Codec",
    rates: Sequence[float] | None = None,
    *,
    gains: Sequence[float] = (0.0,),
    max_pixels: int = MAX_PIXELS,
) -> tuple[CurvePoint, ...]:
    """Points of a loaded codec: every rate at every gain.

    Args:
        codec: codec with its adapters.
        rates: rate indexes; None is all that the codec has loaded.
        gains: gain steps as in `Codec.encode`; several make a curve of one trained rate.
        max_pixels: largest allowed number of pixels of a picture.

    Raises:
        RateError: a rate is not installed.
        UsageError: a gain is out of range.
    """
    chosen = [rate.index for rate in codec.rates] if rates is None else list(rates)
    for index in chosen:
        codec.ladder.position(index)
    for steps in gains:
        gain_to_fixed(steps)
    return tuple(
        CurvePoint(
            label=f"rate {index:g}" + (f", gain {steps:+g}" if steps else ""),
            encode=partial(
                codec.encode_detailed,
                rate_index=index,
                gain_steps=steps,
                graphics="never",
                max_pixels=max_pixels,
            ),
            decode=partial(codec.decode, max_pixels=max_pixels),
        )
        for index in chosen
        for steps in gains
    )


@dataclass(frozen=True)
class MeasurementConfig:
    """Settings of a measurement, from which any process can build it.

    Attributes:
        base: checkpoint as in `Codec.load`; None is the bundled one.
        prompts: adapters as in `Codec.load`.
        rates: rate indexes; None is all that are loaded.
        gains: gain steps of each rate.
        precision: arithmetic of the float networks.
        against: names of baseline codecs.
        weights: folder with weights of CompressAI's models; None is CompressAI's own.
        metrics: names from `metrics.METRICS`.
        lpips_weights: file of weights as in `perceptual.QualityMetrics`.
        device: device as in `Codec.load`; baselines run on the CPU.
        engine: engine as in `Codec.load`.
        max_pixels: largest allowed number of pixels of a picture.
        threads: threads in each process; several may change the last bit of a sum.
    """

    base: str | Path | None = None
    prompts: "PromptsSource | None" = None
    rates: tuple[float, ...] | None = None
    gains: tuple[float, ...] = (0.0,)
    precision: "Precision" = "float32"
    against: tuple[str, ...] = ("jpeg", "webp")
    weights: Path | None = None
    metrics: tuple[str, ...] = ("psnr",)
    lpips_weights: Path | None = None
    device: str = "cpu"
    engine: "EngineName | None" = None
    max_pixels: int = MAX_PIXELS
    threads: int = 1

    def load(self) -> "Codec":
        """Load the codec, with the threads of this process.

        Raises:
            PromptCodecError: the codec cannot be loaded.
        """
        from promptcodec.api import Codec

        return Codec.load(
            self.base,
            self.prompts,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )

    def build(self, codec: "Codec | None" = None) -> "Measurement":
        """Everything that runs on each picture.

        Args:
            codec: result of `load`; None loads it.
        """
        codec = codec or self.load()
        return Measurement(
            points=curve_points(codec, self.rates, gains=self.gains, max_pixels=self.max_pixels),
            codecs=find_codecs(self.against, weights=self.weights),
            metrics=QualityMetrics(self.metrics, lpips_weights=self.lpips_weights),
            max_pixels=self.max_pixels,
        )


@dataclass(frozen=True)
class Measurement:
    """Rate points, baseline codecs and metrics, ready to run.

    Attributes:
        points: points of our codec, with distinct labels.
        codecs: baselines by name.
        metrics: metrics of the decoded pictures.
        max_pixels: largest allowed number of pixels of a picture.
    """

    points: tuple[CurvePoint, ...]
    codecs: dict[str, BaselineCodec]
    metrics: QualityMetrics
    max_pixels: int = MAX_PIXELS

    def __call__(self, path: Path, name: str) -> Measured | Failure:
        """Measure one picture; a failure has its reason.

        Args:
            path: file of the picture.
            name: name in the records.
        """
        try:
            content = path.read_bytes()
            picture = load_picture(path, max_pixels=self.max_pixels)
            rgb, grey = picture.coded_rgb, picture.grey
            records = tuple(self._own(point, rgb, name, grey=grey) for point in self.points)
            swept = {
                key: tuple(sweep(codec, rgb, picture=name, grey=grey, metrics=self.metrics))
                for key, codec in self.codecs.items()
            }
        except (PromptCodecError, OSError) as error:
            # The whole path in a message is cut, since results are published.
            return Failure(name, f"{type(error).__name__}: {error}".replace(str(path), name))
        digest, notes = hashlib.sha256(content).hexdigest(), picture.notes_on_frames
        return Measured(name, digest, records, swept, peak_rss_mb(), notes)

    def _own(self, point: CurvePoint, rgb: np.ndarray, name: str, *, grey: bool) -> PictureRecord:
        height, width = rgb.shape[:2]
        source = rgb[..., 0] if grey else rgb
        encoded = point.encode(source)
        start = time.perf_counter()
        decoded = point.decode(encoded.data)
        took = time.perf_counter() - start
        quality = self.metrics(rgb, np.asarray(decoded.convert("RGB")))
        estimate = encoded.bpp_estimate * width * height / 8 + encoded.header_bytes
        return PictureRecord(
            picture=name,
            width=width,
            height=height,
            bytes=len(encoded.data),
            header_bytes=encoded.header_bytes,
            bpp=bpp(len(encoded.data), width=width, height=height),
            bpp_estimate=encoded.bpp_estimate,
            excess_over_estimate=len(encoded.data) / estimate - 1.0,
            **asdict(quality),
            # Estimating the rate is no part of encoding.
            encode_seconds=sum(encoded.seconds.values()),
            decode_seconds=took,
            seconds=dict(encoded.seconds),
        )
