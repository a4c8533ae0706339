"""Baseline codecs by name, and which of them can run here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import published
from promptcodec.evaluation.codecs import compressai
from promptcodec.evaluation.codecs.hevc import Hevc
from promptcodec.evaluation.codecs.jpegli import Jpegli
from promptcodec.evaluation.codecs.pillow import Avif, Jpeg, JpegXl, WebP


class BaselineCodec(Protocol):
    """A codec with one setting of quality."""

    @property
    def qualities(self) -> tuple[int, ...]:
        """Settings of the sweep, lowest to highest."""
        ...

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture, RGB or grey, as the bytes of a file."""
        ...

    def decompress(self, data: bytes) -> Image.Image:
        """The picture of such a file, RGB."""
        ...

    def options(self) -> dict[str, object]:
        """Options and versions for the results."""
        ...

    def missing(self) -> str | None:
        """Why this codec cannot run here; None if it can."""
        ...


CLASSIC: dict[str, BaselineCodec] = {
    "jpeg": Jpeg(),
    "jpeg-444": Jpeg(full_chroma=True),
    "jpeg-progressive": Jpeg(progressive=True),
    "jpegli": Jpegli(),
    "webp": WebP(),
    "avif": Avif(),
    "avif-444": Avif(subsampling="4:4:4"),
    "avif-psnr": Avif(tune="psnr"),
    "avif-444-psnr": Avif(subsampling="4:4:4", tune="psnr"),
    "avif-slow": Avif(speed=2),
    "avif-444-slow": Avif(speed=2, subsampling="4:4:4"),
    "avif-psnr-slow": Avif(speed=2, tune="psnr"),
    "avif-444-psnr-slow": Avif(speed=2, subsampling="4:4:4", tune="psnr"),
    "jxl": JpegXl(),
    "jxl-slow": JpegXl(effort=9),
    "hevc": Hevc(),
    "hevc-psnr": Hevc(tune="psnr"),
}
"""Codecs by the names that `--against` takes; the others are `compressai.NAMES`."""

TITLES = {
    "jpeg": "JPEG",
    "jpeg-444": "JPEG 4:4:4",
    "jpeg-progressive": "JPEG progressive",
    "jpegli": "jpegli",
    "webp": "WebP",
    "avif": "AVIF",
    "avif-444": "AVIF 4:4:4",
    "avif-psnr": "AVIF for PSNR",
    "avif-444-psnr": "AVIF 4:4:4 for PSNR",
    "avif-slow": "AVIF slow",
    "avif-444-slow": "AVIF 4:4:4 slow",
    "avif-psnr-slow": "AVIF for PSNR, slow",
    "avif-444-psnr-slow": "AVIF 4:4:4 for PSNR, slow",
    "jxl": "JPEG XL",
    "jxl-slow": "JPEG XL slow",
    "hevc": "HEVC intra",
    "hevc-psnr": "HEVC intra for PSNR",
}
"""Titles in tables and figures."""

SLOW = frozenset(name for name in CLASSIC if name.endswith("-slow"))
"""Codecs that take seconds a picture and quality; "all" leaves them out."""

ALL = "all"


def find_codecs(
    names: Sequence[str],
    *,
    weights: Path | None = None,
    kodak: bool = False,
    notes: list[str] | None = None,
) -> dict[str, BaselineCodec]:
    """Baseline codecs of these names, in this order, ready to run.

    Args:
        names: names of codecs; "all" is every codec that can run here, without those of `SLOW`.
        weights: folder with the weight files of CompressAI's models; None is CompressAI's own.
        kodak: whether the pictures are Kodak's, whose published points replace a model without
            weights.
        notes: list to which a line for each skipped or replaced codec is appended.

    Raises:
        UsageError: a name is unknown, or a named codec cannot run here.
        CheckpointError: a weight file cannot be read.
    """
    notes = [] if notes is None else notes
    everything = ALL in names
    asked = [name for name in dict.fromkeys(names) if name != ALL]
    for name in asked:
        if name not in CLASSIC and name not in compressai.NAMES:
            known = ", ".join([*CLASSIC, *compressai.NAMES])
            raise UsageError(f"no peer {name!r}: choose among {known}, or all")
    others = [n for n in [*CLASSIC, *compressai.NAMES] if n not in SLOW and n not in asked]
    wanted = [*asked, *(others if everything else [])]
    found: dict[str, BaselineCodec] = {}
    skipped: dict[str, list[str]] = {}
    for name in wanted:
        peer, reason = _find(name, weights or compressai.default_weights())
        if peer is not None:
            found[name] = peer
        elif kodak and name in published():
            if name in asked:
                notes.append(f"{name}: {reason}; its published points are shown instead")
        elif name in asked:
            raise UsageError(f"peer {name} cannot run: {reason}")
        else:
            skipped.setdefault(reason, []).append(name)
    notes += [f"{', '.join(names)}: skipped, as {reason}" for reason, names in skipped.items()]
    return found


def _find(name: str, weights: Path) -> tuple[BaselineCodec | None, str]:
    """A codec that can run, or why it cannot."""
    if name in CLASSIC:
        reason = CLASSIC[name].missing()
        return (None, reason) if reason else (CLASSIC[name], "")
    if reason := compressai.missing():
        return None, reason
    files = compressai.find_weights(name, weights)
    if not files:
        return None, f"there are no weights in {weights.name}: name their folder by --weights"
    return compressai.CompressAiModel(name, files), ""
