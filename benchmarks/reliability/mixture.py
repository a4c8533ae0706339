"""Files of mixed kinds there and back, beside what Pillow shows: every difference has a reason.

    python -m benchmarks.reliability.mixture [--count 500] [--seed 0] [--rate 4] [--base DIR]
        [--prompts DIR] [--out docs/results/mixture.json]

A difference is explained by a rule of docs/pictures.md, with a note where the rule asks for one;
what no rule explains is listed and ends the run with exit code 1.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.common import parse, parser, write_record
from benchmarks.reliability.mixed_files import DATE, MAKER, Sample, make_sample
from promptcodec.api import Codec
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.distortion import psnr_of
from promptcodec.errors import PictureError
from promptcodec.io.load import load_picture
from promptcodec.io.opening import open_picture
from promptcodec.io.save import encode_file, is_opaque, left_out

TARGETS = (".png", ".tif", ".webp", ".jpg")
UNEXPLAINED = "unexplained"
EXPLANATIONS = {
    "refused: floating point": "samples of floating point are not coded; the message says so",
    "read: only here": "Pillow refuses large texts and profiles of PNG",
    "written: a large profile": "Pillow refuses PNGs with profiles above 1 MiB, which are valid",
    "mode: 1 as L": "a stream has 8 bits a channel",
    "mode: P as RGB": "a stream has no palette",
    "mode: P as L": "Pillow opens a grey GIF of several frames with a palette",
    "mode: CMYK as RGB": "a stream has no CMYK; the profile, if any, is applied",
    "mode: I;16 as L": "a stream has 8 bits a channel; allow_8bit was given",
    "mode: opaque alpha": "an opaque alpha is left out of JPEG and WebP; a note says so",
    "mode: grey in WebP": "WebP has no grey",
    "levels: hidden colour": "colour under an alpha of 0 is not kept",
    "orientation: a type that Pillow does not read": "any type of a whole number is read",
    "frames: the first alone": "further frames are left out; a note counts them",
    "profile: made": "gAMA, cHRM or cICP became an equivalent profile",
    "profile: noted": "a profile that does not fit, or colours without one; a note says so",
    "profile: of CMYK": "the profile has been applied",
    "exif: noted": "the format written does not take it; a note says so",
    "exif: orientation": "the picture is upright and its EXIF says so",
    "xmp: rewritten": "orientation 1; claims about parts that are gone are cut, with a note",
    "xmp: noted": "the format written does not take it; a note says so",
    "resolution: in EXIF": "WebP has resolution in EXIF alone, where Pillow does not look",
    "resolution: noted": "WebP whose EXIF has none; a note says so",
    "resolution: default of Pillow": "Pillow invents 72 dpi or 1 dpi where a file says nothing",
    "resolution: turned": "that of a picture on its side is exchanged",
    "text: noted": "text beside EXIF and XMP is left out; a note says so",
}
_INVENTED = ((72, 72), (1, 1))


class Comparison:
    """One file beside its way through the codec.

    Args:
        sample: the file.
        codec: codec that carries it.
        rate: rate index.
        target: suffix of the picture that is written from the stream.
    """

    def __init__(self, sample: Sample, codec: PictureCodec, rate: float, target: str) -> None:
        self.sample, self.found, self.psnr = sample, [], None
        self.problems: list[str] = []
        data = sample.data
        self.shown = _shown(data)
        options = {"rate_index": rate, "allow_8bit": True}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / sample.name
            path.write_bytes(data)
            try:
                encoded = codec.encode_detailed(path, None, **options)
                self.source = load_picture(path, allow_8bit=True)
            except PictureError as error:
                self._refused(error)
                return
        picture = codec.decode(encoded.data)
        if target == ".jpg" and picture.mode.endswith("A") and not is_opaque(picture):
            target = ".png"
        self.target = target
        self.notes = [*encoded.notes, *left_out(picture, target)]
        self.decoded = picture
        written = io.BytesIO(encode_file(picture, target))
        if _shown(written.getvalue()) is None:
            large = target == ".png" and len(self.source.icc or b"") > 1 << 20
            self.differs("written: a large profile" if large else None, "Pillow cannot open it")
        self.written = open_picture(written)
        self.size, self.written_mode = self.written.size, self.written.mode
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._compare()

    def note(self, word: str) -> bool:
        """Whether a note has a word."""
        return any(word in note for note in self.notes)

    def differs(self, reason: str | None, what: str) -> None:
        """Book a difference under its reason, or as unexplained."""
        if reason is None:
            self.problems.append(what)
        self.found.append(reason or UNEXPLAINED)

    def _refused(self, error: PictureError) -> None:
        is_float = self.sample.properties["mode"] == "F" and "floating point" in str(error)
        self.differs("refused: floating point" if is_float else None, str(error))

    def _compare(self) -> None:
        if self.shown is None:
            self.differs("read: only here" if self._is_large() else None, "Pillow cannot open it")
        else:
            self._compare_pixels(self.shown)
        self._compare_levels()
        self._compare_metadata()
        if self.sample.properties.get("frames", 1) > 1:
            self.differs(
                "frames: the first alone" if self.note(" first alone ") else None, "frames"
            )
        if "text" in self.sample.properties:
            self.differs("text: noted" if self.note("text beside") else None, "text")

    def _is_large(self) -> bool:
        properties = self.sample.properties
        return properties.get("text", 0) > 1 << 20 or properties.get("icc") == "large"

    def _compare_pixels(self, shown: Image.Image) -> None:
        """Size, orientation and mode beside Pillow's."""
        properties = self.sample.properties
        size, mode = self.decoded.size, self.decoded.mode
        if size != shown.size or not self._same_place(shown):
            odd = properties.get("type") == 1
            reason = "orientation: a type that Pillow does not read" if odd else None
            self.differs(reason, f"{size} beside {shown.size} of Pillow, or turned")
        elif mode != shown.mode:
            name = f"mode: {'I;16' if shown.mode.startswith('I') else shown.mode} as {mode}"
            self.differs(name if name in EXPLANATIONS else None, name)
        if self.written_mode != mode:
            if mode.endswith("A") and not self.written_mode.endswith("A"):
                self.differs("mode: opaque alpha" if self.note("opaque") else None, mode)
            else:
                fits = self.target == ".webp" and mode.startswith("L")
                self.differs("mode: grey in WebP" if fits else None, f"written {self.written_mode}")

    def _same_place(self, shown: Image.Image) -> bool:
        """Whether the source was read as Pillow shows it, levels and orientation."""
        if shown.size != (self.source.width, self.source.height):
            return False
        if shown.mode in ("CMYK", "I;16", "I"):
            return True  # other levels by other rules
        rgb = np.asarray(shown.convert("RGBA"))[:, :, :3]
        return bool((rgb == self.source.rgb).all())

    def _compare_levels(self) -> None:
        """Decoded pixels beside the source: the codec's error, and alpha without any."""
        shown = np.asarray(self.decoded.convert("RGBA")).astype(float)
        seen = np.ones(shown.shape[:2], bool)
        if self.source.alpha is not None:
            seen = self.source.alpha > 0
            if not np.array_equal(shown[:, :, 3], self.source.alpha):
                self.differs(None, "alpha")
            if not seen.all():
                self.differs("levels: hidden colour", "")
        error = np.square(shown[:, :, :3] - self.source.rgb)[seen].sum()
        self.psnr = psnr_of(float(error), 3 * max(1, int(seen.sum())))

    def _compare_metadata(self) -> None:
        properties, info = self.sample.properties, self.written.info
        original = Image.open(io.BytesIO(self.sample.data)).info if self.shown else {}
        icc = original.get("icc_profile") or (self.source.icc if self._is_large() else None)
        if info.get("icc_profile") != icc:
            if properties["mode"] == "CMYK" and not info.get("icc_profile"):
                self.differs("profile: of CMYK", "profile")
            elif info.get("icc_profile"):
                self.differs("profile: made" if "told" in properties else None, "profile from air")
            else:
                self.differs("profile: noted" if self.note("profile") else None, "profile")
        elif properties.get("told") == "PQ" and not icc:
            self.differs("profile: noted" if self.note("PQ") else None, "PQ")
        tags = self.written.getexif()
        if tags.get(0x0112, 1) != 1:
            self.differs(None, f"orientation {tags.get(0x0112)} in what was written")
        if properties.get("orientation", 1) != 1:
            self.differs("exif: orientation", "")
        if properties.get("exif"):
            kept = tags.get(0x010F) == MAKER
            if properties["format"] not in ("TIFF",):
                kept = kept and tags.get_ifd(0x8769).get(0x9003) == DATE
            if not kept:
                self.differs("exif: noted" if self.note("EXIF") else None, "EXIF")
        self._compare_xmp()
        self._compare_resolution(original)

    def _compare_xmp(self) -> None:
        properties, xmp = self.sample.properties, self.written.info.get("xmp") or b""
        xmp = xmp.encode() if isinstance(xmp, str) else xmp
        if properties.get("xmp"):
            if b"mixture" not in xmp:
                self.differs("xmp: noted" if self.note("XMP") else None, "XMP")
            elif properties.get("xmp_orientation", 1) != 1 or properties.get("gain_map"):
                clean = b"Orientation" not in xmp or b'Orientation="1"' in xmp
                clean = clean and b"hdrgm:Version" not in xmp
                clean = clean and (self.note("gain map") or not properties.get("gain_map"))
                self.differs("xmp: rewritten" if clean else None, "XMP")

    def _compare_resolution(self, original: Mapping[Any, Any]) -> None:
        before, after = (_dpi(info) for info in (original, self.written.info))
        given = self.sample.properties.get("dpi")
        if before is None or np.allclose(before, after or (0, 0), atol=0.6):
            return
        if given is None and before in _INVENTED:
            self.differs("resolution: default of Pillow", "")
        elif after and np.allclose(before[::-1], after, atol=0.6):
            self.differs("resolution: turned", "")
        elif self.target == ".webp":
            noted = self.note("resolution")
            self.differs("resolution: noted" if noted else "resolution: in EXIF", "")
        else:
            self.differs(None, f"resolution {before} became {after}")


def _shown(data: bytes) -> Image.Image | None:
    """What Pillow shows of a file; None where it cannot."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception:
        return None


def _dpi(info: Mapping[Any, Any]) -> tuple[float, float] | None:
    dpi = info.get("dpi")
    return None if dpi is None else (float(dpi[0]), float(dpi[1]))


def measure(codec: PictureCodec, *, count: int, seed: int, rate: float) -> dict[str, Any]:
    """Carry files through the codec and count every difference by its reason."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    problems, lowest, same, kinds = [], [], 0, Counter()
    for number in range(count):
        sample = make_sample(number, seed=seed)
        found = Comparison(sample, codec, rate, TARGETS[number % len(TARGETS)])
        kinds[f"{sample.properties['format']} {sample.properties['mode']}"] += 1
        same += not found.found
        counts.update(set(found.found))
        for reason in set(found.found):
            examples[reason].append(sample.name)
        if found.problems:
            row = {"file": sample.name, "what": found.problems, "properties": sample.properties}
            problems.append(row)
        if found.psnr is not None:
            lowest.append((found.psnr, sample.name))
    lowest.sort()
    return {
        "pictures": count,
        "seed": seed,
        "rate_index": rate,
        "kinds": dict(sorted(kinds.items())),
        "without_difference": same,
        "differences": {
            reason: {
                "count": number,
                "because": EXPLANATIONS.get(reason, ""),
                "examples": examples[reason][:3],
            }
            for reason, number in sorted(counts.items())
        },
        UNEXPLAINED: problems,
        "psnr": {
            "lowest": [{"file": name, "psnr": round(value, 2)} for value, name in lowest[:5]],
            "median": lowest[len(lowest) // 2][0] if lowest else None,
        },
    }


def main() -> None:
    """Measure and write the record."""
    options = parser(__doc__, out="mixture")
    options.add_argument("--count", type=int, default=500)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--rate", type=float, default=4)
    options.add_argument("--base")
    options.add_argument("--prompts")
    arguments = parse(options)
    codec = Codec.load(arguments.base, arguments.prompts)
    report = measure(codec, count=arguments.count, seed=arguments.seed, rate=arguments.rate)
    write_record(arguments.out, {"base_sha256": codec.base_hash.hex(), **report})
    for row in report[UNEXPLAINED]:
        print(row, file=sys.stderr)
    print(f"{report['without_difference']} of {report['pictures']} without difference, "
          f"{len(report[UNEXPLAINED])} unexplained")  # fmt: skip
    sys.exit(bool(report[UNEXPLAINED]))


if __name__ == "__main__":
    main()
