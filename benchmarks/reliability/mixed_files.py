"""Generated picture files of mixed kinds, each the same for the same number and seed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from promptcodec.io.icc import D65, SRGB_CURVE, SRGB_PRIMARIES, Curve, Primaries, write_profile

FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # suffixes, modes
    "PNG": ((".png", ".png", ".apng"), ("1", "L", "LA", "P", "RGB", "RGB", "RGBA", "RGBA", "I;16")),
    "JPEG": ((".jpg", ".jpeg", ".jfif", ".jpe"), ("L", "RGB", "RGB", "RGB", "CMYK")),
    "WEBP": ((".webp",), ("RGB", "RGBA")),
    "TIFF": ((".tif", ".tiff"), ("1", "L", "LA", "P", "RGB", "RGB", "RGBA", "CMYK", "I;16", "F")),
    "GIF": ((".gif",), ("L", "P")),
    "BMP": ((".bmp", ".dib"), ("1", "L", "P", "RGB")),
    "AVIF": ((".avif",), ("RGB", "RGBA")),
    "MPO": ((".mpo", ".jpg"), ("RGB",)),
    "JPEG2000": ((".jp2",), ("L", "RGB", "RGBA")),
    "PPM": ((".ppm", ".pnm"), ("L", "RGB")),
    "QOI": ((".qoi",), ("RGB", "RGBA")),
}
_ANIMATED = ("GIF", "TIFF", "PNG", "WEBP", "MPO")  # Pillow 13 crashes on some of AVIF
_WITH_EXIF = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MPO")
_WITH_XMP = ("PNG", "JPEG", "WEBP", "TIFF")
_WITH_ICC = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF")
_WITH_DPI = ("PNG", "JPEG", "TIFF", "BMP")
_SIZES = ((1, 1), (1, 300), (300, 1), (2, 97), (64, 64))
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-'
    'ns#"><r:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="mixture" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{}/></r:RDF></x:xmpmeta>'
)
_GAIN_MAP = ' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
_P3 = Primaries(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
DATE = "2024:05:01 10:00:00"
MAKER = "Maker"


@dataclass(frozen=True)
class Sample:
    """One file.

    Args:
        name: file name.
        data: content.
        properties: what was drawn for it.
    """

    name: str
    data: bytes
    properties: dict[str, Any] = field(default_factory=dict)


def make_sample(number: int, *, seed: int) -> Sample:
    """File `number` of the mixture of a seed."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choice([*FORMATS, "PNG", "PNG", "JPEG", "JPEG", "TIFF", "TIFF"])
    suffixes, modes = FORMATS[kind]
    mode = rng.choice(modes)
    properties: dict[str, Any] = {"format": kind, "mode": mode}
    size = rng.choice(_SIZES) if rng.random() < 0.2 else (rng.randint(8, 160), rng.randint(8, 160))
    image = _picture(size, mode, rng, properties)
    options: dict[str, Any] = {}
    if kind in ("WEBP",):
        options |= {"lossless": True, "exact": True}
    _add_frames(kind, image, rng, options, properties)
    _add_metadata(kind, mode, rng, options, properties)
    output = io.BytesIO()
    image.save(output, kind, **options)
    data = output.getvalue()
    if kind == "PNG":
        data = _with_chunks(data, _png_chunks(rng, properties))
    if "type" in properties:
        data = _retyped(data, properties)
    return Sample(f"{number:04}{rng.choice(suffixes)}", data, properties)


def _picture(
    size: tuple[int, int], mode: str, rng: random.Random, properties: dict[str, Any]
) -> Image.Image:
    """A smooth picture with a little noise, in a mode."""
    draw = np.random.default_rng(rng.getrandbits(32))
    coarse = Image.fromarray(draw.integers(30, 226, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(float)
    levels = np.clip(smooth + draw.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(levels)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "P":
        return image.quantize(64)
    if not mode.endswith("A"):
        return image.convert(mode)
    kind = properties["alpha"] = rng.choice(("opaque", "cutout", "gradient"))
    alpha = np.full(size[::-1], 255, np.uint8)
    if kind == "cutout":
        y, x = np.mgrid[0 : size[1], 0 : size[0]]
        alpha[(x - size[0] / 2) ** 2 + (y - size[1] / 2) ** 2 > (max(size) / 3) ** 2] = 0
    elif kind == "gradient":
        alpha = np.asarray(Image.linear_gradient("L").resize(size))
    image = image.convert(mode)
    image.putalpha(Image.fromarray(alpha))
    return image


def _add_frames(
    kind: str, image: Image.Image, rng: random.Random, options: dict[str, Any], properties: Any
) -> None:
    if kind == "MPO" or (kind in _ANIMATED and rng.random() < 0.15):
        count = rng.randint(2, 3)
        others = [image.transpose(Image.Transpose.ROTATE_180) for _ in range(count - 1)]
        options |= {"save_all": True, "append_images": others}
        properties["frames"] = count


def _add_metadata(
    kind: str, mode: str, rng: random.Random, options: dict[str, Any], properties: dict[str, Any]
) -> None:
    tags = Image.Exif()
    if kind in _WITH_EXIF and rng.random() < 0.6:
        properties["exif"] = True
        tags[0x010F] = MAKER
        if kind != "TIFF":
            tags.get_ifd(0x8769).update({0x9003: DATE, 0x8827: 100})
        if rng.random() < 0.7:
            tags[0x0112] = properties["orientation"] = rng.choice((0, 1, *range(2, 9), 9))
            if rng.random() < 0.4:
                properties["type"] = rng.choice((1, 4, 8, 9))
        if kind == "PNG" and rng.random() < 0.1:
            properties["large_exif"] = 70_000
            tags[0x010E] = "d" * properties["large_exif"]
    if kind in _WITH_XMP and rng.random() < 0.4:
        told = ""
        if rng.random() < 0.6:
            told = f' tiff:Orientation="{rng.randint(1, 8)}"'
            properties["xmp_orientation"] = int(told[-2])
        if rng.random() < 0.15:
            told, properties["gain_map"] = told + _GAIN_MAP, True
        xmp = _XMP.format(told).encode()
        properties["xmp"] = True
        if kind == "TIFF":
            tags[0x02BC] = xmp
        elif kind == "PNG":
            options["pnginfo"] = text = PngInfo()
            text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        else:
            options["xmp"] = xmp
    if len(tags) or properties.get("exif"):
        options["exif"] = tags
    if kind in _WITH_ICC and rng.random() < 0.3:
        properties["icc"] = rng.choice(("sRGB", "P3", "grey", "large"))
        options["icc_profile"] = _profile(properties["icc"])
    if kind in _WITH_DPI and rng.random() < 0.3:
        options["dpi"] = properties["dpi"] = rng.choice(((72, 72), (300, 300), (300, 150)))


def _profile(name: str) -> bytes:
    if name == "grey":
        return write_profile(SRGB_PRIMARIES, Curve(2.2), grey=True, name=name)
    if name == "P3":
        return write_profile(_P3, SRGB_CURVE, grey=False, name=name)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.ljust(1_200_000, b"\0") if name == "large" else srgb


def _png_chunks(rng: random.Random, properties: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Chunks about colour and text that Pillow does not write."""
    chunks = []
    if rng.random() < 0.35:
        told = properties["told"] = rng.choice(("linear", "gamma", "sRGB", "P3", "cICP", "PQ"))
        chunks = {
            "linear": [(b"gAMA", struct.pack(">I", 100_000))],
            "gamma": [(b"gAMA", struct.pack(">I", 45_455))],
            "sRGB": [(b"sRGB", b"\0")],
            "P3": [(b"cHRM", struct.pack(">8I", *(round(100_000 * v) for xy in _P3 for v in xy)))],
            "cICP": [(b"cICP", bytes((12, 13, 0, 1)))],
            "PQ": [(b"cICP", bytes((9, 16, 0, 1)))],
        }[told]
    if rng.random() < 0.15:
        size = properties["text"] = rng.choice((20, 1_500_000))
        chunks.append((b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * size)))
    return chunks


def _with_chunks(data: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with chunks behind its header."""
    parts = [data[:33]]
    for kind, content in chunks:
        crc = zlib.crc32(kind + content)
        parts += [struct.pack(">I", len(content)), kind, content, struct.pack(">I", crc)]
    return b"".join([*parts, data[33:]])


def _retyped(data: bytes, properties: dict[str, Any]) -> bytes:
    """The file with its orientation in another type; where checksums or order forbid, as it was."""
    value, kind = properties["orientation"], properties["type"]
    form = {1: "B", 4: "I", 8: "h", 9: "i"}[kind]
    for order in "<>":
        entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, value, 0)
        if data.count(entry) == 1 and properties["format"] not in ("PNG", "AVIF"):
            other = struct.pack(f"{order}HHI{form}", 0x0112, kind, 1, value).ljust(12, b"\0")
            return data.replace(entry, other)
    del properties["type"]
    return data
