"""Record of a run: its recipe as JSON, and `training.json` beside the result."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from promptcodec.io.atomic import write_atomically
from promptcodec.training.config import DataConfig, LoopConfig, OptimizerConfig

TRAINING_FILE = "training.json"
IGNORED_KEYS = (
    "validate_every",
    "save_every",
    "keep_every_seconds",
    "tracker",
    "max_skipped",
    "max_rise",
)
"""Keys of a recipe without an effect on the weights."""
# Of adapters, newer than some of their records.
ADAPTER_KEYS = {"block_rank": 0, "sides": ["encoder", "decoder"], "metric": "psnr"}
RENAMED_KEYS = {"room_weight": "random_gain_weight", "sight": "input"}
"""Keys in records of older versions, with their names today."""


def recipe_of(config: LoopConfig) -> dict[str, Any]:
    """A recipe in the form of a record."""
    return json.loads(json.dumps(asdict(config)))


def with_new_keys(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe out of a record, with keys of older versions renamed.

    New keys of `data`, `optimizer` and of adapters are added with their defaults.
    """
    found = {RENAMED_KEYS.get(key, key): value for key, value in recipe.items()}
    if {"parts", "rank"} <= found.keys():
        found = ADAPTER_KEYS | found
    for key, kind in (("data", DataConfig), ("optimizer", OptimizerConfig)):
        if isinstance(found.get(key), dict):
            added = {f.name: f.default for f in fields(kind) if f.metadata.get("added")}
            found[key] = added | found[key]
    return found


def effective(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the trained parts that an adapter of its ranks does not have."""
    if recipe.get("block_rank") == 0 and "blocks" in recipe.get("parts", ()):
        return recipe | {"parts": [part for part in recipe["parts"] if part != "blocks"]}
    return recipe


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a finished run into the folder of its result."""
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(folder / TRAINING_FILE, text.encode(), force=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a finished run.

    Raises:
        OSError: the folder has no record.
        ValueError: the record is no JSON.
        KeyError: the record has no recipe.
    """
    record = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
    return {**record, "recipe": with_new_keys(record["recipe"])}


def same_recipe(recipe: dict[str, Any], config: LoopConfig, *, ignored: Collection[str]) -> bool:
    """Whether the recipe of a record trains the same weights as `config`.

    Args:
        recipe: recipe of a record.
        config: recipe of a run.
        ignored: keys that may differ, beside `IGNORED_KEYS`.
    """
    left_out = {*IGNORED_KEYS, *ignored}
    if config.precision == "auto":  # a record has the number format that was chosen
        left_out.add("precision")
    found, wanted = (
        {key: value for key, value in each.items() if key not in left_out}
        for each in map(effective, (with_new_keys(recipe), recipe_of(config)))
    )
    return found == wanted
