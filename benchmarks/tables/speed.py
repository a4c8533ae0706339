"""The table of docs/evaluation.md: seconds of our engines and of peers, and of fresh processes."""

from typing import Any


def render(report: dict[str, Any]) -> str:
    """Markdown from the content of speed.json."""
    lines = [
        "| | ours, first engine | others: times as long |",
        "| --- | ---: | --- |",
    ]
    for found in report["comparisons"]:
        first, threads = found["engine"], found["threads"]
        where = f"{found['precision']}, {threads} thread{'s' if threads > 1 else ''}"
        for way in ("encode", "decode"):
            median = found["seconds"][f"{first} {way}"]["median"]
            others = ", ".join(
                f"{name.rsplit(' ', 1)[0]} {each['median']:.2g}"
                for name, each in found["peer_over_ours"].items()
                if name.endswith(way)
            )
            lines.append(f"| {way}, {where} | {first} {1000 * median:.0f} ms | {others} |")
    cold = report["cold"]
    for name in cold["cpu_over_import_torch"]:
        wall, cpu = (cold[f"{kind}_seconds"][name]["median"] for kind in ("wall", "cpu"))
        lines.append(
            f"| fresh process, {name} | {wall:.2f} s, {cpu:.2f} s of a processor "
            f"| `import torch`: {1 / cold['cpu_over_import_torch'][name]['median']:.1f} |"
        )
    memory = "; ".join(
        f"{each['engine']} {each['width']}x{each['height']} {each['peak_rss_mb']:.0f} MB"
        for each in report["memory"]
    )
    width, height = report["size"]
    lines += [
        "",
        f"{width}x{height}, {report['machine']['cpu']}; medians of pairs in turn; most memory: "
        f"{memory}; commit {str(report['commit'])[:12]}, `{report['command']}`.",
    ]
    return "\n".join(lines)
