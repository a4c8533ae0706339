"""Tables of segmentation, from the results of its two benchmarks."""

from typing import Any

from benchmarks.tables.accuracy import NONE, row, table
from benchmarks.tables.origin import origin


def segmentation(report: dict[str, Any]) -> str:
    """Mean IoU from latents and from decoded pixels, what each costs, and by class."""
    lines = table(
        *("rate", "bpp", "PSNR (dB)", "MS-SSIM", "mIoU from latents (%)"),
        *("mIoU decoded first (%)", "difference"),
    )
    for point in report["points"]:
        found = point["miou"]
        lines.append(
            row(
                f"{point['rate_index']:g}",
                f"{point['bpp']:.3f}",
                *quality(point),
                percent(found["latents"]),
                percent(found["decoded"]),
                percent(found["difference"], sign="+"),
            )
        )
    lowest = report["points"][0]
    lines += ["", *table(f"IoU at rate {lowest['rate_index']:g} (%)", *report["labels"])]
    for side, name in (("latents", "from latents"), ("decoded", "decoded first")):
        lines.append(row(name, *(f"{100 * value:.1f}" for value in lowest["iou"][side])))
    head, pixels, g_s = (report["costs"][name] for name in ("latents", "decoded", "g_s"))
    lines += [
        "",
        f"- From latents: {head['kmac_per_pixel']:.1f} kMAC/px, {head['parameters']:,} parameters.",
        f"- Decoded first: {g_s['kmac_per_pixel']:.1f} kMAC/px of g_s and "
        f"{pixels['kmac_per_pixel']:.1f} of the network, {pixels['parameters']:,} parameters.",
        "",
        f"{len(lowest['pictures'])} pictures of `{report['data']}`, split `{report['split']}`; "
        "intervals of 95 % over pictures, the difference over the same draws. " + origin(report),
    ]
    return "\n".join(lines)


def joint(report: dict[str, Any]) -> str:
    """Joint training of codec and head beside the codec before, with a head trained as long."""
    lines = table("codec", "bpp", "mIoU (%)", "PSNR (dB)", "MS-SSIM")
    own, rate = report["joint"], f"{report['rate_index']:g}"
    every = [(f"joint, rate {rate}", own)]
    every += [
        (f"frozen, head trained as long, rate {rate}, gain {point['gain_steps']:+g}", point)
        for point in report["control"]
    ]
    for name, point in every:
        cells = f"{point['bpp']:.3f}", f"{100 * point['miou']:.1f}", *quality(point)
        lines.append(row(name, *cells))
    found = report["equal_size"]
    lines += ["", *table("joint over frozen", "bpp", "mIoU, points", "PSNR (dB)", "MS-SSIM")]
    cells = [NONE] * 3
    if found is not None:
        others = found["quality"]
        cells = [percent(found["difference"], sign="+")]
        for key, digits in (("psnr", 2), ("ms_ssim", 4)):
            known = key in others and own[key] is not None
            cells.append(f"{own[key] - others[key]:+.{digits}f}" if known else NONE)
    lines.append(row("at equal size", f"{own['bpp']:.3f}", *cells))
    lines += [
        "",
        f"{report['pictures']} pictures of `{report['data']}`, split `{report['split']}`; interval "
        "of 95 % over pictures; the frozen codec is read between two of its gains. "
        + origin(report),
    ]
    return "\n".join(lines)


def quality(point: dict[str, Any]) -> tuple[str, str]:
    """PSNR and MS-SSIM as cells."""
    similar = point["ms_ssim"]
    return f"{point['psnr']:.2f}", NONE if similar is None else f"{similar:.4f}"


def percent(estimate: dict[str, float | None], *, sign: str = "") -> str:
    """A figure and its interval in per cent; a figure alone without one."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    assert value is not None
    if low is None or high is None:
        return f"{100 * value:{sign}.1f}"
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
