"""Tables of the documentation: of errors, and of the result files of the benchmarks.

    python -m benchmarks.tables.fill            # brings docs/*.md up to date

A table stands between the two markers of its name, for instance <!-- context:begin --> and
<!-- context:end -->; its figures come from docs/results/NAME.json.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, read_result, write_json
from benchmarks.tables import accuracy, analysis, packs, segmentation, training
from benchmarks.tables.corpus import render as corpus
from benchmarks.tables.items import render as items
from benchmarks.tables.mutations import render as mutations
from benchmarks.tables.rates import effort, half_hour, methods, rates, source
from benchmarks.tables.reliability import render as reliability
from benchmarks.tables.speed import checkouts, in_short
from benchmarks.tables.speed import render as speed
from benchmarks.tables.weights import check_alike
from promptcodec.evaluation.reports.markdown import (
    render_quarters,
    render_table,
    shown_comparisons,
    update_markers,
)
from promptcodec.evaluation.results import read_results

CHECKPOINT = ROOT / "checkpoints" / "nano"
ANALYSIS, SEGMENTATION = ROOT / "docs" / "analysis.md", ROOT / "docs" / "segmentation.md"


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
    return "\n".join([*lines, "", source(report["provenance"], base=report["base_sha256"])])


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
    return "\n".join([*lines, "", source(report["provenance"], base=report["base_sha256"])])


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
    "methods": (ROOT / "docs" / "rates.md", methods),
    "ceiling": (ROOT / "docs" / "rates.md", methods),
    "quarters": (ROOT / "docs" / "rates.md", render_quarters),
    "second-set": (ROOT / "docs" / "evaluation.md", render_table),
    "half-hour": (ROOT / "README.md", half_hour),
    "speed-in-short": (ROOT / "README.md", in_short),
    "checkouts": (ROOT / "docs" / "evaluation.md", checkouts),
    "reliability": (ROOT / "docs" / "reliability.md", reliability),
    "items": (ROOT / "docs" / "reliability.md", items),
    "engines": (ROOT / "docs" / "python.md", engines),
    "mutations": (ROOT / "docs" / "reliability.md", mutations),
    "corpus": (ROOT / "docs" / "corpus.md", corpus),
    "speed": (ROOT / "docs" / "evaluation.md", speed),
    "anchors": (ROOT / "docs" / "evaluation.md", anchors),
    "graphics": (CHECKPOINT / "README.md", graphics),
    "exact-tiles": (ROOT / "docs" / "graphics.md", exact_tiles),
    "packs": (ROOT / "docs" / "packs.md", packs.saved),
    "pack-choice": (ROOT / "docs" / "packs.md", packs.chosen),
    "pack-few": (ROOT / "docs" / "packs.md", packs.few),
    "thousand-224": (ANALYSIS, accuracy.thousand),
    "thousand-673": (ANALYSIS, accuracy.thousand_seen),
    "thousand-128": (ANALYSIS, accuracy.thousand),
    "cifar": (ANALYSIS, accuracy.cifar),
    "joint": (ANALYSIS, accuracy.joint),
    "edge": (ANALYSIS, accuracy.edge),
    "ledger": (ANALYSIS, analysis.ledger),
    "ledger-edge": (ANALYSIS, analysis.ledger),
    "without-context": (ANALYSIS, analysis.without_context),
    "aggregation": (ANALYSIS, analysis.aggregation),
    "segmentation": (SEGMENTATION, segmentation.segmentation),
    "joint-segmentation": (SEGMENTATION, segmentation.joint),
    "z-tables": (ROOT / "docs" / "training.md", z_tables),
    "base-search": (ROOT / "docs" / "training.md", training.search),
    "throughput": (ROOT / "docs" / "training.md", training.throughput),
    "base-cost": (ROOT / "docs" / "training.md", training.cost),
    "base-run": (ROOT / "docs" / "training.md", training.run),
    "base-growth": (ROOT / "docs" / "training.md", training.growth),
    "shards": (ROOT / "docs" / "training.md", training.shards),
    "base-curve": (ROOT / "docs" / "training.md", training.curve),
}
RECORDS = {"quarters": "kodak", "speed-in-short": "speed"}
"""Result files of tables with another name."""
EVALUATED = (ROOT / "README.md", CHECKPOINT / "README.md")
"""Documents with the tables of the evaluation on Kodak."""
# Other result files that a table needs.
BESIDE = {
    "reliability": ("fuzz", "fuzz-onnx", "fuzz-guided", "determinism", "emulated"),
}
NEIGHBOURS = {
    "frozen codec": (
        *("thousand-224", "thousand-673", "thousand-128", "cifar", "joint", "ledger"),
        *("without-context", "aggregation", "segmentation", "joint-segmentation"),
    ),
    "edge codec": ("edge", "ledger-edge"),
}
"""Tables that stand side by side, by the name of the source in records of `eval-task`."""


def summary_of(results: dict[str, Any]) -> dict[str, Any]:
    """Results of an evaluation without records of single pictures, for a checkpoint's folder."""
    lists = ("points", "baselines", "comparisons", "bd_rate")
    return {key: value for key, value in results.items() if key not in lists} | {
        "points": [{k: v for k, v in p.items() if k != "pictures"} for p in results["points"]],
        "baselines": [{"name": baseline["name"]} for baseline in results["baselines"]],
        "bd_rate": results["bd_rate"],
        "comparisons": [
            {**each, "deltas": {k: each["deltas"][k] for k in ("bd_rate", "range_bpp")}}
            for each in shown_comparisons(results)
        ],
    }


def fill() -> None:
    """Bring every table up to date whose result file is there, and the checkpoint's summary."""
    check()
    kodak = read_results(RESULTS / "kodak.json")
    write_json(CHECKPOINT / "results.json", summary_of(kodak))
    for document in EVALUATED:
        update_markers(document, render_table(kodak))
    update_markers(ROOT / "docs" / "errors.md", errors(), name="errors")
    for name, (document, render) in TABLES.items():
        if report := read(name):
            update_markers(document, render(report), name=name)


def check() -> None:
    """Refuse records of other weights than their neighbours.

    Raises:
        UsageError: there are some, or a record has no hashes of its weights.
    """
    for origin, names in NEIGHBOURS.items():
        found = {name: report for name in names if (report := read(name))}
        check_alike(found, source=origin)


def read(name: str) -> dict[str, Any]:
    """The record of a table, with the result files beside it; empty without any."""
    return read_result(RECORDS.get(name, name), BESIDE.get(name, ()))


if __name__ == "__main__":
    fill()
