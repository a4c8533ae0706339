"""Speed and memory of our codec and of peers, in alternation in one run.

On a shared machine only ratios are meaningful: the runs of a pair share its state. Medians,
quartiles and all values are recorded, and a figure with a wide middle half is called noisy.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from promptcodec.api import Codec
from promptcodec.errors import UsageError
from promptcodec.evaluation.codecs import compressai
from promptcodec.evaluation.codecs.registry import CLASSIC, find_codecs
from promptcodec.evaluation.metrics import bpp
from promptcodec.evaluation.reports.equal_size import largest_within
from promptcodec.evaluation.speed import memory
from promptcodec.evaluation.speed.timing import NOISY, in_turn, ratio, summarise
from promptcodec.io.provenance import provenance
from promptcodec.io.samples import photograph

if TYPE_CHECKING:
    from promptcodec.coding.engine import EngineName, Precision

MODEL = "mbt2018-mean"
"""The learned peer: CompressAI's model, with weights of `compressai_timing`."""
WIDTH, HEIGHT = 768, 512
"""Size of the timed picture, px."""
STRIDE = 64  # px; the learned peer needs multiples


@dataclass(frozen=True)
class Actions:
    """One codec, ready to be timed.

    Attributes:
        encode: function that encodes the picture.
        decode: function that decodes its file.
        size: bytes of the file.
        setting: quality of the file, for the record.
    """

    encode: Callable[[], object]
    decode: Callable[[], object]
    size: int
    setting: str


def bench(
    rgb: np.ndarray,
    *,
    base: str | None = None,
    rate: float | None = None,
    peers: Sequence[str] = ("jpeg", "webp"),
    threads: Sequence[int] = (1,),
    engines: "Sequence[EngineName]" = ("onnx",),
    precisions: "Sequence[Precision]" = ("float32",),
    repeats: int = 7,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time encoding and decoding of one picture, our engines and each peer in turn.

    Classic peers run at as many bytes as ours, on one thread; the learned one at the published
    rate next to ours.

    Args:
        rgb: picture, uint8 (H, W, 3), multiples of 64 px if the learned peer is among the peers.
        base: checkpoint as in `Codec.load`.
        rate: rate index of our codec; None is that of the base.
        peers: names from `registry.CLASSIC`, or `MODEL`.
        threads: CPU threads of each comparison.
        engines: engines of our codec; ratios are over the first.
        precisions: arithmetic of our codec and of the learned peer.
        repeats: number of rounds.
        report: function that receives a line for each ratio.

    Returns:
        JSON-ready facts with provenance, seconds, ratios and warnings.

    Raises:
        UsageError: a peer is unknown, cannot run here, or does not support the size; or an engine
            cannot run here or has not the precision.
    """
    check_peers(peers, height=rgb.shape[0], width=rgb.shape[1])
    load_before = os.getloadavg()[0]
    comparisons, base_hash = [], ""
    for count in threads:
        for precision in precisions:
            ours: dict[str, Codec] = {
                name: Codec.load(base, engine=name, precision=precision, threads=count)
                for name in engines
            }
            base_hash = next(iter(ours.values())).base_hash.hex()
            found = _compare(
                ours,
                rgb,
                rate=rate,
                peers=peers,
                repeats=repeats,
                precision=precision,
                threads=count,
            )
            comparisons.append({"threads": count, "precision": precision, **found})
            for line in describe(comparisons[-1]):
                report(line)
    return {
        **provenance(),
        "size": [rgb.shape[1], rgb.shape[0]],
        "base_sha256": base_hash,
        "load_average_before": load_before,
        "load_average_after": os.getloadavg()[0],
        "peer_model": _model_text() if MODEL in peers else None,
        "comparisons": comparisons,
        "warnings": _warnings(comparisons, load=load_before),
    }


def check_peers(peers: Sequence[str], *, height: int, width: int) -> None:
    """Refuse peers that cannot be timed, before a checkpoint is loaded.

    Raises:
        UsageError: a peer is unknown, cannot run here, or does not support the size.
    """
    for name in peers:
        if name not in CLASSIC and name != MODEL:
            known = ", ".join([MODEL, *CLASSIC])
            raise UsageError(f"no peer {name!r} is timed: choose among {known}")
    find_codecs([name for name in peers if name in CLASSIC])
    if MODEL in peers and (height % STRIDE or width % STRIDE):
        raise UsageError(
            f"the picture is {width}x{height}; {MODEL} takes multiples of {STRIDE} px: crop it, "
            "or leave that peer out"
        )
    if MODEL in peers and (reason := compressai.missing()):
        raise UsageError(f"peer {MODEL} cannot run: {reason}")


def _compare(
    ours: dict[str, Codec],
    rgb: np.ndarray,
    *,
    rate: float | None,
    peers: Sequence[str],
    repeats: int,
    precision: "Precision",
    threads: int,
) -> dict[str, Any]:
    first = next(iter(ours))
    data = ours[first].encode(rgb, rate_index=rate, graphics="never")
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in ours}
    codecs: dict[str, Actions] = {
        name: _our_actions(codec, rgb, rate=rate, data=data, parts=parts[name])
        for name, codec in ours.items()
    }
    for name in peers:
        codecs[name] = _actions(name, rgb, limit=len(data), precision=precision, threads=threads)
    actions = {
        f"{name} {way}": getattr(each, way)
        for way in ("encode", "decode")
        for name, each in codecs.items()
    }
    seconds = in_turn(actions, repeats=repeats)
    # The detailed call also estimates the rate, which is no part of encoding: it is not timed.
    encode_parts = {
        name: [
            codec.encode_detailed(rgb, rate_index=rate, graphics="never").seconds
            for _ in range(repeats + 1)
        ]
        for name, codec in ours.items()
    }
    bits = 8 / (rgb.shape[0] * rgb.shape[1])
    summaries = {name: summarise(values) for name, values in seconds.items()}
    return {
        "engine": first,
        "bpp": {name: bits * each.size for name, each in codecs.items()},
        "settings": {name: codecs[name].setting for name in peers},
        "seconds": {name: asdict(summary) for name, summary in summaries.items()},
        "noisy": [name for name, summary in summaries.items() if summary.noisy],
        "peer_over_ours": {
            f"{name} {way}": asdict(ratio(seconds[f"{name} {way}"], seconds[f"{first} {way}"]))
            for name in codecs
            if name != first
            for way in ("encode", "decode")
        },
        "encode_parts_seconds": {name: _medians(each) for name, each in encode_parts.items()},
        "decode_parts_seconds": {name: _medians(each) for name, each in parts.items()},
    }


def _our_actions(
    codec: Codec,
    rgb: np.ndarray,
    *,
    rate: float | None,
    data: bytes,
    parts: list[dict[str, float]],
) -> Actions:
    return Actions(
        encode=lambda: codec.encode(rgb, rate_index=rate, graphics="never"),
        decode=lambda: parts.append(codec.decode_detailed(data).seconds),
        size=len(data),
        setting="",
    )


def _actions(
    name: str, rgb: np.ndarray, *, limit: int, precision: "Precision", threads: int
) -> Actions:
    if name == MODEL:
        return _model_actions(rgb, limit=limit, precision=precision, threads=threads)
    peer = CLASSIC[name]
    compress = partial(peer.compress, Image.fromarray(rgb))
    settings = range(peer.qualities[0], peer.qualities[-1] + 1)
    quality, data = largest_within(compress, limit, settings=settings)
    encode, decode = partial(compress, quality), partial(peer.decompress, data)
    return Actions(encode, decode, len(data), f"quality {quality}")


def _model_actions(rgb: np.ndarray, *, limit: int, precision: "Precision", threads: int) -> Actions:
    import torch

    from promptcodec.evaluation.codecs import compressai_timing
    from promptcodec.models.tensors import from_pixels

    x = from_pixels(rgb[None].copy(), torch.device("cpu"))
    rate = bpp(limit, width=rgb.shape[1], height=rgb.shape[0])
    quality = compressai_timing.nearest_quality(rate)
    rival = compressai_timing.build(x, quality=quality)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def encode() -> dict:
        torch.set_num_threads(threads)
        with torch.inference_mode(), half:
            return rival.compress(x)

    def decode() -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode(), half:
            return rival.decompress(packed["strings"], packed["shape"])

    packed = encode()
    size = sum(len(string) for group in packed["strings"] for string in group)
    return Actions(encode, decode, size, f"quality {quality}")


def _model_text() -> str:
    from promptcodec.evaluation.codecs.compressai_timing import HOW

    return HOW


def measure_memory(
    source: Path,
    *,
    base: str | None,
    sizes: Sequence[tuple[int, int]],
    engines: "Sequence[EngineName]" = ("onnx",),
) -> list[dict[str, Any]]:
    """Peak memory of our codec, encoding and decoding a photograph at several sizes.

    Args:
        source: file of the photograph.
        base: checkpoint as in `Codec.load`.
        engines: engines of our codec.
        sizes: pairs of width and height, px.

    Raises:
        PromptCodecError: a process failed.
    """
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for width, height in sizes:
            path = Path(scratch) / f"{width}x{height}.png"
            rgb = photograph(source, width=width, height=height)
            Image.fromarray(rgb).save(path, compress_level=1)
            found += [
                memory.measure(str(path), base=base, engine=engine, precision="float32", threads=1)
                for engine in engines
            ]
    return found


def render_bench(facts: dict[str, Any]) -> str:
    """Text table of medians in ms and ratios with their quartiles.

    Args:
        facts: result of `bench`, with that of `measure_memory` under "memory".
    """
    lines = [f"{'':<44}{'bpp':>7}{'ms':>10}{'over ours':>11}  quartiles"]
    for each in facts["comparisons"]:
        for name, summary in each["seconds"].items():
            codec, way = name.rsplit(" ", 1)
            line = f"{each['precision']}, {each['threads']} threads, {name}"
            line = f"{line:<44}{each['bpp'][codec]:>7.3f}{1000 * summary['median']:>10.1f}"
            found = each["peer_over_ours"].get(f"{codec} {way}")
            if found:
                line += f"{found['median']:>11.3g}  {found['low']:.3g} to {found['high']:.3g}"
            lines.append(line + (" noisy" if name in each["noisy"] else ""))
    for each in facts["memory"]:
        size = f"{each['width']}x{each['height']}"
        lines.append(f"{size}, {each['engine']}: {each['peak_rss_mb']:.0f} MB at most")
    return "\n".join(lines)


def describe(comparison: dict[str, Any]) -> list[str]:
    """A line for each ratio of one comparison."""
    lines, first = [], comparison["engine"]
    for name, found in comparison["peer_over_ours"].items():
        peer, way = name.rsplit(" ", 1)
        pair = {name, f"{first} {way}"}
        noise = "; noisy" if pair & set(comparison["noisy"]) else ""
        lines.append(
            f"{comparison['precision']}, {comparison['threads']} threads: {peer} takes "
            f"{found['median']:.3g} times as long as ours ({first}) to {way} "
            f"(quartiles {found['low']:.3g} to {found['high']:.3g}){noise}"
        )
    return lines


def _warnings(comparisons: Sequence[dict[str, Any]], *, load: float) -> list[str]:
    found = []
    noisy = sorted({name for each in comparisons for name in each["noisy"]})
    if noisy:
        found.append(
            f"the machine is noisy: the middle half of {', '.join(noisy)} is spread over more than "
            f"{NOISY:.0%} of the median; trust the ratios, not the seconds"
        )
    if load > 0.5:
        found.append(f"other programs were running: load average {load:.1f} before the first run")
    return found


def _medians(parts: list[dict[str, float]]) -> dict[str, float]:
    """Medians without the first part, a warm-up."""
    return {name: float(np.median([part[name] for part in parts[1:]])) for name in parts[0]}
