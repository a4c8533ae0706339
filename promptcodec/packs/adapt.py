"""A domain pack from a folder of pictures: the ladder's adapters, trained on.

pictures -> every tenth held out, at most 24 -> a run for each rate, from the ladder's adapter, with
the weights of the best validation -> adapters, pack.json and README.md in one folder
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from promptcodec.api import Codec
from promptcodec.coding.adapter_file import read_adapter_config
from promptcodec.coding.distortion import MS_SSIM_SIDE
from promptcodec.errors import DataError, UsageError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.checkpoints import ADAPTERS, find_prompts, root_of
from promptcodec.io.packs import AUTO, BEST, PACK_FACTS
from promptcodec.io.provenance import provenance
from promptcodec.io.samples import photographs
from promptcodec.packs.card import write_card
from promptcodec.packs.savings import Saving, savings
from promptcodec.training.config import DataConfig, OptimizerConfig
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.ladder import LadderConfig, train_ladder
from promptcodec.training.losses import TrainingMetric
from promptcodec.training.rate_adapter import RateAdapterConfig

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
RESERVED = {AUTO, BEST, "none", "plain"}  # words of `encode --pack`
FEWEST = 5  # pictures, one of them held out
EVERY = 10  # of the pictures one is held out
MOST_HELD_OUT = 24
CROPS = (256, 128, 64)  # px, the first that most pictures have room for
REPORT_SHARE = 0.15  # of the minutes, for the figures at the end
SCHEMA = "promptcodec.pack-results/1"


@dataclass(frozen=True)
class Pack:
    """A finished pack.

    Args:
        folder: folder of its adapters, figures and card.
        held_out: figures on held-out pictures, by rate.
        photographs: figures on photographs of the package, by rate.
    """

    folder: Path
    held_out: list[Saving]
    photographs: list[Saving]


def adapt(
    data: Path,
    *,
    name: str,
    out: Path,
    work: Path,
    base: str | None = None,
    prompts: str | None = None,
    rates: Sequence[int] | None = None,
    minutes: float | None = None,
    description: str | None = None,
    metric: TrainingMetric | None = None,
    recipe: RateAdapterConfig | None = None,
    resume: bool = False,
    device: str | None = None,
) -> Pack:
    """Train a pack.

    Args:
        data: folder of pictures, with zip files too, or tar shards.
        name: name of the pack.
        out: folder of the pack, which is new.
        work: folder of the runs; a stopped one continues.
        base: frozen base: a folder or a Hub id; None is the bundled one.
        prompts: ladder to start from: a folder or a Hub id; None is that of the base.
        rates: rate indexes; None is all of the ladder.
        minutes: wall time in all; None trains for the steps of the recipe.
        description: kind of pictures in a few words, for the card and lists of packs.
        metric: quality to train for, "psnr" or "ms-ssim"; None is that of the recipe.
        recipe: recipe of every rate; base, start and held-out pictures are set here.
        resume: whether to continue a stopped run.
        device: "cpu" or "cuda"; None is the GPU if there is one.
    Raises:
        DataError: there are too few usable pictures.
        UsageError: the name cannot be used, `out` exists, the ladder lacks a rate, or the minutes
            are over once the pictures are read.
    """
    began = time.monotonic()
    _check_name(name)
    if out.exists():
        raise UsageError(f"{out} exists: choose another name, or remove it")
    folders = {read_adapter_config(f).rate_index: f for f in find_prompts(prompts, base=base)}
    if not folders:
        raise UsageError("the base has no adapters to start from: name a ladder by --prompts")
    chosen = sorted(folders) if rates is None else sorted(set(rates))
    if missing := [rate for rate in chosen if rate not in folders]:
        known = ", ".join(map(str, sorted(folders)))
        raise UsageError(f"the ladder has no rate {missing[0]}: choose among {known}, or all")
    own = read_adapter_config(folders[chosen[0]])
    recipe = recipe or default_recipe()
    metric = metric or recipe.metric
    shape = {"width": own.width, "rank": own.rank}
    shape["block_rank"] = own.block_rank or recipe.block_rank
    drawing = _drawing(data, recipe.data, metric)
    recipe = replace(recipe, base=base, metric=metric, data=drawing, **shape)
    ladder = LadderConfig(
        prompts=recipe,
        rates=tuple(chosen),
        init_from=prompts or str(root_of(base) / ADAPTERS.folder),
        minutes=None if minutes is None else _left(minutes, began),
    )
    trained = train_ladder(ladder, data=data, out=work, resume=resume, device=device)
    adapters = [trained / f"rate-{rate}" for rate in chosen]  # others are of an earlier pack
    store = open_pictures(data, recipe.data)
    plain, adapted = Codec.load(base, prompts), Codec.load(base, adapters)
    held_out = [picture.permute(1, 2, 0).numpy() for picture in store.validation]
    pack = Pack(
        out,
        *(
            savings(plain, adapted, pictures, rates=chosen, metric=metric)
            for pictures in (held_out, photographs())
        ),
    )
    minutes, base_hash = _since(began), plain.base_hash.hex()
    facts = {
        "name": name,
        "description": description,
        "metric": metric,
        "pictures": len(store),
        "minutes": round(minutes, 1),
    }
    _write(pack, facts, adapters, base=base_hash)
    return pack


def default_recipe() -> RateAdapterConfig:
    """Recipe of a rate: short, as it starts from a finished adapter."""
    return RateAdapterConfig(
        data=DataConfig(crop=CROPS[0], reduce_probability=0.0),
        optimizer=OptimizerConfig(
            name="muon", learning_rate=0.004, warmup_steps=20, decay_fraction=0.75, ema_decay=0.99
        ),
        block_rank=8,
        steps=600,
        batch=4,
        validate_every=100,
        patience=3,
    )


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            f"a pack cannot be called {name!r}: take small letters, digits, - and _, and none of "
            f"{', '.join(sorted(RESERVED))}"
        )


def _since(began: float) -> float:
    """Minutes since then."""
    return (time.monotonic() - began) / 60


def _left(minutes: float, began: float) -> float:
    """Minutes to train, of all that are given."""
    left = minutes * (1 - REPORT_SHARE) - _since(began)
    if left <= 0:
        raise UsageError(
            f"reading the pictures took {_since(began):.2f} of {minutes:g} minutes, which leaves "
            "no time to train: give more"
        )
    return left


def _drawing(data: Path, drawing: DataConfig, metric: TrainingMetric) -> DataConfig:
    """Largest crop that most pictures have room for, and the number of held-out pictures."""
    crops = [crop for crop in CROPS if metric == "psnr" or crop >= MS_SSIM_SIDE]
    store = open_pictures(data, replace(drawing, crop=crops[-1], validation_pictures=1))
    pictures = chain(store.validation, store.sample(len(store)))
    sides = [min(picture.shape[1:]) for picture in pictures]
    crop = next((c for c in crops if 2 * sum(s >= c for s in sides) > len(sides)), crops[-1])
    count = sum(side >= crop for side in sides)
    if count < FEWEST:
        raise DataError(
            f"{data} has {count} usable pictures of at least {crop} px a side; a pack needs "
            f"{FEWEST}, of which one is held out: add pictures"
        )
    held_out = min(MOST_HELD_OUT, max(1, count // EVERY))
    return replace(drawing, crop=crop, validation_pictures=held_out)


def _write(pack: Pack, facts: Mapping[str, Any], adapters: Sequence[Path], *, base: str) -> None:
    """Write the folder of a pack; it appears whole."""
    made = pack.folder.with_name(f".{pack.folder.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    for folder in adapters:
        shutil.copytree(folder, made / folder.name)
    results = {
        "schema": SCHEMA,
        **facts,
        "held_out": [asdict(saving) for saving in pack.held_out],
        "photographs": [asdict(saving) for saving in pack.photographs],
        "provenance": provenance(),
    }
    text = json.dumps(results, indent=1)
    write_atomically(made / PACK_FACTS, f"{text}\n".encode(), force=True)
    write_card(made / "README.md", results, base=base)
    made.rename(pack.folder)
