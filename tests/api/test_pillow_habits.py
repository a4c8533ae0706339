"""What Pillow promises of every format: copies, `OSError`, a parser fed in pieces, safe saving."""

import copy
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFile

import promptcodec.pillow
from promptcodec import bitstream
from promptcodec.errors import ModelMismatchError, StreamError

OPTIONS = {"quality": 9, "optimize": True, "progressive": True, "made_up": object()}


@pytest.fixture(autouse=True)
def codec(tiny_codec):
    promptcodec.pillow.use(tiny_codec)
    yield tiny_codec
    promptcodec.pillow.use(None)


@pytest.fixture
def photo() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    return Image.fromarray(noise, "RGBA").resize((70, 44))


@pytest.fixture
def data(codec, photo) -> bytes:
    return codec.encode(photo, tile_size=64)


def again(picture: Image.Image) -> Image.Image:
    return pickle.loads(pickle.dumps(picture))


@pytest.mark.parametrize("duplicate", [again, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("used", [False, True])
def test_copies_are_the_picture(codec, data, duplicate, used):
    picture = Image.open(io.BytesIO(data))
    if used:
        picture.load()
    other = duplicate(picture)
    assert (other.mode, other.info) == ("RGBA", picture.info) and other.info["rate_index"] == 4.0
    assert np.array_equal(np.asarray(other), np.asarray(codec.decode(data)))
    third = duplicate(other)
    assert third.resize((7, 4)) == picture.resize((7, 4))
    other.putpixel((0, 0), (1, 2, 3, 4))
    assert picture.getpixel((0, 0)) != (1, 2, 3, 4)


def test_a_copy_has_the_mode_of_what_was_decoded(monkeypatch, data):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    other = again(Image.open(io.BytesIO(data[:-1])))
    assert other.mode == "RGB" and other.getpixel((0, 0)) is not None


def damaged(data: bytes) -> list[bytes]:
    """Cut off at the start, in the header, in the payload, at the end; changed there; too long."""
    cut = [data[:size] for size in (5, 20, len(data) // 2, len(data) - 1)]
    changed = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (6, 30, len(data) - 1)]
    return [*cut, *changed, data + b"\0"]


@pytest.mark.parametrize("kind", range(8))
def test_damage_is_an_os_error(data, kind):
    broken = damaged(data)[kind]
    for use in (Image.Image.load, Image.Image.verify):
        with pytest.raises(OSError) as caught:
            use(Image.open(io.BytesIO(broken)))
        assert isinstance(caught.value, StreamError) and "\n" not in str(caught.value)


def test_streams_of_others_are_an_os_error(data):
    other = bitstream.pack(replace(bitstream.parse(data), base_hash=bytes(8)))
    with pytest.raises(OSError, match="base") as caught:
        Image.open(io.BytesIO(other)).load()
    assert isinstance(caught.value, ModelMismatchError)


def test_a_closed_file_is_an_os_error(data):
    file = io.BytesIO(data)
    picture = Image.open(file)
    file.close()
    for use in (picture.load, picture.verify, lambda: pickle.dumps(picture)):
        with pytest.raises(OSError, match="open it again"):
            use()
    with pytest.raises(OSError, match="open it again"):
        again(Image.open(io.BytesIO(data))).verify()


def parsed(data: bytes, size: int) -> Image.Image:
    parser = ImageFile.Parser()
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
    return parser.close()


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_a_parser_fed_in_pieces(codec, data, size):
    assert np.array_equal(np.asarray(parsed(data, size)), np.asarray(codec.decode(data)))


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("kind", range(8))
def test_a_parser_fed_with_damage(monkeypatch, data, kind, partial):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", partial)
    broken = damaged(data)[kind]
    whole_tiles = partial and kind in (2, 3, 6)
    for size in (50, len(broken)):
        if whole_tiles:
            assert parsed(broken, size).size == (70, 44)
            continue
        with pytest.raises(OSError):
            parsed(broken, size)


def test_unknown_options_are_ignored(codec, photo, tmp_path):
    photo.save(tmp_path / "a.pc", **OPTIONS)
    assert (tmp_path / "a.pc").read_bytes() == codec.encode(photo)


@pytest.mark.parametrize("name", ["rate_index", "gain_steps", "effort", "tile_size", "max_pixels"])
@pytest.mark.parametrize("value", ["high", -1000, float("nan"), [1, 2], np.array([1, 2])])
def test_nothing_is_truncated_before_options_are_checked(photo, tmp_path, name, value):
    path = tmp_path / "a.pc"
    for before in (None, b"earlier"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises((ValueError, LookupError)) as caught:
            photo.save(path, **{name: value})
        assert "\n" not in str(caught.value)
        assert (path.read_bytes() if path.exists() else None) == before
        assert len(list(tmp_path.iterdir())) == (before is not None)


@pytest.mark.parametrize("name", ["a.pc", b"a.pc", "A.PC", "a.bin"])
def test_nothing_is_truncated_by_a_picture_that_cannot_be_saved(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with open(name, "wb") as file:
        file.write(b"earlier")
    with pytest.raises(ValueError, match="only 8 are coded"):
        Image.new("I;16", (4, 4)).save(name, "promptcodec" if "bin" in str(name) else None)
    with open(name, "rb") as file:
        assert file.read() == b"earlier"


def test_a_picture_is_saved_over_itself(codec, data, tmp_path):
    path = tmp_path / "a.pc"
    path.write_bytes(data)
    with Image.open(path) as picture:
        expected = codec.encode(picture.copy())
        picture.save(path)
    assert path.read_bytes() == expected


def test_places_that_cannot_be_written(photo, tmp_path):
    for path in (tmp_path / "missing" / "a.pc", tmp_path / "folder.pc"):
        (tmp_path / "folder.pc").mkdir(exist_ok=True)
        with pytest.raises(OSError):
            photo.save(path)
    photo.save("/dev/null", "PROMPTCODEC")


def test_other_formats_are_saved_by_pillow(photo, tmp_path):
    photo.save(tmp_path / "a.png", compress_level=1)
    buffer = io.BytesIO()
    photo.save(buffer, "PNG", compress_level=1)
    assert (tmp_path / "a.png").read_bytes() == buffer.getvalue()
    with pytest.raises(ValueError, match="unknown file extension"):
        photo.save(tmp_path / "a.unknown")
