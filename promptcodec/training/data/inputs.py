"""Inputs of a head from a transmitted picture: latents, decoded pixels, or the original.

Every input takes uint8 pictures of one size at one setting and returns the input of the network:
y_hat, float (N, M, h, w), or pixels, uint8 (N, 3, H, W).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec.coding.latents import inside
from promptcodec.config import TILE_STRIDE
from promptcodec.io.save import encode_lossy
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import crop, pad

BATCH = 32  # pictures in one pass of the codec
FORMATS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "jpeg": ("JPEG", None),
    "jpeg-progressive": ("JPEG", {"optimize": True, "progressive": True, "subsampling": "4:2:0"}),
    "webp": ("WEBP", None),
    "avif": ("AVIF", None),
}
"""Formats of classic codecs: Pillow's name, and options other than the usual ones."""
INPUTS = ("latents", "decoded", "original", *FORMATS)


class HeadInput(Protocol):
    """Map from pictures to inputs of a network."""

    def transmit(self, pictures: Tensor, setting: float) -> Tensor:
        """Transmit uint8 pictures (N, 3, H, W) at a setting: a rate index or a quality."""
        ...

    def lmbda(self, setting: float) -> float:
        """lambda of a setting; 1 if it has none."""
        return 1.0


@dataclass(frozen=True, eq=False)
class CodecInput(HeadInput):
    """Through our codec.

    Args:
        codec: codec with its rates.
        decoded: whether to return pixels, the output of g_s, rather than y_hat.
    """

    codec: TorchCodec
    decoded: bool

    def __str__(self) -> str:
        rates = [self.codec.at(rate.index).hashes for rate in self.codec.rates]
        kind = "decoded" if self.decoded else "latents"
        return f"{kind} {self.codec.base_hash.hex()} {rates}"

    @torch.inference_mode()
    def transmit(self, pictures: Tensor, setting: float) -> Tensor:
        """y_hat or pixels of rate index `setting`."""
        point = self.codec.at(setting)
        model, parts = self.codec.model, []
        for batch in pictures.split(BATCH):
            height, width = batch.shape[2:]
            x = pad(batch.float() / 255.0, TILE_STRIDE)
            latents = model.analyse(x, gains=point.gains, adapter=point.network)
            if not self.decoded:
                parts.append(inside(latents.y_hat, height=height, width=width))
                continue
            x_hat = model.synthesise(latents.y_hat, adapter=point.network)
            x_hat = crop(x_hat, height, width).clamp(0.0, 1.0)
            parts.append(torch.round(255.0 * x_hat).to(torch.uint8))
        return torch.cat(parts)

    def lmbda(self, setting: float) -> float:
        """lambda of the rate."""
        return self.codec.at(setting).lmbda


@dataclass(frozen=True)
class FileInput(HeadInput):
    """Through the files of a classic codec by Pillow.

    Args:
        format: name of the format, of `FORMATS`.
    """

    format: str

    def __str__(self) -> str:
        return f"{self.format} {FORMATS[self.format]}"

    def transmit(self, pictures: Tensor, setting: float) -> Tensor:
        """Pixels at quality `setting`."""
        return torch.stack([self.show(self.compress(p, setting)) for p in pictures])

    def show(self, data: bytes) -> Tensor:
        """Pixels of a file, uint8 (3, H, W)."""
        with Image.open(io.BytesIO(data)) as picture:
            rgb = np.asarray(picture.convert("RGB"))
        return torch.from_numpy(rgb.copy()).permute(2, 0, 1).contiguous()

    def compress(self, picture: Tensor, setting: float) -> bytes:
        """The file of a uint8 picture (3, H, W)."""
        pixels = Image.fromarray(picture.permute(1, 2, 0).numpy())
        kind, options = FORMATS[self.format]
        return encode_lossy(pixels, kind, round(setting), options)


@dataclass(frozen=True)
class OriginalInput(HeadInput):
    """Pictures as they are."""

    def transmit(self, pictures: Tensor, setting: float) -> Tensor:
        """The pictures."""
        return pictures


def input_of(name: str, codec: TorchCodec) -> HeadInput:
    """The input of a name of `INPUTS`."""
    if name == "original":
        return OriginalInput()
    if name in FORMATS:
        return FileInput(name)
    return CodecInput(codec, decoded=name == "decoded")
