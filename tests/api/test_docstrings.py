"""Examples in the docstrings of the public API run and give what they show."""

import doctest
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from places import ASSETS

from promptcodec import Codec
from promptcodec.api import codec as api
from promptcodec.coding import codec, settings, stream_reader


@pytest.mark.parametrize(
    ("module", "examples"), [(api, 3), (codec, 3), (stream_reader, 2), (settings, 2)]
)
def test_examples_give_what_they_show(
    module: ModuleType,
    examples: int,
    tiny_codec: Codec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(ASSETS / "chelsea.png", tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, extraglobs={"codec": tiny_codec})
    assert (result.failed, result.attempted) == (0, examples)
