"""Search for the shape and the recipe of a base by short trainings of equal processor time.

    python -m benchmarks.base.search run NAME@RATE ... --data DIR --cache DIR --minutes 13
    python -m benchmarks.base.search collect

Each run trains one variant of `search.yaml` at one learning rate for some minutes of processor
time (not of the clock, so that what else runs does not count), on one thread: warm-up, constant,
decay to zero. Held-out pictures come from every pack, apart by source.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from benchmarks.tables import training
from promptcodec.coding.entropy.rans import estimate_bits
from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.coding.gains import FRACTION_BITS, Gains
from promptcodec.config import LAMBDAS, CodecConfig, from_dict
from promptcodec.evaluation.speed.complexity import complexity_table
from promptcodec.io.hub import find_base
from promptcodec.io.provenance import provenance
from promptcodec.models.checkpoint import density_tables, read_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.swin import SwinBlock
from promptcodec.models.tensors import arrays_of
from promptcodec.models.transforms import ResidualBlock
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.initialise import initialise_transforms
from promptcodec.training.losses import rate_distortion
from promptcodec.training.muon import product_dtype
from promptcodec.training.optim import build_optimizer

HERE = Path(__file__).resolve().parent
PACKS = ("train_photos", "train_hq")
HELD_OUT = 12  # pictures of each pack
FINER = 8  # table steps: a rate about two places up the ladder, by gains alone
VALIDATED = 384  # px, edge of what is measured of a held-out picture, at most


# -- pictures ----------------------------------------------------------------------------------


class Pictures:
    """Decoded pictures of some packs in one file, mapped into memory.

    Args:
        data: folder of the packs.
        cache: folder for the decoded pixels.
    """

    def __init__(self, data: Path, cache: Path) -> None:
        self.training: list[tuple[str, np.ndarray]] = []
        self.held_out: list[np.ndarray] = []
        for pack in PACKS:
            index = cache / f"{pack}.json"
            if not index.exists():
                _decode(data / pack, cache / f"{pack}.u8", index)
            entries = json.loads(index.read_text())
            flat = np.memmap(cache / f"{pack}.u8", mode="r")
            manifest = json.loads((data / pack / "manifest.json").read_text())
            sources = _sources(manifest)
            usable = [e for e in entries if not Path(e["name"]).name.startswith("syn_")]
            chosen = [usable[i] for i in np.linspace(5, len(usable) - 5, HELD_OUT).astype(int)]
            apart = {sources.get(Path(e["name"]).name, e["name"]) for e in chosen}
            for e in entries:
                h, w = e["size"]
                view = flat[e["start"] : e["start"] + 3 * h * w].reshape(h, w, 3)
                if sources.get(Path(e["name"]).name, e["name"]) not in apart:
                    self.training.append((pack, view))
                elif e in chosen:
                    self.held_out.append(view)
        weights = np.array([float(p.shape[0] * p.shape[1]) for _, p in self.training])
        self.area = weights / weights.sum()
        self.better = np.array([pack == "train_hq" for pack, _ in self.training])

    def chances(self, better: float | None) -> np.ndarray:
        """Chance of each picture, summed up: by area, with the share of train_hq set."""
        chance = self.area.copy()
        if better is not None:
            chance[self.better] *= better / chance[self.better].sum()
            chance[~self.better] *= (1.0 - better) / chance[~self.better].sum()
        return np.cumsum(chance)

    def batch(self, count: int, size: int, *, chances: np.ndarray, seed: int, step: int) -> Tensor:
        """Crops, float32 (count, 3, size, size); most are reduced first where there is room."""
        rng = np.random.default_rng([seed, step])
        crops = []
        for _ in range(count):
            at = min(int(np.searchsorted(chances, rng.random())), len(self.training) - 1)
            picture = self.training[at][1]
            h, w, _ = picture.shape
            scale = rng.uniform(0.5, 0.85) if rng.random() < 0.75 else 1.0
            source = min(round(size / scale), h, w)
            top, left = int(rng.integers(h - source + 1)), int(rng.integers(w - source + 1))
            crop = torch.from_numpy(picture[top : top + source, left : left + source].copy())
            crop = crop.permute(2, 0, 1)
            if rng.random() < 0.5:
                crop = crop.flip(2)
            if source != size:
                crop = torch.nn.functional.interpolate(
                    crop[None], size=(size, size), mode="bilinear", antialias=True
                )[0]
            crops.append(crop.float() / 255.0)
        return torch.stack(crops).contiguous(memory_format=torch.channels_last)


def _sources(manifest: dict) -> dict[str, str]:
    entries = next(v for v in manifest.values() if isinstance(v, list) and len(v) > 50)
    return {Path(e["file"]).name: str(e.get("blob") or e.get("path") or e["file"]) for e in entries}


def _decode(pack: Path, flat: Path, index: Path) -> None:
    flat.parent.mkdir(parents=True, exist_ok=True)
    entries, start = [], 0
    with flat.with_suffix(".part").open("wb") as out:
        for shard in sorted(pack.glob("*.zip")):
            with zipfile.ZipFile(shard) as archive:
                for name in sorted(archive.namelist()):
                    if not name.lower().endswith((".webp", ".jp2", ".png", ".jpg")):
                        continue
                    pixels = np.asarray(Image.open(BytesIO(archive.read(name))).convert("RGB"))
                    out.write(pixels.tobytes())
                    entries.append({"name": name, "size": pixels.shape[:2], "start": start})
                    start += pixels.size
    flat.with_suffix(".part").rename(flat)
    index.write_text(json.dumps(entries))


# -- variants ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """What a run trains and how.

    Args:
        codec: the architecture.
        optimizer: "muon", "soap" or "adamw".
        band: rows orthogonalised together between whole turns of Muon.
        period: steps between whole turns.
        entropy_factor: learning rate of the entropy model over that of the transforms.
        batch: crops of a step.
        crop: px.
        better: share of crops from train_hq; below 0 by area.
        warmup: steps.
        decay: share of the time, at the end.
        clip: of the gradient's norm.
        momentum: of Muon.
        beta1: of first moments.
        beta2: of second moments.
        random_gain_weight: weight of the rate at a random gain.
        z_noise: share of the time with noisy z.
        z_free: share of the time until z has its price.
        rate_index: of the ladder; sets lambda.
        grown: start from the bundled base, with what it lacks adding nothing at first.
    """

    codec: CodecConfig
    grown: bool = False
    optimizer: str = "muon"
    band: int = 0
    period: int = 5
    entropy_factor: float = 1.0
    batch: int = 3
    crop: int = 192
    better: float = -1.0
    warmup: int = 30
    decay: float = 0.5
    clip: float = 1.0
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.98
    random_gain_weight: float = 0.1
    z_noise: float = 0.8
    z_free: float = 0.2
    rate_index: int = 4


def read_variant(name: str) -> Variant:
    """A variant of `search.yaml`, what it extends merged in."""
    known = yaml.safe_load((HERE / "search.yaml").read_text())

    def values(key: str) -> dict:
        own = dict(known[key])
        parent = own.pop("extends", None)
        if parent is None:
            return own
        above = values(parent)
        return {**above, **own, "codec": {**above.get("codec", {}), **own.get("codec", {})}}

    return from_dict(Variant, values(name), where=name)


def optimiser(model: CodecModel, variant: Variant, rate: float) -> torch.optim.Optimizer:
    """Matrices by the variant's method, tables and vectors by AdamW."""
    if variant.optimizer != "soap":
        config = OptimizerConfig(
            name=variant.optimizer,
            learning_rate=rate,
            entropy_factor=variant.entropy_factor,
            momentum=variant.momentum,
            band=variant.band,
            period=variant.period,
            beta1=variant.beta1,
            beta2=variant.beta2,
        )
        return build_optimizer(model, config)
    # Of the package pytorch-optimizer, which nothing else needs.
    from pytorch_optimizer import SOAP  # type: ignore[import-not-found]

    groups: dict[float, list[Tensor]] = {}
    for name, p in model.named_parameters():
        entropy = name.startswith(("hyperprior.", "context.", "centroids."))
        groups.setdefault(variant.entropy_factor if entropy else 1.0, []).append(p)
    return SOAP(
        [{"params": ps, "factor": factor} for factor, ps in groups.items()],
        lr=rate,
        betas=(variant.beta1, variant.beta2),
        weight_decay=0.0,
        precondition_frequency=10,
        max_precondition_dim=400,
    )


@torch.no_grad()
def grow(model: CodecModel, trained: dict[str, Tensor]) -> None:
    """Give a model the weights of a smaller one, so that it does at first what that one does.

    Args:
        model: freshly built; its further blocks stand behind those of the smaller one, and its
            wider layers have more hidden channels.
        trained: state of the smaller model.
    """
    for module in model.modules():
        last: tuple[nn.Module, ...] = ()
        if isinstance(module, SwinBlock):
            last = (module.attention.proj, module.mlp[2])
        elif isinstance(module, ResidualBlock):
            last = (module.conv2,)
        for parameter in (p for layer in last for p in layer.parameters()):
            nn.init.zeros_(parameter)
    for name, value in model.state_dict().items():
        known = trained.get(name)
        if known is None:
            print("new:", name)
        elif known.shape == value.shape:
            value.copy_(known)
        else:
            print("wider:", name, tuple(known.shape), tuple(value.shape))
            inputs = known.shape[1:] != value.shape[1:]
            own = torch.zeros_like(value) if inputs else value
            place = [
                slice((b - a) // 2, (b - a) // 2 + a) if number > 1 else slice(0, a)
                for number, (a, b) in enumerate(zip(known.shape, value.shape, strict=True))
            ]
            own[tuple(place)] = known
            value.copy_(own)


# -- a run -------------------------------------------------------------------------------------


@torch.inference_mode()
def held_out_loss(
    model: CodecModel, pictures: list[np.ndarray], lmbda: float, *, steps: int = 0
) -> dict:
    """Rate and distortion of rounded latents on held-out pictures.

    Args:
        model: measured as it is.
        pictures: uint8 (H, W, 3).
        lmbda: rate-distortion weight.
        steps: of the tables by which all channels are quantised more finely.
    """
    model.eval()
    model.freeze_scale_path()
    tables = density_tables(model)
    gains = Gains.constant(model.config.latent_channels, steps << FRACTION_BITS)
    rows = []
    for picture in pictures:
        h, w = (min(VALIDATED, edge // 64 * 64) for edge in picture.shape[:2])
        top, left = (picture.shape[0] - h) // 2, (picture.shape[1] - w) // 2
        part = torch.from_numpy(picture[top : top + h, left : left + w].copy())
        x = (part.permute(2, 0, 1)[None].float() / 255.0).contiguous(
            memory_format=torch.channels_last
        )
        latents = model.analyse(x, gains=gains)
        x_hat = torch.round(model.synthesise(latents.y_hat).clamp(0, 1) * 255) / 255
        y, z = estimate_bits(arrays_of(latents), tables)
        mse = float((x_hat - x).square().mean())
        rows.append(((y + z) / (h * w), z / (h * w), mse, -10 * math.log10(mse)))
    model.train()
    bpp, z, mse, psnr = (float(v) for v in np.mean(rows, axis=0))
    return {"loss": bpp + lmbda * 255**2 * mse, "bpp": bpp, "z_bpp": z, "psnr": psnr, "mse": mse}


def run(
    name: str, rate: float, pictures: Pictures, *, minutes: float, out: Path, keep: bool
) -> None:
    """Train one variant at one learning rate; the record goes to `out`."""
    variant, origin = read_variant(name), provenance()  # of the code that runs, not of the end
    out.mkdir(parents=True, exist_ok=True)
    lmbda = LAMBDAS[variant.rate_index]
    chances = pictures.chances(variant.better if variant.better >= 0 else None)

    def draw(step: int) -> Tensor:
        return pictures.batch(variant.batch, variant.crop, chances=chances, seed=1, step=step)

    torch.manual_seed(1)
    model = CodecModel(variant.codec).to(memory_format=torch.channels_last)
    if variant.grown:
        grow(model, read_base(find_base(None)).model.state_dict())
    else:
        crops = [draw(2**32 + i) for i in range(12)]
        initialise_transforms(model, crops, lmbda=lmbda)
    optimizer = optimiser(model, variant, rate)
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
        curve = [{"share": 0.0, "step": 0, **held_out_loss(model, pictures.held_out, lmbda)}]
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
            found = held_out_loss(model, pictures.held_out, lmbda)
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
        "finer": held_out_loss(model, pictures.held_out, fine, steps=FINER),
        "settings": dataclasses.asdict(variant),
        **origin,
    }
    (out / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    kept.unlink(missing_ok=True)
    if keep:
        torch.save(model.state_dict(), out / f"{stem}.pt")


# -- the table ---------------------------------------------------------------------------------


def collect(runs: Path, target: Path) -> None:
    """One result file of all runs: for each length and variant its rates and the best run."""
    groups: dict[tuple[float, str], list[dict]] = {}
    for path in sorted(runs.glob("*.json")):
        record = json.loads(path.read_text())
        groups.setdefault((record["minutes"], record["variant"]), []).append(record)
    rows = [_row(minutes, name, records) for (minutes, name), records in groups.items()]
    rows.sort(key=lambda row: (row["minutes"], row["loss"]))
    report = {"pictures": 2 * HELD_OUT, "rows": rows, "provenance": provenance()}
    target.write_text(json.dumps(report, indent=1) + "\n")
    print(training.search(report))


def _row(minutes: float, name: str, records: list[dict]) -> dict:
    """A variant's best run, what it costs, and whether its learning rate lies between others."""
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "collect"))
    parser.add_argument("runs", nargs="*", help="NAME@RATE")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "collect":
        collect(args.out, HERE.parents[1] / "docs" / "results" / "base-search.json")
        return
    pictures = Pictures(args.data, args.cache)
    print(len(pictures.training), "training,", len(pictures.held_out), "held out", flush=True)
    for item in args.runs:
        name, _, rate = item.partition("@")
        if (args.out / f"{name}@{float(rate):g}@{args.minutes:g}.json").exists():
            continue
        child = os.fork()
        if child == 0:
            try:
                run(name, float(rate), pictures, minutes=args.minutes, out=args.out, keep=args.keep)
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
