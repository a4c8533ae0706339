"""All rates of a base: the order, the starts, stopping and going on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from places import ASSETS

from promptcodec.api import Codec
from promptcodec.cli.main import main
from promptcodec.errors import ConfigError, UsageError
from promptcodec.io.checkpoints import find_prompts
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.training.config import DataConfig, OptimizerConfig, read_recipe
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.ladder import LadderConfig, order_of, train_ladder
from promptcodec.training.rate_adapter import RateAdapterConfig, same_run
from promptcodec.training.resolve import nearest_rate, resolve_run


@pytest.fixture
def config(tiny_checkpoint: Path) -> LadderConfig:
    prompts = RateAdapterConfig(
        base=str(tiny_checkpoint),
        width=4,
        rank=2,
        data=DataConfig(crop=64, validation_pictures=1),
        optimizer=OptimizerConfig(warmup_steps=1, learning_rate=0.01),
        steps=2,
        batch=1,
    )
    return LadderConfig(prompts=prompts, rates=(3, 4, 5, 6))


@pytest.fixture(scope="module")
def pictures() -> Path:
    return ASSETS


def test_the_order_goes_outwards() -> None:
    assert order_of(range(8), anchor=4) == [
        (4, None), (5, 4), (6, 5), (7, 6), (3, 4), (2, 3), (1, 2), (0, 1)
    ]  # fmt: skip
    assert order_of([0, 1], anchor=0) == [(0, None), (1, 0)]


def test_a_ladder_is_a_chain_of_neighbours(
    config: LadderConfig, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    folder = train_ladder(config, data=pictures, out=out, only=(4,), device="cpu")
    assert [p.name for p in folder.iterdir()] == ["rate-4"]
    with pytest.raises(UsageError, match="rate 6 starts from rate 5: train that one first"):
        train_ladder(config, data=pictures, out=out, only=(6,), device="cpu")
    with pytest.raises(UsageError, match="add --resume"):
        train_ladder(config, data=pictures, out=out, device="cpu")
    kept = (folder / "rate-4" / "training.json").read_text()
    train_ladder(config, data=pictures, out=out, resume=True, device="cpu")
    assert (folder / "rate-4" / "training.json").read_text() == kept  # not trained twice
    base = read_base(Path(str(config.prompts.base)))
    found = {i: read_adapter(folder / f"rate-{i}", base=base) for i in (3, 4, 5, 6)}
    assert found[4].config.init_from is None
    for rate, start in ((5, 4), (6, 5), (3, 4)):
        assert found[rate].config.init_from == found[start].sha256.hex()
    codec = Codec.load(config.prompts.base, folder)
    assert [rate.index for rate in codec.rates] == [3, 4, 5, 6]
    path = folder / "rate-4" / "training.json"
    record = json.loads(path.read_text())
    del record["recipe"]["z_table_sets"]  # as before there was the field: no tables
    path.write_text(json.dumps(record))
    run = replace(config.prompts, rate_index=4)
    assert same_run(folder / "rate-4", replace(run, z_table_sets=0))
    assert not same_run(folder / "rate-4", run)
    path.write_text(kept)
    old = json.loads(kept)  # as before there were updates of blocks, sides and metrics
    for key in ("block_rank", "sides", "metric"):
        del old["recipe"][key]
    old["recipe"]["parts"].remove("blocks")
    path.write_text(json.dumps(old))
    four = ("prompts", "gains", "means", "maps")
    for own in (run, replace(run, parts=four)):
        assert same_run(folder / "rate-4", own)
        assert not same_run(folder / "rate-4", replace(own, block_rank=2))
    assert not same_run(folder / "rate-4", replace(run, sides=("encoder",)))
    assert not same_run(folder / "rate-4", replace(run, parts=four[:3]))
    path.write_text(kept)
    for own in (run, replace(run, parts=four)):
        assert same_run(folder / "rate-4", own)
    bundled = find_prompts(None)[2]  # older still
    assert not same_run(bundled, RateAdapterConfig(rate_index=2))
    other = replace(config, prompts=replace(config.prompts, steps=3))
    with pytest.raises(UsageError, match="another recipe"):
        train_ladder(other, data=pictures, out=out, resume=True, device="cpu")
    apart = replace(config, progressive=False)
    with pytest.raises(UsageError, match="another start"):
        train_ladder(apart, data=pictures, out=out, resume=True, device="cpu")


def test_without_progress_all_start_from_the_base(
    config: LadderConfig, pictures: Path, tmp_path: Path
) -> None:
    apart = replace(config, progressive=False, rates=(4, 5))
    folder = train_ladder(apart, data=pictures, out=tmp_path / "run", device="cpu")
    adapter = json.loads((folder / "rate-5" / "adapter_config.json").read_text())
    assert adapter["init_from"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rates: [0, 2]", "need neighbours without a gap"),
        ("rates: []", "need neighbours without a gap"),
        ("anchor: 9", "anchor is 9"),
        ("prompts: {lmbda: 0.1}", "are set for each rate"),
        ("prompts: {rate: 0}", "unknown key 'rate'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "bad.yaml", LadderConfig)


def test_an_anchor_outside_the_rates(config: LadderConfig, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give an anchor"):
        train_ladder(replace(config, rates=(0, 1)), data=pictures, out=tmp_path, device="cpu")
    with pytest.raises(UsageError, match="rate 7 is not in this ladder"):
        train_ladder(config, data=pictures, out=tmp_path, only=(7,), device="cpu")


def test_lambda_chooses_rate_and_start(tiny_ladder: Path, tiny_checkpoint: Path) -> None:
    assert [nearest_rate(lmbda) for lmbda in (1e-9, 0.0067, 0.009, 0.1, 5.0)] == [0, 2, 2, 6, 7]
    given = {"rate_index": None, "base": str(tiny_checkpoint), "data": Path(".")}
    chosen, _ = resolve_run(None, lmbda=0.0067, init_from=str(tiny_ladder / "rate-4"), **given)
    assert chosen.rate_index == 2 and chosen.rate_weight == 0.0067
    assert chosen.init_from == str(tiny_ladder / "rate-4")
    alone, _ = resolve_run(None, lmbda=0.009, init_from="none", **given)
    assert alone.rate_index == 2 and alone.lmbda == 0.009 and alone.init_from is None
    for lmbda in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="need a positive number"):
            resolve_run(None, lmbda=lmbda, init_from=None, **given)
    with pytest.raises(UsageError, match="add --lambda"):
        resolve_run(None, lmbda=None, init_from=None, **given)


def test_without_a_recipe_the_form_is_that_of_the_start(
    tiny_checkpoint: Path, tiny_ladder: Path, tmp_path: Path
) -> None:
    codec = tmp_path / "codec"
    shutil.copytree(tiny_checkpoint, codec / "base")
    shutil.copytree(tiny_ladder, codec / "prompts")
    given = {"lmbda": None, "base": str(codec), "data": Path("."), "init_from": None}
    chosen, _ = resolve_run(None, rate_index=3, **given)
    assert chosen.init_from == str(codec / "prompts" / "rate-4")
    assert chosen.shape == (4, 2, 0) and chosen.parts == RateAdapterConfig().parts
    record = {"recipe": {"parts": ["gains", "maps"], "sides": ["decoder"], "rank": 2}}
    (codec / "prompts" / "rate-4" / "training.json").write_text(json.dumps(record))
    chosen, _ = resolve_run(None, rate_index=3, **given)
    assert (chosen.shape, chosen.parts, chosen.sides) == (
        (4, 2, 0),
        ("gains", "maps"),
        ("decoder",),
    )
    (tmp_path / "own.yaml").write_text("width: 8\n")
    own, _ = resolve_run(tmp_path / "own.yaml", rate_index=3, **given)
    assert own.shape == (8, 10, 0) and own.init_from is None  # none of that width


def test_the_command_as_typed(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("PROMPTCODEC_DATA", raising=False)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("width: 4\nrank: 2\nbatch: 1\nsteps: 1\nprecision: 'no'\ndata: {crop: 64}\n")
    words = ["train-prompt", "--lambda", "0.0067", "--recipe", str(recipe)]
    words += ["--base", str(tiny_checkpoint), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 0
    assert "adapter: " in capsys.readouterr().err
    assert "a trial and no useful adapter" in caplog.text
    assert (tmp_path / "run" / "rate-2" / "adapter_model.safetensors").is_file()
    assert main(["train-prompt", "--lambda", "0"]) == 2
    assert "lambda is 0.0; need a positive number" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([*words[:-4], "--data", str(empty), "--out", str(tmp_path / "x")]) == 9
    assert "picture" in capsys.readouterr().err


def test_rates_lists_what_is_installed(
    tiny_checkpoint: Path, tiny_ladder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rates", "--base", str(tiny_checkpoint), "--prompts", str(tiny_ladder)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [rate["rate_index"] for rate in found["rates"]] == [2, 4, 6]
    assert found["rates"][0]["lmbda"] == 0.0067 and found["rates"][0]["bpp"] is None
    assert main(words) == 0
    assert "0.0067" in capsys.readouterr().out
    assert main(["rates", "--base", "/nowhere"]) == 7


def test_all_rates_share_one_reading_of_the_pictures(
    config: LadderConfig, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    whole = PictureStore.__init__

    def counted(self: PictureStore, *arguments, **options) -> None:
        opened.append(options["cache"])
        whole(self, *arguments, **options)

    monkeypatch.setattr(PictureStore, "__init__", counted)
    cache = tmp_path / "pixels"
    train_ladder(config, data=pictures, out=tmp_path / "run", device="cpu", cache=cache)
    assert opened == [cache] and cache.is_file()
