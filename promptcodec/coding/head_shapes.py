"""Shape of each array of a head, by name: the arrays of its network in torch."""

from __future__ import annotations

from collections.abc import Iterator

from promptcodec.coding.head_config import (
    DILATIONS,
    FILM_WIDTH,
    LATENTS,
    RESNET,
    HeadConfig,
)
from promptcodec.coding.trunk import (
    CHANNELS,
    COARSE,
    FINE,
    PYRAMID_WIDTH,
    STEM_KERNEL,
    StemConfig,
    TrunkConfig,
)
from promptcodec.config import CLASSIFY

COUNTER = ".num_batches_tracked"  # ending of the names of whole numbers
OVERLAP = 3  # px between neighbouring patches of a residual network: 7x7 at a stride of 4

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def head_shapes(config: HeadConfig) -> Shapes:
    """Names and shapes, one after the other: a config may ask for more than there is memory."""
    if config.trunk is not None:
        yield from _trunk_head(config, config.trunk)
        return
    latents, classify = config.reads == LATENTS, config.task == CLASSIFY
    if latents:
        width = config.widths[0] * (config.finer**2 if classify else 1)
        yield from _stem(config.latent_channels, width, film=config.film)
    else:
        kernel = config.patch + (OVERLAP if config.body == RESNET else 0)
        yield from _weighted("patches", config.widths[0], 3, kernel, kernel)
        yield from _norm("embed_norm", config.widths[0])
    stages = 1 if latents and not classify else len(config.widths)
    if config.body == RESNET:
        yield from _residual_stages(config)
    else:
        yield from _swin_stages(config, stages)
    last, classes = config.widths[stages - 1], len(config.labels)
    if classify:
        yield from _norm("norm", last)
        yield from _weighted("out", classes, last)
        return
    yield from _norm("pyramid.norm", last)
    yield from _weighted("pyramid.up", 4 * last, last)
    for number in range(len(DILATIONS)):
        yield from _weighted(f"pyramid.dilated.{number}", classes, last, 3, 3)


def _weighted(name: str, outputs: int, *inputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, *inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _stem(channels: int, width: int, *, film: bool) -> Shapes:
    yield "stem.center", (channels,)
    yield "stem.spread", (channels,)
    if film:
        yield from _weighted("stem.film.0", FILM_WIDTH, 1)
        yield from _weighted("stem.film.2", 2 * channels, FILM_WIDTH)
    yield from _weighted("stem.embed", width, channels)
    yield from _norm("stem.norm", width)
    yield from _weighted("stem.rate", width, 1)


def _swin_stages(config: HeadConfig, stages: int) -> Shapes:
    for stage in range(stages):
        width = config.widths[stage]
        if stage:
            below = 4 * config.widths[stage - 1]
            yield from _norm(f"body.merging.{stage - 1}.norm", below)
            yield f"body.merging.{stage - 1}.reduction.weight", (width, below)
        offsets, heads = (2 * config.window - 1) ** 2, width // config.head_channels
        hidden = int(width * config.mlp_ratio)
        for block in range(config.depths[stage]):
            name = f"body.stages.{stage}.{block}"
            yield from _norm(f"{name}.norm1", width)
            yield f"{name}.attention.position_bias", (offsets, heads)
            yield from _weighted(f"{name}.attention.qkv", 3 * width, width)
            yield from _weighted(f"{name}.attention.proj", width, width)
            yield from _norm(f"{name}.norm2", width)
            yield from _weighted(f"{name}.mlp.0", hidden, width)
            yield from _weighted(f"{name}.mlp.2", width, hidden)


def _residual_stages(config: HeadConfig) -> Shapes:
    inputs = config.widths[0]
    for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
        inner = width // 4
        for block in range(depth):
            name = f"body.stages.{stage}.{block}"
            kernels = {"1": (inner, inputs, 1, 1), "2": (inner, inner, 3, 3)}
            for number, shape in {**kernels, "3": (width, inner, 1, 1)}.items():
                yield f"{name}.conv{number}.weight", shape
                yield from _batch_norm(f"{name}.bn{number}", shape[0])
            if inputs != width or (stage and not block):
                yield f"{name}.downsample.0.weight", (width, inputs, 1, 1)
                yield from _batch_norm(f"{name}.downsample.1", width)
            inputs = width


def _batch_norm(name: str, width: int) -> Shapes:
    for own in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{own}", (width,)
    yield f"{name}{COUNTER}", ()


def _trunk_head(config: HeadConfig, trunk: TrunkConfig) -> Shapes:
    """All arrays, or of a network of timm those of the stem alone."""
    if config.stem is not None:
        yield from _feature_stem(config.latent_channels, config.stem, trunk)
    if trunk.is_timm:
        return
    inputs = trunk.channels
    if trunk.entry:
        yield from _weighted("trunk.entry", trunk.entry, CHANNELS, 3, 3)
        inputs = trunk.entry
    for number, stage in enumerate(trunk.stages):
        for block in range(stage.blocks):
            name, hidden = f"trunk.stages.{number}.{block}", inputs * stage.expansion
            if stage.expansion > 1:
                yield from _weighted(f"{name}.expand", hidden, inputs, 1, 1)
            yield from _weighted(f"{name}.depthwise", hidden, 1, stage.kernel, stage.kernel)
            yield from _weighted(f"{name}.project", stage.width, hidden, 1, 1)
            inputs = stage.width
    if config.task == CLASSIFY:
        yield from _weighted("trunk.last", trunk.last, inputs, 1, 1)
        yield from _weighted("trunk.out", len(config.labels), trunk.last)
        return
    for number, (stride, width) in enumerate(trunk.channels_by_stride.items()):
        outputs = PYRAMID_WIDTH * ((COARSE // FINE) ** 2 if stride == COARSE else 1)
        yield from _weighted(f"pyramid.lateral.{number}", outputs, width, 1, 1)
    for number in range(len(DILATIONS)):
        yield from _weighted(f"pyramid.dilated.{number}", len(config.labels), PYRAMID_WIDTH, 3, 3)


def _feature_stem(channels: int, stem: StemConfig, trunk: TrunkConfig) -> Shapes:
    width, outputs = stem.width, trunk.channels * (COARSE // trunk.begins) ** 2
    yield from _stem(channels, width, film=True)
    yield from _weighted("stem.direct", outputs, channels)
    for number in range(stem.blocks):
        name = f"stem.blocks.{number}"
        yield from _weighted(f"{name}.depthwise", width, 1, STEM_KERNEL, STEM_KERNEL)
        yield from _norm(f"{name}.norm", width)
        yield from _weighted(f"{name}.mlp.0", stem.hidden, width)
        yield from _weighted(f"{name}.mlp.2", width, stem.hidden)
    yield from _norm("stem.last_norm", width)
    yield from _weighted("stem.last", outputs, width)
