"""Commands `info` and `rates`, without torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument

from promptcodec.bitstream import MAX_PIXELS, Header, describe, parse, parse_header
from promptcodec.bitstream.summary import as_text
from promptcodec.cli import console, options
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings
from promptcodec.errors import CheckpointError, StreamError
from promptcodec.io.checkpoints import (
    ADAPTER_CONFIG,
    BASE_CONFIG,
    PromptsSource,
    find_base,
    find_prompts,
    root_of,
)
from promptcodec.io.packs import StoredPack, find_packs, packs_beside_bundled

RESULTS = "results.json"


@spread_settings
def info(
    *,
    stream: Annotated[
        str, Argument(metavar="STREAM", help="Stream file; - is standard input.")
    ] = "-",
    codec_options: Annotated[CodecOptions, {"packs": options.PACKS}],
    max_pixels: options.MaxPixels = MAX_PIXELS,
    printer: Printer,
) -> None:
    """Check a stream and show what it holds, without decoding it."""
    data = console.read_input(stream, error=StreamError)
    header = parse_header(data, max_pixels=max_pixels)
    parse(data, max_pixels=max_pixels)  # also checks the data after the header
    facts = describe(header, file_bytes=len(data))
    text = as_text(facts)
    pack = _pack_of(header, codec_options.packs)
    facts["pack"] = None if pack is None else {"name": pack.name, "folder": str(pack.folder)}
    if pack is not None:
        text += f"\n{'pack:':<12}{pack.name}, {pack.folder}"
    printer.print_result("info", facts, text)


def _pack_of(header: Header, places: Sequence[str]) -> StoredPack | None:
    """The pack that has the adapters of a stream, among those named or beside the checkpoints."""
    packs = find_packs(places) if places else packs_beside_bundled()
    if not packs or not header.adapter_hashes:
        return None
    from promptcodec.coding.packs import pack_of

    return pack_of(header.adapter_hashes, packs)


@spread_settings
def rates(
    *,
    codec_options: Annotated[
        CodecOptions, {name: options.CODEC[name] for name in ("base", "prompts")}
    ],
    printer: Printer,
) -> None:
    """List the rates that are installed, with bpp and PSNR on record."""
    found = installed_rates(codec_options.base, codec_options.prompts or None)
    printer.print_result("rates", {"rates": [asdict(rate) for rate in found]}, render_rates(found))


@dataclass(frozen=True)
class InstalledRate:
    """One rate.

    Args:
        rate_index: position on the ladder.
        lmbda: rate-distortion weight.
        bpp: mean over the evaluated pictures; None without a record.
        psnr: mean over the evaluated pictures, dB; None without a record.
        pictures: name of the folder of evaluated pictures.
        folder: folder of the adapter; None is the base alone.
    """

    rate_index: int
    lmbda: float
    bpp: float | None
    psnr: float | None
    pictures: str | None
    folder: str | None


def installed_rates(base: str | Path | None, prompts: PromptsSource | None) -> list[InstalledRate]:
    """Rates of `Codec.load(base, prompts)`, lowest first.

    Raises:
        CheckpointError: a folder has no readable config.
    """
    root = root_of(base)
    folders = find_prompts(prompts, base=root)
    if not folders:
        place = find_base(root)
        own = place / RESULTS
        results = own if own.is_file() else place.parent / RESULTS
        return [_rate(_read(place / BASE_CONFIG), results, None)]
    found: dict[int, InstalledRate] = {}
    for folder in folders:
        rate = _rate(
            _read(folder / ADAPTER_CONFIG),
            folder.parent.parent / RESULTS,
            folder=str(folder),
        )
        found[rate.rate_index] = rate
    return [found[index] for index in sorted(found)]


def render_rates(rates: list[InstalledRate]) -> str:
    """Text table of installed rates."""
    lines = [f"{'rate':>4}  {'lambda':>7}  {'bpp':>6}  {'PSNR':>6}  on"]
    for rate in rates:
        bpp = "-" if rate.bpp is None else f"{rate.bpp:.3f}"
        psnr = "-" if rate.psnr is None else f"{rate.psnr:.2f}"
        place = rate.pictures or "-"
        lines.append(f"{rate.rate_index:>4}  {rate.lmbda:>7g}  {bpp:>6}  {psnr:>6}  {place}")
    return "\n".join(lines)


def _rate(config: dict, results: Path, folder: str | None) -> InstalledRate:
    try:
        index, lmbda = int(config["rate_index"]), float(config["lmbda"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder or 'the base'} has no rate: {error!r}") from None
    bpp = psnr = pictures = None
    if results.is_file():
        facts = _read(results)
        own = config.get("base_sha256")
        if own is None or facts.get("base_hash") == own:
            label = f"rate {index}"
            for point in facts.get("points", []):
                if point.get("label") == label:
                    bpp, psnr = point.get("bpp"), point.get("psnr")
                    pictures = facts.get("folder")
    return InstalledRate(index, lmbda, bpp, psnr, pictures, folder)


def _read(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object; get the file again")
    return values
