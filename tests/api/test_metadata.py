"""EXIF, ICC, XMP, depth and grey from a picture file through a stream to a picture file."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from promptcodec.cli import main

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


@pytest.fixture
def run(capsys, tiny_checkpoint):
    """Run a command with the tiny base: its exit code and standard error."""

    def run(*words):
        code = main.main([*map(str, words), "--base", str(tiny_checkpoint)])
        return code, capsys.readouterr().err

    return run


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E], tags[0x0112] = "a description", 6
    return tags


def described(path: Path) -> tuple[str | None, int, bytes | None, bytes | None]:
    """Description, orientation, profile and XMP of a picture file."""
    with Image.open(path) as image:
        image.load()
        tags, xmp = image.getexif(), image.info.get("xmp")
        xmp = xmp.encode() if isinstance(xmp, str) else xmp
        return tags.get(0x010E), tags.get(0x0112, 1), image.info.get("icc_profile"), xmp


def save(image: Image.Image, path: Path) -> None:
    options = {"exif": exif(), "icc_profile": SRGB}
    if path.suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        image.save(path, pnginfo=text, **options)
    elif path.suffix == ".tif":
        tags = exif()
        tags[0x02BC] = XMP
        image.save(path, exif=tags, icc_profile=SRGB)
    else:
        image.save(path, xmp=XMP, **options)


FORMATS = ("png", "jpg", "webp", "tif")


@pytest.mark.parametrize(("source", "target"), list(product(FORMATS, FORMATS)))
def test_metadata_goes_there_and_back(run, tmp_path, source, target):
    picture, stream = tmp_path / f"a.{source}", tmp_path / "a.pc"
    save(Image.new("RGB", (40, 20), (200, 100, 50)), picture)
    assert run("encode", picture)[0] == 0
    assert run("decode", stream, "-o", tmp_path / f"b.{target}")[0] == 0
    assert described(tmp_path / f"b.{target}") == ("a description", 1, SRGB, XMP)
    with Image.open(tmp_path / f"b.{target}") as image:
        assert image.size == (20, 40)  # upright


def test_strip(run, tmp_path):
    picture, stream, bare = tmp_path / "a.png", tmp_path / "a.pc", tmp_path / "bare.pc"
    save(Image.new("RGB", (40, 20), (200, 100, 50)), picture)
    assert run("encode", picture, "--strip", "-o", bare)[0] == run("encode", picture)[0] == 0
    assert bare.stat().st_size < stream.stat().st_size - len(SRGB)
    for words in ((bare, "-o", tmp_path / "b.png"), (stream, "--strip", "-o", tmp_path / "c.png")):
        assert run("decode", *words)[0] == 0
        assert described(words[-1]) == (None, 1, None, None)


def test_finished_work_with_metadata_is_no_stripped_work(run, tmp_path):
    save(Image.new("RGB", (40, 20), (200, 100, 50)), tmp_path / "a.png")
    words = ("encode", tmp_path / "*.png", "-o", f"{tmp_path}/out/")
    assert run(*words)[0] == 0
    code, says = run(*words, "--strip")
    assert code == 8 and "is a stream of other settings" in says
    assert run(*words)[0] == 0


def test_16_bits_only_where_it_is_allowed(run, tmp_path):
    levels = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray((levels >> 8).astype(np.uint8)).save(tmp_path / "upper.png")
    code, says = run("encode", tmp_path / "deep.png")
    assert (
        code == 3
        and "16 bits per channel and only 8 are coded; convert it" in says
        and "--allow-8bit" in says
    )
    assert not (tmp_path / "deep.pc").exists()
    assert run("encode", tmp_path / "deep.png", "--allow-8bit")[0] == 0
    assert run("encode", tmp_path / "upper.png")[0] == 0
    assert (tmp_path / "deep.pc").read_bytes() == (tmp_path / "upper.pc").read_bytes()


@pytest.mark.parametrize(("mode", "decoded"), [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB")])
def test_grey_and_palettes(run, tmp_path, capsys, mode, decoded):
    Image.linear_gradient("L").resize((40, 30)).convert(mode).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png")[0] == 0
    assert run("decode", tmp_path / "a.pc", "-o", tmp_path / "b.png")[0] == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == decoded
    main.main(["info", str(tmp_path / "a.pc"), "--json"])
    assert json.loads(capsys.readouterr().out)["grey"] == (decoded != "RGB")
