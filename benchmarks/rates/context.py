"""Context models compared: rate at equal PSNR, size, cost, seconds; a cache; a serial scan.

    python -m benchmarks.rates.context PICTURES NAME=BASE [NAME=BASE ...] [--anchor checkerboard]
        [--threads 1] [--out docs/results/context.json]

The bases must share their transforms: g_a and g_s are compared bit for bit. Rates are estimates
under the codecs' own tables (a codec whose scales come from the context writes no files), at five
global gains around the trained one; two models differ by the area between these curves.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import curve_of, parse, parser, read_record, write_record
from promptcodec.coding.entropy import rans
from promptcodec.coding.gains import Gains
from promptcodec.config import TILE_STRIDE
from promptcodec.evaluation.bdrate import bd_rate
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.metrics import psnr
from promptcodec.evaluation.speed.complexity import complexity_table, count_macs
from promptcodec.evaluation.speed.timing import in_turn, ratio, summarise
from promptcodec.io.load import load_picture
from promptcodec.models.codec import TorchCodec
from promptcodec.models.econtext import EContext
from promptcodec.models.tensors import arrays_of, crop, from_pixels, pad, to_pixels

CPU = torch.device("cpu")
GAINS = (-2, -1, 0, 1, 2)
WIDTH, HEIGHT = 768, 512
PARTS = ("h_a", "scale path", "h_means", "context", "entropy model")


def curve(codec: TorchCodec, pictures: list[Path]) -> list[dict[str, float]]:
    """Mean rate and PSNR at each gain."""
    points = []
    for steps in GAINS:
        gains = Gains.constant(codec.config.codec.latent_channels, steps << 8)
        rows = [_measure(codec, path, gains) for path in pictures]
        bpp, psnr = np.mean(rows, axis=0)
        points.append({"gain_steps": steps, "bpp_estimate": float(bpp), "psnr": float(psnr)})
    return points


def _measure(codec: TorchCodec, path: Path, gains: Gains) -> tuple[float, float]:
    rgb = load_picture(path).rgb
    height, width = rgb.shape[:2]
    x = pad(from_pixels(rgb[None], CPU), TILE_STRIDE)
    latents = codec.model.analyse(x, gains=gains)
    decoded = to_pixels(crop(codec.model.synthesise(latents.y_hat), height, width))[0]
    bits = sum(rans.estimate_bits(arrays_of(latents), codec.tables))
    return bits / (height * width), psnr(rgb, decoded)


def seconds(codecs: dict[str, TorchCodec], rgb: np.ndarray, *, repeats: int) -> dict[str, Any]:
    """Seconds of encoding and decoding latents and picture, all codecs in turn."""
    x = from_pixels(rgb[None], CPU)
    actions: dict[str, Callable[[], object]] = {}
    for name, codec in codecs.items():
        model = codec.model
        gains = Gains.constant(model.config.latent_channels)
        latents = model.analyse(x, gains=gains)
        z, symbols = latents.z_hat.float(), latents.symbols
        context = model.context

        def encode(model=model, gains=gains) -> None:
            model.analyse(x, gains=gains)

        def decode(model=model, gains=gains, z=z, symbols=symbols) -> None:
            found = model.indexes(z, gains=gains)
            model.synthesise(model.reconstruct_latents(z, symbols, indexes=found, gains=gains))

        features = model.hyperprior.h_means(z).detach()
        groups = context.grouping.split(latents.y_hat)

        def walk(context=context, features=features, groups=groups) -> None:
            with torch.inference_mode():
                context(features, lambda group, mu, shift: groups[group])

        actions |= {f"{name} encode": encode, f"{name} context": walk}
        if model.config.scale == "hyperprior":  # nothing else can be decoded
            actions[f"{name} decode"] = decode
    timed = in_turn(actions, repeats=repeats)
    return {name: asdict(summarise(values)) for name, values in timed.items()}


def cache(context: EContext, features: torch.Tensor, *, repeats: int) -> dict[str, Any]:
    """The cached walk against one that computes all slots so far at each step."""

    def walk(cached: bool) -> Callable[[], object]:
        def run() -> None:
            with torch.inference_mode():
                context(features, lambda group, mu, shift: mu, cached=cached)

        return run

    timed = in_turn({"cached": walk(True), "uncached": walk(False)}, repeats=repeats)
    macs = {
        name: count_macs(lambda f, c=c: context(f, lambda group, mu, shift: mu, cached=c), features)
        for name, c in (("cached", True), ("uncached", False))
    }
    return {
        "macs": macs,
        "macs_ratio": macs["uncached"] / macs["cached"],
        "seconds": {name: asdict(summarise(values)) for name, values in timed.items()},
        "seconds_ratio": asdict(ratio(timed["uncached"], timed["cached"])),
    }


def serial(context: EContext, features: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """The same network as a serial scan, one position of one segment after the other.

    Each step runs the whole masked pass and keeps one position, as models without groups do; the
    means that come out are compared with those of the grouped walk.
    """
    groups = context.grouping.split(y)
    known = [torch.zeros_like(group) for group in groups]
    means = [torch.zeros_like(group) for group in groups]

    def scan() -> None:
        with torch.inference_mode():
            for number, group in enumerate(groups):
                for row in range(group.shape[2]):
                    for column in range(group.shape[3]):
                        mu, _ = context.parallel(features, context.grouping.join(known))
                        own = context.grouping.split(mu)[number]
                        means[number][:, :, row, column] = own[:, :, row, column]
                        known[number][:, :, row, column] = group[:, :, row, column]

    walked: list[torch.Tensor] = []

    def walk() -> None:
        walked.clear()

        def take(group: int, mu: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
            walked.append(mu)
            return groups[group]

        with torch.inference_mode():
            context(features, take)

    timed = in_turn({"serial": scan, "grouped": walk}, repeats=3, warm_up=0)
    apart = max(float((a - b).abs().max()) for a, b in zip(means, walked, strict=True))
    if apart > 1e-3:
        raise SystemExit(f"serial and grouped means differ by {apart}: not the same network")
    steps = y.shape[2] * y.shape[3] * len(context.grouping.segments)
    whole = count_macs(lambda f: context.parallel(f, y), features)
    grouped = count_macs(lambda f: context(f, lambda group, mu, shift: mu), features)
    return {
        "latents": list(y.shape[2:]),
        "steps": {"serial": steps, "grouped": len(groups)},
        "largest_difference_of_means": apart,
        "macs": {"serial": steps * whole, "grouped": grouped},
        "macs_ratio": steps * whole / grouped,
        "seconds": {name: asdict(summarise(values)) for name, values in timed.items()},
        "seconds_ratio": asdict(ratio(timed["serial"], timed["grouped"])),
    }


def check_same_transforms(codecs: dict[str, TorchCodec]) -> None:
    """Stop unless g_a and g_s are the same in all."""
    (first, reference), *others = codecs.items()
    for name, codec in others:
        for key, value in reference.model.state_dict().items():
            transform = key.startswith(("g_a.", "g_s."))
            if transform and not torch.equal(value, codec.model.state_dict()[key]):
                raise SystemExit(f"{name} and {first} differ in {key}: train both from one base")


def main() -> None:
    """Compare the models and write the result file."""
    options = parser(__doc__, out="context")
    options.add_argument("pictures", type=Path)
    options.add_argument("bases", nargs="+", metavar="NAME=BASE")
    options.add_argument("--anchor", default="checkerboard")
    options.add_argument("--repeats", type=int, default=9)
    arguments = parse(options)
    named = dict(pair.split("=", 1) for pair in arguments.bases)
    codecs = {name: TorchCodec.load(folder) for name, folder in named.items()}
    check_same_transforms(codecs)
    pictures = find_pictures(arguments.pictures)
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    models: dict[str, dict[str, Any]] = {}
    timed = seconds(codecs, rgb, repeats=arguments.repeats)
    for name, codec in codecs.items():
        points = curve(codec, pictures)
        cost = {c.name: c for c in complexity_table(codec.model) if c.name in PARTS}
        training = read_record(Path(named[name]) / "training.json")
        models[name] = {
            "context": codec.config.codec.context,
            "scale": codec.config.codec.scale,
            "steps": training["steps"],
            "hours": training["hours"],
            "points": points,
            "cost": {part: asdict(c) for part, c in cost.items()},
            "seconds": {
                what: timed[key]
                for what in ("encode", "decode", "context")
                if (key := f"{name} {what}") in timed
            },
        }
        print(name, points[2], flush=True)
    curves = {
        name: curve_of(name, model["points"], rate="bpp_estimate") for name, model in models.items()
    }
    for name, codec in codecs.items():
        models[name]["rate_change_percent"] = bd_rate(curves[name], curves[arguments.anchor])
        if isinstance(codec.model.context, EContext) and codec.config.codec.scale != "context":
            n, m = codec.config.codec.hyper_channels, codec.config.codec.latent_channels
            generator = torch.Generator().manual_seed(0)
            large = torch.randn(1, n, HEIGHT // 16, WIDTH // 16, generator=generator)
            models[name]["cache"] = cache(codec.model.context, large, repeats=5)
            small = torch.randn(1, n, 8, 8, generator=generator)
            y = torch.randn(1, m, 8, 8, generator=generator)
            models[name]["serial_scan"] = serial(codec.model.context, small, y)
    report = {"pictures": len(pictures), "anchor": arguments.anchor, "models": models}
    write_record(arguments.out, report)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
