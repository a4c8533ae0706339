"""The comparisons with another checkout: what is sent to the workers, what is recorded."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from places import ASSETS, ROOT

from benchmarks.reliability import same_bytes
from benchmarks.speed import checkouts
from benchmarks.tables import speed as tables

ECHO = """
import sys
print(flush=True)
for line in sys.stdin:
    if line == "stop\\n":
        break
    with open(sys.argv[2], "a") as log:
        log.write(line)
    print(flush=True)
"""


def test_a_checkout_codes_every_picture_in_every_way(
    tiny_checkpoint: Path, tiny_ladder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "base")
    shutil.copytree(tiny_ladder, tmp_path / "prompts")
    picture = tmp_path / "picture.png"
    with Image.open(next(ASSETS.glob("*.png"))) as opened:
        opened.convert("RGB").crop((0, 0, 64, 64)).save(picture)
    ways = {"rate 4": {"rate_index": 4}, "once more": {"rate_index": 4}}
    request = json.dumps([str(tmp_path / "base"), [str(picture)], ways])
    found = same_bytes.coded(ROOT, request)
    rate, again, alpha = (found[f"{picture} {way}"] for way in (*ways, "alpha"))
    assert len(found) == 3 and rate == again != alpha
    assert rate[0] > 0 and [len(digest) for digest in rate[1:]] == [64, 64]


@pytest.mark.parametrize(("other", "different"), [([9, "a", "b"], []), ([9, "a", "c"], ["x y"])])
def test_a_difference_is_named_and_fails(
    other: list, different: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    sides = {ROOT: {"x y": [9, "a", "b"]}, tmp_path: {"x y": other}}
    monkeypatch.setattr(same_bytes, "coded", lambda root, request: sides[root])
    monkeypatch.setattr(same_bytes, "commit_of", lambda root: f"commit of {root.name}")
    out = tmp_path / "record.json"
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "picture.png", "--out", str(out)])
    with pytest.raises(SystemExit) as stopped:
        same_bytes.main()
    assert bool(stopped.value.code) == bool(different)
    record = json.loads(out.read_text())
    assert record == json.loads(capsys.readouterr().out)
    assert record["different"] == different and record["bytes"] == 9
    assert record["other_commit"] == f"commit of {tmp_path.name}"


def test_a_worker_does_what_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "WORKER", ECHO)
    log = tmp_path / "log"
    checkout = checkouts.Checkout(tmp_path, tmp_path / "picture.png", log, "torch")
    actions = checkout.actions()
    for name in ("encode", "decode", "encode"):
        actions[f"{name}, torch"]()
    assert log.read_text().split() == ["encode", "decode", "encode"]
    with pytest.raises(SystemExit, match=r"the worker of .* ended"):
        checkout._ask("stop")
    checkout.process.wait(timeout=30)


def test_both_sides_of_an_action_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    order: list[str] = []

    class Fake:
        def __init__(self, root: Path, picture: Path, stream: Path, engine: str) -> None:
            self.name = "ours" if root == ROOT else "theirs"
            self.engine, self.base_hash = engine, f"base of {self.name}"
            self.process = subprocess.Popen(["true"])

        def _log(self, name: str) -> dict:
            return {name: lambda: order.append(f"{name}, {self.name}")}

        def actions(self) -> dict:
            return self._log(f"encode, {self.engine}")

        def commands(self) -> dict:
            return self._log("decode, fresh process")

    monkeypatch.setattr(checkouts, "Checkout", Fake)
    monkeypatch.setattr(checkouts, "commit_of", lambda root: "abc")
    out = tmp_path / "record.json"
    words = ["x", str(tmp_path), "picture.png", "--repeats", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    checkouts.main()
    names = ("decode, fresh process", "encode, onnx", "encode, torch")
    assert order == 3 * [
        f"{n}, {side}" for n in names for side in ("ours", "theirs")
    ]  # one warm-up
    record = json.loads(out.read_text())
    assert set(record["ours_over_theirs"]) == set(names)
    assert len(record["ours_over_theirs"]["encode, torch"]["values"]) == 2
    assert record["other_base_sha256"] == "base of theirs"
    assert "encode, torch: " in capsys.readouterr().out
    assert "times as long as the other" in tables.checkouts(record)
