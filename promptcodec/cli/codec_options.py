"""Options of the codec of a command; its engine is imported when the codec is loaded."""

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from promptcodec.coding.settings import EncodeSettings
from promptcodec.errors import UsageError
from promptcodec.io.packs import find_packs

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
        packs: packs, folders of packs or Hub ids; empty is those beside the checkpoints.
    """

    base: str | None = None
    prompts: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None
    precision: PrecisionName = "float32"
    heads: str | None = None
    tasks: str | None = None
    engine: EngineName | None = None
    packs: tuple[str, ...] = ()

    def load(self) -> "Codec":
        """Load the codec; errors as `Codec.load`."""
        from promptcodec.api import Codec

        values: dict[str, Any] = asdict(self)
        for name in ("prompts", "packs"):
            values[name] = values[name] or None
        return Codec.load(values.pop("base"), values.pop("prompts"), **values)

    def with_pack_of(self, settings: EncodeSettings) -> tuple["CodecOptions", EncodeSettings]:
        """Options and settings in which a pack that is given as a folder or Hub id has its name.

        Args:
            settings: settings whose pack is a name, or a place, which has a slash.
        Raises:
            CheckpointError: there is no pack.
            UsageError: there are several.
        """
        place = settings.pack
        if place is None or not set(place) & {"/", os.sep}:
            return self, settings
        found = find_packs(place)
        if len(found) > 1:
            names = ", ".join(pack.name for pack in found)
            raise UsageError(
                f"--pack {place} holds {len(found)} packs, {names}: give it by --packs, and the "
                "name of one by --pack"
            )
        packs = dict.fromkeys((*self.packs, place))
        return replace(self, packs=tuple(packs)), replace(settings, pack=found[0].name)
