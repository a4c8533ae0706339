"""Tables of docs/evaluation.md on seconds, and their line in README.md."""

from typing import Any

Report = dict[str, Any]
NAMES = {"onnx": "ONNX Runtime", "torch": "torch", "openvino": "OpenVINO", "jpeg": "JPEG"}
NAMES |= {"webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL"}


def render(report: Report) -> str:
    """Markdown from the content of speed.json."""
    lines = [
        "| | bpp | milliseconds, quartiles | times as long as the first engine, quartiles |",
        "| --- | ---: | ---: | ---: |",
    ]
    for found in report["comparisons"]:
        threads = found["threads"]
        where = f"{found['precision']}, {threads} thread{'s' if threads > 1 else ''}"
        for name, seconds in found["seconds"].items():
            codec, way = name.rsplit(" ", 1)
            setting = found["settings"].get(codec)
            title = f"{way}, {where}: {NAMES.get(codec, codec)}"
            title += f", {setting}" if setting else ""
            title += ", noisy" if name in found["noisy"] else ""
            over = found["peer_over_ours"].get(name)
            lines.append(
                f"| {title} | {found['bpp'][codec]:.3f} | {_range(seconds, 1000.0)} "
                f"| {_range(over) if over else ''} |"
            )
    cold = report["cold"]
    for name in cold["cpu_over_import_torch"]:
        own, over = cold["cpu_seconds"][name], cold["cpu_over_import_torch"][name]
        lines.append(
            f"| fresh process, {name}: processor time | | {_range(own, 1000.0)} "
            f"| {_range(over)} of `import torch` |"
        )
    memory = "; ".join(
        f"{each['engine']} {each['width']}x{each['height']} {each['peak_rss_mb']:.0f} MB"
        for each in report["memory"]
    )
    width, height = report["size"]
    lines += [
        "",
        f"{width}x{height}, {report['machine']['cpu']}, {report['machine']['processors']} "
        "processors; classic codecs always on one thread, at most as many bytes as ours; most "
        f"memory: {memory}; load average before the first run "
        f"{report['load_average_before']:.1f}; commit {str(report['commit'])[:12]}, "
        f"{str(report['date'])[:10]}, `{report['command']}`.",
    ]
    return "\n".join(lines)


def in_short(report: Report) -> str:
    """One line: one thread, both engines, and every peer."""
    found = next(each for each in report["comparisons"] if each["threads"] == 1)
    first, over = found["engine"], found["peer_over_ours"]
    own = [1000 * found["seconds"][f"{first} {way}"]["median"] for way in ("encode", "decode")]
    others = "; ".join(
        f"{_title(found, name)} {_range(over[f'{name} encode'])} and "
        f"{_range(over[f'{name} decode'])}"
        for name in dict.fromkeys(key.rsplit(" ", 1)[0] for key in over)
    )
    width, height = report["size"]
    return (
        f"On one thread of an {report['machine']['cpu']}, a photograph of {width}x{height} px at "
        f"{found['bpp'][first]:.2f} bpp takes {own[0]:.0f} ms to encode and {own[1]:.0f} ms to "
        f"decode with {NAMES[first]}. Times as long, encoding and decoding, with quartiles: "
        f"{others}. Load average before: {report['load_average_before']:.1f}; commit "
        f"{str(report['commit'])[:12]}."
    )


def _title(found: Report, codec: str) -> str:
    """Name of a codec, of a peer with its setting and rate."""
    name, setting = NAMES.get(codec, codec), found["settings"].get(codec)
    return f"{name} ({setting}, {found['bpp'][codec]:.2f} bpp)" if setting else name


def checkouts(report: Report) -> str:
    """This checkout beside another one, by engine."""
    lines = [
        "| | this one: milliseconds, quartiles | times as long as the other, quartiles |",
        "| --- | ---: | ---: |",
    ]
    for name, over in report["ours_over_theirs"].items():
        lines.append(
            f"| {name} | {_range(report['seconds'][f'{name}, ours'], 1000.0)} | {_range(over)} |"
        )
    lines += [
        "",
        f"In turn, one thread, {report['machine']['cpu']}; load average before "
        f"{report['load_average_before']:.1f}; base {report['base_sha256'][:16]} of commit "
        f"{str(report['commit'])[:12]}, {report['other_base_sha256'][:16]} of commit "
        f"{report['other_commit'][:12]}; {str(report['date'])[:10]}, `{report['command']}`.",
    ]
    return "\n".join(lines)


def _range(found: Report, scale: float = 1.0) -> str:
    median, low, high = (scale * found[key] for key in ("median", "low", "high"))
    digits = "{:.0f}" if scale > 1.0 and median >= 100.0 else "{:.2g}"
    return f"{digits} ({digits} to {digits})".format(median, low, high)
