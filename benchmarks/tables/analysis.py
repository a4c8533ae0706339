"""Tables of costs: the ledger, heads without the context, feature aggregation."""

from typing import Any

from benchmarks.tables.accuracy import row, table
from benchmarks.tables.origin import origin

COUNTED = {
    "latents": "latents",
    "decoded": "decode, then classify",
    "classic": "JPEG, then classify",
}


def ledger(report: dict[str, Any]) -> str:
    """MACs, parameters and time of each path to a label."""
    return "\n".join(
        [
            *macs_of_server(report),
            "",
            *times_of_server(report),
            "",
            *edge(report),
            "",
            f"One picture at rate {report['rate_index']:g}, from bytes to label and from pixels to "
            "bytes; a time is that of a picture, median; processor: seconds of all threads; files "
            "of a batch are copies of one. MobileNets, of ten classes, are in the form that torch "
            "runs fastest: "
            f"{'; '.join(forms(report))}. {origin(report)}",
        ]
    )


def macs_of_server(report: dict[str, Any]) -> list[str]:
    """Multiply-accumulates from symbols, or pixels of JPEG, to the label."""
    lines = table(
        *("path", "px", "entropy model (MMAC)", "g_s", "network", "all", "over latents"),
        "parameters of the network",
    )
    for at in report["sizes"]:
        whole = at["server_cost"]["latents"]["mmac"]
        for key, name in COUNTED.items():
            cost = at["server_cost"][key]
            parts = [cost["parts"].get(part, 0.0) for part in ("entropy_model", "g_s", "network")]
            shown = [f"{value:.1f}" for value in (*parts, cost["mmac"])]
            ratio = f"{cost['mmac'] / whole:.2f}"
            lines.append(row(name, str(at["size"]), *shown, ratio, f"{cost['parameters']:,}"))
    return lines


def times_of_server(report: dict[str, Any]) -> list[str]:
    """Seconds of each path; its ratio is over that from latents on the same engine."""
    lines = table(
        *("server", "px", "files at once", "ms", "processor (ms)", "over latents", "processor"),
        "compared with",
    )
    for at in report["sizes"]:
        for count, rows in at["server"].items():
            for name, found in rows.items():
                ((other, ratio),) = found["ratio"].items()
                processor = found["cpu_ratio"][other]["median"]
                cells = *times(found), f"{ratio['median']:.2f}", f"{processor:.2f}"
                lines.append(row(name, str(at["size"]), count, *cells, other))
    return lines


def edge(report: dict[str, Any]) -> list[str]:
    """Encoders, and networks in their place, with the ratio over each of our engines."""
    anchors = list(next(iter(report["sizes"][0]["edge"].values()))["ratio"])
    over = [f"over {name}" for name in anchors]
    lines = table("edge", "px", "MMAC", "parameters", "ms", "processor (ms)", *over)
    for at in report["sizes"]:
        for name in (*at["edge"], "g_a and h_a"):
            found = at["edge"].get(name)
            cost = at["edge_cost"].get("encode" if name.startswith("encode, ") else name)
            counted = (f"{cost['mmac']:.1f}", f"{cost['parameters']:,}") if cost else ("", "")
            timed = [""] * (2 + len(anchors))
            if found is not None:
                ratios = [f"{found['ratio'][anchor]['median']:.2f}" for anchor in anchors]
                timed = [*times(found), *ratios]
            lines.append(row(name, str(at["size"]), *counted, *timed))
    return lines


def forms(report: dict[str, Any]) -> list[str]:
    """The form of each MobileNet at each size."""
    return [
        f"{name} at {at['size']} px {form}"
        for at in report["sizes"]
        for name, form in at["forms"].items()
    ]


def times(found: dict[str, Any]) -> tuple[str, str]:
    """Wall and processor milliseconds as cells."""
    wall, cpu = (1000 * found[key]["median"] for key in ("seconds", "cpu_seconds"))
    return f"{wall:.1f}", f"{cpu:.1f}"


def without_context(report: dict[str, Any]) -> str:
    """A head that reads latents with means of z alone."""
    lines = table(
        "rate", "top-1 with the context (%)", "without (%)", "difference", "95 % interval"
    )
    for at in report["rates"]:
        lead = at["difference"]
        lines.append(
            row(
                f"{at['rate_index']:g}",
                *(f"{100 * at[name]['accuracy']:.1f}" for name in ("with", "without")),
                f"{lead['value']:+.1f}",
                f"{lead['low']:+.1f} to {lead['high']:+.1f}",
            )
        )
    lines += ["", *table("a picture", "ms", "processor (ms)")]
    titles = {
        "with": "y_hat with the context",
        "without": "y_hat from z and symbols alone",
        "head": "head",
    }
    for name, title in titles.items():
        lines.append(row(title, *times(report["seconds"][name])))
    lines += [
        "",
        f"{report['pictures']} pictures of {report['size']} px; context: {report['context']}; the "
        "head was trained on y_hat with it; times are of batches of "
        f"{report['batch']}. {origin(report).replace('From file bytes; ', '')}",
    ]
    return "\n".join(lines)


def aggregation(report: dict[str, Any]) -> str:
    """PSNR of g_s with a head's features, and of the same network without them."""
    lines = table(
        *("rate", "bpp", "frozen g_s (dB)", "trained without features", "with features"), "gained"
    )
    for at in report["rates"]:
        quality = at["psnr"]
        gained = quality["features"] - quality["control"]
        cells = [f"{quality[name]:.3f}" for name in ("codec", "control", "features")]
        lines.append(row(f"{at['rate_index']:g}", f"{at['bpp']:.4f}", *cells, f"{gained:+.3f}"))
    counts = report["parameters"]
    lines += [
        "",
        f"{report['pictures']} pictures; {counts['features']:,} parameters that fuse with features "
        f"and {counts['control']:,} without. {origin(report)}",
    ]
    return "\n".join(lines)
