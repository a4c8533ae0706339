"""What is done with a row: encode, decode, transcode, classify, measure, inspect."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from promptcodec.bitstream import GAIN_STEPS, MAGIC, fixed_to_rate, parse, parse_header
from promptcodec.coding.distortion import psnr_of, squared_error
from promptcodec.coding.settings import DecodeSettings, EncodeSettings
from promptcodec.corpus.rows import Row
from promptcodec.errors import PictureError, UsageError
from promptcodec.io.formats import upright_size
from promptcodec.io.load import load_picture
from promptcodec.io.named import named_bytes
from promptcodec.io.opening import open_picture
from promptcodec.io.save import OUTPUT_SUFFIXES, encode_file, left_out

if TYPE_CHECKING:
    from promptcodec.api import Codec

TaskName = Literal["encode", "decode", "transcode", "classify", "measure", "inspect"]

# Columns that a task adds to those of every row, with their types in Arrow.
SIZES = {"width": "int32", "height": "int32", "source_bytes": "int64"}
RATE = {"rate_index": "float64", "gain_steps": "float64", "bpp": "float64"}
STREAM = {"source": "string", "bytes": "binary"} | SIZES | RATE | {"notes": "list<string>"}
COLUMNS: dict[TaskName, dict[str, str]] = {
    "encode": STREAM,
    "decode": STREAM,
    "transcode": STREAM,
    "classify": SIZES
    | RATE
    | {"predicted": "string", "classes": "list<string>", "probabilities": "list<float64>"},
    "measure": SIZES | RATE | {"psnr": "float64"},
    "inspect": SIZES | RATE | {"format": "string"},
}
COMMON = {"id": "string", "name": "string", "label": "string", "error": "string"}
FIELDS = "fields"  # column of the other members of a sample
OWN = frozenset({*COMMON, FIELDS}).union(*COLUMNS.values())  # names of all columns of ours
SMALLEST = 64  # px, edge of a picture that is coded as a trial


@dataclass(frozen=True)
class Task:
    """A task with its settings, picklable.

    Args:
        name: one of `TaskName`.
        encode: settings of pictures that are encoded.
        decode: settings of streams that are decoded.
        suffix: format of decoded pictures, one of `OUTPUT_SUFFIXES`.
        top: number of classes.
    Raises:
        UsageError: there is no such task or suffix.
    """

    name: TaskName
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    suffix: str = ".png"
    top: int = 5

    def __post_init__(self) -> None:
        if self.name not in get_args(TaskName):
            raise UsageError(f"task is {self.name!r}; need {', '.join(get_args(TaskName))}")
        if self.suffix not in OUTPUT_SUFFIXES:
            raise UsageError(f"suffix is {self.suffix!r}; need {', '.join(OUTPUT_SUFFIXES)}")

    @property
    def ending(self) -> str:
        """Suffix of the bytes of a row."""
        return self.suffix if self.name == "decode" else ".pc"

    def settings(self) -> dict[str, Any]:
        """Settings that the result depends on, by their names."""
        values = asdict(self)
        needed = {
            "encode": ("encode",),
            "decode": ("decode", "suffix"),
            "transcode": ("encode", "decode"),
            "classify": ("encode", "top"),
            "measure": ("encode",),
            "inspect": (),
        }[self.name]
        return {"name": self.name} | {name: values[name] for name in needed}

    def check(self, codec: Codec) -> None:
        """Check that a codec can do it at all.

        Raises:
            RateError: the rate is not installed.
            CheckpointError: there is no classifier, or no prompts of the encoder's task.
            UsageError: something is not installed, or the pack is not loaded.
        """
        if self.name not in ("decode", "inspect"):
            codec.ladders_for(self.encode)
        if self.encode.task is not None:
            codec.encode_detailed(np.zeros((SMALLEST, SMALLEST, 3), np.uint8), self.encode)
        if self.name == "classify":
            codec.labels()

    def run(self, codec: Codec, data: bytes, name: str) -> Row:
        """New values of a row.

        Args:
            codec: codec that does the work.
            data: picture file or stream.
            name: name in messages.
        Raises:
            PromptCodecError: the data cannot be used.
        """
        work: dict[TaskName, Callable[[Codec, bytes, str], Row]] = {
            "encode": self._encode,
            "decode": self._decode,
            "transcode": self._transcode,
            "classify": self._classify,
            "measure": self._measure,
            "inspect": self._inspect,
        }
        return work[self.name](codec, data, name)

    def _encode(self, codec: Codec, data: bytes, name: str) -> Row:
        encoded = codec.encode_detailed(named_bytes(data, name), self.encode)
        facts = _facts(encoded.data, self.encode.max_pixels)
        return facts | {"bytes": encoded.data, "notes": list(encoded.notes)}

    def _decode(self, codec: Codec, data: bytes, name: str) -> Row:
        facts = _facts(data, self.decode.max_pixels)
        picture = codec.decode_detailed(data, self.decode).picture
        notes = list(left_out(picture, self.suffix))
        return facts | {"bytes": encode_file(picture, self.suffix), "notes": notes}

    def _transcode(self, codec: Codec, data: bytes, name: str) -> Row:
        settings = replace(self.decode, max_pixels=self.encode.max_pixels)
        picture = codec.decode_detailed(data, settings).picture
        encoded = codec.encode_detailed(picture, self.encode)
        facts = _facts(encoded.data, self.encode.max_pixels)
        return facts | {"bytes": encoded.data, "notes": list(encoded.notes)}

    def _classify(self, codec: Codec, data: bytes, name: str) -> Row:
        if not data.startswith(MAGIC):
            latents = replace(self.encode, graphics="never")  # which a head needs
            data = codec.encode_detailed(named_bytes(data, name), latents).data
        labels = codec.classify(data, top=self.top, max_pixels=self.encode.max_pixels)
        return _facts(data, self.encode.max_pixels) | {
            "predicted": labels[0].label,
            "classes": [label.label for label in labels],
            "probabilities": [label.probability for label in labels],
        }

    def _measure(self, codec: Codec, data: bytes, name: str) -> Row:
        picture = load_picture(
            named_bytes(data, name),
            max_pixels=self.encode.max_pixels,
            allow_8bit=self.encode.allow_8bit,
        )
        stream = codec.encode_detailed(named_bytes(data, name), self.encode).data
        shown = codec.decode(stream, max_pixels=self.encode.max_pixels).convert("RGB")
        rgb, pixels = picture.rgb, np.asarray(shown)
        if picture.alpha is not None:  # as in a target of PSNR
            seen = picture.alpha > 0
            rgb, pixels = rgb[seen][None], pixels[seen][None]
        psnr = psnr_of(squared_error(rgb, pixels), max(rgb.size, 1))
        return _facts(stream, self.encode.max_pixels) | {"psnr": psnr}

    def _inspect(self, codec: Codec, data: bytes, name: str) -> Row:
        if data.startswith(MAGIC):
            parse(data, max_pixels=sys.maxsize)  # all checksums
            return _facts(data, sys.maxsize) | {"format": "promptcodec"}
        try:
            with open_picture(io.BytesIO(data)) as image:
                kind = image.format
            width, height = upright_size(io.BytesIO(data))
        except Exception:  # Pillow raises many types
            raise PictureError(f"{name}: is no picture and no stream; make it again") from None
        bpp = 8 * len(data) / (width * height)
        return {"width": width, "height": height, "bpp": bpp, "format": kind}


def task_of(name: TaskName, options: dict[str, Any]) -> Task:
    """A task with options by name: fields of `EncodeSettings` or `DecodeSettings`, suffix, top.

    Raises:
        UsageError: an option is unknown, or belongs to another task.
    """
    own = {"decode": ("suffix",), "classify": ("top",)}.get(name, ())
    kind = DecodeSettings if name == "decode" else EncodeSettings
    known = [each.name for each in fields(kind)]
    if unknown := sorted(set(options) - set(known) - set(own)):
        known = ", ".join([*known, *own])
        raise UsageError(f"{unknown[0]} is no option of {name}: choose from {known}")
    settings = kind(**{key: value for key, value in options.items() if key in known})
    rest = {key: value for key, value in options.items() if key in own}
    if isinstance(settings, DecodeSettings):
        return Task(name, decode=settings, **rest)
    return Task(name, encode=settings, **rest)


def _facts(stream: bytes, max_pixels: int) -> Row:
    """Sizes and rate of a stream."""
    header = parse_header(stream, max_pixels=max_pixels)
    pixels = header.width * header.height
    return {
        "width": header.width,
        "height": header.height,
        "rate_index": fixed_to_rate(header.rate),
        "gain_steps": header.gain / GAIN_STEPS,
        "bpp": 8 * len(stream) / pixels,
    }
