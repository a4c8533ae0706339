"""The table of docs/reliability.md: a row a target, with its figure and the command."""

from typing import Any

ABSENT = "not run yet"

TARGETS = {
    "R1": "golden streams decode to the same symbols and pixels for ever",
    "R2": "another base or adapter is a typed error that names both hashes",
    "R3": "every truncation, every flipped bit: a typed error, never a crash",
    "R4": "mutated streams, adapters and bases, under right checksums: likewise",
    "R5": "declared sizes and counts beyond a bound are refused before anything is allocated",
    "R6": "checkpoints that are not finite, incomplete or of another shape are refused by name",
    "R7": "one stream, the same symbols whatever the threads, batch, kernels and device",
    "R8": "training that is killed resumes to bit-equal weights",
    "R9": "an output is old or new, never half",
    "R10": "adapters are swapped while 16 threads decode",
    "R11": "large pictures in bounded memory, without seams",
    "R12": "orientation, profile, EXIF, XMP, alpha, grey, palettes, 16 bits",
    "partial": "pixels of whole tiles where one is lost",
    "many files": "a tree of mixed pictures there and back, killed in the middle",
    "cold start": "`decode` beside `import torch`; `info`",
}


def render(report: dict[str, Any]) -> str:
    """Markdown from the parts of a report; one that is missing is said to be.

    Args:
        report: reliability.json, with fuzz.json as part "fuzz", and so on, where they are there.
    """
    rows = {name: [] for name in TARGETS}
    for name, found in _part(report, "tests").items():
        passed = f"{found['passed']} tests pass"
        if found["failed"]:
            passed += f", {found['failed']} fail"
        if found["skipped"]:
            passed += f", {found['skipped']} skipped"
        rows[name].append((passed, found["command"]))
    for name, figures in (
        ("R4", _fuzz(report)),
        ("R4", _guided(report)),
        ("R7", _determinism(report)),
        ("R11", _seams(report)),
        ("R11", _large(report)),
        ("R11", _region(report)),
        ("partial", _partial(report)),
        ("many files", _many(report)),
        ("cold start", _cold(report)),
    ):
        rows[name] += figures
    lines = ["| target | what | figure | shown by |", "| --- | --- | --- | --- |"]
    for name, what in TARGETS.items():
        for figure, command in rows[name] or [(ABSENT, "")]:
            lines.append(f"| {name} | {what} | {figure} | {f'`{command}`' if command else ''} |")
            what = ""
    return "\n".join(lines)


def _part(report: dict[str, Any], name: str) -> dict[str, Any]:
    return report.get(name, {}).get("result", {})


def _row(report: dict[str, Any], name: str, figure: str) -> list[tuple[str, str]]:
    return [(figure, report[name]["provenance"]["command"])]


def _fuzz(report: dict[str, Any]) -> list[tuple[str, str]]:
    if "fuzz" not in report:
        return []
    fuzz = report["fuzz"]
    return [
        (
            f"{fuzz['total']:,} executions, {fuzz['cpu_seconds'] / 3600:.1f} hours of a processor: "
            f"{_found(fuzz['findings'])}; slowest {fuzz['slowest_seconds']:.2f} s, "
            f"at most {fuzz['peak_extra_mb']:.0f} MB more",
            fuzz["runs"][-1]["provenance"]["command"],
        )
    ]


def _found(findings: list[Any]) -> str:
    left = [each for each in findings if not (isinstance(each, dict) and "mended" in each)]
    if not findings:
        return "0 findings"
    return f"{len(findings)} found, {f'{len(left)} open' if left else 'mended since'}"


def _guided(report: dict[str, Any]) -> list[tuple[str, str]]:
    if "fuzz-guided" not in report:
        return []
    fuzz = report["fuzz-guided"]
    figure = (
        f"guided by coverage: {fuzz['executions']:,} executions in {fuzz['seconds'] / 3600:.1f} "
        f"hours reach {fuzz['edges'][1]:,} edges of the code: {_found(fuzz['findings'])}"
    )
    return [(figure, fuzz["provenance"]["command"])]


def _determinism(report: dict[str, Any]) -> list[tuple[str, str]]:
    if "determinism" not in report:
        return []
    found = report["determinism"]
    ran = [each for each in found["outcomes"] if each["skipped"] is None]
    skipped = [each["variant"]["name"] for each in found["outcomes"] if each["skipped"]]
    same = sum(each["same_symbols"] for each in ran)
    figure = f"{same} of {len(ran)} variants give the same symbols"
    return [(figure + (f"; not run: {', '.join(skipped)}" if skipped else ""), found["command"])]


def _seams(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not (found := _part(report, "seams")):
        return []
    without, wide = (found[f"band_loss_with_halo_{halo}"] for halo in (0, 128))
    figure = (
        f"tiles of {found['tile']} px: {found['psnr_loss']:+.4f} dB, along the seams "
        f"{found['band_loss']:+.4f} dB (without a halo {without:+.2f}, with one of 128 px "
        f"{wide:+.4f}), {found['extra_percent']:+.2f} % bytes, {found['pictures']} pictures"
    )
    return _row(report, "seams", figure)


def _large(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not (found := _part(report, "large")):
        return []
    figure = (
        f"{found['pixels'] / 1e6:.0f} megapixels: encode {found['encode_peak_gb']:.2f} GB, decode "
        f"{found['decode_peak_gb']:.2f} GB, a region {found['region_peak_gb']:.2f} GB"
    )
    return _row(report, "large", figure)


def _region(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not (found := _part(report, "region")):
        return []
    width, height = found["region"][2:]
    figure = (
        f"a region of {width}x{height} px of {found['picture'][0]}x{found['picture'][1]} reads "
        f"{found['read_percent']:.1f} % of the stream, at most {found['max_difference']} level off"
    )
    return _row(report, "region", figure)


def _partial(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not (found := _part(report, "partial")):
        return []
    figure = (
        f"at most {found['near']} of 255 levels off in the first 4 px, {found['halo']} up to "
        f"64 px, {found['far']} beyond; {found['pictures']} pictures, tiles of {found['tile']} px"
    )
    return _row(report, "partial", figure)


def _many(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not (found := _part(report, "many")):
        return []
    figure = (
        f"{found['pictures']} pictures, {found['broken']} broken and {found['listed']} listed; "
        f"killed after {found['finished_before_the_kill']}, {found['redone_after_the_kill']} of "
        f"these redone; {found['same_bytes_for_one_process']} of {found['streams']} streams the "
        f"same from one process; {found['decoded']} decoded, {found['lost']} lost"
    )
    return _row(report, "many", figure)


def _cold(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not (found := _part(report, "startup")):
        return []
    figure = (
        f"{found['decode_over_import_torch']['median']:.2f} times `import torch`; `info` "
        f"{found['info_seconds']['median']:.2f} s"
    )
    return _row(report, "startup", figure)
