"""The command that makes a domain pack."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from promptcodec.cli import options
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings
from promptcodec.errors import UsageError


@spread_settings
def adapt(
    *,
    pictures: Annotated[
        Path, Argument(metavar="DIR", help="Folder of pictures of one kind; 30 are useful.")
    ],
    name: Annotated[str, Option(help="Name of the pack, screens for instance.")],
    rates: Annotated[
        str, Option(help="Rates of the pack: all of the ladder, or numbers such as 2,4.")
    ] = "all",
    minutes: Annotated[
        float | None,
        Option(min=0.1, help="End in this time, figures included.", show_default="by steps"),
    ] = None,
    description: Annotated[
        str | None, Option(help="Kind of pictures in a few words, for the card and `packs`.")
    ] = None,
    metric: Annotated[
        str | None,
        Option(help="Quality to train for, psnr or ms-ssim.", show_default="that of the recipe"),
    ] = None,
    out: Annotated[
        Path | None, Option(help="Folder of the pack.", show_default="packs/NAME")
    ] = None,
    recipe: Annotated[
        Path | None, Option(help="YAML file of steps and optimiser of each rate.")
    ] = None,
    base: options.Base = None,
    prompts: Annotated[
        str | None,
        Option(help="Ladder to start from.", show_default="that in the folder of the base"),
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Continue a run that was stopped.")] = False,
    device: Annotated[
        str | None, Option(help="cpu or cuda; default: the GPU where there is one.")
    ] = None,
    printer: Printer,
) -> None:
    """Adapt the ladder to your own kind of pictures: a domain pack.

    Every tenth picture is held out, at most 24. At the end a table has the rate that the pack saves
    on those at equal quality, and what it costs on photographs.
    """
    from promptcodec.packs.adapt import adapt as make
    from promptcodec.packs.card import table
    from promptcodec.training.config import read_recipe
    from promptcodec.training.rate_adapter import RateAdapterConfig

    pack = make(
        pictures,
        name=name,
        out=out or Path("packs") / name,
        work=Path("runs") / f"adapt-{name}",
        base=base,
        prompts=prompts,
        rates=_indexes(rates),
        minutes=minutes,
        description=description,
        metric=_metric(metric),
        recipe=None if recipe is None else read_recipe(recipe, RateAdapterConfig),
        resume=resume,
        device=device,
    )
    held_out, photographs = (
        [asdict(s) for s in part] for part in (pack.held_out, pack.photographs)
    )
    lines = [*table(held_out, photographs), f"pack: {pack.folder}"]
    facts = {"output": str(pack.folder), "held_out": held_out, "photographs": photographs}
    printer.print_result("adapt", facts, "\n".join(lines))


def _metric(text: str | None) -> Any:
    if text not in (None, "psnr", "ms-ssim"):
        raise UsageError(f"--metric is {text!r}; need psnr or ms-ssim")
    return text


def _indexes(text: str) -> list[int] | None:
    """Rate indexes; None for all."""
    if text.strip() == "all":
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"--rates is {text!r}; need all, or whole numbers such as 2,4") from None
