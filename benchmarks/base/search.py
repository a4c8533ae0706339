"""Search for the shape and the recipe of a base by short trainings of equal processor time.

    python -m benchmarks.base.search run NAME@RATE ... --data DIR --cache FILE --minutes 13
    python -m benchmarks.base.search collect

Each run trains one variant of search.yaml at one learning rate for some minutes of processor time,
which does not depend on other programs, on one thread: warm-up, constant, decay to zero.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.base.variants import HELD_OUT, build_optimiser, read_variant
from benchmarks.common import RESULTS, read_record, write_json
from benchmarks.tables import training
from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.coding.gains import FRACTION_BITS
from promptcodec.config import LAMBDAS, TILE_STRIDE, CodecConfig, from_dict
from promptcodec.errors import ConfigError
from promptcodec.evaluation.speed.complexity import complexity_table
from promptcodec.io.provenance import provenance
from promptcodec.models.codec_model import CodecModel
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.initialise import initialise_transforms
from promptcodec.training.losses import rate_distortion
from promptcodec.training.muon import product_dtype
from promptcodec.training.validation import validate

FINER = 8  # table steps: a rate about two places up the ladder, by gains alone
VALIDATED = 384  # px, largest edge of the measured part of a held-out picture


def held_out_loss(
    model: CodecModel, pictures: list[Tensor], lmbda: float, *, steps: int = 0
) -> dict[str, float]:
    """Rate and distortion of rounded latents on the middles of held-out pictures.

    Args:
        model: measured as it is.
        pictures: uint8 (3, H, W).
        lmbda: rate-distortion weight.
        steps: table steps by which all channels are quantised more finely.
    """
    model.eval()
    parts = [_middle(picture) for picture in pictures]
    found = validate(model, parts, samples=None, gain_steps=steps << FRACTION_BITS)
    model.train()
    figures = found.figures(lmbda=lmbda)
    return {"bpp": figures.pop("bpp_estimate"), **figures}


def _middle(picture: Tensor) -> Tensor:
    """At most `VALIDATED` px each way, multiples of `TILE_STRIDE`."""
    edges = picture.shape[1:]
    height, width = (min(VALIDATED, edge // TILE_STRIDE * TILE_STRIDE) for edge in edges)
    top, left = (edges[0] - height) // 2, (edges[1] - width) // 2
    return picture[:, top : top + height, left : left + width]


def run(
    name: str, rate: float, *, data: Path, cache: Path, minutes: float, out: Path, keep: bool
) -> None:
    """Train one variant at one learning rate; the record goes to `out`."""
    variant, origin = read_variant(name), provenance()  # before the code can change
    out.mkdir(parents=True, exist_ok=True)
    lmbda = LAMBDAS[variant.rate_index]
    pictures = PictureStore(data, variant.data, cache=cache)

    def draw(step: int) -> Tensor:
        return pictures.batch(variant.batch, seed=1, step=step)

    torch.manual_seed(1)
    model = CodecModel(variant.codec).to(memory_format=torch.channels_last)
    crops = [draw(2**32 + i) for i in range(12)]
    initialise_transforms(model, crops, lmbda=lmbda)
    optimizer = build_optimiser(model, variant, rate)
    reduced = product_dtype(torch.device("cpu")) == torch.bfloat16
    stem = f"{name}@{rate:g}@{minutes:g}"
    kept = out / f"{stem}.state"
    budget, used, step, saved = minutes * 60, 0.0, 0, 0.0
    marks = sorted({0.25, 1 - variant.decay, 0.75, 1.0})
    running: list[float] = []
    if kept.exists():
        state = torch.load(kept, weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        used, step, curve, marks = (state[k] for k in ("used", "step", "curve", "marks"))
        saved = used
    else:
        curve = [{"share": 0.0, "step": 0, **held_out_loss(model, pictures.validation, lmbda)}]
        print(name, rate, json.dumps(curve[-1]), flush=True)
    while marks:
        if used - saved > 300:
            saved = used
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"used": used, "step": step, "curve": curve, "marks": marks}
            torch.save(state, kept.with_suffix(".part"))
            kept.with_suffix(".part").rename(kept)
        began = time.process_time()
        share = used / budget
        scale = min(1.0, (step + 1) / variant.warmup)
        if share > 1 - variant.decay:
            scale *= 1 - math.sqrt(min(1.0, (share - 1 + variant.decay) / variant.decay))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"] * scale
        torch.manual_seed(step)
        x = draw(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            output = model(
                x,
                round_z=share >= variant.z_noise,
                z_rate_weight=min(1.0, share / variant.z_free) if variant.z_free else 1.0,
            )
        result = rate_distortion(
            output, x, lmbda=lmbda, random_gain_weight=variant.random_gain_weight
        )
        result.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), variant.clip, foreach=True)
        if bool(torch.isfinite(norm)):
            optimizer.step()
        optimizer.zero_grad()
        step += 1
        running.append(float(result.loss.detach()))
        used += time.process_time() - began
        if used / budget >= marks[0]:
            found = held_out_loss(model, pictures.validation, lmbda)
            pixels = step * variant.batch * variant.crop**2
            curve.append(
                {
                    "share": marks.pop(0),
                    "step": step,
                    "gigapixels": round(pixels / 1e9, 4),
                    "seconds": round(used, 1),
                    "training_loss": round(float(np.mean(running[-50:])), 4),
                    **found,
                }
            )
            print(name, rate, json.dumps(curve[-1]), flush=True)
            if not math.isfinite(found["loss"]) or found["loss"] > 20:
                break
    fine = lmbda * math.exp(2 * FINER * SCALE_STEP)
    record = {
        "variant": name,
        "learning_rate": rate,
        "minutes": minutes,
        "steps": step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "megapixels_per_second": step * variant.batch * variant.crop**2 / used / 1e6,
        "curve": curve,
        "finer": held_out_loss(model, pictures.validation, fine, steps=FINER),
        "settings": dataclasses.asdict(variant),
        **origin,
    }
    write_json(out / f"{stem}.json", record)
    kept.unlink(missing_ok=True)
    if keep:
        torch.save(model.state_dict(), out / f"{stem}.pt")


def collect(runs: Path, target: Path) -> None:
    """Write one result file of all runs, with a row for each length and variant.

    Earlier rows stay where there are no runs, or those of an architecture of older versions.
    """
    groups: dict[tuple[float, str], list[dict]] = {}
    for path in sorted(runs.glob("*.json")):
        record = json.loads(path.read_text())
        groups.setdefault((record["minutes"], record["variant"]), []).append(record)
    earlier = read_record(target).get("rows", [])
    known = {(row["minutes"], row["variant"]): row for row in earlier}
    for (minutes, name), records in groups.items():
        with suppress(ConfigError):
            known[minutes, name] = _row(minutes, name, records)
    rows = list(known.values())
    rows.sort(key=lambda row: (row["minutes"], row["loss"]))
    report = {"pictures": 2 * HELD_OUT, "rows": rows, "provenance": provenance()}
    write_json(target, report)
    print(training.search(report))


def _row(minutes: float, name: str, records: list[dict]) -> dict:
    """The best run of a variant, its cost, and whether its learning rate lies between others."""
    records = sorted(records, key=lambda record: record["learning_rate"])
    ends = [record["curve"][-1]["loss"] for record in records]
    best = records[int(np.argmin(ends))]
    codec = from_dict(CodecConfig, best["settings"]["codec"], where=name)
    cost = {row.name: row for row in complexity_table(CodecModel(codec))}
    return {
        "variant": name,
        "minutes": minutes,
        "learning_rate": best["learning_rate"],
        "bracketed": best not in (records[0], records[-1]),
        "rates": {record["learning_rate"]: end for record, end in zip(records, ends, strict=True)},
        "loss": min(ends),
        "curve": best["curve"],
        "finer_loss": best["finer"]["loss"],
        "steps": best["steps"],
        "megapixels_per_second": best["megapixels_per_second"],
        "parameters": best["parameters"],
        "kmac_per_pixel": {
            part: round(cost[part].kmac_per_pixel, 2)
            for part in ("g_a", "g_s", "encoding", "decoding")
        },
        "settings": best["settings"],
        "machine": best["machine"],
        "commits": sorted({str(record["commit"]) for record in records}),
    }


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("run", "collect"))
    parser.add_argument("runs", nargs="*", help="NAME@RATE")
    parser.add_argument("--data", type=Path, help="folder with the packs")
    parser.add_argument("--cache", type=Path, help="file for decoded pixels")
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "collect":
        collect(args.out, RESULTS / "base-search.json")
        return
    settings = {key: vars(args)[key] for key in ("data", "cache", "minutes", "out", "keep")}
    for item in args.runs:
        name, _, rate = item.partition("@")
        if (args.out / f"{name}@{float(rate):g}@{args.minutes:g}.json").exists():
            continue
        child = os.fork()
        if child == 0:
            try:
                run(name, float(rate), **settings)
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
