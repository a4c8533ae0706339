"""Tables of docs/training.md: shapes and recipes of a base, what a step and a picture cost."""

from pathlib import Path
from typing import Any

import yaml

TRIED = Path(__file__).parents[1] / "base" / "tried.yaml"  # what each variant was, in words


def search(report: dict[str, Any]) -> str:
    """Short trainings of equal processor time, the longest first, the best of each first."""
    words = yaml.safe_load(TRIED.read_text("utf-8"))
    lines = [
        "| minutes | variant | loss | at a quarter | half | three quarters | learning rate "
        "| g_a, g_s (kMAC/px) | parameters (M) | Gpx seen | what |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in sorted(report["rows"], key=lambda row: (-row["minutes"], row["loss"])):
        curve = {point["share"]: point for point in row["curve"]}
        losses = " | ".join(
            f"{curve[share]['loss']:.3f}" if share in curve else "-" for share in (0.25, 0.5, 0.75)
        )
        cost = row["kmac_per_pixel"]
        lines.append(
            f"| {row['minutes']:g} | {row['variant']} | {row['loss']:.4f} | {losses} "
            f"| {row['learning_rate']:g}{'' if row['bracketed'] else ' (one tried)'} "
            f"| {cost['g_a']:.1f}, {cost['g_s']:.1f} | {row['parameters'] / 1e6:.1f} "
            f"| {curve[1.0]['gigapixels']:.2f} | {words.get(row['variant'], '-')} |"
        )
    cpus = " and ".join(sorted({row["machine"]["cpu"] for row in report["rows"]}))
    commits = ", ".join(sorted({commit for row in report["rows"] for commit in row["commits"]}))
    lines += [
        "",
        f"Loss: bpp + lambda * 255^2 * mse of rate 4 on {report['pictures']} held-out pictures; "
        f"{cpus}, one thread; runs of commits {commits}; table of "
        f"{_source(report['provenance'])}.",
    ]
    return "\n".join(lines)


def throughput(report: dict[str, Any]) -> str:
    """Speed of a step, where its time goes, memory."""
    kinds: list[str] = []
    for row in report["rows"].values():
        kinds += [kind for kind in row["profile"] if kind not in kinds]
    lines = [
        "| recipe | batch, crop | Mpx/s | s a step | optimiser | memory (MB) | "
        + " | ".join(kinds)
        + " |",
        "| --- | --- |" + " ---: |" * (4 + len(kinds)),
    ]
    for name, row in report["rows"].items():
        seconds = row["seconds_a_step"]["median"]
        shares = " | ".join(f"{100 * row['profile'].get(kind, 0.0):.0f} %" for kind in kinds)
        lines.append(
            f"| {name} | {row['batch']}, {row['crop']} | {row['megapixels_per_second']:.3f} "
            f"| {seconds:.2f} | {100 * row['optimizer_seconds'] / seconds:.0f} % "
            f"| {row['resident_megabytes']:.0f} | {shares} |"
        )
    machine = report["provenance"]["machine"]
    lines += [
        "",
        f"Processor time, one thread, in turn; shares of a profiled step by kind of operation; "
        f"before: commit {report['before']}; {machine['cpu']}; {_source(report['provenance'])}.",
    ]
    return "\n".join(lines)


def cost(report: dict[str, Any]) -> str:
    """Arithmetic, parameters and times of a base beside another."""
    lines = [
        "| base | encoding (kMAC/px) | decoding | g_a | g_s | parameters (M) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, base in report["bases"].items():
        parts = {part["name"]: part["kmac_per_pixel"] for part in base["parts"]}
        figures = " | ".join(f"{parts[p]:.1f}" for p in ("encoding", "decoding", "g_a", "g_s"))
        lines.append(f"| {name} | {figures} | {base['parameters'] / 1e6:.2f} |")
    first, second = report["bases"]
    lines += ["", f"| {first} over {second} | encode | decode |", "| --- | ---: | ---: |"]
    for precision, found in report["times"].items():
        ways = " | ".join(
            f"{found['ratio'][way]['median']:.2f} ({found['ratio'][way]['low']:.2f} to "
            f"{found['ratio'][way]['high']:.2f})"
            for way in ("encode", "decode")
        )
        lines.append(f"| {precision} | {ways} |")
    width, height = report["size"]
    lines += [
        "",
        f"Whole calls on a picture of {width}x{height}, one thread, in turn; medians and "
        f"quartiles; {report['machine']['cpu']}; {_source(report)}.",
    ]
    return "\n".join(lines)


def curve(report: dict[str, Any]) -> str:
    """Rate at equal PSNR by global gains."""
    lines = [
        "| base | rate at equal PSNR | loss | bpp | PSNR (dB) | Gpx seen | hours |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["bases"]:
        point, run = row["points"]["0"], row["run"]
        pixels = run["steps"] * run["recipe"]["batch"] * run["recipe"]["data"]["crop"] ** 2
        lines.append(
            f"| {row['name']} | {row['rate_at_equal_psnr']:+.1f} % | {point['loss']:.4f} "
            f"| {point['bpp_estimate']:.4f} | {point['psnr']:.3f} | {pixels / 1e9:.2f} "
            f"| {run['hours']:.2f} |"
        )
    lines += [
        "",
        f"Against the first; {report['pictures']} held-out pictures; ideal code lengths; "
        f"{_source(report['provenance'])}.",
    ]
    return "\n".join(lines)


def growth(report: dict[str, Any]) -> str:
    """Branches from one state of a run: loss after equal numbers of pictures."""
    branches = report["branches"]
    steps = sorted({point["steps"] for each in branches for point in each["points"]})
    shown = [step for step in steps if sum(_has(each, step) for each in branches) > 1]
    shown += [step for step in steps if step not in shown and step == steps[-1]]
    lines = [
        "| branch | blocks of g_a; g_s | g_a, g_s (kMAC/px) | parameters (M) | "
        + " | ".join(f"{step} steps" for step in shown)
        + " |",
        "| --- | --- | ---: | ---: |" + " ---: |" * len(shown),
    ]
    for each in branches:
        shape, cost = each["shape"], each["kmac_per_pixel"]
        sides = "; ".join(
            ", ".join(
                f"{width} {blocks}".strip()
                for width, blocks in zip(
                    shape[f"{side}_channels"], shape[f"{side}_blocks"], strict=True
                )
            )
            for side in ("encoder", "decoder")
        )
        losses = {point["steps"]: f"{point['loss']:.4f}" for point in each["points"]}
        lines.append(
            f"| {each['name']} | {sides} | {cost['g_a']:.1f}, {cost['g_s']:.1f} "
            f"| {each['parameters'] / 1e6:.1f} | "
            + " | ".join(losses.get(step, "-") for step in shown)
            + " |"
        )
    lines += ["", f"Held-out loss; {_source(report['provenance'])}."]
    return "\n".join(lines)


def shards(report: dict[str, Any]) -> str:
    """Memory of training on tar shards, a kill and a resume, and what reading costs."""
    lines = [
        "| crops | decoded (MB) | peak memory of training (MB) | of reading all of them (MB) |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for each in report["sets"]:
        lines.append(
            f"| {each['crops']:,} | {each['decoded_megabytes']:,.0f} "
            f"| {each['training']['peak_megabytes']:,.0f} "
            f"| {each['reading']['peak_megabytes']:,.0f} |"
        )
    recipe, killed = report["recipe"], report["killed"]
    ends = "the same weights, bit for bit" if killed["equal"] else "OTHER WEIGHTS"
    small, large = report["sets"][0]["crops"], report["sets"][-1]["crops"]
    costs = ", ".join(
        f"{row['milliseconds_a_crop']:.1f} ms at {row['crops_per_picture']}"
        for row in report["crops_per_picture"]
    )
    lines += [
        "",
        f"Peak memory with {large:,} crops over that with {small:,}: "
        f"{report['ratio']['training']:.3f}, {report['ratio']['reading']:.3f}. A run on "
        f"{large:,} crops, killed (SIGKILL) and resumed from step {killed['step']} of "
        f"{recipe['steps']}, ended with {ends}. Reading costs, a crop, by `crops_per_picture`: "
        f"{costs}.",
        "",
        f"JPEG crops of {report['edge']} px; batches of {recipe['batch']}, a window of "
        f"{recipe['data']['shuffle_buffer']} pictures, one thread and one that decodes; VmHWM of a "
        f"process; {report['provenance']['machine']['cpu']}; {_source(report['provenance'])}.",
    ]
    return "\n".join(lines)


def _has(branch: dict[str, Any], steps: int) -> bool:
    return any(point["steps"] == steps for point in branch["points"])


def run(report: dict[str, Any]) -> str:
    """Held-out loss of a run by pictures seen, and its forecast."""
    lines = [
        "| gigapixels | steps | loss | bpp | PSNR (dB) |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    shown, points = 0.0, report["points"]
    for point in points:
        if point["gigapixels"] >= 2.0 * shown or point is points[-1]:
            shown = point["gigapixels"]
            lines.append(
                f"| {shown:.2f} | {point['step']} | {point['loss']:.4f} "
                f"| {point['bpp_estimate']:.4f} | {point['psnr']:.3f} |"
            )
    fits = report["forecast"] or {}
    if fits:
        law = fits["all"]
        found = "; ".join(
            f"at {goal} gigapixels {law['at'][goal]:.3f} "
            f"({min(fit['at'][goal] for fit in fits.values()):.3f} to "
            f"{max(fit['at'][goal] for fit in fits.values()):.3f} by parts of the points)"
            for goal in law["at"]
        )
        lines += [
            "",
            f"Forecast before the decay, loss = {law['floor']:.3f} + {law['scale']:.3f} * "
            f"gigapixels^-{law['power']:.2f}: {found}.",
        ]
    pictures = report["recipe"]["data"]["validation_pictures"]
    origin = report["provenance"]
    lines += [
        "",
        f"Averaged weights on {pictures} held-out pictures; {origin['machine']['cpu']}; "
        f"{_source(origin)}.",
    ]
    return "\n".join(lines)


def _source(facts: dict[str, Any]) -> str:
    return f"commit {facts['commit']}, `{facts['command']}`"
