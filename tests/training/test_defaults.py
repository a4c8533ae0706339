"""Defaults of recipes: to change one changes what every recipe that leaves it out trains."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from promptcodec.coding.trunk import StemConfig
from promptcodec.config import BaseConfig, CodecConfig
from promptcodec.training.ablation import AblationConfig, Method
from promptcodec.training.aggregation import AggregationTrainingConfig
from promptcodec.training.classifier import ClassifierTrainingConfig
from promptcodec.training.config import (
    BaseTrainingConfig,
    DataConfig,
    LoopConfig,
    OptimizerConfig,
    Pack,
    RateConfig,
)
from promptcodec.training.data.augmented import ViewConfig
from promptcodec.training.data.segmentation_crops import SceneConfig
from promptcodec.training.data.taught_views import TaughtViewConfig
from promptcodec.training.fine_tuning import FineTuneConfig
from promptcodec.training.joint.config import (
    LabelledJointConfig,
    MaskedJointConfig,
    TaughtJointConfig,
)
from promptcodec.training.ladder import LadderConfig
from promptcodec.training.rate_adapter import RateAdapterConfig
from promptcodec.training.segmenter import SegmenterTrainingConfig
from promptcodec.training.temperature import TEMPERATURES
from promptcodec.training.transfer import TransferConfig

CONFIGS = (
    AblationConfig,
    AggregationTrainingConfig,
    BaseConfig,
    BaseTrainingConfig,
    ClassifierTrainingConfig,
    CodecConfig,
    DataConfig,
    FineTuneConfig,
    LabelledJointConfig,
    MaskedJointConfig,
    TaughtJointConfig,
    LadderConfig,
    LoopConfig,
    Method,
    OptimizerConfig,
    Pack,
    RateAdapterConfig,
    RateConfig,
    SceneConfig,
    SegmenterTrainingConfig,
    StemConfig,
    TaughtViewConfig,
    TransferConfig,
    ViewConfig,
)
RECORDED = yaml.safe_load(Path(__file__).with_name("defaults.yaml").read_text("utf-8"))


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = defaults(type(value))  # what departs from them is enough
        pairs = {name: plain(each) for name, each in vars(value).items()}
        return {name: each for name, each in pairs.items() if own.get(name, pairs) != each}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def defaults(kind: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            found[field.name] = plain(field.default_factory())
        elif field.default is not dataclasses.MISSING:
            found[field.name] = plain(field.default)
    return found


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_defaults_are_those_on_record(kind: type) -> None:
    assert defaults(kind) == RECORDED[kind.__name__]


def test_temperatures_of_calibration() -> None:
    """A factor of ten either way, in 200 equal steps of its logarithm."""
    assert len(TEMPERATURES) == 201
    assert TEMPERATURES[[0, 100, 200]].tolist() == pytest.approx([0.1, 1.0, 10.0])
