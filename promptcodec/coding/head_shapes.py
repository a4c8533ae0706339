"""Shape of each array of a head, by name: the arrays of its network in torch."""

from __future__ import annotations

from collections.abc import Iterator

from promptcodec.coding.head_config import DILATIONS, FILM_WIDTH, HeadConfig
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

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def head_shapes(config: HeadConfig) -> Shapes:
    """Names and shapes, one after the other: a config may ask for more than there is memory.

    Of a network of timm there are those of the stem alone.
    """
    trunk = config.trunk
    if config.stem is not None:
        yield from _stem(config.latent_channels, config.stem, trunk)
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


def _weighted(name: str, outputs: int, *inputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, *inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _stem(channels: int, stem: StemConfig, trunk: TrunkConfig) -> Shapes:
    width, outputs = stem.width, trunk.channels * (COARSE // trunk.begins) ** 2
    yield "stem.center", (channels,)
    yield "stem.spread", (channels,)
    yield from _weighted("stem.film.0", FILM_WIDTH, 1)
    yield from _weighted("stem.film.2", 2 * channels, FILM_WIDTH)
    yield from _weighted("stem.embed", width, channels)
    yield from _norm("stem.norm", width)
    yield from _weighted("stem.rate", width, 1)
    yield from _weighted("stem.direct", outputs, channels)
    for number in range(stem.blocks):
        name = f"stem.blocks.{number}"
        yield from _weighted(f"{name}.depthwise", width, 1, STEM_KERNEL, STEM_KERNEL)
        yield from _norm(f"{name}.norm", width)
        yield from _weighted(f"{name}.mlp.0", stem.hidden, width)
        yield from _weighted(f"{name}.mlp.2", width, stem.hidden)
    yield from _norm("stem.last_norm", width)
    yield from _weighted("stem.last", outputs, width)
