"""HEVC intra by the x265 of an installed ffmpeg: the content of HEIC files, no container."""

import shutil
import subprocess
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from promptcodec.errors import PictureError

_LUMA = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
_BLUE, _RED = 2 * (1 - _LUMA[2]), 2 * (1 - _LUMA[0])


@dataclass(frozen=True)
class Hevc:
    """One intra frame, 4:4:4, BT.709, full range, as a raw stream, by one thread.

    x265 adds 2 kB about itself to a stream, which no decoder needs: left out. Colours are converted
    here, to the nearest level, as ffmpeg's own conversion loses more.

    Attributes:
        preset: preset of x265.
        tune: measure that the encoder serves, "psnr" or "ssim"; "default" serves eyes.
        qualities: negated quantisation parameters, so that the best comes last.
    """

    name: ClassVar[str] = "hevc"
    preset: str = "slow"
    tune: str = "default"
    qualities: tuple[int, ...] = (-46, -42, -38, -34, -30, -26, -22, -18)

    def missing(self) -> str | None:
        """Why it cannot run; None if ffmpeg is installed."""
        if shutil.which("ffmpeg"):
            return None
        return "ffmpeg is not installed: install one with libx265"

    def options(self) -> dict[str, object]:
        """Options and version for the results."""
        version = _ffmpeg(["-version"], b"").decode(errors="replace").splitlines()[0]
        return {"ffmpeg": version, "chroma": "4:4:4", **asdict(self)}

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as a raw HEVC stream."""
        rgb = np.asarray(picture.convert("RGB"))
        parameters = f"qp={-quality}:keyint=1:info=0:pools=none:frame-threads=1:log-level=error"
        words = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", f"{rgb.shape[1]}x{rgb.shape[0]}"]
        words += ["-i", "-", "-pix_fmt", "yuv444p", "-frames:v", "1", "-c:v", "libx265"]
        words += ["-preset", self.preset, "-x265-params", parameters]
        words += [] if self.tune == "default" else ["-tune", self.tune]
        words += ["-f", "hevc", "-"]
        return _ffmpeg(words, to_planes(rgb).tobytes())

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a stream, RGB.

        Raises:
            PictureError: ffmpeg refuses it, or returns no picture.
        """
        words = ["-f", "hevc", "-i", "-", "-pix_fmt", "yuv444p", "-frames:v", "1"]
        head, _, body = _ffmpeg([*words, "-f", "yuv4mpegpipe", "-"], data).partition(b"\nFRAME\n")
        sizes = {word[:1]: word[1:] for word in head.split()[1:]}
        if not body:
            raise PictureError("ffmpeg returned no picture: leave out hevc")
        planes = np.frombuffer(body, np.uint8).reshape(3, int(sizes[b"H"]), int(sizes[b"W"]))
        return Image.fromarray(from_planes(planes))


def to_planes(rgb: np.ndarray) -> np.ndarray:
    """Y, Cb and Cr of full range, uint8 (3, H, W), from uint8 (H, W, 3)."""
    luma = rgb @ _LUMA
    blue, red = (rgb[..., 2] - luma) / _BLUE + 128, (rgb[..., 0] - luma) / _RED + 128
    return np.clip(np.rint(np.stack([luma, blue, red])), 0, 255).astype(np.uint8)


def from_planes(planes: np.ndarray) -> np.ndarray:
    """The inverse of `to_planes`, to the nearest level."""
    luma, blue, red = planes.astype(float)
    r, b = luma + _RED * (red - 128), luma + _BLUE * (blue - 128)
    g = (luma - _LUMA[0] * r - _LUMA[2] * b) / _LUMA[1]
    return np.clip(np.rint(np.stack([r, g, b], axis=2)), 0, 255).astype(np.uint8)


def _ffmpeg(words: list[str], data: bytes) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-threads", "1", *words]
    run = subprocess.run(command, input=data, capture_output=True, check=False)
    if run.returncode:
        lines = run.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise PictureError(f"ffmpeg refused the picture ({lines[-1]}): leave out hevc")
    return run.stdout
