"""Labels from latents whose means come from z alone, which spares the context: accuracy and time.

    python -m benchmarks.analysis.without_context DATA [--heads DIR] [--size 224] [--rates 0,1,4,7]
        [--batch 16] [--repeats 20] [--threads 1] [--out docs/results/without-context.json]

    y_hat = r / gain + mu0, mu0 the means of a context that has seen nothing

DATA is a folder or zip file with val/CLASS/picture. The head is the one that was trained on y_hat
with the context. Times are those of y_hat from decoded symbols, and of the head, a picture.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.analysis.sources import source_of
from benchmarks.analysis.turns import facts_of, in_turn
from benchmarks.common import parse, parser, write_record
from benchmarks.tables.accuracy import LATENTS
from promptcodec.cli.options import parse_rates
from promptcodec.coding.head_file import head_folder
from promptcodec.coding.latents import inside
from promptcodec.config import CLASSIFY, TILE_STRIDE
from promptcodec.evaluation.accuracy import paired_difference, shares, tally
from promptcodec.evaluation.classification import plain, weights_of
from promptcodec.io.checkpoints import find_heads
from promptcodec.models.codec import TorchCodec
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.context import CheckerboardContext, NoContext
from promptcodec.models.groups import join_halves, split_halves
from promptcodec.models.tensors import multipliers, pad
from promptcodec.training.data.augmented import fit
from promptcodec.training.data.labelled import read_labelled

BATCH = 32  # pictures in one pass


def means_alone(model: CodecModel, features: Tensor) -> Tensor:
    """Means of a context that has seen nothing, (B, M, h, w), of features (B, N, h, w)."""
    context = model.context
    if isinstance(context, NoContext):
        return context.means(features)
    if not isinstance(context, CheckerboardContext):
        blank = features.new_zeros(
            (len(features), model.config.latent_channels, *features.shape[2:])
        )
        return context.parallel(features, blank)[0]
    # Of zeros, the neighbours are a constant.
    n, weight = features.shape[1], context.fuse.weight[:, :, 0, 0]
    bias = context.fuse.bias
    assert bias is not None and context.neighbours.bias is not None
    seen = bias + weight[:, n:] @ context.neighbours.bias
    own = F.conv2d(features, context.fuse.weight[:, :n])
    first, second = split_halves(own)
    halves = (first + bias[:, None, None], second + seen[:, None, None])
    return join_halves(*(context.means(F.relu(half)) for half in halves))


@torch.inference_mode()
def both(codec: TorchCodec, pictures: Tensor, *, rate: float) -> tuple[Tensor, Tensor]:
    """y_hat of pictures with the context, and without it; uint8 (B, 3, H, W) to (B, M, h, w)."""
    point, model = codec.at(rate), codec.model
    x = pad(pictures.float() / 255.0, TILE_STRIDE)
    found = model.analyse(x, gains=point.gains, adapter=point.network)
    alone = rebuild(codec, found, rate=rate)
    height, width = pictures.shape[2:]
    known = inside(found.y_hat, height=height, width=width)
    return known, inside(alone, height=height, width=width)


@torch.inference_mode()
def rebuild(codec: TorchCodec, latents: Any, *, rate: float) -> Tensor:
    """y_hat from symbols, without the context."""
    point, model = codec.at(rate), codec.model
    features = model.features(latents.z_hat.float(), point.network)
    residual = model.rebuild(latents.symbols.float(), latents.indexes)
    return residual / multipliers(point.gains, residual.device) + means_alone(model, features)


def main() -> None:
    """Measure and write the record."""
    options = parser(__doc__, out="without-context")
    options.add_argument("data", type=Path)
    options.add_argument("--base", help="default: the bundled one")
    options.add_argument("--prompts", help="default: those of the base")
    options.add_argument("--heads", help="head on latents; default: that of the base")
    options.add_argument("--size", type=int, default=224)
    options.add_argument("--rates", default="0,1,4,7")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--repeats", type=int, default=20)
    arguments = parse(options)
    folder = head_folder(find_heads(arguments.heads, base=arguments.base), CLASSIFY)
    codec = TorchCodec.load(arguments.base, arguments.prompts, heads=folder)
    data = read_labelled(arguments.data, split="val")
    pictures = torch.stack([fit(picture, arguments.size) for picture in data.pictures])
    labels = [plain(label) for label in codec.labels(CLASSIFY)]
    truth = torch.tensor([labels.index(plain(label)) for label in data.classes])[data.labels]
    rates = parse_rates(arguments.rates) or [rate.index for rate in codec.rates]
    report = {
        "data": arguments.data.name,
        "pictures": len(pictures),
        "size": arguments.size,
        "context": codec.config.codec.context,
        "rates": [accuracy(codec, pictures, truth, rate=rate) for rate in rates],
        "batch": arguments.batch,
        "seconds": seconds(
            codec, pictures[: arguments.batch], rate=rates[0], repeats=arguments.repeats
        ),
        "weights": weights_of(source_of({LATENTS: folder}), codec),
    }
    write_record(arguments.out, report)


@torch.inference_mode()
def accuracy(codec: TorchCodec, pictures: Tensor, truth: Tensor, *, rate: float) -> dict[str, Any]:
    """Top-1 of both at a rate, and the difference in points."""
    head, right = codec.head(CLASSIFY).model, {"with": [], "without": []}
    for part, wanted in zip(pictures.split(BATCH), truth.split(BATCH), strict=True):
        lmbda = torch.full((len(part),), codec.at(rate).lmbda)
        for name, y_hat in zip(right, both(codec, part, rate=rate), strict=True):
            right[name].append((head(y_hat, lmbda).argmax(dim=1) == wanted).numpy())
    found = {name: tally(np.concatenate(rows)[None]) for name, rows in right.items()}
    lead = paired_difference(*(shares(found[n]["right"]) for n in ("without", "with")))
    return {"rate_index": rate, **found, "difference": vars(lead)}


def seconds(codec: TorchCodec, pictures: Tensor, *, rate: float, repeats: int) -> dict[str, Any]:
    """Wall and processor seconds of a picture: both ways to y_hat, and the head."""
    point, model, head = codec.at(rate), codec.model, codec.head(CLASSIFY).model
    x = pad(pictures.float() / 255.0, TILE_STRIDE)
    latents = model.analyse(x, gains=point.gains, adapter=point.network)
    lmbda = torch.full((len(x),), point.lmbda)

    def walk() -> Tensor:
        return model.reconstruct_latents(
            latents.z_hat,
            latents.symbols,
            indexes=latents.indexes,
            gains=point.gains,
            adapter=point.network,
        )

    actions = {
        "with": walk,
        "without": lambda: rebuild(codec, latents, rate=rate),
        "head": torch.inference_mode()(lambda: head(latents.y_hat, lmbda)),
    }
    turns = in_turn(actions, repeats=repeats)
    return facts_of(turns, against={name: ["with"] for name in actions}, pictures=len(x))


if __name__ == "__main__":
    main()
