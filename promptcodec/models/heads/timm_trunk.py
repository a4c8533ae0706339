"""Part of any classifier of timm, cut where its own list of features says.

timm records for each network the modules after which features of 1/4, 1/8, ... are complete. The
network is traced by torch.fx with these modules as leaves, and its graph is cut behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, fx, nn

from promptcodec.coding.trunk import COARSE, FINE, QUARTER, TIMM, TrunkConfig
from promptcodec.errors import ConfigError
from promptcodec.models.heads.trunk import Trunk


class TimmTrunk(Trunk):
    """A network of timm from some resolution on.

    Args:
        config: part of a network.
        classes: number of classes; None leaves out what follows the features.
    Raises:
        ConfigError: timm has no such network, or it cannot be cut there.
    """

    def __init__(self, config: TrunkConfig, *, classes: int | None) -> None:
        super().__init__()
        model = create(config.network.removeprefix(TIMM), classes=classes or 2)
        parts, channels = cut(model, name=config.network)
        # Grids are those of timm: Swin has channels last.
        self.last_axis = getattr(model, "output_fmt", "NCHW") == "NHWC"
        strides = list(channels)
        first = 0 if config.is_whole else _place(strides, config) + 1
        lowest, highest = max(config.begins, FINE), config.until or max(strides)
        self.channels = {s: channels[s] for s in strides if lowest <= s <= highest}
        self.is_whole = config.is_whole
        # Named by resolution: the same for the whole network and for a part.
        own = zip(strides[first:], parts[first:-1], strict=True)
        self.parts = nn.ModuleDict({str(s): part for s, part in own if s <= highest})
        self.out = parts[-1] if classes is not None else None
        if not config.is_whole and channels[config.begins] != config.channels:
            raise ConfigError(
                f"{config.network} has {channels[config.begins]} channels at 1/{config.begins}, "
                f"not {config.channels}"
            )

    def train(self, mode: bool = True) -> Self:
        """Keep dropout off, and statistics of normalisation as they were taken over."""
        return super().train(False)

    def levels(self, x: Tensor) -> dict[int, Tensor]:
        """See `Trunk.levels`."""
        found = {}
        for number, (stride, part) in enumerate(self.parts.items()):
            pixels = number == 0 and self.is_whole
            x = part(x.permute(0, 2, 3, 1) if self.last_axis and not pixels else x)
            x = x.permute(0, 3, 1, 2) if self.last_axis else x
            found[int(stride)] = x
        return found

    def judge(self, x: Tensor) -> Tensor:
        """See `Trunk.judge`."""
        assert self.out is not None
        return self.out(x.permute(0, 2, 3, 1) if self.last_axis else x)


def create(name: str, *, classes: int) -> nn.Module:
    """A network of timm without weights, in eval mode.

    Raises:
        ConfigError: timm has none of this name, or it takes no pictures of any size.
    """
    if not timm.is_model(name):
        raise ConfigError(
            f"timm {timm.__version__} has no network {name!r}: name one of timm.list_models()"
        )
    # Swin alone checks the size of a picture, unless it is told not to.
    options: dict[str, Any] = {"strict_img_size": False} if "swin" in name else {}
    return timm.create_model(name, num_classes=classes, **options).eval()


def cut(model: nn.Module, *, name: str) -> tuple[list[nn.Module], dict[int, int]]:
    """Parts of a network: to the features at 1/4, to each coarser ones, and to the classes.

    Args:
        model: network of timm.
        name: its name, for messages.
    Returns:
        Parts, and the channels of the features by px between two of them.
    Raises:
        ConfigError: it has no features at 1/8 and 1/16, or is not a chain where they are.
    """
    known = getattr(model, "feature_info", None)
    rows = known.info if isinstance(known, FeatureInfo) else known or []
    levels = {r["reduction"]: r for r in rows if r["reduction"] >= QUARTER}
    if not {FINE, COARSE} <= set(levels):
        raise ConfigError(f"{name} lists no features at 1/8 and 1/16, where it could be cut")
    modules = [row["module"] for row in levels.values()]
    try:
        graph = _Tracer(modules).trace(model)
        parts = _split(model, graph, modules)
    except Exception as error:  # torch.fx has no class of its own for what it cannot trace
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{name} cannot be cut at {', '.join(modules)}: {line}") from None
    return parts, {stride: row["num_chs"] for stride, row in levels.items()}


class _Tracer(fx.Tracer):
    """Tracing into nothing but the modules that contain a place of a cut."""

    def __init__(self, modules: Sequence[str]) -> None:
        super().__init__()
        self._above = {m.rpartition(".")[0] for m in modules} | {""}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._above


def _split(model: nn.Module, graph: fx.Graph, modules: Sequence[str]) -> list[nn.Module]:
    parts: list[nn.Module] = []
    left = list(graph.nodes)
    ends = [*(_node(left, module) for module in modules), None]
    begin: fx.Node | None = None
    for end in ends:
        part = fx.Graph()
        known: dict[fx.Node, fx.Node] = {}
        if begin is not None:
            known[begin] = part.placeholder("features")
        while left:
            node = left.pop(0)
            known[node] = part.node_copy(node, lambda n, known=known: known[n])
            if node is end:
                part.output(known[node])
                break
        part.lint()
        parts.append(fx.GraphModule(model, part))
        begin = end
    return parts


def _node(nodes: list[fx.Node], module: str) -> fx.Node:
    found = [n for n in nodes if n.op == "call_module" and n.target == module]
    if len(found) != 1:
        raise ValueError(f"module {module} is called {len(found)} times")
    return found[0]


def _place(strides: list[int], config: TrunkConfig) -> int:
    if config.begins not in strides:
        raise ConfigError(f"{config.network} has no features at 1/{config.begins}")
    return strides.index(config.begins)


@torch.no_grad()
def normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that a network's pixels are normalised by."""
    known = model.pretrained_cfg
    return tuple(map(float, known["mean"])), tuple(map(float, known["std"]))  # type: ignore[index]
