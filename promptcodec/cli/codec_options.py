"""A codec as a command's options ask for it; torch is imported when it is called."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from promptcodec.api import Codec


@dataclass(frozen=True)
class Setup:
    """Which codec, and how it computes.

    Args:
        base: as `Codec.load` takes it.
        prompts: likewise; empty is None.
        device: "cpu", "cuda", ...
        threads: that torch may use; None leaves it to torch.
        precision: of the transforms.
        tasks: task prompts, as `Codec.load` takes them.
    """

    base: str | None = None
    prompts: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    tasks: str | None = None

    def load(self) -> "Codec":
        """Load it; errors as `Codec.load`."""
        return load_codec(
            self.base,
            list(self.prompts),
            device=self.device,
            threads=self.threads,
            precision=self.precision,
            tasks=self.tasks,
        )


def load_codec(
    base: str | None,
    prompts: list[str] | None,
    *,
    heads: str | None = None,
    tasks: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> "Codec":
    """Load a codec; arguments as `Codec.load`, and the threads that torch may use."""
    from promptcodec.api import Codec

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return Codec.load(
        base, prompts or None, heads=heads, tasks=tasks, device=device, precision=precision
    )
