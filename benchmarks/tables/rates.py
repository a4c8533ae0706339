"""Tables of docs/rates.md and of effort, and the line of half an hour in README.md."""

from typing import Any

Report = dict[str, Any]


def rates(report: Report) -> str:
    """The ladder: its points and those between, targets, and what it costs."""
    curve, storage, speed = (report[part]["result"] for part in ("curve", "storage", "speed"))
    lines = ["| rate | bpp | PSNR (dB) |", "| ---: | ---: | ---: |"]
    lines += [
        f"| {point['rate_index']:g} | {point['bpp']:.4f} | {point['psnr']:.2f} |"
        for point in curve["points"]
        if point["trained"]
    ]
    between = len(curve["points"]) - sum(point["trained"] for point in curve["points"])
    rises = "rise" if curve["all_monotone"] else "do not rise everywhere"
    lines += ["", f"With {between} more positions between them, bpp and PSNR {rises}.", ""]
    lines += [
        "| target | pictures | met | nearest | out of range | miss | passes of g_a, mean | most |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *map(_target, report["targets"]["result"]),
        "",
        '"Met": within 1 % of the size (from below if strict) or 0.05 dB; "nearest": a byte or a '
        "step of the gain is more than that.",
    ]
    swap = report["swap"]["result"]
    lines += [
        "",
        f"- Largest adapter: {max(storage['adapter_parameters']):,} parameters, "
        f"{storage['largest_share_percent']:.2f} % of the base; "
        f"{max(storage['adapter_bytes']) / 1000:.0f} kB.",
        f"- Base and all adapters: {storage['all_over_base']:.2f} times the base, "
        f"{storage['saved_percent']:.0f} % less than a model for each rate.",
        f"- Swap: {speed['swap_ms']:.3f} ms; loading an adapter: {speed['load_ms']:.1f} ms.",
        f"- An adapter adds {speed['overhead_percent']['encode']:+.1f} % to encoding and "
        f"{speed['overhead_percent']['decode']:+.1f} % to decoding.",
        f"- {swap['threads']} threads decoded {swap['decoded']:,} streams during {swap['swaps']:,} "
        f"swaps; {swap['wrong']} came out wrong.",
        "",
        source(report["curve"]["provenance"], base=report["identity"]["base_sha256"]),
    ]
    return "\n".join(lines)


def _target(row: Report) -> str:
    words = [f"{key} {value:g}" for key, value in row["target"].items() if key != "strict"]
    words += ["strict"] if row["target"].get("strict") else []
    unit = row["unit"]
    coded = row["mean_passes"] is not None
    miss = f"{row['lowest_miss']:+.3f} to {row['highest_miss']:+.3f} {unit}" if coded else "n/a"
    passes = f"{row['mean_passes']:.1f} | {row['most_passes']}" if coded else "n/a | n/a"
    pictures = "whole" if row["side"] is None else f"{row['side']}x{row['side']} px"
    return (
        f"| {', '.join(words)} | {pictures} | {row['met']} | {row['nearest']} "
        f"| {len(row['unreachable'])} | {miss} | {passes} |"
    )


def methods(report: Report) -> str:
    """Ways to adapt the base, against the whole base tuned to each rate."""
    facts = {row["method"]["name"]: row for row in report["methods"]}
    compared = {row["method"]: row for row in report["comparisons"]}
    noise, best = report["noise_percent"], report["ceiling"]
    most = max(noise.values(), default=0.0)
    indexes = list(compared[best]["at_equal_psnr"])
    heads = [f"rate {rate}" for rate in indexes]
    lines = [
        f"| bytes at the PSNR of `{best}` | trained parameters | steps a rate "
        f"| {' | '.join(heads)} |",
        "| --- | ---: | ---: |" + " ---: |" * len(heads),
    ]
    for name, row in compared.items():
        cells = ["reference"] * len(indexes)
        if name != best:
            cells = [
                _percent(row["at_equal_psnr"][rate], noise=noise.get(rate, most))
                for rate in indexes
            ]
        lines.append(
            f"| {name} | {facts[name]['parameters']:,} | {facts[name]['steps']:,} "
            f"| {' | '.join(cells)} |"
        )
    lines += [
        "",
        f"| BD-rate against `{best}` | all | lowest quarter | second | third | highest |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in (name for name in compared if name != best):
        own = compared[name]["deltas"]
        values = [own["bd_rate"], *(part["bd_rate"] for part in own["segments"])]
        values += [None] * (5 - len(values))
        cells = [_percent(value, noise=most) for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    tuned = [name for name in compared if "chosen" in facts[name]]
    lines += ["", f"| optimiser, learning rate | {' | '.join(heads)} |"]
    lines.append("| --- |" + " ---: |" * len(heads))
    for name in tuned:
        chosen = facts[name]["chosen"]
        lines.append(f"| {name} | {' | '.join(chosen[rate] for rate in indexes)} |")
    found = ", ".join(f"{value:.2f} % at rate {rate}" for rate, value in noise.items())
    fell = ", ".join(
        f"{value:.2f} % at rate {rate}"
        for rate, value in facts[best]["last_fifth_percent"].items()
        if value is not None
    )
    lines += [
        "",
        "More is worse; in brackets 95 % intervals over pictures. "
        + (
            f"Seeds of `{best}` differ by up to {found}: smaller differences are marked "
            '"noise" (of a rate without seeds, and of BD-rates, by the largest of these). '
            if found
            else "One seed each. "
        )
        + f"The held-out loss of `{best}` fell after its last but one validation by {fell}. A "
        f"learning rate is chosen for each rate, by runs of {report['search_share']:g} of the "
        "steps, until a lower and a higher one are worse. n/a: beyond the measured gains or rates.",
        "",
        source(report["provenance"], base=report["base_sha256"]),
    ]
    return "\n".join(lines)


def effort(report: Report) -> str:
    """Levels of effort: rate at equal PSNR and seconds."""
    lines = [
        "| rate | effort | steps | rate at equal PSNR | worst picture | bpp | PSNR (dB) "
        "| encode (s) |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["levels"]:
        worst = row["worst_percent"]
        lines.append(
            f"| {row['rate_index']:g} | {row['effort']} | {row['steps']} "
            f"| {_percent(row['rate_change_percent'])} "
            f"| {'n/a' if worst is None else f'{worst:+.2f} %'} | {row['bpp']:.4f} "
            f"| {row['psnr']:.2f} | {row['encode_seconds']:.1f} |"
        )
    settings = report["identity"]["settings"]
    lines += [
        "",
        f"{len(report['pictures'])} pictures, means of their changes with 95 % intervals; "
        f"{settings['precision']}; load average before {report['load_average_before']:.1f}. "
        + source(report["provenance"], base=report["identity"]["base_sha256"]),
    ]
    return "\n".join(lines)


def half_hour(report: Report) -> str:
    """One line: what half an hour of training gives."""
    machine = report["training"]["machine"]
    above = report["above_jpeg"]
    return (
        f"From nothing: {report['minutes']:g} minutes of `train-base` on one thread of an "
        f"{machine['cpu']}, by the shipped recipe, give {report['psnr']:.2f} dB at "
        f"{report['bpp']:.3f} bpp on {report['pictures']} pictures of `{report['folder']}`, "
        + ("outside JPEG's rates" if above is None else f"{_signed(above)} dB against JPEG")
        + f" ({source(report['provenance'], base=report['base_sha256'])[:-1]})."
    )


def source(facts: Report, *, base: str) -> str:
    """Origin of figures from files."""
    machine = facts["machine"]
    return (
        f"From file bytes; {machine['cpu']}, {machine['threads']} thread; base "
        f"{base[:16]}; commit {facts['commit']}; {str(facts['date'])[:10]}; "
        f"`{facts['command']}`."
    )


def _percent(estimate: dict[str, float | None] | None, *, noise: float = 0.0) -> str:
    if estimate is None or estimate["value"] is None:
        return "n/a"
    small = 0.0 < abs(estimate["value"]) < noise
    return f"{estimate['value']:+.2f} %{_interval(estimate)}{', noise' if small else ''}"


def _signed(estimate: dict[str, float | None]) -> str:
    return f"{estimate['value']:+.2f}{_interval(estimate)}"


def _interval(estimate: dict[str, float | None]) -> str:
    if estimate["low"] is None:
        return ""
    return f" ({estimate['low']:+.2f} to {estimate['high']:+.2f})"
