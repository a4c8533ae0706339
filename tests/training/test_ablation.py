"""Several methods, one table: parts that are off add nothing, finished runs are kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptcodec.adapters.prompts import LayerAdaptivePrompts
from promptcodec.adapters.store import read_adapter
from promptcodec.codec.checkpoint import read_base
from promptcodec.errors import ConfigError, UsageError
from promptcodec.training.ablation import (
    AblationConfig,
    Method,
    ablate,
    read_ablation,
    render_ablation,
)
from promptcodec.training.config import DataConfig, OptimizerConfig
from promptcodec.training.prompts import PARTS, PromptConfig

ASSETS = Path(__file__).parent.parent.parent / "promptcodec" / "assets"


@pytest.fixture
def prompts(tiny_checkpoint: Path) -> PromptConfig:
    return PromptConfig(
        base=str(tiny_checkpoint),
        data=DataConfig(crop=64, validation_pictures=1),
        optimizer=OptimizerConfig(warmup_steps=1, learning_rate=0.01),
        steps=2,
        batch=1,
        precision="no",
    )


def test_methods_side_by_side(
    prompts: PromptConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"width": 4, "rank": 2}
    methods = (
        Method(name="gains", parts=("gains",), learning_rates=(0.01, 0.1), **small),
        Method(name="no gains", parts=("prompts", "means", "maps"), progressive=False, **small),
    )
    config = AblationConfig(methods=methods, rates=(3, 5), prompts=prompts, search_steps=1)
    report = ablate(config, data=ASSETS, out=tmp_path, device="cpu")
    assert json.loads((tmp_path / "ablation.json").read_text())["methods"][0]["learning_rate"] in (
        0.01,
        0.1,
    )
    rows = report["methods"]
    assert [sorted(row["rates"]) for row in rows] == [[3, 5], [3, 5]]
    assert rows[0]["parameters"] == 12  # a gain for each latent channel
    base = read_base(Path(str(prompts.base)))
    gains = read_adapter(tmp_path / "gains" / "rate-3" / "rate-3", base=base)
    assert gains.gains.log_gains.any() and gains.config.init_from is not None  # by way of 4
    assert not any(gate.any() for gate in gains.prompts.encoder.gates)
    apart = read_adapter(tmp_path / "no gains" / "rate-5" / "rate-5", base=base)
    assert not apart.gains.log_gains.any() and apart.config.init_from is None
    before = (tmp_path / "gains" / "rate-5" / "log.jsonl").read_text()
    again = ablate(config, data=ASSETS, out=tmp_path, device="cpu")
    assert (tmp_path / "gains" / "rate-5" / "log.jsonl").read_text() == before
    assert again["methods"] == rows
    other = replace(config, prompts=replace(prompts, steps=3))
    with pytest.raises(UsageError, match="another recipe"):
        ablate(other, data=ASSETS, out=tmp_path, device="cpu")
    table = render_ablation(report)
    assert table.count("\n") == 3 and "| gains | 12 |" in table


def test_every_parameter_belongs_to_one_part() -> None:
    from promptcodec.training.config import read_recipe

    codec = read_recipe(Path(__file__).parents[2] / "recipes" / "base-tiny.yaml").codec
    torch.manual_seed(0)
    for name, _ in LayerAdaptivePrompts(codec, width=4, rank=2).named_parameters():
        owners = [part for part, starts in PARTS.items() if name.startswith(starts)]
        assert len(owners) == 1, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: []", "need some, of distinct names"),
        ("methods: [{name: a}, {name: a}]", "distinct names"),
        ("methods: [{name: ../a}]", "names a folder"),
        ("methods: [{name: a, parts: [luck]}]", "need some of prompts"),
        ("methods: [{name: a, parts: [maps], rank: 0}]", "nothing would be trained"),
        ("methods: [{name: a, learning_rates: [0]}]", "need to be positive"),
        ("methods: [{name: a}]\nprompts: {lmbda: 1}", "are set for each run"),
        ("methods: [{name: a}]\nrates: [9]", "need some of 0 to 7"),
        ("methods: [{name: a, speed: 1}]", "unknown key 'speed'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_ablation(tmp_path / "bad.yaml")
