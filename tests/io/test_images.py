"""Sources of pictures, tensors, padding, alpha, and picture files that are written."""

import errno
import io
import os
import subprocess
import sys
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageCms

from promptcodec.errors import OutputError, PictureError, ShapeError, StreamError
from promptcodec.io.alpha import decode_alpha, encode_alpha
from promptcodec.io.atomic import write_atomically
from promptcodec.io.images import Picture, join, load, to_pil
from promptcodec.io.lazy_pixels import Pixels
from promptcodec.io.save import OUTPUT_SUFFIXES, encode_file, write_file
from promptcodec.models.tensors import crop, from_tensor, pad, to_tensor

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    output = io.BytesIO()
    Image.fromarray(array).save(output, "PNG")
    return output.getvalue()


# --- sources -----------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A file that can only be read forwards, like standard input."""

    def __init__(self, data: bytes):
        self._rest = data

    def readable(self):
        return True

    def readinto(self, buffer):
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def test_every_kind_of_source_gives_the_same_picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png(RGB))
    tensor = torch.from_numpy(RGB).permute(2, 0, 1) / 255
    sources = [str(path), path, png(RGB), bytearray(png(RGB)), memoryview(png(RGB))]
    sources += [io.BytesIO(png(RGB)), Pipe(png(RGB)), Image.fromarray(RGB), Image.open(path), RGB]
    sources += [tensor, tensor[None], tensor.double(), tensor.requires_grad_()]
    for source in sources:
        loaded = load(source)
        assert np.array_equal(loaded.rgb, RGB), type(source)
        assert not loaded.grey and loaded.alpha is None
        assert loaded.rgb.flags.c_contiguous and loaded.rgb.flags.writeable
        assert (loaded.height, loaded.width) == (5, 7)


def test_arrays_of_each_shape():
    grey = load(RGB[:, :, 0])
    assert grey.grey and np.array_equal(grey.rgb, RGB[:, :, :1].repeat(3, axis=2))
    with_alpha = load(RGBA[:, ::-1])
    assert np.array_equal(with_alpha.rgb, RGBA[:, ::-1, :3])
    assert np.array_equal(with_alpha.alpha, RGBA[:, ::-1, 3])


def test_a_loaded_picture_does_not_share_memory_with_its_source():
    array = RGBA.copy()
    loaded = load(array)
    array[:] = 0
    assert np.array_equal(loaded.rgb, RGBA[:, :, :3]) and np.array_equal(
        loaded.alpha, RGBA[:, :, 3]
    )


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint16, np.float32, np.float64])
def test_arrays_of_other_types_are_refused(dtype):
    with pytest.raises(PictureError, match=rf"dtype {np.dtype(dtype)}; need uint8"):
        load(RGB.astype(dtype))


@pytest.mark.parametrize("shape", [(4,), (3, 5, 7), (5, 7, 1), (5, 7, 2), (1, 5, 7, 3), ()])
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"need \(H, W\), \(H, W, 3\) or \(H, W, 4\)"):
        load(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 5, 7), (2, 3, 5, 7), (3,), (1, 1, 3, 5, 7)])
def test_tensors_of_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"need \(3, H, W\) or \(1, 3, H, W\)"):
        load(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_tensors_of_other_types_are_refused(dtype):
    with pytest.raises(PictureError, match="need float: divide by 255"):
        load(torch.zeros(3, 2, 2).to(dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1.003, -0.003, 255.0])
def test_tensors_out_of_range_are_refused(value):
    tensor = torch.full((3, 2, 2), 0.5)
    tensor[1, 1, 0] = value
    with pytest.raises(PictureError, match="need finite ones in"):
        load(tensor)


def test_tensors_may_leave_the_range_by_half_a_level():
    tensor = torch.tensor([-0.0019, 1.0019]).expand(3, 1, 2)
    assert load(tensor).rgb[0].tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((0, 3, 3), np.uint8),
        np.zeros((3, 0), np.uint8),
        torch.zeros(3, 0, 2),
        Image.new("RGB", (0, 3)),
    ],
)
def test_pictures_without_pixels_are_refused(source):
    with pytest.raises(PictureError, match="need at least 1 x 1"):
        load(source)


@pytest.mark.parametrize("source", [RGB, torch.zeros(3, 5, 7), Image.fromarray(RGB), png(RGB)])
def test_max_pixels_holds_for_every_source(source):
    assert load(source, max_pixels=35).width == 7
    with pytest.raises(PictureError, match="7 x 5 = 35 pixels and the limit is 34"):
        load(source, max_pixels=34)


@pytest.mark.parametrize("source", [None, 5, [[1, 2]], {}])
def test_other_objects_are_refused(source):
    with pytest.raises(PictureError, match=rf"a {type(source).__name__} holds no picture"):
        load(source)


def test_paths_that_cannot_be_read(tmp_path, monkeypatch):
    def message(path) -> str:
        with pytest.raises(PictureError) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    missing, empty, text = tmp_path / "no.png", tmp_path / "empty.png", tmp_path / "text.png"
    empty.write_bytes(b"")
    text.write_text("not a picture")
    assert message(missing) == f"{missing}: there is no such file; check the path"
    assert message(tmp_path) == f"{tmp_path}: is a folder; give one picture"
    assert message(empty) == f"{empty}: is empty (0 bytes); give a picture"
    assert message(text).startswith(f"{text}: is no picture that can be read; give one of PNG, ")
    assert message(str(missing / "below")).startswith(f"{missing}/below: there is no such file")
    assert message(text / "below").startswith(f"{text}/below: cannot be opened")
    assert message("") == "the path is empty; give the path of a picture"
    assert message("zero\0byte").startswith("'zero\\x00byte': cannot be opened")
    assert message("two\nlines").startswith("'two\\nlines': there is no such file")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the superuser may read everything
    assert message(text) == f"{text}: may not be read; check its permissions"


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(PictureError, match="the given file: gives str; open it in binary mode"):
        load(io.StringIO("text"))
    closed = io.BytesIO(png(RGB))
    closed.close()
    with pytest.raises(PictureError, match="the given file: cannot be read"):
        load(closed)
    with pytest.raises(PictureError, match="the given bytes: is empty"):
        load(b"")
    path = tmp_path / "cut.png"
    path.write_bytes(png(RGB)[:60])
    with path.open("rb") as file, pytest.raises(PictureError, match=rf"^{path}: damaged or trunc"):
        load(file)
    picture = Image.open(path)
    picture.close()
    with pytest.raises(PictureError, match="the given picture: damaged"):
        load(picture)


def test_loading_a_file_imports_no_torch(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png(RGBA))
    code = (
        "import sys; from promptcodec.io.images import load, to_pil; "
        f"to_pil(load({str(path)!r})); "
        "sys.exit('torch' in sys.modules or 'PIL.ImageCms' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- to PIL and to files -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_to_pil_undoes_load(mode):
    image = Image.fromarray(RGBA).convert(mode)
    again = to_pil(load(image))
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
    source = load(image)
    if suffix in (".jpg", ".jpeg") and mode.endswith("A"):
        with pytest.raises(OutputError, match=r"holds no alpha; use .png"):
            encode_file(image, suffix)
        return
    written = load(encode_file(to_pil(source), suffix.upper()))

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
    with pytest.raises(OutputError, match=r"EXIF data is too long.*use \.png"):
        encode_file(image, ".jpg")
    assert load(encode_file(image, ".png")).exif == bytes(70_000)


@pytest.mark.filterwarnings("ignore")  # Pillow's, on tags that it cannot read
def test_damaged_exif_does_not_keep_a_tiff_from_being_written():
    image = everything("RGB")
    image.info["exif"] = b"Exif\0\0II*\0nonsense"
    assert np.array_equal(load(encode_file(image, ".tif")).rgb, RGBA[:, :, :3])


# --- tensors -----------------------------------------------------------------------------------


def test_all_levels_survive_tensors():
    rgb = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    rgb[:, :, 1] = rgb[::-1, :, 1]
    x = to_tensor(rgb)
    assert x.shape == (1, 3, 16, 16) and x.dtype == torch.float32 and x.is_contiguous()
    assert x.min() == 0 and x.max() == 1
    assert np.array_equal(from_tensor(x), rgb)
    assert np.array_equal(from_tensor(x[0].double()), rgb)


def test_to_tensor_takes_read_only_arrays_and_copies():
    rgb = RGB.copy()
    rgb.flags.writeable = False
    x = to_tensor(rgb[:, :1])
    x.zero_()
    assert rgb.any()


def test_from_tensor_rounds_and_clamps():
    values = torch.tensor([-1.0, 0.4999 / 255, 0.5001 / 255, 2.0, float("inf"), float("nan")])
    levels = from_tensor(values.expand(1, 3, 1, 6))[0, :, 0]
    assert levels.tolist() == [0, 0, 1, 255, 255, 0]


def test_tensor_functions_refuse_other_shapes():
    for array in (RGBA, RGB[:, :, 0], RGB.astype(np.float32)):
        with pytest.raises(ShapeError):
            to_tensor(array)
    for shape in ((2, 3, 4, 4), (4, 4), (1, 1, 4, 4)):
        with pytest.raises(ShapeError):
            from_tensor(torch.zeros(shape))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    multiple=st.sampled_from([1, 2, 7, 16, 64, 256]),
)
def test_pad_repeats_the_edge_and_crop_undoes_it(height, width, multiple):
    x = torch.arange(3.0 * height * width).reshape(1, 3, height, width)
    padded = pad(x, multiple)
    high, wide = padded.shape[2:]
    assert high % multiple == wide % multiple == 0
    assert 0 <= high - height < multiple and 0 <= wide - width < multiple
    rows = torch.arange(high).clamp(max=height - 1)
    columns = torch.arange(wide).clamp(max=width - 1)
    assert torch.equal(padded, x[:, :, rows][:, :, :, columns])
    assert torch.equal(crop(padded, height, width), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_pixel_is_padded_to_any_multiple(dtype):
    x = torch.tensor([0.25, 0.5, 1.0], dtype=dtype).reshape(1, 3, 1, 1)
    assert torch.equal(pad(x, 64), x.expand(1, 3, 64, 64))


def test_pad_and_crop_refuse_what_makes_no_sense():
    for x, multiple in (
        (torch.zeros(3, 4, 4), 2),
        (torch.zeros(1, 3, 0, 4), 2),
        (torch.zeros(1, 3, 4, 4), 0),
    ):
        with pytest.raises(ShapeError, match="need a non-empty"):
            pad(x, multiple)
    for height, width in ((0, 1), (5, 1), (1, 5), (-1, 1)):
        with pytest.raises(ShapeError, match=f"to {height} x {width}"):
            crop(torch.zeros(1, 3, 4, 4), height, width)


# --- alpha -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_alpha_is_lossless(alpha):
    height, width = alpha.shape
    data = encode_alpha(alpha)
    assert np.array_equal(decode_alpha(data, width=width, height=height), alpha)
    assert encode_alpha(np.asfortranarray(alpha)) == data


@pytest.mark.parametrize("level", [0, 255])
def test_alpha_of_one_level_is_small(level):
    alpha = np.full((512, 768), level, np.uint8)
    data = encode_alpha(alpha)
    assert len(data) < 300
    assert np.array_equal(decode_alpha(data, width=768, height=512), alpha)


def test_a_mask_of_black_and_white_is_lossless():
    alpha = RNG.choice(np.array([0, 255], np.uint8), (13, 11))
    data = encode_alpha(alpha)
    assert np.array_equal(decode_alpha(data, width=11, height=13), alpha)


@pytest.mark.parametrize(
    "alpha", [RGB, RGB[:, :, 0].astype(float), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)]
)
def test_other_arrays_are_no_alpha(alpha):
    with pytest.raises(ShapeError, match="need a non-empty uint8"):
        encode_alpha(alpha)


def alpha_file(kind: str = "PNG", mode: str = "L", size: tuple[int, int] = (7, 5)) -> bytes:
    output = io.BytesIO()
    Image.new(mode, size).save(output, kind)
    return output.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        *(alpha_file(kind) for kind in ("BMP", "TIFF")),
        *(alpha_file(mode=mode) for mode in ("RGB", "LA", "P", "I;16")),
        *(alpha_file(size=size) for size in ((5, 7), (7, 6))),
    ],
)
def test_other_files_are_no_alpha(data):
    with pytest.raises(StreamError, match="the alpha of this stream") as caught:
        decode_alpha(data, width=7, height=5)
    assert "\n" not in str(caught.value)


def test_the_size_of_alpha_is_compared_before_decoding(monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decode)
    with pytest.raises(StreamError, match="is 5 x 7 of mode L with 8 bits; need 7 x 5"):
        decode_alpha(alpha_file(size=(5, 7)), width=7, height=5)


@pytest.mark.parametrize("levels", [256, 2])
def test_any_damage_to_alpha_is_a_stream_error(levels):
    alpha = (RNG.integers(0, levels, (5, 7)) * (255 // (levels - 1))).astype(np.uint8)
    data = encode_alpha(alpha)
    damaged = [data[:size] for size in range(len(data))]
    for position in range(len(data)):
        flipped = (data[position] ^ (1 << bit) for bit in range(8))
        damaged += [data[:position] + bytes([byte]) + data[position + 1 :] for byte in flipped]
    for attempt in damaged:
        with pytest.raises(StreamError, match="the alpha of this stream"):
            decode_alpha(attempt, width=7, height=5)


# --- what is shipped ---------------------------------------------------------------------------


def test_demo_pictures_are_photographs_with_their_terms():
    folder = resources.files("promptcodec") / "io" / "assets"
    names = sorted(entry.name for entry in folder.iterdir())
    terms = (folder / "README.md").read_text(encoding="utf-8")
    pictures = [name for name in names if name.endswith(".png")]
    assert names == ["README.md", *pictures] and pictures
    for name in pictures:
        assert f"`{name}`" in terms
        loaded = load(os.fspath(folder / name))
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
    image = to_pil(load(RGB))
    write_atomically(tmp_path / "a", partial(write_file, image, suffix))
    assert (tmp_path / "a").read_bytes() == encode_file(image, suffix)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pixels_left_in_place_read_like_an_array(mode):
    image = Image.fromarray(RGBA).convert(mode)
    copied, left = load(image), load(image, in_place=True)
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
    assert join([rgb], height=len(rgb), width=rgb.shape[1], grey=grey) is rgb
    pixels = join([rgb[:1], rgb[1:]], height=len(rgb), width=rgb.shape[1], grey=grey)
    assert isinstance(pixels, Pixels) and np.array_equal(pixels[:, :], rgb)
    assert to_pil(Picture(pixels, grey)).mode == ("L" if grey else "RGB")
    with pytest.raises(ShapeError, match="strips have 1 rows"):
        join([rgb[:1]], height=len(rgb), width=rgb.shape[1], grey=grey)
