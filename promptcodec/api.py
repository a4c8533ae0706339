"""Public class of the codec, and the choice of its engine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, Unpack, get_args

from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.encoder import Candidate
from promptcodec.coding.engine import Engine, EngineName, EngineOptions, Progress
from promptcodec.coding.settings import EncodeSettings
from promptcodec.errors import UsageError
from promptcodec.io.hub import PromptsSource, find_base, find_heads, find_prompts
from promptcodec.runtime.files import has_graphs


class Codec(PictureCodec):
    """A base codec and its rates, safe to share among threads."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._source: tuple[str | Path | None, EngineOptions] | None = None
        self._installed: list[list[Path]] = []
        self._in_torch: Codec | None = None

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: PromptsSource | None = None,
        *,
        engine: EngineName | None = None,
        **options: Unpack[EngineOptions],
    ) -> Self:
        """Load a base codec and the adapters of its rates.

        Args:
            base: folder of a checkpoint, or a Hub id "owner/name"; None is the bundled nano codec.
            prompts: an adapter, a folder of adapters, a Hub id of either, several of these, or a
                dict of them by rate index; None is the bundled ladder for the bundled base, and
                no adapter for another one. An empty list is the base alone.
            engine: "onnx", ONNX Runtime on the CPU; "openvino", the same with g_a and g_s in
                OpenVINO; or "torch". None is torch for a GPU, bfloat16, task prompts or a base
                without graphs, and ONNX Runtime for all else; a call that needs gradients or task
                prompts is then made in torch.
            options: fields of `EngineOptions`: heads, tasks, device, precision, threads.
        Raises:
            CheckpointError: `base` or `prompts` has nothing usable.
            ModelMismatchError: an adapter belongs to another base.
            UsageError: engine, device or precision is unknown or not installed, or a key of a dict
                is not the rate index of its adapter.
        Examples:
            >>> codec = Codec.load()
            >>> [rate.index for rate in codec.rates]
            [0, 1, 2, 3, 4, 5, 6, 7]
            >>> Codec.load(prompts=[]).rates[0].index
            4
        """
        codec = cls(load_engine(base, engine, **options))
        if engine is None and codec.engine.name != "torch":
            codec._source = base, options
        codec.install(prompts, find_prompts(prompts, base=base))
        return codec

    def install(self, prompts: PromptsSource | None, folders: Sequence[Path]) -> None:
        """Install the adapters in `folders`, found for `prompts`; see `add_prompts`."""
        super().install(prompts, folders)
        with self._adding:
            self._installed.append(list(folders))
            self._in_torch = None

    def _encode(
        self, source: Any, settings: EncodeSettings, *, progress: Progress | None
    ) -> tuple[bytes, Candidate, int, bool, dict[str, float]]:
        if self._source is not None and (settings.effort or settings.task is not None):
            return self._torch()._encode(source, settings, progress=progress)
        return super()._encode(source, settings, progress=progress)

    def _torch(self) -> Codec:
        """The same base and adapters in torch, loaded at its first use."""
        assert self._source is not None
        base, options = self._source
        with self._adding:
            if self._in_torch is None:
                check_torch("an effort above 0, or a task,")
                other = Codec(load_engine(base, "torch", **options))
                for folders in self._installed:
                    other.install(None, folders)
                self._in_torch = other
            return self._in_torch


def load_engine(
    base: str | Path | None, engine: EngineName | None, **options: Unpack[EngineOptions]
) -> Engine:
    """Load the networks of a base; arguments and errors as `Codec.load`."""
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


def _reason_for_torch(base: str | Path | None, options: EngineOptions) -> str | None:
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


__all__ = ["Codec"]
