"""Command `packs`, without torch."""

from dataclasses import asdict, dataclass
from typing import Annotated

from promptcodec.cli import options
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings
from promptcodec.coding.adapter_file import read_adapter_config
from promptcodec.errors import CheckpointError
from promptcodec.io.packs import PACK_FACTS, StoredPack, find_packs, packs_beside_bundled


@spread_settings
def packs(
    *,
    codec_options: Annotated[CodecOptions, {"packs": options.PACKS}],
    printer: Printer,
) -> None:
    """List the packs that --pack takes by name: rates, what for, and where they lie.

    The figures are the rate saved at equal quality, on held-out pictures and on photographs.
    """
    places = codec_options.packs
    found = [listed(pack) for pack in (find_packs(places) if places else packs_beside_bundled())]
    printer.print_result("packs", {"packs": [asdict(pack) for pack in found]}, _text(found))


@dataclass(frozen=True)
class ListedPack:
    """A pack and what is on record of it.

    Args:
        name: name of the pack.
        rates: rate indexes of its adapters.
        metric: quality that it is trained for and that is equal in the figures, psnr or ms-ssim.
        description: kind of pictures; None without a record.
        held_out: rate saved on held-out pictures, per cent, mean over rates; None without a record.
        photographs: the same on photographs.
        base: hash of its base, hexadecimal.
        folder: folder of the pack.
    """

    name: str
    rates: tuple[int, ...]
    metric: str
    description: str | None
    held_out: float | None
    photographs: float | None
    base: str
    folder: str


def listed(pack: StoredPack) -> ListedPack:
    """A pack with its facts.

    Raises:
        CheckpointError: its `pack.json` or the config of an adapter cannot be read.
    """
    configs = [read_adapter_config(folder) for folder in pack.adapters]
    facts = pack.facts()
    try:
        saved = {
            part: [float(row["percent"]["value"]) for row in facts.get(part, ())]
            for part in ("held_out", "photographs")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{pack.folder / PACK_FACTS} has no figures: {error!r}") from None
    means = {part: sum(values) / len(values) if values else None for part, values in saved.items()}
    return ListedPack(
        pack.name,
        tuple(sorted(config.rate_index for config in configs)),
        "psnr" if configs[0].metric == "mse" else configs[0].metric,
        facts.get("description"),
        base=configs[0].base_sha256,
        folder=str(pack.folder),
        **means,
    )


def _text(found: list[ListedPack]) -> str:
    if not found:
        return "no packs: name their folder by --packs, or train one by `promptcodec adapt`"
    rows = [("pack", "rates", "metric", "held out", "photographs", "for", "folder")]
    for pack in found:
        rates = ", ".join(map(str, pack.rates))
        saved = (_percent(pack.held_out), _percent(pack.photographs))
        rows.append((pack.name, rates, pack.metric, *saved, pack.description or "-", pack.folder))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"
