"""Every error of ours, provoked: its class, its built-in parent, its exit code, its one line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import RECIPES

from promptcodec import bitstream, errors
from promptcodec.cli import main
from promptcodec.cli.exit_codes import describe
from promptcodec.io.load import load_picture


@dataclass(frozen=True)
class Place:
    """Files that commands fail on.

    Args:
        folder: holds `photo.png`, `text.png` that is none, and `empty/`.
        base: folder of the tiny checkpoint.
        stream: a whole stream.
    """

    folder: Path
    base: Path
    stream: bytes

    def run(self, *words: object) -> None:
        """A command, its exception passed on."""
        main.app([str(word) for word in words], standalone_mode=False)

    def write(self, name: str, content: bytes) -> Path:
        """A file."""
        (self.folder / name).write_bytes(content)
        return self.folder / name


@pytest.fixture
def place(tmp_path, tiny_checkpoint, tiny_codec) -> Place:
    image = Image.fromarray(np.full((20, 20, 3), 99, np.uint8))
    image.save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    return Place(tmp_path, tiny_checkpoint, tiny_codec.encode(image))


def encode(place: Place, *options: object, name: str = "photo.png") -> None:
    place.run("encode", place.folder / name, "--base", place.base, *options)


def usage(place: Place) -> None:
    encode(place, "--target-bpp", "1", "--rate-index", "2")


def config(place: Place) -> None:
    recipe = place.write("recipe.yaml", b"surprise: 1\n")
    place.run("train-base", recipe, "--data", place.folder, "--out", place.folder / "run")


def shape(place: Place) -> None:
    load_picture(np.zeros((2, 2, 7), np.uint8))


def picture(place: Place) -> None:
    encode(place, name="text.png")


def stream(place: Place) -> None:
    place.run("info", place.folder / "text.png")


def mismatch(place: Place) -> None:
    other = replace(bitstream.parse(place.stream), base_hash=bytes(8))
    path = place.write("a.pc", bitstream.pack(other))
    place.run("decode", path, "--base", place.base)


def rate(place: Place) -> None:
    encode(place, "--rate-index", "7")


def checkpoint(place: Place) -> None:
    place.run("encode", place.folder / "photo.png", "--base", place.folder / "empty")


def output(place: Place) -> None:
    encode(place, "-o", place.folder / "photo.png")


def data(place: Place) -> None:
    place.run("eval", place.folder / "empty", "--base", place.base)


def divergence(place: Place) -> None:
    for name in ("one.png", "two.png"):
        Image.fromarray(np.full((70, 70, 3), 99, np.uint8)).save(place.folder / "empty" / name)
    text = (RECIPES / "base" / "base-tiny.yaml").read_text()
    text = text.replace("{warmup_steps: 5}", "{warmup_steps: 0, learning_rate: 1e6}")
    text = text.replace("validation_pictures: 2", "validation_pictures: 1")
    recipe = place.write("recipe.yaml", f"{text}max_skipped: 2\n".encode())
    words = ("--data", place.folder / "empty", "--out", place.folder / "run", "--device", "cpu")
    place.run("train-base", recipe, *words)


PROVOCATIONS: dict[type[errors.PromptCodecError], Callable[[Place], None]] = {
    errors.UsageError: usage,
    errors.ConfigError: config,
    errors.ShapeError: shape,
    errors.PictureError: picture,
    errors.StreamError: stream,
    errors.ModelMismatchError: mismatch,
    errors.RateError: rate,
    errors.CheckpointError: checkpoint,
    errors.OutputError: output,
    errors.DataError: data,
    errors.DivergenceError: divergence,
}
PUBLIC = [each for each in vars(errors).values() if isinstance(each, type)]


def test_every_public_error_is_provoked():
    assert set(PROVOCATIONS) == set(PUBLIC) - {errors.PromptCodecError}


@pytest.mark.parametrize("error", PROVOCATIONS, ids=lambda error: error.__name__)
def test_errors(error, place):
    with pytest.raises(error) as caught:
        PROVOCATIONS[error](place)
    assert type(caught.value) is error
    message, code = describe(caught.value)
    assert code == error.exit_code
    assert len(message) > 20 and "\n" not in message


@pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)
def test_errors_have_a_cause_a_remedy_and_a_built_in_parent(error):
    assert error.__doc__ and "\n" not in error.__doc__.split("\n\n")[0]
    assert error.remedy and "|" not in error.__doc__ + error.remedy
    if error is not errors.PromptCodecError:
        assert issubclass(error, (ValueError, LookupError, OSError))


def test_different_failures_of_many_files_are_the_root(place, capsys):
    words = ["encode", place.folder / "text.png", place.folder / "*.xyz", "--base", place.base]
    assert main.main([str(word) for word in words]) == errors.PromptCodecError.exit_code == 1
    assert "2 failed" in capsys.readouterr().err
