"""Which codec a command works with; torch is imported when it is loaded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from promptcodec.api import Codec


@dataclass(frozen=True)
class CodecOptions:
    """Arguments of `Codec.load`; picklable, so that every process can load its own.

    Args:
        base: folder of a checkpoint, or a Hub id; None is the bundled one.
        prompts: adapters, folders of adapters or Hub ids; empty is the bundled ladder.
        device: "cpu", "cuda", ...
        threads: CPU threads; None leaves them as they are.
        precision: number format of the transforms.
        heads: a head or a folder of heads; None is the bundled ones.
        tasks: task prompts or a folder of them; None is the bundled ones.
    """

    base: str | None = None
    prompts: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    heads: str | None = None
    tasks: str | None = None

    def load(self) -> "Codec":
        """Load it; errors as `Codec.load`."""
        from promptcodec.api import Codec

        return Codec.load(
            self.base,
            list(self.prompts) or None,
            heads=self.heads,
            tasks=self.tasks,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )
