"""What the package hands on: the names that documents give, each spelled once."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from places import ASSETS, ROOT

import promptcodec
from promptcodec import errors
from promptcodec.coding.engine import EngineOptions
from promptcodec.coding.settings import (
    DecodeOptions,
    DecodeSettings,
    EncodeOptions,
    EncodeSettings,
)


def test_names_are_those_of_the_documents() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = "".join(line for line in text.splitlines() if line.startswith("| `"))
    documented = {name for name in re.findall(r"`(\w+)`", rows) if name[0].isupper()}
    assert documented | {"__version__"} == set(promptcodec.__all__)


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    shutil.copy(ASSETS / "chelsea.png", tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("threads=1", ""), names)  # threads are the whole process's
    assert len(blocks) == 6 and names["part"].size == (64, 48)
    assert len(names["encoded"].data) <= 20_000 and names["latents"].shape[1] == 320


def test_every_error_is_handed_on() -> None:
    own = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert own <= set(promptcodec.__all__)


@pytest.mark.parametrize("name", promptcodec.__all__)
def test_names_can_be_imported(name: str) -> None:
    assert getattr(promptcodec, name) is not None and name in dir(promptcodec)


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="no attribute 'codec_'"):
        _ = promptcodec.codec_  # type: ignore[attr-defined]


def test_names_cost_no_torch() -> None:
    names = ", ".join(name for name in promptcodec.__all__)
    script = f"import sys; from promptcodec import {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("settings", "options"), [(EncodeSettings, EncodeOptions), (DecodeSettings, DecodeOptions)]
)
def test_keywords_are_the_fields_of_the_settings(settings: type, options: type) -> None:
    assert get_type_hints(options) == get_type_hints(settings)
    named = re.findall(r"^    (\w+): ", cleandoc(settings.__doc__ or ""), re.M)
    assert named[: len(fields(settings))] == [field.name for field in fields(settings)]


def test_keywords_of_load_are_described() -> None:
    named = re.findall(r"^    (\w+): ", cleandoc(EngineOptions.__doc__ or ""), re.M)
    assert named == list(get_type_hints(EngineOptions))


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "promptcodec" / "py.typed").is_file()
