"""Numbers of recipes: ways to write them, and ranges, which hold for every field of every kind."""

import dataclasses
import math
import typing
from pathlib import Path

import pytest
from tiny import TINY, recipe_of

from promptcodec.config import from_dict
from promptcodec.errors import ConfigError
from promptcodec.evaluation.classification import TaskEvaluation
from promptcodec.training.ablation import AblationConfig
from promptcodec.training.aggregation import AggregationTrainingConfig
from promptcodec.training.classifier import ClassifierTrainingConfig
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.fine_tuning import FineTuneConfig
from promptcodec.training.joint.config import (
    LabelledJointConfig,
    MaskedJointConfig,
    TaughtJointConfig,
)
from promptcodec.training.ladder import LadderConfig
from promptcodec.training.segmenter import SegmenterTrainingConfig
from promptcodec.training.transfer import TransferConfig

KINDS = (
    AblationConfig,
    AggregationTrainingConfig,
    BaseTrainingConfig,
    ClassifierTrainingConfig,
    FineTuneConfig,
    LabelledJointConfig,
    LadderConfig,
    MaskedJointConfig,
    SegmenterTrainingConfig,
    TaskEvaluation,
    TaughtJointConfig,
    TransferConfig,
)
SIGNED = "gain_steps"  # the one number that may be negative


def numbers(kind: type, place: tuple = ()) -> list[tuple[tuple, type]]:
    """Places of the numbers in a kind of recipe, with their types; 0 is an entry of a list."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (int, float):
        return [(place, kind)]
    if dataclasses.is_dataclass(kind):
        types = typing.get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind)]
        return [found for name in names for found in numbers(types[name], (*place, name))]
    if origin is tuple:
        return numbers(arguments[0], (*place, 0))
    return [found for each in arguments for found in numbers(each, place)]


def recipe(place: tuple, value: float) -> typing.Any:
    """A recipe that has a value at a place."""
    for step in reversed(place):
        value = [value] if step == 0 else {step: value}  # type: ignore[assignment]
    return value


PLACES = [(kind, *found) for kind in KINDS for found in numbers(kind)]


def test_every_kind_of_number_is_met() -> None:
    names = {"/".join(map(str, place)) for _, place, _ in PLACES}
    assert {"optimizer/learning_rate", "codec/encoder_channels/0", "data/packs/0/share"} <= names
    assert {"prompts/data/crop", "methods/0/learning_rates/0", "stem/mlp_ratio"} <= names
    assert {"scenes/light", "views/area", "sources/0/settings/0", "minutes"} <= names
    assert len(PLACES) > 200


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_what_is_out_of_its_range_is_refused_by_name(value: float) -> None:
    for kind, place, number in PLACES:
        name = [step for step in place if step != 0][-1]
        if name == SIGNED and value == -1.0:
            continue
        given = value if number is float or not math.isfinite(value) else int(value)
        with pytest.raises(
            ConfigError, match=rf"\b{name}(\[0\])? is (an? )?-?(nan|inf|1)"
        ) as found:
            from_dict(kind, recipe(place, given), where="recipe")
        assert str(found.value).count("\n") == 0


def test_ranges_hold_in_python_too() -> None:
    with pytest.raises(ConfigError, match="seed is -1; need 0 to"):
        BaseTrainingConfig(codec=TINY, seed=-1)
    with pytest.raises(ConfigError, match=r"encoder_channels\[1\] is 0; need 1 to 8192"):
        dataclasses.replace(TINY, encoder_channels=(8, 0, 8, 8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {ema_decay: 1}", "optimizer.ema_decay is 1.0; need 0 to below 1"),
        ("optimizer: {decay_fraction: 1.01}", "optimizer.decay_fraction is 1.01; need 0 to 1"),
        ("optimizer: {beta2: .nan}", "optimizer.beta2 is nan; need 0 to below 1"),
        ("data: {last_fraction: 0}", "data.last_fraction is 0.0; need more than 0, at most 1"),
        ("keep_every_seconds: 0", "keep_every_seconds is 0.0; need a number above 0"),
        ("random_gain_weight: -.inf", "random_gain_weight is -inf; need 0 or more"),
        ("max_skipped: 0", "max_skipped is 0; need 1 or more"),
        ("max_rise: 0.9", "max_rise is 0.9; need 1 or more"),
        ("tracker: tensorbord", "tracker is 'tensorbord'; need one of aim, "),
        ("tracker: swanlab", "tracker is 'swanlab', whose package is not installed; install it"),
        ("codec: {latent_channels: 100000}", "codec.latent_channels is 100000; need 1 to 8192"),
        ("steps: 2.5", "steps is 2.5; need a whole number"),
        ("steps: true", "steps is True; need a whole number"),
        ("steps: '40'", "steps is '40'; need a whole number"),
        (f"optimizer: {{learning_rate: 1{'0' * 400}}}", "need a number"),
        ("precision: no", "precision is False; need text: put it in quotes"),
        ("linear_start: 1", "linear_start is 1; need true or false"),
    ],
)
def test_edges_of_ranges(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(recipe_of() + text)  # the last one of two keys counts
    with pytest.raises(ConfigError) as found:
        read_recipe(path, BaseTrainingConfig)
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("1.e-3", 0.001),
        (".1e-2", 0.001),
        ("+1e-3", 0.001),
        ("10e-4", 0.001),
        ("1.0e-3", 0.001),
        ("0.001", 0.001),
        ("1e0", 1.0),
        ("1", 1.0),
    ],
)
def test_a_number_may_be_written_in_any_way(tmp_path: Path, text: str, value: float) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        recipe_of()
        + f"optimizer: {{learning_rate: {text}}}\nsteps: 2e3\ndata: {{packs: [{{name: a1e3}}]}}"
    )
    config = read_recipe(path, BaseTrainingConfig)
    assert config.optimizer.learning_rate == value
    assert config.steps == 2000 and isinstance(config.steps, int)
    assert config.data.packs[0].name == "a1e3"
