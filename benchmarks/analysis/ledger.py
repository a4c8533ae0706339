"""Cost of every path to a label, at the edge and on the server: MACs, parameters, time.

    python -m benchmarks.analysis.ledger PICTURE --pixels DIR [--base DIR] [--prompts DIR]
        [--heads DIR] [--rate 1] [--sizes 224,512] [--batches 1,16] [--repeats 40] [--threads 1]
        [--out docs/results/ledger.json]

A server starts from files: ours, whose latents a head reads or which are decoded for the network on
pixels, or JPEG. The edge writes a file; MobileNets, which would classify there instead, are beside
it. Whole paths are timed in turn, in torch and on ONNX Runtime; the network on pixels runs in torch
in both. Wall seconds and processor seconds of all threads; files of a batch are copies of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.analysis.costs import edge_cost, server_cost
from benchmarks.analysis.rivals import fastest, mobile_networks
from benchmarks.analysis.sources import source_of
from benchmarks.analysis.turns import Actions, facts_of, in_turn
from benchmarks.common import parse, parser, write_record
from benchmarks.tables.accuracy import DECODED, LATENTS
from promptcodec.api import Codec
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.head_file import head_folder
from promptcodec.config import CLASSIFY
from promptcodec.evaluation.classification import Files, predict, weights_of
from promptcodec.io.checkpoints import find_heads
from promptcodec.io.load import load_picture
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head
from promptcodec.training.data.augmented import fit
from promptcodec.training.data.inputs import FileInput
from promptcodec.training.transfer import read_network

CLASSIC = {"JPEG": ("jpeg", 20), "WebP": ("webp", 20), "AVIF": ("avif", 30)}  # and their qualities
TORCH, ONNX = "in torch", "on ONNX Runtime"
CLASSES = 10  # of the MobileNets: few, which favours them


@dataclass(frozen=True, eq=False)
class Paths:
    """Codecs and networks of the paths.

    Args:
        codecs: the codec by where it runs, with its head on latents.
        torch: the codec in torch.
        pixels: network on pixels.
        rate: rate index of the streams.
    """

    codecs: dict[str, PictureCodec]
    torch: TorchCodec
    pixels: Head
    rate: float

    def server(self, data: bytes, jpeg: bytes, *, count: int) -> tuple[Actions, Any]:
        """Paths from `count` copies of a file to labels, and what each is compared with."""
        files, actions, against = [data] * count, {}, {}
        for where, codec in self.codecs.items():
            anchor, rival = f"latents, {where}", f"decode {where}, then classify in torch"
            actions[anchor] = lambda codec=codec: codec.classify_batch(files)
            actions[rival] = lambda codec=codec: self.label(codec.decode_batch(files))
            against |= {anchor: [anchor], rival: [anchor]}
        actions["JPEG, then classify in torch"] = lambda: self.label(
            [load_picture(jpeg).rgb for _ in files]
        )
        against["JPEG, then classify in torch"] = [f"latents, {TORCH}"]
        return actions, against

    def label(self, pictures: Sequence[Any]) -> Tensor:
        """Logits of the network on pixels, (B, classes), of pictures of one size."""
        arrays = [
            np.asarray(p if isinstance(p, np.ndarray) else p.convert("RGB")) for p in pictures
        ]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
        return predict(self.pixels, Files([], pixels, 1.0, None))

    def edge(self, picture: Tensor, rivals: dict[str, Callable[[], object]]) -> tuple[Actions, Any]:
        """Encoders of one picture (3, H, W), and networks in its place."""
        array, actions = picture.permute(1, 2, 0).numpy(), {}
        for where, codec in self.codecs.items():
            actions[f"encode, {where}"] = lambda codec=codec: codec.encode(
                array, rate_index=self.rate, graphics="never"
            )
        anchors = list(actions)
        actions |= rivals
        for title, (name, quality) in CLASSIC.items():
            rival = FileInput(name)
            actions[title] = lambda rival=rival, quality=quality: rival.compress(picture, quality)
        return actions, dict.fromkeys(actions, anchors)


def main() -> None:
    """Count, time and write the record."""
    options = parser(__doc__, out="ledger")
    options.add_argument("picture", type=Path)
    options.add_argument("--pixels", required=True, help="the same network on pixels")
    options.add_argument("--base", help="default: the bundled one")
    options.add_argument("--prompts", help="default: those of the base")
    options.add_argument("--heads", help="head on latents; default: that of the base")
    options.add_argument("--rate", type=float, default=1.0)
    options.add_argument("--sizes", default="224,512", help="edges of the picture, px")
    options.add_argument("--batches", default="1,16", help="numbers of files at once")
    options.add_argument("--repeats", type=int, default=40)
    arguments = parse(options)
    base, prompts, heads = arguments.base, arguments.prompts, arguments.heads
    folder = head_folder(find_heads(heads, base=base), CLASSIFY)
    own = TorchCodec.load(base, prompts, heads=folder)
    runtime = Codec.load(
        base, prompts, heads=folder, engine="onnx", threads=arguments.threads, packs=[]
    )
    paths = Paths(
        {TORCH: own, ONNX: runtime}, own, read_network(Path(arguments.pixels)), arguments.rate
    )
    rgb = torch.from_numpy(load_picture(arguments.picture).rgb.copy()).permute(2, 0, 1)
    report = {
        "rate_index": arguments.rate,
        "threads": arguments.threads,
        "sizes": [
            measure(
                paths,
                fit(rgb, size),
                batches=[int(each) for each in arguments.batches.split(",")],
                repeats=arguments.repeats,
            )
            for size in map(int, arguments.sizes.split(","))
        ],
        "weights": weights_of(source_of({LATENTS: folder, DECODED: arguments.pixels}), own),
    }
    write_record(arguments.out, report)


def measure(paths: Paths, picture: Tensor, *, batches: list[int], repeats: int) -> dict[str, Any]:
    """Costs and seconds at one size.

    Args:
        paths: codecs and networks.
        picture: square picture, uint8 (3, S, S).
        batches: numbers of files at once.
        repeats: number of rounds.
    """
    size, networks = picture.shape[1], mobile_networks(classes=CLASSES)
    x = picture[None].float() / 255.0
    found = {name: fastest(network, x) for name, network in networks.items()}
    forms = {name: form for name, (form, _) in found.items()}
    data = paths.torch.encode(
        picture.permute(1, 2, 0).numpy(), rate_index=paths.rate, graphics="never"
    )
    jpeg = FileInput("jpeg").compress(picture, CLASSIC["JPEG"][1])
    server = {}
    for count in batches:
        actions, against = paths.server(data, jpeg, count=count)
        turns = in_turn(actions, repeats=repeats)
        server[str(count)] = facts_of(turns, against=against, pictures=count)
    actions, against = paths.edge(picture, {name: run for name, (_, run) in found.items()})
    turns = in_turn(actions, repeats=repeats)
    head = paths.torch.head(CLASSIFY).model
    return {
        "size": size,
        "server_cost": server_cost(paths.torch, latents=head, pixels=paths.pixels.model, size=size),
        "server": server,
        "edge_cost": edge_cost(paths.torch, networks, size=size),
        "edge": facts_of(turns, against=against, pictures=1),
        "forms": forms,
    }


if __name__ == "__main__":
    main()
