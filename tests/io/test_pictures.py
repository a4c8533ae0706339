"""Pictures to Pillow and to files."""

import errno
import os
from functools import partial
from importlib import resources

import numpy as np
import pytest
from picture_files import (
    RGB,
    RGBA,
)
from PIL import Image, ImageCms

from promptcodec.errors import OutputError, ShapeError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.load import load_picture
from promptcodec.io.pictures import Picture, Pixels, join_rows, to_pil
from promptcodec.io.save import OUTPUT_SUFFIXES, encode_file, encode_lossy, left_out, write_file


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_to_pil_undoes_load(mode):
    image = Image.fromarray(RGBA).convert(mode)
    again = to_pil(load_picture(image))
    assert again.mode == mode and again.tobytes() == image.tobytes()


def test_grey_of_three_nearly_equal_channels_is_their_rounded_mean():
    rgb = np.array([[[10, 11, 11], [255, 255, 255], [0, 0, 1]]], np.uint8)
    assert np.array(to_pil(Picture(rgb, grey=True))).tolist() == [[11, 255, 0]]


def everything(mode: str) -> Image.Image:
    """A picture with a profile, EXIF and XMP."""
    image = Image.fromarray(RGBA).convert(mode)
    if mode.startswith("RGB"):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        image.info["icc_profile"] = profile.tobytes()
    tags = Image.Exif()
    tags[0x010F] = "maker"
    tags[0x0100] = 4000  # a width, which a TIFF must not take for its own
    image.info["exif"] = tags.tobytes()
    image.info["xmp"] = "<x:xmpmeta>ä</x:xmpmeta>".encode()
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_written_files_keep_pixels_profile_and_metadata(suffix, mode):
    image = everything(mode)
    source = load_picture(image)
    if suffix in (".jpg", ".jpeg") and mode.endswith("A"):
        with pytest.raises(OutputError, match=r"holds no alpha; use .png"):
            encode_file(image, suffix)
        return
    written = load_picture(encode_file(to_pil(source), suffix.upper()))

    assert written.icc == source.icc and written.xmp == source.xmp
    tags = Image.Exif()
    tags.load(written.exif)
    assert tags[0x010F] == "maker"
    if suffix not in (".tif", ".tiff"):  # which have EXIF as tags among their own
        assert written.exif == source.exif
    if suffix in (".jpg", ".jpeg"):
        assert written.rgb.shape == source.rgb.shape
    else:
        assert np.array_equal(written.rgb, source.rgb)
        assert (written.alpha is None) == (source.alpha is None)
        if source.alpha is not None:
            assert np.array_equal(written.alpha, source.alpha)
        assert written.grey == (source.grey and suffix != ".webp")  # WebP has no grey


def test_files_that_cannot_be_written():
    with pytest.raises(OutputError, match=r"cannot write a picture as \.xyz; use one of \.png"):
        encode_file(Image.fromarray(RGB), ".xyz")
    with pytest.raises(OutputError, match="a file without suffix"):
        encode_file(Image.fromarray(RGB), "")
    with pytest.raises(OutputError, match=r"cannot write as \.webp .* use \.png"):
        encode_file(Image.new("L", (16384, 1)), ".webp")
    image = everything("RGB")
    image.info["exif"] = b"Exif\0\0" + bytes(70_000)
    assert left_out(image, ".jpg") == (".jpg is written without EXIF",)
    assert load_picture(encode_file(image, ".jpg")).exif is None
    assert load_picture(encode_file(image, ".png")).exif == bytes(70_000)


@pytest.mark.filterwarnings("ignore")  # Pillow's, on tags that it cannot read
def test_damaged_exif_does_not_keep_a_tiff_from_being_written():
    image = everything("RGB")
    image.info["exif"] = b"Exif\0\0II*\0nonsense"
    assert np.array_equal(load_picture(encode_file(image, ".tif")).rgb, RGBA[:, :, :3])


# --- what is shipped ---------------------------------------------------------------------------


def test_demo_pictures_are_photographs_with_their_terms():
    folder = resources.files("promptcodec") / "io" / "assets"
    names = sorted(entry.name for entry in folder.iterdir())
    terms = (folder / "README.md").read_text(encoding="utf-8")
    pictures = [name for name in names if name.endswith(".png")]
    assert names == ["README.md", *pictures] and pictures
    for name in pictures:
        assert f"`{name}`" in terms
        loaded = load_picture(os.fspath(folder / name))
        assert min(loaded.height, loaded.width) >= 300 and not loaded.grey
    assert sum(len((folder / name).read_bytes()) for name in pictures) < 700_000


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_full_disk_is_called_so(suffix):
    """Pillow alone says "encoder error -2" where it writes to a descriptor."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    with open("/dev/full", "w+b", buffering=0) as file:
        if suffix.startswith(".tif"):
            with pytest.raises(OutputError, match="disk full"):
                write_file(Image.fromarray(noise), suffix, file)
        else:
            with pytest.raises(OSError) as caught:
                write_file(Image.fromarray(noise), suffix, file)
            assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_file_gets_what_the_bytes_are(suffix, tmp_path):
    image = to_pil(load_picture(RGB))
    write_atomically(tmp_path / "a", partial(write_file, image, suffix))
    assert (tmp_path / "a").read_bytes() == encode_file(image, suffix)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pixels_left_in_place_read_like_an_array(mode):
    image = Image.fromarray(RGBA).convert(mode)
    copied, left = load_picture(image), load_picture(image, in_place=True)
    assert isinstance(left.pixels, Pixels) and isinstance(copied.pixels, np.ndarray)
    assert (left.height, left.width, left.grey) == (copied.height, copied.width, copied.grey)
    assert np.array_equal(left.rgb, copied.rgb)
    for rows, columns in ((slice(1, 3), slice(2, 99)), (slice(0, 2), slice(None))):
        part = left.pixels[rows, columns]
        assert np.array_equal(part, copied.pixels[rows, columns])
        assert part.flags.c_contiguous and part.flags.writeable
    assert (left.alpha is None) == (copied.alpha is None) == ("A" not in mode)
    if "A" in mode:
        assert np.array_equal(left.alpha, np.asarray(image)[:, :, -1])


@pytest.mark.parametrize("grey", [False, True])
def test_strips_are_joined(grey):
    rgb = np.repeat(RGB[:, :, :1], 3, axis=2) if grey else RGB
    assert join_rows([rgb], height=len(rgb), width=rgb.shape[1], grey=grey) is rgb
    pixels = join_rows([rgb[:1], rgb[1:]], height=len(rgb), width=rgb.shape[1], grey=grey)
    assert isinstance(pixels, Pixels) and np.array_equal(pixels[:, :], rgb)
    assert to_pil(Picture(pixels, grey)).mode == ("L" if grey else "RGB")
    with pytest.raises(ShapeError, match="strips have 1 rows"):
        join_rows([rgb[:1]], height=len(rgb), width=rgb.shape[1], grey=grey)


def test_avif_is_written_by_one_thread(monkeypatch):
    """Its bytes follow the number of threads, which is that of the machine otherwise."""
    given = {}
    monkeypatch.setattr(Image.Image, "save", lambda *_, **options: given.update(options))
    encode_lossy(Image.new("RGB", (8, 8)), "AVIF", 50)
    assert given == {"quality": 50, "speed": 6, "max_threads": 1}
