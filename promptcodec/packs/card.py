"""The card of a pack: what it is, how it is used, what it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptcodec.io.atomic import write_atomically

TEXT = """\
# {name}

{description}A domain pack for promptcodec: adapters of some rates of its ladder, trained on
{pictures} pictures of one kind in {minutes:.0f} minutes, for the base {base}.

```
promptcodec encode picture.png --pack ./{name}
promptcodec encode pictures --recursive -o streams --pack auto --packs ./{name}
promptcodec decode picture.pc --packs ./{name}
```

## Rate saved at equal {quality}
Against the ladder that it was trained from, by the bytes of streams without exact tiles; in
brackets 95 % intervals over pictures, from five pictures on. Held-out pictures are spread over the
folder and were never trained on.

{table}

Measured on {cpu}, commit {commit}.
"""


QUALITIES = {"psnr": "PSNR", "ms-ssim": "MS-SSIM"}


def write_card(path: Path, results: Mapping[str, Any], *, base: str) -> None:
    """Write README.md.

    Args:
        path: its path.
        results: content of its pack.json.
        base: hash of the base, hexadecimal.
    """
    facts, description = results["provenance"], results["description"]
    text = TEXT.format(
        name=results["name"],
        description=f"{description}.\n\n" if description else "",
        pictures=results["pictures"],
        minutes=results["minutes"],
        quality=QUALITIES[results["metric"]],
        base=base[:16],
        table="\n".join(table(results["held_out"], results["photographs"])),
        cpu=facts["machine"]["cpu"],
        commit=facts["commit"] or "unknown",
    )
    write_atomically(path, text.encode(), force=True)


def table(
    held_out: Sequence[Mapping[str, Any]], photographs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Lines of Markdown: a row for each rate, as dicts of `Saving`."""
    count, others = held_out[0]["pictures"], photographs[0]["pictures"]
    columns = [f"{count} held-out pictures", "bpp", "PSNR (dB)", f"{others} photographs"]
    by_similarity = held_out[0]["ms_ssim"] is not None
    if by_similarity:
        columns[2:3] = ["MS-SSIM", "PSNR (dB)", "at equal PSNR"]
    lines = [f"| rate | {' | '.join(columns)} |", "| ---: |" + " ---: |" * len(columns)]
    for own, other in zip(held_out, photographs, strict=True):
        cells = [_percent(own["percent"]), f"{own['bpp']:.3f}", f"{own['psnr']:.2f}"]
        if by_similarity:
            cells.insert(2, f"{own['ms_ssim']:.4f}")
            cells.append(_percent(own["at_equal_psnr"]))
        lines.append(
            f"| {own['rate_index']} | {' | '.join(cells)} | {_percent(other['percent'])} |"
        )
    return lines


def _percent(found: Mapping[str, float | None]) -> str:
    interval = "" if found["low"] is None else f" ({found['low']:+.1f} to {found['high']:+.1f})"
    return f"{found['value']:+.1f} %{interval}"
