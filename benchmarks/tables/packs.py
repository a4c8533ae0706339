"""Tables of docs/packs.md: what packs save, how they are chosen, how few pictures do."""

from collections.abc import Mapping
from typing import Any

from promptcodec.evaluation.codecs.registry import TITLES

Report = Mapping[str, Any]


def saved(report: Report) -> str:
    """Rate saved by each pack at each rate, on its kind of pictures and on photographs."""
    peers = list(report["packs"][0]["against"])
    titles = " | ".join(f"against {TITLES[name]}" for name in peers)
    lines = [
        f"| pack | rate | bpp | PSNR (dB) | against the ladder | on photographs | {titles} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |" + " ---: |" * len(peers),
    ]
    for pack in report["packs"]:
        photographs = {row["rate_index"]: row["percent"] for row in pack["photographs"]}
        for row in pack["held_out"]:
            rate = row["rate_index"]
            others = " | ".join(_percent(pack["against"][name][str(rate)]) for name in peers)
            lines.append(
                f"| {pack['name']} | {rate} | {row['bpp']:.3f} | {row['psnr']:.2f} "
                f"| {_percent(row['percent'])} | {_percent(photographs.get(rate))} | {others} |"
            )
    lines.append("")
    for pack in report["packs"]:
        exact = ", ".join(f"{name.upper()} {bpp:.2f}" for name, bpp in pack["lossless_bpp"].items())
        lines.append(
            f"- {pack['name']}: {pack['held_out'][0]['pictures']} held-out pictures, trained on "
            f"{pack['trained_on']} in {pack['minutes']:.0f} minutes, {pack['bytes'] / 1e6:.1f} MB; "
            f"lossless, bpp: {exact}."
        )
    return "\n".join([*lines, "", _source(report)])


def chosen(report: Report) -> str:
    """Right choices, cost and time of `auto` and `best`."""
    found = report["summary"]
    lines = ["| | right | cost by the ladder's, mean | most |", "| --- | ---: | ---: | ---: |"]
    for way, own in found["cost_by_plain"].items():
        lines.append(
            f"| {way} | {found['right'][way]} of {found['pictures']} "
            f"| {100 * own['mean']:+.1f} % | {100 * own['most']:+.2f} % |"
        )
    time = found["time_by_plain"]
    lines += [
        "",
        f"`auto` takes {time['median']:.2f} times the processor time of the ladder alone (median; "
        f"at most {time['most']:.2f}), among {len(report['packs'])} packs, engine "
        f"{report['engine']}.",
    ]
    return "\n".join([*lines, "", _source(report)])


def few(report: Report) -> str:
    """Rate saved by the number of pictures of the training."""
    rates = report["rates"]
    lines = [
        "| pictures | " + " | ".join(f"rate {rate}" for rate in rates) + " | mean |",
        "| ---: |" + " ---: |" * (len(rates) + 1),
    ]
    for row in report["rows"]:
        values = [saving["percent"] for saving in row["held_out"]]
        mean = sum(value["value"] for value in values) / len(values)
        cells = " | ".join(map(_percent, values))
        lines.append(f"| {row['pictures']} | {cells} | {mean:+.1f} % |")
    held = report["rows"][0]["held_out"][0]["pictures"]
    lines += [
        "",
        f"Pack {report['pack']}, {report['minutes']:g} minutes each, {held} held-out pictures of "
        "other sources.",
    ]
    return "\n".join([*lines, "", _source(report)])


def _percent(found: Mapping[str, float | None] | None) -> str:
    if found is None:
        return "n/a"
    interval = "" if found["low"] is None else f" ({found['low']:+.1f} to {found['high']:+.1f})"
    return f"{found['value']:+.1f} %{interval}"


def _source(report: Report) -> str:
    facts = report["provenance"]
    return (
        f"{facts['machine']['cpu']}, one thread; base {report['base_sha256'][:16]}; commit "
        f"{facts['commit']}; `{facts['command']}`."
    )
