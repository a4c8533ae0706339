"""Typed configuration: one frozen dataclass per concern, strict about unknown keys."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar

from promptcodec.errors import ConfigError

T = TypeVar("T")

LATENT_STRIDE = 16  # px covered by one element of y
TILE_STRIDE = 64  # px covered by one element of z; pictures are padded to a multiple of it
ADDED = {"added": True}  # metadata of a field that may be absent at its default
MAX_CHANNELS = 8192  # of any width; larger ones of a damaged file are refused before allocation
MAX_BLOCKS = 256  # of one stage, and layers and segments of the context
DEFAULT_HALO = 64  # px
MAX_HALO = 512  # px; a tile's window grows with its square
MAX_RATIO = 64.0  # of an MLP's hidden width
MAX_TOKENS = 2048  # of a window of econtext over all its slots; its bias takes their square
CLASSIFY, SEGMENT = "classify", "segment"  # tasks of heads
LAMBDAS = (0.0013, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932, 0.18)  # by rate index


@dataclass(frozen=True)
class Within:
    """Range of a number in a config, as part of its field's type.

    Args:
        low: smallest value.
        high: largest value.
        beyond_low: exclusion of `low` itself.
        below_high: exclusion of `high` itself.
    """

    low: float
    high: float = math.inf
    beyond_low: bool = False
    below_high: bool = False

    def __contains__(self, value: float) -> bool:
        inside = self.low <= value <= self.high  # nothing contains NaN
        edges = (self.beyond_low and value == self.low) or (self.below_high and value == self.high)
        return inside and not edges

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"a number above {self.low:g}" if self.beyond_low else f"{self.low:g} or more"
        low = f"more than {self.low:g}, " if self.beyond_low else f"{self.low:g} to "
        if not self.beyond_low:
            return low + ("below " if self.below_high else "") + f"{self.high:g}"
        return low + ("less than " if self.below_high else "at most ") + f"{self.high:g}"


Count = Annotated[int, Within(1)]
Natural = Annotated[int, Within(0)]
Seed = Annotated[int, Within(0, 2**63 - 1)]
RateIndex = Annotated[int, Within(0, len(LAMBDAS) - 1)]
RatePlace = Annotated[float, Within(0.0, len(LAMBDAS) - 1)]  # a rate, or a place between two
Positive = Annotated[float, Within(0.0, beyond_low=True)]
NotNegative = Annotated[float, Within(0.0)]
Share = Annotated[float, Within(0.0, 1.0)]
ShareBelow1 = Annotated[float, Within(0.0, 1.0, below_high=True)]
ShareAbove0 = Annotated[float, Within(0.0, 1.0, beyond_low=True)]


class Ranged:
    """A dataclass whose numbers lie in the ranges of their types, floats being finite."""

    def __post_init__(self) -> None:
        for name, kind in _types_of(type(self)).items():
            _check_range(kind, getattr(self, name), where=name)


@functools.cache
def _types_of(cls: type) -> dict[str, Any]:
    """Types of the fields of a dataclass, with their ranges."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in fields(cls)}


def _check_range(kind: Any, value: Any, *, where: str) -> None:
    """Compare a number, or those of a tuple, with the range of its type.

    Raises:
        ConfigError: a number out of its range, or a float that is not finite.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kind = next(k for k in arguments if k is not type(None))
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, tuple):
        for number, each in enumerate(value):
            _check_range(arguments[0], each, where=f"{where}[{number}]")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    needed = arguments[1] if origin is Annotated else None
    if needed is not None and value not in needed:
        raise ConfigError(f"{where} is {value}; need {needed}")
    if not math.isfinite(value):
        raise ConfigError(f"{where} is {value}; need a finite number")


def from_dict(cls: type[T], values: dict[str, Any], *, where: str = "config") -> T:
    """Build a config dataclass, naming every key or value that does not fit.

    Raises:
        ConfigError: unknown key, missing key, or a value of the wrong type or out of its range.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {type(values).__name__}; need a mapping of keys to values")
    known = _types_of(cls)
    unknown = sorted(set(values) - set(known), key=str)
    if unknown:
        raise ConfigError(
            f"{where} has unknown key {unknown[0]!r}; known keys: {', '.join(sorted(known))}"
        )
    built = {
        name: _convert(known[name], value, where=f"{where}.{name}")
        for name, value in values.items()
    }
    for name, value in built.items():
        _check_range(known[name], value, where=f"{where}.{name}")
    required = dataclasses.MISSING
    missing = [
        f.name
        for f in fields(typing.cast(Any, cls))
        if f.name not in built and f.default is required and f.default_factory is required
    ]
    if missing:
        raise ConfigError(f"{where} is incomplete: it lacks {', '.join(missing)}")
    return cls(**built)


def check_format_version(version: int) -> None:
    """Raise a ConfigError if a checkpoint has a newer layout than version 1."""
    if version != 1:
        raise ConfigError(
            f"format_version is {version}, this promptcodec reads 1: upgrade promptcodec"
        )


def _convert(kind: Any, value: Any, *, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, where=where)
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return _convert(typing.get_args(kind)[0], value, where=where)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
        return _convert(kind, value, where=where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; need a list")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, v, where=f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}; need a mapping of keys to values")
        item = typing.get_args(kind)[1]
        return {key: _convert(item, v, where=f"{where}.{key}") for key, v in value.items()}
    if kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return _as_number(kind, value, where=where)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}; need {_NEEDED.get(kind, kind)}")
    return value


_NEEDED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text: put it in quotes",
}


def _as_number(kind: type, value: float, *, where: str) -> float:
    """A number as an int or a float; 1e5 is an int too."""
    try:
        if kind is int and value != int(value):
            raise ValueError
        return kind(value)
    except (ValueError, OverflowError):
        raise ConfigError(f"{where} is {value}; need {_NEEDED[kind]}") from None


Width = Annotated[int, Within(1, MAX_CHANNELS)]
WidthOr0 = Annotated[int, Within(0, MAX_CHANNELS)]
Blocks = Annotated[int, Within(0, MAX_BLOCKS)]
Kernel = Annotated[int, Within(1, 3)]
Halo = Annotated[int, Within(0, MAX_HALO)]
Ratio = Annotated[float, Within(0.0, MAX_RATIO, beyond_low=True)]


STAGE_LISTS = (
    "encoder_channels",
    "encoder_blocks",
    "decoder_channels",
    "decoder_blocks",
    "windows",
)


@dataclass(frozen=True, kw_only=True)
class CodecConfig(Ranged):
    """Architecture of a base codec; stages stand at 1/2, 1/4, 1/8 and 1/16 of the picture.

    Args:
        name: size name, "tiny", "edge", "small" or "large".
        encoder_channels: width of each stage of g_a.
        encoder_blocks: blocks of each stage of g_a, one letter each: "s" Swin, every second one
            shifted, "c" convolutions.
        decoder_channels: width of each stage of g_s, likewise.
        decoder_blocks: blocks of each stage of g_s, likewise.
        windows: window edge of each stage in its own grid; divides 64 / stage stride.
        head_channels: channels of one attention head.
        mlp_ratio: hidden width of a Swin MLP over the stage's width.
        latent_channels: M, channels of y.
        detail_channels: number of them that come straight from the 1/8 stage, past the blocks at
            1/16: fine detail needs many channels and little computation.
        hyper_channels: N, width of h_a and of the mean path.
        hyper_kernel: edge of the kernel of h_a's first layer, 1 or 3.
        z_channels: channels of z.
        scale_channels: width of the integer scale path.
        context: context model that predicts the means: "none", "checkerboard" or "econtext".
        context_channels: width of the context model.
        context_segments: latent channels of each segment that econtext codes one after the other;
            with uneven ones (He et al. 2022, arXiv:2203.10886) few channels are coded first.
        context_layers: attention layers of econtext; even ones plain, odd ones shifted.
        context_window: window edge of econtext in latents, a multiple of 4.
        context_mlp_ratio: hidden width of its MLPs over its width.
        scale: source of the entropy coder's scales: "hyperprior", z alone, or "context", the
            context model as well, for research: such a codec writes no files.
        reconstruction: place in its interval where a quantised residual is rebuilt: "middle", or
            "centroid", nearer to zero the smaller the scale, so that g_s gets the expected latent
            at every rate.
        halo: border around a tile or a band in the input of g_a and g_s, px, a multiple of 64,
            where the windows of every stage begin.
    """

    name: str
    encoder_channels: tuple[Width, ...]
    encoder_blocks: tuple[str, ...]
    decoder_channels: tuple[Width, ...]
    decoder_blocks: tuple[str, ...]
    windows: tuple[Natural, ...]
    head_channels: Count
    mlp_ratio: Ratio
    latent_channels: Width
    detail_channels: WidthOr0
    hyper_channels: Width
    z_channels: Width
    scale_channels: Width
    context: str
    context_channels: Width
    hyper_kernel: Kernel = field(default=3, metadata=ADDED)
    context_segments: tuple[Width, ...] = field(default=(), metadata=ADDED)
    context_layers: Blocks = field(default=2, metadata=ADDED)
    context_window: Natural = field(default=8, metadata=ADDED)
    context_mlp_ratio: Ratio = field(default=2.0, metadata=ADDED)
    scale: str = field(default="hyperprior", metadata=ADDED)
    reconstruction: str = field(default="middle", metadata=ADDED)
    halo: Halo = field(default=DEFAULT_HALO, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in STAGE_LISTS:
            if len(getattr(self, name)) != 4:
                raise ConfigError(f"{name} has {len(getattr(self, name))} entries; need 4 stages")
        if self.detail_channels >= self.latent_channels:
            raise ConfigError(
                f"detail_channels is {self.detail_channels}; need 0 to latent_channels - 1"
            )
        if self.hyper_kernel not in (1, 3):
            raise ConfigError(f"hyper_kernel is {self.hyper_kernel}; need 1 or 3")
        if self.reconstruction not in ("middle", "centroid"):
            raise ConfigError(
                f"reconstruction is {self.reconstruction!r}; need 'middle' or 'centroid'"
            )
        if self.halo % TILE_STRIDE:
            raise ConfigError(f"halo is {self.halo}; need a multiple of {TILE_STRIDE}")
        self._check_sides()
        self._check_context()

    def _check_sides(self) -> None:
        deep = self.latent_channels - self.detail_channels
        for side in ("encoder", "decoder"):
            widths: tuple[int, ...] = getattr(self, f"{side}_channels")
            blocks: tuple[str, ...] = getattr(self, f"{side}_blocks")
            if widths[3] < deep:
                raise ConfigError(
                    f"{side}_channels are {list(widths)}; need at least as many channels at 1/16 "
                    f"as there are deep latents, {deep}"
                )
            for stage, (width, kinds) in enumerate(zip(widths, blocks, strict=True)):
                if set(kinds) - set("cs") or len(kinds) > MAX_BLOCKS:
                    raise ConfigError(
                        f"{side}_blocks has {kinds!r}; need at most {MAX_BLOCKS} letters, c or s"
                    )
                if "s" in kinds:
                    self._check_swin(side, stage, width)

    def _check_swin(self, side: str, stage: int, width: int) -> None:
        """Raise a ConfigError where a stage with Swin blocks has another width or window."""
        if width % self.head_channels:
            raise ConfigError(
                f"{side}_channels has {width} with Swin blocks; need a multiple of "
                f"head_channels {self.head_channels}"
            )
        grid, window = TILE_STRIDE >> (stage + 1), self.windows[stage]
        if window < 1 or grid % window:
            raise ConfigError(f"windows[{stage}] is {window}; need a divisor of {grid}")

    def _check_context(self) -> None:
        if self.context not in ("none", "checkerboard", "econtext"):
            raise ConfigError(
                f"context is {self.context!r}; need 'none', 'checkerboard' or 'econtext'"
            )
        if self.scale not in ("hyperprior", "context"):
            raise ConfigError(f"scale is {self.scale!r}; need 'hyperprior' or 'context'")
        if self.context != "econtext":
            if self.scale == "context":
                raise ConfigError("scale 'context' needs context 'econtext'")
            return
        if sum(self.context_segments) != self.latent_channels:
            raise ConfigError(
                f"context_segments are {list(self.context_segments)}; need positive widths that "
                f"sum to latent_channels {self.latent_channels}"
            )
        if self.context_window < 4 or self.context_window % 4:
            raise ConfigError(f"context_window is {self.context_window}; need a multiple of 4")
        if self.context_channels % self.head_channels or self.context_layers < 1:
            raise ConfigError(
                f"context_channels {self.context_channels} need to be a multiple of "
                f"head_channels {self.head_channels}, and context_layers 1 or more"
            )
        tokens = (2 * len(self.context_segments) - 1) * self.context_window**2 // 2
        if tokens > MAX_TOKENS or self.context_layers > MAX_BLOCKS:
            raise ConfigError(
                f"econtext has {tokens} tokens in a window and {self.context_layers} layers; need "
                f"at most {MAX_TOKENS} and {MAX_BLOCKS}: fewer segments or a smaller window"
            )

    def identity(self) -> dict[str, Any]:
        """What the hash of a base covers.

        A field that a config may lack counts only where it departs from its default, so that one
        added later keeps the hashes of older checkpoints, and with them their streams, valid.
        """
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if not f.metadata.get("added") or getattr(self, f.name) != f.default
        }


@dataclass(frozen=True, kw_only=True)
class BaseConfig(Ranged):
    """What `config.json` of a base checkpoint holds beside the architecture.

    Args:
        codec: the architecture.
        rate_index: ladder position that the base was trained at.
        lmbda: rate-distortion weight of that position, loss = bpp + lmbda * 255^2 * mse.
        format_version: version of the checkpoint layout.
    """

    codec: CodecConfig
    rate_index: RateIndex = 4
    lmbda: Positive = LAMBDAS[4]
    format_version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_format_version(self.format_version)
