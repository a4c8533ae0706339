"""Options of the codec of a command; its engine is imported when the codec is loaded."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from promptcodec.api import Codec

EngineName = Literal["onnx", "openvino", "torch"]
PrecisionName = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class CodecOptions:
    """Arguments of `Codec.load`; picklable, for codecs in several processes.

    Args:
        base: folder of a checkpoint, or a Hub id; None is the bundled one.
        prompts: adapters, folders of adapters or Hub ids; empty is the bundled ladder.
        device: "cpu", "cuda", ...
        threads: number of CPU threads; None is the default of the engine.
        precision: number format of the transforms.
        heads: a head or a folder of heads; None is the bundled ones.
        tasks: task prompts or a folder of them; None is the bundled ones.
        engine: name of the engine; None is chosen as `Codec.load` does.
    """

    base: str | None = None
    prompts: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None
    precision: PrecisionName = "float32"
    heads: str | None = None
    tasks: str | None = None
    engine: EngineName | None = None

    def load(self) -> "Codec":
        """Load the codec; errors as `Codec.load`."""
        from promptcodec.api import Codec

        values: dict[str, Any] = asdict(self)
        return Codec.load(values.pop("base"), values.pop("prompts") or None, **values)
