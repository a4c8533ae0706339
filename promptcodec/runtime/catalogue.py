"""The graphs of a base or a head by name: how each is built, and the parameters that it takes."""

from __future__ import annotations

from promptcodec.coding.head_config import HeadConfig
from promptcodec.config import CodecConfig
from promptcodec.errors import UsageError
from promptcodec.runtime.graphs.fold import fold_analysis, fold_synthesis, has_prompts
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.heads import build_head, fold_head
from promptcodec.runtime.graphs.hyperprior import build_hyper_analysis, fold_hyper_analysis
from promptcodec.runtime.graphs.transforms import build_analysis, build_synthesis
from promptcodec.runtime.graphs.walk import build_quantise, build_reconstruct, fold_walk

Architecture = CodecConfig | HeadConfig

PROMPTED = "_prompted"  # ending of the name of a graph with the prompts of a rate
NAMES = (  # of a base
    "analyse",
    "analyse_prompted",
    "hyper_analyse",
    "quantise",
    "reconstruct",
    "synthesise",
    "synthesise_prompted",
)
SIDES = {"analyse": "encoder", "synthesise": "decoder"}  # of the prompts that a graph may have


def names(config: Architecture) -> tuple[str, ...]:
    """Names of the graphs of an architecture; the one of a head is its task."""
    return (config.task,) if isinstance(config, HeadConfig) else NAMES


def build(name: str, config: Architecture) -> Graph:
    """The graph of a name.

    Args:
        name: one of `names(config)`.
        config: architecture of the base, or configuration of the head.
    Raises:
        UsageError: an architecture that has no graphs.
    """
    if isinstance(config, HeadConfig):
        return build_head(config)
    check_base(config)
    prompted = name.endswith(PROMPTED)
    match name.removesuffix(PROMPTED):
        case "analyse":
            return build_analysis(config, prompted=prompted)
        case "synthesise":
            return build_synthesis(config, prompted=prompted)
        case "hyper_analyse":
            return build_hyper_analysis(config)
        case "quantise":
            return build_quantise(config)
        case "reconstruct":
            return build_reconstruct(config)
    raise ValueError(f"there is no graph {name!r}; there are {', '.join(NAMES)}")


def check_base(config: CodecConfig) -> None:
    """Check that a base can have graphs.

    Raises:
        UsageError: it cannot.
    """
    if config.scale == "context":
        raise UsageError(
            "a base with scale 'context' has no graphs: it runs in torch alone: pip install "
            "'promptcodec[train]'"
        )


def variant(name: str, adapter: Parameters | None) -> str:
    """Name of the graph that a rate needs: the one with prompts where a gate is open."""
    side = SIDES.get(name)
    if side is None or adapter is None or not has_prompts(adapter, side):
        return name
    return name + PROMPTED


def fold(
    name: str, weights: Parameters, config: Architecture, adapter: Parameters | None
) -> dict[str, Array]:
    """Parameters of a graph.

    Args:
        name: one of `names(config)`.
        weights: float32 arrays of the base or head, by name.
        config: architecture of the base, or configuration of the head.
        adapter: float32 arrays of a rate, by name; None is the base alone, or a head.
    """
    if isinstance(config, HeadConfig):
        return fold_head(weights, config)
    match name.removesuffix(PROMPTED):
        case "analyse":
            return fold_analysis(weights, config, adapter)
        case "synthesise":
            return fold_synthesis(weights, config, adapter)
        case "hyper_analyse":
            return fold_hyper_analysis(weights)
    found = fold_walk(weights, config, adapter)
    if name == "reconstruct":  # centroids come before it
        found.pop("pull", None)
    return found
