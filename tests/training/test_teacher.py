"""Teachers of other classes are refused by name."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from promptcodec.training.distillation import TeacherConfig, read_teacher

from promptcodec.coding.head_config import PIXELS
from promptcodec.config import CLASSIFY
from promptcodec.errors import ConfigError
from promptcodec.training import distillation


def test_four_classes_of_either_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(task=CLASSIFY, reads=PIXELS, labels=tuple("abcdef"))
    monkeypatch.setattr(distillation, "read_head_config", lambda folder: found)
    says = "has a, b, c, d ..., the pictures are of g, h, i, j ...: name one"
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_teacher(TeacherConfig(head=str(tmp_path)), classes=tuple("ghijkl"))
