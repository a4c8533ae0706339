"""Training on a machine that has little more than torch, in a time that is given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from places import ROOT
from safetensors.torch import load_file

from promptcodec.models.checkpoint import read_base

# What the package depends on, and training a base and its ladder does without.
BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("compressai", "pytorch_msssim", "scipy", "matplotlib", "peft"):
            raise ModuleNotFoundError(f"{name} is not here", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run(code: str, *words: object, seconds: float = 100.0) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_training_imports() -> None:
    run(
        "import promptcodec.cli.main, promptcodec.training.base, promptcodec.training.ladder\n"
        "import promptcodec.training.convert\n"
        "try:\n    import compressai\nexcept ModuleNotFoundError:\n    pass\n"
        "else:\n    sys.exit('nothing was blocked')\n"
    )


@pytest.mark.slow
def test_a_base_and_its_ladder_in_a_given_time(tmp_path: Path) -> None:
    """A folder with two packs, the recipe's batch, a start from raw weights, a ladder after it."""
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        pack = tmp_path / "data" / ("photos" if i % 2 else "better")
        pack.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(noise).resize((150, 140), Image.Resampling.BICUBIC)
        picture.save(pack / f"{i}.png")
    (tmp_path / "tiny.yaml").write_text((ROOT / "recipes/base/base-tiny.yaml").read_text())
    packs = [{"name": "photos"}, {"name": "better"}]
    recipe = {
        "extends": "tiny.yaml",
        "precision": "no",
        "batch": 4,
        "hard_fraction": 0.1,
        "data": {"packs": packs, "last_crop": 128},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(recipe))
    main = "from promptcodec.__main__ import main\nsys.exit(main())\n"
    words = ("--data", tmp_path / "data", "--device", "cpu", "--minutes", "0.6")
    out = tmp_path / "first"
    run(main, "train-base", tmp_path / "base.yaml", "--out", out, *words)
    (tmp_path / "start").mkdir()
    (out / "raw.safetensors").rename(tmp_path / "start/raw.safetensors")
    recipe["init_from"] = str(tmp_path / "start")
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "second"
    run(main, "train-base", tmp_path / "base.yaml", "--out", out, *words)
    base = read_base(out / "base")
    assert load_file(out / "raw.safetensors").keys() == base.model.state_dict().keys()
    lines = (out / "log.jsonl").read_text().splitlines()
    losses = [v["loss"] for line in lines if (v := json.loads(line).get("validation"))]
    first = (tmp_path / "first/log.jsonl").read_text().splitlines()[0]
    assert losses[0] < json.loads(first)["validation"]["loss"]  # it did start from there
    prompts = {"base": str(out / "base"), "width": 4, "rank": 2, "precision": "no", "batch": 1}
    prompts["data"] = {"crop": 64, "validation_pictures": 2, "packs": packs}
    ladder = {"prompts": prompts, "rates": [4, 5], "minutes": 0.6}
    (tmp_path / "ladder.yaml").write_text(yaml.safe_dump(ladder))
    run(main, "train-ladder", tmp_path / "ladder.yaml", "--out", tmp_path / "ladder", *words[:4])
    found = sorted(p.name for p in (tmp_path / "ladder/prompts").iterdir())
    assert found == ["rate-4", "rate-5"]
