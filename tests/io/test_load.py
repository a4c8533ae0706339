"""Sources of pictures: paths, bytes, files, PIL pictures, arrays, tensors."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import (
    RGB,
    RGBA,
    png,
)
from PIL import Image

from promptcodec.errors import PictureError, ShapeError
from promptcodec.io.load import load_picture


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
        loaded = load_picture(source)
        assert np.array_equal(loaded.rgb, RGB), type(source)
        assert not loaded.grey and loaded.alpha is None
        assert loaded.rgb.flags.c_contiguous and loaded.rgb.flags.writeable
        assert (loaded.height, loaded.width) == (5, 7)


def test_arrays_of_each_shape():
    grey = load_picture(RGB[:, :, 0])
    assert grey.grey and np.array_equal(grey.rgb, RGB[:, :, :1].repeat(3, axis=2))
    with_alpha = load_picture(RGBA[:, ::-1])
    assert np.array_equal(with_alpha.rgb, RGBA[:, ::-1, :3])
    assert np.array_equal(with_alpha.alpha, RGBA[:, ::-1, 3])


def test_a_loaded_picture_does_not_share_memory_with_its_source():
    array = RGBA.copy()
    loaded = load_picture(array)
    array[:] = 0
    assert np.array_equal(loaded.rgb, RGBA[:, :, :3]) and np.array_equal(
        loaded.alpha, RGBA[:, :, 3]
    )


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint16, np.float32, np.float64])
def test_arrays_of_other_types_are_refused(dtype):
    with pytest.raises(PictureError, match=rf"dtype {np.dtype(dtype)}; need uint8"):
        load_picture(RGB.astype(dtype))


@pytest.mark.parametrize("shape", [(4,), (3, 5, 7), (5, 7, 1), (5, 7, 2), (1, 5, 7, 3), ()])
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"need \(H, W\), \(H, W, 3\) or \(H, W, 4\)"):
        load_picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 5, 7), (2, 3, 5, 7), (3,), (1, 1, 3, 5, 7)])
def test_tensors_of_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"need \(3, H, W\) or \(1, 3, H, W\)"):
        load_picture(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_tensors_of_other_types_are_refused(dtype):
    with pytest.raises(PictureError, match="need float: divide by 255"):
        load_picture(torch.zeros(3, 2, 2).to(dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1.003, -0.003, 255.0])
def test_tensors_out_of_range_are_refused(value):
    tensor = torch.full((3, 2, 2), 0.5)
    tensor[1, 1, 0] = value
    with pytest.raises(PictureError, match="need finite ones in"):
        load_picture(tensor)


def test_tensors_may_leave_the_range_by_half_a_level():
    tensor = torch.tensor([-0.0019, 1.0019]).expand(3, 1, 2)
    assert load_picture(tensor).rgb[0].tolist() == [[0, 0, 0], [255, 255, 255]]


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
        load_picture(source)


@pytest.mark.parametrize("source", [RGB, torch.zeros(3, 5, 7), Image.fromarray(RGB), png(RGB)])
def test_max_pixels_holds_for_every_source(source):
    assert load_picture(source, max_pixels=35).width == 7
    with pytest.raises(PictureError, match="7 x 5 = 35 pixels and the limit is 34"):
        load_picture(source, max_pixels=34)


@pytest.mark.parametrize("source", [None, 5, [[1, 2]], {}])
def test_other_objects_are_refused(source):
    with pytest.raises(PictureError, match=rf"a {type(source).__name__} holds no picture"):
        load_picture(source)


def test_paths_that_cannot_be_read(tmp_path, monkeypatch):
    def message(path) -> str:
        with pytest.raises(PictureError) as caught:
            load_picture(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    missing, empty, text = tmp_path / "no.png", tmp_path / "empty.png", tmp_path / "text.png"
    empty.write_bytes(b"")
    text.write_text("not a picture")
    assert message(missing) == f"{missing}: no such file: check the name"
    assert message(tmp_path) == f"{tmp_path}: is a folder; give one picture"
    assert message(empty) == f"{empty}: is empty (0 bytes); give a picture"
    assert message(text).startswith(f"{text}: is no picture that can be read; give one of PNG, ")
    assert message(str(missing / "below")).startswith(f"{missing}/below: no such file")
    assert message(text / "below").startswith(f"{text}/below: cannot be opened")
    assert message("") == "the path is empty; give the path of a picture"
    assert message("zero\0byte").startswith("'zero\\x00byte': cannot be opened")
    assert message("two\nlines").startswith("'two\\nlines': no such file")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the superuser may read everything
    assert message(text) == f"{text}: may not be read; check its permissions"


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(PictureError, match="the given file: gives str; open it in binary mode"):
        load_picture(io.StringIO("text"))
    closed = io.BytesIO(png(RGB))
    closed.close()
    with pytest.raises(PictureError, match="the given file: cannot be read"):
        load_picture(closed)
    with pytest.raises(PictureError, match="the given bytes: is empty"):
        load_picture(b"")
    path = tmp_path / "cut.png"
    path.write_bytes(png(RGB)[:60])
    with path.open("rb") as file, pytest.raises(PictureError, match=rf"^{path}: damaged or trunc"):
        load_picture(file)
    picture = Image.open(path)
    picture.close()
    with pytest.raises(PictureError, match="the given picture: damaged"):
        load_picture(picture)


def test_loading_a_file_imports_no_torch(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png(RGBA))
    code = (
        "import sys; from promptcodec.io.load import load_picture; "
        "from promptcodec.io.pictures import to_pil; "
        f"to_pil(load_picture({str(path)!r})); "
        "sys.exit('torch' in sys.modules or 'PIL.ImageCms' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
