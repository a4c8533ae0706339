"""Tables of the documentation: of errors, and of the result files of the benchmarks.

    python -m benchmarks.tables.fill            # brings docs/*.md up to date

A table stands between the two markers of its name, for instance <!-- context:begin --> and
<!-- context:end -->; its figures come from docs/results/NAME.json.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, read_result, write_json
from benchmarks.tables import analysis, packs, thousand, training
from benchmarks.tables.corpus import render as corpus
from benchmarks.tables.items import render as items
from benchmarks.tables.mutations import render as mutations
from benchmarks.tables.reliability import render as reliability
from benchmarks.tables.speed import render as speed
from promptcodec.evaluation.reports.markdown import update_markers
from promptcodec.evaluation.results import read_results

CHECKPOINT = ROOT / "checkpoints" / "small"


def context(report: dict[str, Any]) -> str:
    """Context models: rate, size, cost, seconds; then cache and serial scan."""
    lines = [
        f"| model | scale from | rate at equal PSNR | bpp | PSNR (dB) | parameters | kMAC/px | "
        f"context (ms) | encode (ms) | decode (ms) | against {report['anchor']} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    anchor = report["models"][report["anchor"]]["seconds"]["decode"]["median"]
    for name, model in report["models"].items():
        point = next(p for p in model["points"] if p["gain_steps"] == 0)
        cost, seconds = model["cost"]["entropy model"], model["seconds"]
        decode = seconds.get("decode", {}).get("median")
        lines.append(
            f"| {name} | {'z' if model['scale'] == 'hyperprior' else 'context'} "
            f"| {model['rate_change_percent']:+.2f} % "
            f"| {point['bpp_estimate']:.4f} | {point['psnr']:.2f} "
            f"| {cost['parameters']:,} | {cost['kmac_per_pixel']:.2f} "
            f"| {_ms(seconds['context']['median'])} | {_ms(seconds['encode']['median'])} "
            f"| {_ms(decode)} | {f'{decode / anchor:.2f}x' if decode else 'none'} |"
        )
    machine = report["provenance"]["machine"]
    steps = {model["steps"] for model in report["models"].values()}
    lines += [
        "",
        f"{report['pictures']} pictures; parameters and kMAC/px are those of the whole entropy "
        f"model; {' or '.join(f'{s:,}' for s in sorted(steps))} steps each; {machine['cpu']}, "
        f"{machine['threads']} thread, float32, 768x512; commit "
        f"{report['provenance']['commit']}; `{report['provenance']['command']}`.",
    ]
    for name, model in report["models"].items():
        if "cache" in model:
            lines += ["", *_passes(name, model["cache"], model["serial_scan"])]
    return "\n".join(lines)


def _passes(name: str, cache: dict[str, Any], serial: dict[str, Any]) -> list[str]:
    def row(what: str, size: str, result: dict[str, Any], slow: str, fast: str) -> str:
        macs, seconds = result["macs"], result["seconds"]
        return (
            f"| {what} | {size} | {macs[slow] / 1e6:,.0f} | {macs[fast] / 1e6:,.0f} "
            f"| {result['macs_ratio']:.1f} | {_ms(seconds[slow]['median'])} "
            f"| {_ms(seconds[fast]['median'])} | {result['seconds_ratio']['median']:.1f} |"
        )

    height, width = serial["latents"]
    steps = serial["steps"]
    return [
        f"| {name} | picture | MMAC without | MMAC with | ratio | ms without | ms with | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        row("cache of keys and values", "768x512", cache, "uncached", "cached"),
        row(
            f"{steps['grouped']} groups for {steps['serial']} serial steps",
            f"{16 * width}x{16 * height}",
            serial,
            "serial",
            "grouped",
        ),
    ]


def effort(report: dict[str, Any]) -> str:
    """Levels of effort: rate at equal PSNR and seconds."""
    lines = [
        "| effort | steps | rate at equal PSNR | worst picture | bpp | PSNR (dB) | encode (s) |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['effort']} | {row['steps']} | {row['rate_change_percent']:+.2f} % "
        f"| {row['worst_percent']:+.2f} % | {row['bpp']:.4f} | {row['psnr']:.2f} "
        f"| {row['encode_seconds']:.1f} |"
        for row in report["levels"]
    ]
    facts, settings = report["provenance"], report["settings"]
    lines += [
        "",
        f"{len(report['pictures'])} pictures, from file bytes; {facts['machine']['cpu']}, "
        f"{facts['machine']['threads']} thread, {settings['precision']}; base "
        f"{settings['base_sha256'][:16]}; commit {facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def rates(report: dict[str, Any]) -> str:
    """The ladder: its points and those between, against published curves, and what it costs."""
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
        "| BD-rate against | all | lowest quarter | second | third | highest |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, values in curve["bd_rate"].items():
        shown = ["n/a" if value is None else f"{value:+.1f} %" for value in values]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += ["", "| target | met | miss | passes of g_a, mean | most |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for row in report["targets"]["result"]:
        words = [f"{key} {value:g}" for key, value in row["target"].items() if key != "strict"]
        words += ["strict"] if row["target"].get("strict") else []
        count = row["met"] + len(row["unreachable"])
        miss = f"{row['lowest_miss']:+.3f} to {row['highest_miss']:+.3f} {row['unit']}"
        lines.append(
            f"| {', '.join(words)} | {row['met']} of {count} | {miss} | {row['mean_passes']:.1f} "
            f"| {row['most_passes']} |"
        )
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
        _source(report["curve"]["provenance"], base=report["identity"]["base_sha256"]),
    ]
    return "\n".join(lines)


def methods(report: dict[str, Any]) -> str:
    """Ways to adapt the base, against the whole base tuned to each rate."""
    lines = [
        "| method | trained parameters | steps a rate | optimiser | all | lowest quarter | second "
        "| third | highest |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(report["methods"], key=lambda row: row["bd_rate"][0]):
        shown = ["n/a" if value is None else f"{value:+.2f} %" for value in row["bd_rate"]]
        chosen = f"{row['optimizer']} {row['learning_rate']:g}" if "optimizer" in row else "recipe"
        lines.append(
            f"| {row['method']['name']} | {row['parameters']:,} | {row['steps']:,} | {chosen} "
            f"| {' | '.join(shown)} |"
        )
    rates = [point["rate_index"] for point in report["methods"][0]["points"]]
    names = [f"{row['method']['name']}" for row in report["methods"]]
    lines += ["", "bpp / PSNR (dB) of each:", ""]
    lines.append("| method | " + " | ".join(f"rate {rate}" for rate in rates) + " |")
    lines.append("| --- | " + " | ".join("---:" for _ in rates) + " |")
    for name, row in zip(names, report["methods"], strict=True):
        cells = [f"{p['bpp']:.4f} / {p['psnr']:.3f}" for p in row["points"]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ceiling = next(r for r in report["methods"] if r["method"]["name"] == report["ceiling"])
    fell = ", ".join(
        f"{value:.2f} % at rate {rate}" for rate, value in ceiling["last_fifth_percent"].items()
    )
    lines += [
        "",
        f"BD-rate against `{report['ceiling']}`, more is worse; its held-out loss fell in the last "
        f"fifth of its steps by {fell}.",
        "",
        _source(report["provenance"], base=report["base_sha256"]),
    ]
    return "\n".join(lines)


def segmentation(report: dict[str, Any]) -> str:
    """Mean IoU from latents and from decoded pixels, what each costs, and by class."""

    def shown(estimate: dict[str, float | None], *, sign: str = "") -> str:
        value, low, high = (100 * (estimate[key] or 0.0) for key in ("value", "low", "high"))
        return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"

    lines = [
        "| rate | bpp | mIoU from latents (%) | mIoU decoded first (%) | difference |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {point['rate_index']:g} | {point['bpp']:.3f} | {shown(point['miou']['latents'])} "
        f"| {shown(point['miou']['decoded'])} | {shown(point['miou']['difference'], sign='+')} |"
        for point in report["points"]
    ]
    lowest = report["points"][0]
    lines += [
        "",
        f"| IoU at rate {lowest['rate_index']:g} (%) | {' | '.join(report['labels'])} |",
        "| --- |" + " ---: |" * len(report["labels"]),
    ]
    for side, name in (("latents", "from latents"), ("decoded", "decoded first")):
        lines.append(
            f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in lowest['iou'][side])} |"
        )
    head, pixels, g_s = (report["costs"][name] for name in ("latents", "decoded", "g_s"))
    lines += [
        "",
        f"- From latents: {head['kmac_per_pixel']:.1f} kMAC/px, {head['parameters']:,} parameters.",
        f"- Decoded first: {g_s['kmac_per_pixel']:.1f} kMAC/px of g_s and "
        f"{pixels['kmac_per_pixel']:.1f} of the network, {pixels['parameters']:,} parameters.",
        "",
        f"{len(lowest['pictures'])} pictures of `{report['data']}`, split `{report['split']}`; "
        "intervals of 95 % over pictures, the difference over the same draws. "
        + _source(report["provenance"], base=report["base_sha256"]),
    ]
    return "\n".join(lines)


def z_tables(report: dict[str, Any]) -> str:
    """A rate's own tables of z: held-out bits by number of sets."""
    asked = [each["asked"] for each in report["rates"][0]["sets"]]
    cells = " | ".join(f"{n} {'set' if n == 1 else 'sets'}: z | all | kB" for n in asked)
    lines = [
        f"| rate | z of all bits | {cells} |",
        "| ---: | ---: |" + " ---: | ---: | ---: |" * len(asked),
    ]
    for row in report["rates"]:
        share = row["z_bits"] / (row["z_bits"] + row["y_bits"])
        lines.append(
            f"| {row['rate_index']} | {100 * share:.1f} % | "
            + " | ".join(
                f"{each['z_percent']:+.1f} % | {each['total_percent']:+.2f} % "
                f"| {each['stored_bytes'] / 1000:.1f}"
                for each in row["sets"]
            )
            + " |"
        )
    packs = " and ".join(f"`{pack}`" for pack in report["packs"])
    facts, machine = report["provenance"], report["provenance"]["machine"]
    lines += [
        "",
        f"Against the base's tables; fitted on {report['fitted_pictures']} pictures, measured on "
        f"{report['held_out_pictures']}, of {packs}; ideal "
        f"code lengths; {machine['cpu']}; base {report['base_sha256'][:16]}; commit "
        f"{facts['commit']}; `{facts['command']}`.",
    ]
    return "\n".join(lines)


def anchors(report: dict[str, Any]) -> str:
    """How far classic codecs, as run here, lie from their published points."""
    lines = [
        "| codec | options | median above, dB at equal bpp | most apart | BD-rate |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for case in report["cases"]:
        lines.append(
            f"| {case['anchor']} | {case['case']} | {case['median_db_above']:+.3f} "
            f"| {case['largest_db_apart']:.3f} | {case['bd_rate_percent']:+.2f} % |"
        )
    lines += ["", f"Commit {report['commit']}; `{report['command']}`."]
    return "\n".join(lines)


def graphics(report: dict[str, Any]) -> str:
    """Flat saturated colours and a logo at each rate."""
    lines = [
        "| rate | flat saturated colour, most levels off | logo: bpp | logo: PSNR (dB) |",
        "| ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['rate_index']:g} | {row['most_levels_off']:.0f} | {row['logo_bpp']:.3f} "
        f"| {row['logo_psnr']:.2f} |"
        for row in report["rates"]
    ]
    return "\n".join([*lines, "", _source(report["provenance"], base=report["base_sha256"])])


def exact_tiles(report: dict[str, Any]) -> str:
    """Costs with and without exact tiles, photographs, and tiles between exact ones."""
    lines = [
        "| pictures | rate | exact | mixed | bpp | never: bpp | PSNR (dB) | WebP: bpp "
        "| most by WebP | cost | never: cost | most by never | missed |",
        "| --- |" + " ---: |" * 12,
    ]
    for name in ("graphics", "mixed"):
        for row in report[name]:
            most = row["most_bytes_by_webp"]
            lines.append(
                f"| {row['pictures']} {name} | {row['rate_index']:g} | {row['wholly_exact']} "
                f"| {row['mixed']} | {row['bpp']:.3f} | {row['bpp_never']:.3f} "
                f"| {row['psnr_never']:.2f} | {row['bpp_webp']:.3f} "
                f"| {'' if most is None else f'{most:.3f}'} | {row['cost']:.3f} "
                f"| {row['cost_never']:.3f} | {row['most_cost_by_never']:.3f} "
                f"| {100 * row['most_missed']:.2f} % |"
            )
    lines += [
        "",
        '"Most by WebP": of pictures whose WebP is smaller than the stream without exact tiles.',
    ]
    if found := report["photographs"]:
        ratio, look = found["time_ratio"], 1000 * found["look_seconds"]
        lines.append(
            f"{found['same_bytes']} of {found['streams']} streams of {found['pictures']} "
            f"photographs are those of `never`, in {ratio:.3f} times its processor time; the look "
            f"takes {look:.1f} ms; missed: {100 * found['most_missed']:.2f} %."
        )
    if rows := report["seams"]:
        extra = [row["extra_percent"] for row in rows]
        loss = [row["loss_db"] for row in rows]
        lines.append(
            f"Tiles of photographs of {report['seam_tile']} px between four exact ones take "
            f"{sum(extra) / len(rows):+.2f} % bytes (at most {max(extra):+.2f}) and lose "
            f"{sum(loss) / len(rows):.3f} dB (at most {max(loss):.3f})."
        )
    return "\n".join([*lines, "", _source(report["provenance"], base=report["base_sha256"])])


def errors() -> str:
    """Every exit code: class, cause, remedy."""
    from promptcodec import errors as module
    from promptcodec.cli.exit_codes import OTHER_EXITS

    classes = [each for each in vars(module).values() if isinstance(each, type)]
    rows = [(0, "", "it worked", "")]
    for each in sorted(classes, key=lambda each: each.exit_code):
        cause = (each.__doc__ or "").splitlines()[0].rstrip(".")
        rows.append((each.exit_code, f"`{each.__name__}`", cause, each.remedy))
    rows += OTHER_EXITS
    lines = ["| code | Python | cause | remedy |", "| ---: | --- | --- | --- |"]
    lines += [f"| {code} | {name} | {cause} | {remedy} |" for code, name, cause, remedy in rows]
    return "\n".join(lines)


def _source(facts: dict[str, Any], *, base: str) -> str:
    machine = facts["machine"]
    return (
        f"From file bytes; {machine['cpu']}, {machine['threads']} thread; base "
        f"{base[:16]}; commit {facts['commit']}; `{facts['command']}`."
    )


def _ms(seconds: float | None) -> str:
    return "none" if seconds is None else f"{1000 * seconds:.1f}"


def engines(report: dict[str, Any]) -> str:
    """Cases of two engines, and how they differ."""
    found, facts = report["summary"], report["provenance"]
    settings = ", ".join(row["case"] for row in report["settings"])
    most = max(row["largest_difference"] for row in report["settings"])
    return (
        f"{found['cases']} cases, 24 pictures at eight rates among them, sizes, tiles, alpha, "
        "grey, gains, places between rates; each written and read by ONNX Runtime and by torch: z, "
        f"indexes and symbols are equal in {found['same_integers']}, streams byte for byte in "
        f"{found['same_bytes']}; {1e6 * found['share_of_levels_that_differ']:.0f} levels of a "
        f"million differ, by {found['largest_difference']} at most; {settings}: by {most}. "
        f"{facts['machine']['cpu']}, commit {str(facts['commit'])[:12]}, "
        "[results/engines.json](results/engines.json)."
    )


TABLES: dict[str, tuple[Path, Callable[[dict[str, Any]], str]]] = {
    "context": (ROOT / "docs" / "context.md", context),
    "effort": (ROOT / "docs" / "context.md", effort),
    "rates": (ROOT / "docs" / "rates.md", rates),
    "segmentation": (ROOT / "docs" / "segmentation.md", segmentation),
    "methods": (ROOT / "docs" / "rates.md", methods),
    "reliability": (ROOT / "docs" / "reliability.md", reliability),
    "items": (ROOT / "docs" / "reliability.md", items),
    "engines": (ROOT / "docs" / "python.md", engines),
    "mutations": (ROOT / "docs" / "reliability.md", mutations),
    "corpus": (ROOT / "docs" / "corpus.md", corpus),
    "speed": (ROOT / "docs" / "evaluation.md", speed),
    "speed-small": (ROOT / "docs" / "evaluation.md", speed),
    "anchors": (ROOT / "docs" / "evaluation.md", anchors),
    "graphics": (CHECKPOINT / "README.md", graphics),
    "exact-tiles": (ROOT / "docs" / "graphics.md", exact_tiles),
    "packs": (ROOT / "docs" / "packs.md", packs.saved),
    "pack-choice": (ROOT / "docs" / "packs.md", packs.chosen),
    "pack-few": (ROOT / "docs" / "packs.md", packs.few),
    "analysis": (ROOT / "docs" / "analysis.md", analysis.analysis),
    "cifar": (ROOT / "docs" / "analysis.md", analysis.cifar),
    "ledger": (ROOT / "docs" / "analysis.md", analysis.ledger),
    "aggregation": (ROOT / "docs" / "analysis.md", analysis.aggregation),
    "thousand-128": (ROOT / "docs" / "analysis.md", thousand.thousand),
    "thousand-224": (ROOT / "docs" / "analysis.md", thousand.thousand),
    "z-tables": (ROOT / "docs" / "training.md", z_tables),
    "base-search": (ROOT / "docs" / "training.md", training.search),
    "throughput": (ROOT / "docs" / "training.md", training.throughput),
    "base-cost": (ROOT / "docs" / "training.md", training.cost),
    "base-run": (ROOT / "docs" / "training.md", training.run),
    "base-growth": (ROOT / "docs" / "training.md", training.growth),
    "shards": (ROOT / "docs" / "training.md", training.shards),
    "base-curve": (ROOT / "docs" / "training.md", training.curve),
}
# Other result files that a table needs.
BESIDE = {
    "reliability": ("fuzz", "fuzz-onnx", "fuzz-guided", "determinism", "emulated"),
    "analysis": analysis.BESIDE,
}


def summary_of(results: dict[str, Any]) -> dict[str, Any]:
    """Results of an evaluation without records of single pictures, for a checkpoint's folder."""
    lists = ("points", "baselines", "comparisons")
    return {key: value for key, value in results.items() if key not in lists} | {
        "points": [{k: v for k, v in p.items() if k != "pictures"} for p in results["points"]],
        "baselines": [{"name": baseline["name"]} for baseline in results["baselines"]],
        "comparisons": [
            {**each, "deltas": {"bd_rate": each["deltas"]["bd_rate"]}}
            for each in results["comparisons"]
            if each["metric"] == "psnr" and each["rival"] in results["bd_rate"]
        ],
    }


def fill() -> None:
    """Bring every table up to date whose result file is there, and the checkpoint's summary."""
    write_json(CHECKPOINT / "results.json", summary_of(read_results(RESULTS / "kodak.json")))
    update_markers(ROOT / "docs" / "errors.md", errors(), name="errors")
    for name, (document, render) in TABLES.items():
        if report := read(name):
            update_markers(document, render(report), name=name)


def read(name: str) -> dict[str, Any]:
    """The record of a table, with the result files beside it; empty without any."""
    return read_result(name, BESIDE.get(name, ()))


if __name__ == "__main__":
    fill()
