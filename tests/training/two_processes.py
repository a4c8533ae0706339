"""What each of two processes does in `test_two_processes`; prints one line of JSON."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from shard_line import STREAM, ShardLineTask
from torch import distributed
from two_parameters import LineTask, line_config

from promptcodec.errors import ConfigError
from promptcodec.training.base import BaseTask
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.trainer import Trainer, run_training

torch.set_num_threads(1)
recipe, pictures, out = map(Path, sys.argv[1:])
facts = {}


def line(name: str, **changes) -> Trainer:
    """A trained line; the second process sees numbers that are 10 higher."""
    task = LineTask(line_config(**changes), [1.0, 2.0, 4.0, 9.0], apart=10.0)
    trainer = Trainer(
        task,
        data=out,
        out=out / name,
        resume=False,
        device="cpu",
        validation=None,
        budget=None,
    )
    trainer.run()
    return trainer


for name, changes in (
    ("one", {}),
    ("parts", {"accumulate": 4}),
    ("clipped", {"clip_norm": 1.0}),
    ("several", {"steps": 4}),
):
    trainer = line(name, **changes)
    state = trainer.optimizer.state[trainer.unwrapped.weight]
    facts[name] = [float(trainer.unwrapped.weight), 10.0 * float(state["exp_avg"])]

group = distributed.distributed_c10d._get_default_group()
facts["patience"] = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()

# A base, whose parameters rest in some steps, then its entropy model alone, with centroids.
config = read_recipe(recipe, BaseTrainingConfig)
config = replace(config, codec=replace(config.codec, reconstruction="centroid"), steps=2)
whole = replace(config, hard_fraction=0.5)
options = {"data": pictures, "device": "cpu"}
base = run_training(BaseTask(whole), out=out / "whole", **options)
PartialState().wait_for_everyone()
entropy = replace(config, train="entropy", init_from=str(base))
run_training(BaseTask(entropy), out=out / "entropy", **options)

# Tar shards, more and fewer than processes, and a run on them that is stopped and resumed.
rank = PartialState().process_index
for name in ("shards", "shards/shard-000.tar"):
    store = open_pictures(out / name, STREAM)
    crops = torch.cat([store.batch(2, seed=1, step=step, rank=rank) for step in range(60)])
    facts[name] = sorted(set((255 * crops[:, 0, 0, 0]).round().int().tolist()))
for name, stops in (("unstopped", [None]), ("stopped", [3, None])):
    for stop in stops:
        task = ShardLineTask(line_config(steps=9, batch=2))
        options = {"data": out / "shards", "device": "cpu", "resume": True, "max_steps": stop}
        run_training(task, out=out / name, **options)
        PartialState().wait_for_everyone()

# A state of one process is not gone on with by two.
alone = LineTask(line_config(steps=2), [1.0, 2.0])
try:
    run_training(alone, data=out, out=out / "alone", resume=True, device="cpu")
except ConfigError as error:
    facts["refusal"] = str(error)
(out / f"facts-{PartialState().process_index}.json").write_text(json.dumps(facts))
