"""Streams that were written once and must decode for ever, with a base of their own.

The decoded symbols and table indexes must match their hashes on every machine; the picture may
differ by one level. `pytest tests/test_golden.py --regenerate-golden` writes them anew, which only
a new version of the format may call for.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.api import Codec

FOLDER = Path(__file__).parent / "golden"
HASHES = FOLDER / "hashes.json"


def source(name: str) -> Image.Image:
    """The picture behind each golden stream; only regeneration looks at it."""
    width, height, mode = {
        "rgb": (150, 90, "RGB"),
        "grey": (65, 40, "L"),
        "alpha": (64, 64, "RGBA"),
        "pixel": (1, 1, "RGB"),
        "strip": (3, 130, "RGB"),
        "fine": (96, 64, "RGB"),
        "metadata": (32, 32, "RGB"),
    }[name]
    rng = np.random.default_rng(len(name) * 7 + width)
    coarse = rng.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    picture = Image.fromarray(coarse, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    if name == "metadata":
        exif = Image.Exif()
        exif[0x010E] = "a golden picture"
        picture.info["exif"] = exif.tobytes()
        info = picture.info
        picture = picture.convert(mode)
        picture.info.update(info)
        return picture
    return picture.convert(mode)


NAMES = ("rgb", "grey", "alpha", "pixel", "strip", "fine", "metadata")


def describe(codec: Codec, data: bytes) -> dict[str, object]:
    latents = codec.decode_latents(data)
    parts = {"z": latents.z_hat, "indexes": latents.indexes, "symbols": latents.symbols}
    found: dict[str, object] = {
        name: hashlib.sha256(part.numpy().tobytes()).hexdigest() for name, part in parts.items()
    }
    picture = codec.decode(data)
    return found | {"mode": picture.mode, "size": list(picture.size)}


@pytest.fixture(scope="module")
def codec(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Codec:
    if request.config.getoption("--regenerate-golden"):
        regenerate(tiny_checkpoint)
    return Codec.load(FOLDER / "base")


def regenerate(checkpoint: Path) -> None:
    (FOLDER / "base").mkdir(exist_ok=True)
    for file in ("config.json", "model.safetensors"):
        (FOLDER / "base" / file).write_bytes((checkpoint / file).read_bytes())
    codec = Codec.load(FOLDER / "base")
    hashes = {}
    for name in NAMES:
        data = codec.encode(source(name), gain_steps=9.5 if name == "fine" else 0.0)
        (FOLDER / f"{name}.pc").write_bytes(data)
        codec.decode(data).save(FOLDER / f"{name}.png")
        hashes[name] = describe(codec, data)
    HASHES.write_text(json.dumps(hashes, indent=1) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_golden_stream(codec: Codec, name: str) -> None:
    data = (FOLDER / f"{name}.pc").read_bytes()
    assert describe(codec, data) == json.loads(HASHES.read_text())[name]
    with Image.open(FOLDER / f"{name}.png") as kept:
        expected = np.asarray(kept).astype(int)
    difference = np.abs(np.asarray(codec.decode(data)).astype(int) - expected)
    assert difference.max() <= 1


def test_golden_metadata_comes_back(codec: Codec) -> None:
    picture = codec.decode((FOLDER / "metadata.pc").read_bytes())
    assert picture.getexif()[0x010E] == "a golden picture"


def test_golden_streams_walk_every_path(codec: Codec) -> None:
    latents = [codec.decode_latents((FOLDER / f"{n}.pc").read_bytes()) for n in NAMES]
    indexes = np.concatenate([x.indexes.numpy().ravel() for x in latents])
    assert (indexes == 0).any() and indexes.max() > 20
    kinds = [(FOLDER / f"{n}.pc").read_bytes() for n in NAMES]
    assert any(b"ALPH" in data for data in kinds) and any(b"EXIF" in data for data in kinds)
