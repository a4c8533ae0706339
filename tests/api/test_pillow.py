"""The Pillow plugin: headers without weights, pixels when they are needed, saving."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFile

import promptcodec.pillow
from promptcodec import bitstream
from promptcodec.coding import memory_limit
from promptcodec.errors import PictureError, RateError, StreamError, UsageError


@pytest.fixture(autouse=True)
def codec(tiny_codec):
    promptcodec.pillow.use(tiny_codec)
    yield tiny_codec
    promptcodec.pillow.use(None)


def photo(mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    return Image.fromarray(noise, "RGBA").resize((70, 44)).convert(mode)


@pytest.fixture
def stream(codec, tmp_path):
    path = tmp_path / "photo.pc"
    path.write_bytes(codec.encode(photo()))
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_open_gives_what_decode_gives(codec, tmp_path, mode):
    path = tmp_path / "photo.pc"
    path.write_bytes(codec.encode(photo(mode)))
    with Image.open(path) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PROMPTCODEC", mode, (70, 44))
        expected = codec.decode(path)
        assert np.array_equal(np.asarray(picture), np.asarray(expected))
        assert picture.mode == expected.mode


def test_pixels_are_decoded_once_and_only_when_needed(codec, stream, monkeypatch):
    calls = []

    class Counting:
        def decode(self, *arguments, **options):
            calls.append(arguments)
            return codec.decode(*arguments, **options)

    promptcodec.pillow.use(Counting())  # type: ignore[arg-type]
    picture = Image.open(io.BytesIO(stream.read_bytes()))
    assert picture.size == (70, 44) and picture.info["rate_index"] == 4.0 and calls == []
    picture.getpixel((0, 0))
    assert picture.resize((7, 4)).size == (7, 4) and len(calls) == 1


def test_opening_imports_no_torch(stream):
    script = (
        "import sys, promptcodec.pillow; from PIL import Image\n"
        "picture = Image.open(sys.argv[1]); print(picture.size, picture.mode, picture.info)\n"
        "sys.exit('torch' in sys.modules or 'constriction' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, stream], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("(70, 44) RGB")


def test_the_bundled_codec_is_the_default(monkeypatch, stream):
    loaded = []
    monkeypatch.setattr("promptcodec.api.Codec.load", lambda: loaded.append(1))
    promptcodec.pillow.use(None)
    with pytest.raises(AttributeError), Image.open(stream) as picture:
        picture.load()
    assert loaded == [1]


def test_save_writes_what_encode_gives(codec, tmp_path):
    photo().save(tmp_path / "a.pc", gain_steps=2.0)
    assert (tmp_path / "a.pc").read_bytes() == codec.encode(photo(), gain_steps=2.0)
    buffer = io.BytesIO()
    photo().save(buffer, "PROMPTCODEC", rate_index=4)
    assert buffer.getvalue() == codec.encode(photo(), rate_index=4)


def test_metadata_travels(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    icc = bytes(16) + b"RGB " + bytes(120)
    photo().save(tmp_path / "a.pc", exif=exif, icc_profile=icc, xmp=b"<x/>")
    with Image.open(tmp_path / "a.pc") as picture:
        assert picture.getexif()[0x010E] == "a description"
        assert (picture.info["icc_profile"], picture.info["xmp"]) == (icc, b"<x/>")
        picture.save(tmp_path / "b.png")
        assert picture.fp is None
        picture.save(tmp_path / "b.pc")
    with Image.open(tmp_path / "b.pc") as picture:
        assert picture.getexif()[0x010E] == "a description"


def test_what_cannot_be_saved(tmp_path):
    for error, options in ((UsageError, {"effort": 10}), (RateError, {"rate_index": 7})):
        with pytest.raises(error):
            photo().save(tmp_path / "a.pc", **options)
    with pytest.raises(PictureError, match="only 8 are coded"):
        Image.new("I;16", (4, 4)).save(tmp_path / "a.pc")
    assert not (tmp_path / "a.pc").exists()


def test_damage(stream):
    data = stream.read_bytes()
    with pytest.raises(StreamError, match="truncated"):
        Image.open(io.BytesIO(data[:-1]))
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(StreamError):
        Image.open(io.BytesIO(flipped)).load()
    with pytest.raises(StreamError):
        Image.open(io.BytesIO(flipped)).verify()
    Image.open(stream).verify()
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(b"\x8fPX\n" + data[4:]))


def test_what_is_whole_of_a_stream(codec, monkeypatch):
    data = codec.encode(photo(), tile_size=64)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    picture = Image.open(io.BytesIO(data[:-1]))
    assert picture.size == (70, 44)
    assert picture.getpixel((69, 0)) == (128, 128, 128)


@pytest.mark.parametrize(("mode", "kept"), [("RGBA", "RGB"), ("LA", "L")])
def test_mode_without_an_alpha_that_was_cut_off(codec, monkeypatch, mode, kept):
    data = codec.encode(photo(mode), strip=True)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert Image.open(io.BytesIO(data)).mode == mode
    picture = Image.open(io.BytesIO(data[:-1]))
    assert picture.mode == kept
    picture.load()
    assert picture.mode == picture.im.mode == kept
    assert len(picture.split()) == len(kept)
    assert picture.convert(mode).getchannel("A").getextrema() == (255, 255)
    assert picture.resize((7, 4)).mode == kept


def test_mode_is_that_of_what_was_decoded(codec):
    """Whatever the header led to expect."""

    class Greying:
        def decode(self, *arguments, **options):
            return codec.decode(*arguments, **options).convert("L")

    promptcodec.pillow.use(Greying())  # type: ignore[arg-type]
    picture = Image.open(io.BytesIO(codec.encode(photo("RGBA"))))
    picture.load()
    assert picture.mode == picture.im.mode == "L"


def test_pillow_refuses_a_bomb(stream, tmp_path):
    from dataclasses import replace

    container = replace(bitstream.parse(stream.read_bytes()), width=1 << 20, height=1 << 20)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bitstream.pack(container)))


def test_memory_is_bounded_here_too(stream, monkeypatch):
    monkeypatch.setattr(memory_limit, "ALLOWED", 0)
    picture = Image.open(stream)
    with pytest.raises(StreamError, match="take about"):
        picture.load()
    with pytest.raises(PictureError, match="take about"):
        photo().save(io.BytesIO(), "PROMPTCODEC")
