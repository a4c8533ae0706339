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

## Rate saved at equal PSNR
Against the ladder that it was trained from, by the bytes of streams without exact tiles; in
brackets 95 % intervals over pictures, from five pictures on. Held-out pictures are spread over the
folder and were never trained on.

{table}

Measured on {cpu}, commit {commit}.
"""


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
    lines = [
        f"| rate | {count} held-out pictures | bpp | PSNR (dB) | {others} photographs |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {own['rate_index']} | {_percent(own['percent'])} | {own['bpp']:.3f} | "
        f"{own['psnr']:.2f} | {_percent(other['percent'])} |"
        for own, other in zip(held_out, photographs, strict=True)
    ]
    return lines


def _percent(found: Mapping[str, float | None]) -> str:
    interval = "" if found["low"] is None else f" ({found['low']:+.1f} to {found['high']:+.1f})"
    return f"{found['value']:+.1f} %{interval}"
