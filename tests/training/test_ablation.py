"""Several methods, one table: parts that are off add nothing, finished runs are kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from places import ASSETS, RECIPES

from promptcodec.errors import ConfigError, DivergenceError, UsageError
from promptcodec.models.adapters.checkpoint import read_adapter, write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec
from promptcodec.training import ablation
from promptcodec.training.ablation import (
    AblationConfig,
    Method,
    ablate,
    render_ablation,
)
from promptcodec.training.config import BaseTrainingConfig, DataConfig, OptimizerConfig, read_recipe
from promptcodec.training.rate_adapter import PARTS, RateAdapterConfig
from promptcodec.training.record import read_record
from promptcodec.training.z_sets import fit_sets, hyper_latents


@pytest.fixture
def prompts(tiny_checkpoint: Path) -> RateAdapterConfig:
    return RateAdapterConfig(
        base=str(tiny_checkpoint),
        data=DataConfig(crop=64, validation_pictures=1),
        optimizer=OptimizerConfig(warmup_steps=1, learning_rate=0.01),
        steps=2,
        batch=1,
    )


def test_methods_side_by_side(
    prompts: RateAdapterConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"width": 4, "rank": 2}
    methods = (
        Method(name="gains", parts=("gains",), learning_rates=(0.01, 0.1), **small),
        Method(name="no gains", parts=("prompts", "means", "maps"), progressive=False, **small),
        Method(name="encoder", parts=("prompts", "maps"), sides=("encoder",), **small),
    )
    config = AblationConfig(methods=methods, rates=(3, 5), prompts=prompts)
    report = ablate(config, data=ASSETS, out=tmp_path, device="cpu")
    rows = report["methods"]
    written = json.loads((tmp_path / "ablation.json").read_text())["methods"]
    for found in written[0]["rates"].values():
        tried = sorted(found["trials"], key=lambda trial: trial["learning_rate"])
        best = [trial["learning_rate"] for trial in tried].index(found["learning_rate"])
        assert 0 < best < len(tried) - 1
    assert written[1]["rates"]["3"]["trials"] == []  # one learning rate is no search
    assert [sorted(row["rates"]) for row in rows] == 3 * [[3, 5]]
    assert rows[0]["parameters"] == 12  # a gain for each latent channel
    base = read_base(Path(str(prompts.base)))
    gains = read_adapter(tmp_path / "gains" / "rate-3" / "rate-3", base=base)
    assert gains.gains.log_gains.any() and gains.config.init_from is not None  # by way of 4
    assert not any(gate.any() for gate in gains.network.encoder.gates)
    apart = read_adapter(tmp_path / "no gains" / "rate-5" / "rate-5", base=base)
    assert not apart.gains.log_gains.any() and apart.config.init_from is None
    network = read_adapter(tmp_path / "encoder" / "rate-3" / "rate-3", base=base).network
    still = {n for n, p in network.named_parameters() if n.startswith("decoder") and ".up" in n}
    assert still and not any(network.get_parameter(name).any() for name in still)
    moved = [p for n, p in network.named_parameters() if n.startswith("encoder_maps.up")]
    assert all(map(torch.any, moved))
    assert rows[2]["parameters"] < rows[1]["parameters"]
    before = (tmp_path / "gains" / "rate-5" / "log.jsonl").read_text()
    again = ablate(config, data=ASSETS, out=tmp_path, device="cpu")
    assert (tmp_path / "gains" / "rate-5" / "log.jsonl").read_text() == before
    assert again["methods"] == rows
    other = replace(config, prompts=replace(prompts, steps=3))
    with pytest.raises(UsageError, match="another recipe"):
        ablate(other, data=ASSETS, out=tmp_path, device="cpu")
    table = render_ablation(report)
    assert table.count("\n") == 4 and "| gains | 12 |" in table and "(muon 0.01) |" in table


def test_a_result_is_measured_by_its_own_tables(
    tiny_checkpoint: Path, tiny_ladder: Path, tmp_path: Path
) -> None:
    base = read_base(tiny_checkpoint)
    adapter = read_adapter(tiny_ladder / "rate-2", base=base)
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8)
    tiles = list(hyper_latents(base.model, [picture], adapter=adapter.network))
    sets = fit_sets(tiles, base.tables.z, count=1)
    found = []
    for z_sets in ((), sets):
        write_adapter(tmp_path, adapter.network, config=adapter.config, z_sets=z_sets)
        found.append(ablation._measure(tmp_path, base, [picture])["z_bpp"])
    assert found[1] < found[0]
    assert found[1] == pytest.approx((8 + sets[0].bits(tiles[0])) / 64**2)


@pytest.mark.parametrize("tune", ["lora", "base"])
def test_a_tuned_codec_stands_by_itself(
    prompts: RateAdapterConfig, tmp_path: Path, tune: str
) -> None:
    method = Method(name="m", tune=tune, parts=("gains",), rank=2, optimizers=("adamw", "muon"))
    config = AblationConfig(methods=(method,), rates=(2, 3), prompts=prompts)
    (row,) = ablate(config, data=ASSETS, out=tmp_path, device="cpu")["methods"]
    assert {trial["optimizer"] for trial in row["rates"][2]["trials"]} == {"adamw", "muon"}
    shipped = read_base(Path(str(prompts.base)))
    every = sum(p.numel() for p in shipped.model.parameters()) + 12
    assert row["parameters"] == every if tune == "base" else row["parameters"] < every
    result = tmp_path / "m" / "rate-2" / "rate-2"
    own = read_base(result / "base")
    assert own.sha256 != shipped.sha256 and own.config.rate_index == 2
    moved = [
        name
        for name, value in own.model.state_dict().items()
        if not torch.equal(value, shipped.model.state_dict()[name])
    ]
    assert any(name.startswith("g_a.down") for name in moved)
    assert any(name.startswith("g_s.stages") for name in moved)
    assert any(name.startswith("hyperprior.h_a") for name in moved) == (tune == "base")
    codec = TorchCodec.load(result / "base", result / "prompts")
    picture = ASSETS / "coffee.png"
    assert codec.decode(codec.encode(picture, rate_index=2)).size
    record = json.loads((result / "training.json").read_text())
    assert record["recipe"]["init_from"].endswith("m/rate-3/rate-3")
    # A second call finds everything finished.
    assert ablate(config, data=ASSETS, out=tmp_path, device="cpu")["methods"] == [row]
    other = replace(config, prompts=replace(prompts, seed=2))
    with pytest.raises(UsageError, match="another recipe"):
        ablate(other, data=ASSETS, out=tmp_path, device="cpu")


def test_lora_is_what_peft_loads(prompts: RateAdapterConfig, tmp_path: Path) -> None:
    method = Method(name="m", tune="lora", parts=(), rank=2)
    config = AblationConfig(methods=(method,), rates=(4,), prompts=prompts)
    ablate(config, data=ASSETS, out=tmp_path, only=["m"], device="cpu")
    result = tmp_path / "m" / "rate-4" / "rate-4"
    base = read_base(Path(str(prompts.base)))
    merged: Any = PeftModel.from_pretrained(base.model, str(result / "lora")).merge_and_unload()
    written = read_base(result / "base").model.state_dict()
    for name, value in merged.g_a.state_dict().items():
        torch.testing.assert_close(value, written[f"g_a.{name}"], atol=1e-3, rtol=1e-3)
    with pytest.raises(UsageError, match="no method 'n' in this recipe; it has m"):
        ablate(config, data=ASSETS, out=tmp_path, only=["n"], device="cpu")


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[float, float]:
    """Held-out losses by learning rate, in place of training; without an entry a run diverges."""
    known: dict[float, float] = {}

    def train(run: RateAdapterConfig, **_: Any) -> dict[str, float]:
        if run.optimizer.learning_rate not in known:
            raise DivergenceError("diverged")
        return {"loss": known[run.optimizer.learning_rate]}

    monkeypatch.setattr(ablation, "_train", train)
    return known


def search(prompts: RateAdapterConfig, *rates: float) -> tuple[float, list[float]]:
    """Chosen and tried learning rates of a method."""
    method = Method(name="m", learning_rates=rates)
    config = AblationConfig(methods=(method,), rates=(2,), prompts=prompts)
    runs = ablation._Runs(config, data=Path(), out=Path(), device=None, anchor=4)
    chosen, trials = runs.search(method, 2)
    return chosen.learning_rate, [trial.learning_rate for trial in trials]


def test_the_best_learning_rate_is_never_an_end(
    prompts: RateAdapterConfig, losses: dict[float, float]
) -> None:
    losses |= {0.5: 9, 1: 5, 2: 3, 4: 2, 8: 1, 16: 2}
    assert search(prompts, 2, 8, 4) == (8, [2, 4, 8, 16])
    assert search(prompts, 1, 2) == (8, [1, 2, 4, 8, 16])
    assert search(prompts, 16, 32) == (8, [4, 8, 16, 32])  # 32 diverges
    assert search(prompts, 8) == (8, [])


def test_a_search_without_an_end_says_so(
    prompts: RateAdapterConfig, losses: dict[float, float]
) -> None:
    losses |= {2.0**k: -k for k in range(12)}
    with pytest.raises(
        UsageError, match="'m' at rate 2: of 9 learning rates of muon the highest, 256"
    ):
        search(prompts, 1, 2)
    losses.clear()
    with pytest.raises(DivergenceError, match="'m' diverges at rate 2 at every learning rate"):
        search(prompts, 1, 2)


def test_rates_in_two_processes_and_seeds(prompts: RateAdapterConfig, tmp_path: Path) -> None:
    method = Method(name="m", parts=("gains",), progressive=False, seeds=2)
    config = AblationConfig(methods=(method,), rates=(2, 5), seeded_rates=(5,), prompts=prompts)
    words: dict[str, Any] = {"data": ASSETS, "out": tmp_path, "device": "cpu"}
    assert ablate(config, rates=[5], **words)["methods"] == []
    assert not (tmp_path / "ablation.json").exists()
    (row,) = ablate(config, rates=[2], **words)["methods"]
    assert (tmp_path / "ablation.json").exists()
    assert [len(row["rates"][rate]["other_seeds"]) for rate in (2, 5)] == [0, 1]
    seeds = [
        read_record(ablation.result_of(tmp_path / "m", 5, seed=number))["recipe"]["seed"]
        for number in (0, 1)
    ]
    assert seeds[1] == seeds[0] + 1
    with pytest.raises(UsageError, match="no rate 3 in this recipe"):
        ablate(config, rates=[3], **words)
    chained = replace(config, methods=(replace(method, progressive=True),))
    with pytest.raises(UsageError, match="'m' starts each rate from its neighbour"):
        ablate(chained, rates=[2], **words)


def test_every_parameter_belongs_to_one_part() -> None:

    codec = read_recipe(RECIPES / "base" / "base-tiny.yaml", BaseTrainingConfig).codec
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
        ("methods: [{name: a, sides: [left]}]", "need some of encoder, decoder"),
        ("methods: [{name: a, learning_rates: [0]}]", r"learning_rates\[0\] is 0.0"),
        ("methods: [{name: a}]\nprompts: {lmbda: 1}", "are set for each run"),
        ("methods: [{name: a}]\nseeded_rates: [5]", r"seeded_rates are \[5\]; need some of"),
        ("methods: [{name: a}]\nrates: [9]", r"rates\[0\] is 9; need 0 to 7"),
        ("methods: [{name: a, tune: lora}]", "there are gains or nothing"),
        ("methods: [{name: a, tune: luck, parts: []}]", "need 'base' or 'lora'"),
        ("methods: [{name: a, optimizers: [luck]}]", "luck"),
        ("methods: [{name: a, speed: 1}]", "unknown key 'speed'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "bad.yaml", AblationConfig)
