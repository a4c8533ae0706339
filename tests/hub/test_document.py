"""The commands and the Python of docs/hub.md run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub
from places import ROOT

from promptcodec import Codec

TEXT = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_blocks_run(hub: Hub, copy: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "prompts" / "rate-2").rename(copy / "prompts" / "rate-3")
    (copy.parent / "checkpoints").mkdir()
    copy.rename(copy.parent / "checkpoints" / "small")
    monkeypatch.chdir(copy.parent)
    for language, block in BLOCKS:
        if language == "python":
            refs = hub.repositories["me/small"].refs
            refs["v1"] = refs["main"]
            names: dict[str, Any] = {"Codec": Codec}
            exec(block, names)
            assert [rate.index for rate in names["codec"].rates] == [2, 4]
            continue
        for line in block.splitlines():
            outcome = run(*shlex.split(line)[1:])
            assert outcome.code == 0, outcome.err
    assert set(hub.repositories) == {"me/small", "me/rate-3", "me/heads"}


def test_names_of_the_card_are_those_of_the_document(copy: Path, run) -> None:
    card = run("push", copy, "me/x", "--dry-run").out.decode()
    for key in re.findall(r"^([a-z_-]+):", card.split("---\n")[1], re.MULTILINE):
        assert f"`{key}`" in TEXT
