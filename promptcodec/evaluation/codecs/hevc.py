"""HEVC intra by the x265 of an installed ffmpeg: the content of HEIC files, no container."""

import io
import shutil
import subprocess
from dataclasses import asdict, dataclass
from typing import ClassVar

from PIL import Image

from promptcodec.errors import PictureError

_MATRIX = "color_matrix=bt709:{way}_range=full"


@dataclass(frozen=True)
class Hevc:
    """One intra frame, 4:4:4, BT.709, full range, as a raw stream, by one thread.

    x265 adds 2 kB about itself to a stream, which no decoder needs: left out.

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
        rgb = picture.convert("RGB")
        parameters = f"qp={-quality}:keyint=1:info=0:pools=none:frame-threads=1:log-level=error"
        words = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{rgb.width}x{rgb.height}"]
        words += ["-i", "-", "-vf", "scale=out_" + _MATRIX.format(way="out")]
        words += ["-pix_fmt", "yuv444p", "-frames:v", "1", "-c:v", "libx265"]
        words += ["-preset", self.preset, "-x265-params", parameters]
        words += [] if self.tune == "default" else ["-tune", self.tune]
        words += ["-f", "hevc", "-"]
        return _ffmpeg(words, rgb.tobytes())

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of a stream, RGB."""
        words = ["-f", "hevc", "-i", "-", "-vf", "scale=in_" + _MATRIX.format(way="in")]
        words += ["-pix_fmt", "rgb24", "-frames:v", "1", "-c:v", "png", "-f", "image2pipe", "-"]
        with Image.open(io.BytesIO(_ffmpeg(words, data))) as picture:
            return picture.convert("RGB")


def _ffmpeg(words: list[str], data: bytes) -> bytes:
    one = ["-threads", "1", "-filter_threads", "1"]  # of the decoder, of the change of colours
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", *one, *words]
    run = subprocess.run(command, input=data, capture_output=True, check=False)
    if run.returncode:
        lines = run.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise PictureError(f"ffmpeg refused the picture ({lines[-1]}): leave out hevc")
    return run.stdout
