"""The engine of a codec: the one that is asked for, or that its options need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Unpack, get_args

from promptcodec.coding.engine import Engine, EngineName, EngineOptions
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import find_base, find_heads
from promptcodec.runtime.files import has_graphs


def load_engine(base: Path, engine: EngineName | None, **options: Unpack[EngineOptions]) -> Engine:
    """Load the networks of a base.

    Args:
        base: folder of a base or of a codec.
        engine: engine as in `Codec.load`; errors as there.
        options: fields of `EngineOptions`.
    """
    if engine is None:
        reason = _reason_for_torch(base, options)
        if reason is None:
            engine = "onnx"
        else:
            check_torch(reason)
            engine = "torch"
    if engine == "torch":
        check_torch("engine 'torch'")
        from promptcodec.models.engine import TorchEngine

        return TorchEngine.load(base, **options)
    if engine not in get_args(EngineName):
        raise UsageError(f"engine is {engine!r}; need one of {', '.join(get_args(EngineName))}")
    if find_spec("onnxruntime") is None:
        raise UsageError(
            f"engine {engine!r} needs onnxruntime: pip install onnxruntime; or take engine 'torch'"
        )
    if engine == "openvino":
        from promptcodec.runtime.openvino import OpenVinoEngine

        return OpenVinoEngine.load(base, **options)
    from promptcodec.runtime.engine import OnnxEngine

    return OnnxEngine.load(base, **options)


def check_torch(what: str) -> None:
    """Check that torch is installed.

    Args:
        what: subject of the message.
    Raises:
        UsageError: it is not.
    """
    if find_spec("torch") is None:
        raise UsageError(f"{what} needs torch: pip install 'promptcodec[train]'")


def _reason_for_torch(base: Path, options: EngineOptions) -> str | None:
    """What asks for torch; None if nothing does."""
    if (device := options.get("device", "cpu")) != "cpu":
        return f"device {device!r}"
    if (precision := options.get("precision", "float32")) != "float32":
        return f"precision {precision!r}"
    if options.get("tasks") is not None:
        return "the prompts of a task"
    heads = options.get("heads")
    if heads is not None and not all(map(has_graphs, find_heads(heads, base=base))):
        return f"a head of {heads}, which has no graph (`promptcodec export` makes it),"
    folder = find_base(base)
    if folder.is_dir() and not has_graphs(folder):
        return f"base {folder}, which has no graphs (`promptcodec export` makes them),"
    return None
