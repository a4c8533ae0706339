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
        base: folder of a base or a codec, or a Hub id; None is the bundled one.
        prompts: adapters, folders of adapters or Hub ids; empty is the ladder in the folder of the
            base.
        device: "cpu", "cuda", ...
        threads: number of CPU threads; None is the default of the engine.
        precision: number format of the transforms.
        heads: a head, a folder of heads or a Hub id; None is those in the folder of the base.
        tasks: task prompts, a folder of them or a Hub id; None is those in the folder of the base.
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
