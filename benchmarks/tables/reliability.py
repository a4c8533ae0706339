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
    "R7": "one stream, the same symbols whatever the threads, batch, kernels, device and processor",
    "R8": "training that is killed resumes to bit-equal weights",
    "R9": "an output is old or new, never half",
    "R10": "adapters are swapped while 16 threads decode",
    "R11": "large pictures in bounded memory, without seams",
    "R12": "orientation, profile, EXIF, XMP, alpha, grey, palettes, 16 bits",
    "partial": "pixels of whole tiles where one is lost",
    "many files": "a tree of mixed pictures there and back, killed in the middle",
}


def render(report: dict[str, Any]) -> str:
    """Markdown from the parts of a report; a missing one is marked.

    Args:
        report: content of reliability.json, and of the files of `OTHERS` under their names.
    """
    rows = {name: [] for name in TARGETS}
    for name, found in _part(report, "tests").items():
        passed = f"{found['passed']} tests pass"
        if found["failed"]:
            passed += f", {found['failed']} fail"
        if found["skipped"]:
            passed += f", {found['skipped']} skipped"
        rows[name].append((passed, found["command"]))
    for part, (target, describe) in FIGURES.items():
        if found := _part(report, part):
            rows[target].append((describe(found), report[part]["provenance"]["command"]))
    for part, (target, describe) in OTHERS.items():
        if part in report:
            rows[target].append(describe(report[part]))
    for name, found in report.get("emulated", {}).items():
        figure = _emulated(name, found["result"]["summary"])
        rows["R7"].append((figure, found["provenance"]["command"]))
    lines = ["| target | what | figure | shown by |", "| --- | --- | --- | --- |"]
    for name, what in TARGETS.items():
        for figure, command in rows[name] or [(ABSENT, "")]:
            lines.append(f"| {name} | {what} | {figure} | {f'`{command}`' if command else ''} |")
            what = ""
    return "\n".join(lines)


def _part(report: dict[str, Any], name: str) -> dict[str, Any]:
    return report.get(name, {}).get("result", {})


def _fuzz(fuzz: dict[str, Any]) -> tuple[str, str]:
    figure = (
        f"{fuzz.get('engine', 'torch')}: {fuzz['total']:,} executions, "
        f"{fuzz['cpu_seconds'] / 3600:.1f} hours of a processor: "
        f"{_found(fuzz['findings'])}; slowest {fuzz['slowest_seconds']:.2f} s, "
        f"at most {fuzz['peak_extra_mb']:.0f} MB more"
    )
    return figure, fuzz["runs"][-1]["provenance"]["command"]


def _found(findings: list[Any]) -> str:
    left = [each for each in findings if not (isinstance(each, dict) and "mended" in each)]
    if not findings:
        return "0 findings"
    return f"{len(findings)} found, {f'{len(left)} open' if left else 'mended since'}"


def _guided(fuzz: dict[str, Any]) -> tuple[str, str]:
    figure = (
        f"guided by coverage: {fuzz['executions']:,} executions in {fuzz['seconds'] / 3600:.1f} "
        f"hours reach {fuzz['edges'][1]:,} edges of the code: {_found(fuzz['findings'])}"
    )
    return figure, fuzz["provenance"]["command"]


def _determinism(found: dict[str, Any]) -> tuple[str, str]:
    ran = [each for each in found["outcomes"] if each["skipped"] is None]
    skipped = [each["variant"]["name"] for each in found["outcomes"] if each["skipped"]]
    same = sum(each["same_symbols"] for each in ran)
    figure = f"{same} of {len(ran)} variants give the same symbols"
    return figure + (f"; not run: {', '.join(skipped)}" if skipped else ""), found["command"]


def _emulated(name: str, found: dict[str, Any]) -> str:
    figure = f"{name}: the same integers in {found['same_integers']} of {found['streams']} streams"
    if "encodings" not in found:
        return f"{figure}; no pixels"
    differ = 1e6 * found["share_of_levels_that_differ"]
    symbols = 1e6 * found["share_of_symbols_that_differ"]
    return (
        f"{figure}, pixels at most {found['largest_difference']} level off, {differ:.0f} of a "
        f"million differ; of {found['encodings']} encodings here and there "
        f"{found['same_bytes']} give the same bytes, {symbols:.0f} symbols of a million differ"
    )


def _seams(found: dict[str, Any]) -> str:
    without, wide = (found[f"band_loss_with_halo_{halo}"] for halo in (0, 128))
    return (
        f"tiles of {found['tile']} px: {found['psnr_loss']:+.4f} dB, along the seams "
        f"{found['band_loss']:+.4f} dB (without a halo {without:+.2f}, with one of 128 px "
        f"{wide:+.4f}), {found['extra_percent']:+.2f} % bytes, {found['pictures']} pictures"
    )


def _large(found: dict[str, Any]) -> str:
    return (
        f"{found['pixels'] / 1e6:.0f} megapixels: encode {found['encode_peak_gb']:.2f} GB, decode "
        f"{found['decode_peak_gb']:.2f} GB, a region {found['region_peak_gb']:.2f} GB"
    )


def _region(found: dict[str, Any]) -> str:
    width, height = found["region"][2:]
    return (
        f"a region of {width}x{height} px of {found['picture'][0]}x{found['picture'][1]} reads "
        f"{found['read_percent']:.1f} % of the stream, at most {found['max_difference']} level off"
    )


def _partial(found: dict[str, Any]) -> str:
    return (
        f"at most {found['near']} of 255 levels off in the first 4 px, {found['halo']} up to "
        f"64 px, {found['far']} beyond; {found['pictures']} pictures, tiles of {found['tile']} px"
    )


def _many(found: dict[str, Any]) -> str:
    return (
        f"{found['pictures']} pictures, {found['broken']} broken and {found['listed']} listed; "
        f"killed after {found['finished_before_the_kill']}, {found['redone_after_the_kill']} of "
        f"these redone; {found['same_bytes_for_one_process']} of {found['streams']} streams the "
        f"same from one process; {found['decoded']} decoded, {found['lost']} lost"
    )


OTHERS = {
    "fuzz": ("R4", _fuzz),
    "fuzz-onnx": ("R4", _fuzz),
    "fuzz-guided": ("R4", _guided),
    "determinism": ("R7", _determinism),
}
"""Result files of their own: target, and function to figure and command."""
FIGURES = {
    "seams": ("R11", _seams),
    "large": ("R11", _large),
    "region": ("R11", _region),
    "partial": ("partial", _partial),
    "many": ("many files", _many),
}
"""Parts of reliability.json: target, and function to a figure."""
