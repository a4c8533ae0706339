"""CompressAI's models with weights of the user; none are fetched.

A stream holds CompressAI's strings behind a header with what decoding needs: height and width (2
bytes each), quality (1), bytes of y (4). The header counts as bytes of the file.
"""

import hashlib
import importlib.util
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promptcodec.errors import CheckpointError

FIXED_RATE = (
    "bmshj2018-factorized",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "mbt2018",
    "cheng2020-anchor",
    "cheng2020-attn",
)
VARIABLE_RATE = ("bmshj2018-hyperprior-vbr", "mbt2018-mean-vbr", "mbt2018-vbr")
NAMES = FIXED_RATE + VARIABLE_RATE

_PREFIXES = {  # of published files; others are "NAME-QUALITY-"
    "bmshj2018-factorized": "bmshj2018-factorized-prior-{}-",
    "cheng2020-attn": "cheng2020_attn-mse-{}-",
}
_HEADER = struct.Struct("<HHBI")
_STRIDE = 64  # px; the hyperpriors halve six times


def missing() -> str:
    """Why no model can run here; empty where CompressAI is installed."""
    if importlib.util.find_spec("compressai"):
        return ""
    return (
        "CompressAI is not installed: pip install 'promptcodec[peers]' (Python 3.11 or 3.12, "
        "numpy below 2)"
    )


def default_weights() -> Path:
    """Folder in which CompressAI keeps the weights it fetched."""
    home = os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch"
    return Path(home) / "hub" / "checkpoints"


def find_weights(name: str, folder: Path) -> dict[int, Path]:
    """Weight files of a model under their published names, by quality, lowest first.

    Args:
        name: one of `NAMES`; a model of variable rate has one file, under 0.
        folder: folder of weight files; other files in it are ignored.
    """
    if name in VARIABLE_RATE:
        patterns = {0: f"{name.removesuffix('-vbr')}-mse-vbr-*.pth*"}
    else:
        prefix = _PREFIXES.get(name, name + "-{}-")
        patterns = {quality: prefix.format(quality) + "*.pth*" for quality in range(1, 9)}
    found = {quality: sorted(folder.glob(pattern)) for quality, pattern in patterns.items()}
    return {quality: paths[0] for quality, paths in found.items() if paths}


class CompressAiModel:
    """One architecture at every quality with weights.

    Args:
        name: one of `NAMES`.
        weights: files by quality, as from `find_weights`; at least one.

    Raises:
        CheckpointError: a file holds no weights of this architecture.
    """

    def __init__(self, name: str, weights: dict[int, Path]) -> None:
        self.name = name
        self._models = {quality: _load(name, path) for quality, path in weights.items()}
        self._hashes = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights.values()
        }
        levels = len(self._models[0].Gain) if name in VARIABLE_RATE else 0
        self.qualities: tuple[int, ...] = tuple(range(levels)) or tuple(weights)

    def missing(self) -> None:
        """None: its weights are loaded."""

    def options(self) -> dict[str, object]:
        """Options, hashes and version for the results."""
        from importlib import metadata

        return {
            "compressai": metadata.version("compressai"),
            "weights_sha256": self._hashes,
            "header_bytes": _HEADER.size,
            "qualities": self.qualities,
        }

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as strings behind a header."""
        import torch

        from promptcodec.models.tensors import from_pixels, pad

        x = from_pixels(np.array(picture.convert("RGB"))[None], torch.device("cpu"))
        height, width = x.shape[2:]
        x = pad(x, _STRIDE)
        with torch.inference_mode():
            packed = self._model(quality).compress(x, **self._rate(quality))
        strings = [group[0] for group in packed["strings"]]
        return _HEADER.pack(height, width, quality, len(strings[0])) + b"".join(strings)

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a stream, RGB."""
        import torch

        from promptcodec.models.tensors import crop, to_pixels

        height, width, quality, split = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        strings = [[part] for part in (body[:split], body[split:]) if part]
        # The one string of a factorised prior is y itself, at a sixteenth of the size.
        stride = _STRIDE if len(strings) == 2 else 16
        padded = [side + -side % _STRIDE for side in (height, width)]
        shape = [side // stride for side in padded]
        with torch.inference_mode():
            decoded = self._model(quality).decompress(strings, shape, **self._rate(quality))
        return Image.fromarray(to_pixels(crop(decoded["x_hat"], height, width))[0])

    def _model(self, quality: int) -> Any:
        return self._models[0 if self.name in VARIABLE_RATE else quality]

    def _rate(self, quality: int) -> dict[str, int]:
        return {"s": quality} if self.name in VARIABLE_RATE else {}


def _load(name: str, path: Path) -> Any:
    import torch
    from compressai.zoo import image, image_vbr  # type: ignore[import-not-found]
    from compressai.zoo.pretrained import load_pretrained  # type: ignore[import-not-found]

    try:
        state = load_pretrained(torch.load(path, map_location="cpu", weights_only=True))
        known = {**image.model_architectures, **image_vbr.model_architectures}
        extra = {"vr_entbttlnck": True} if name in VARIABLE_RATE[:2] else {}
        model = known[name].from_state_dict(state, **extra).eval()
        model.update(force=True)
    except Exception as error:  # torch raises many types on damaged files
        raise CheckpointError(
            f"{path} holds no weights of {name} ({type(error).__name__}): get the file again"
        ) from error
    return model
