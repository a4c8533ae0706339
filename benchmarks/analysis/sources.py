"""Heads that a benchmark reads, in the form in which `eval-task` records weights."""

from collections.abc import Mapping
from pathlib import Path

from promptcodec.evaluation.classification import ReaderConfig, SourceConfig


def source_of(heads: Mapping[str, str | Path]) -> SourceConfig:
    """A source with one head by each name; `classification.weights_of` takes its hashes."""
    readers = [ReaderConfig(name=name, heads=(str(place),)) for name, place in heads.items()]
    return SourceConfig(name="codec", settings=(0.0,), readers=tuple(readers))
