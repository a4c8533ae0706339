"""The third table of docs/reliability.md: deliberate faults in the code, and what notices them."""

from typing import Any

LISTS = {
    "known": "faults that the tests of the first release let pass",
    "drawn": "faults drawn by a seed from training, coding and io",
}


def render(report: dict[str, Any]) -> str:
    """Markdown from the content of mutations.json."""
    lines = [
        "| | faults | noticed | without effect | missed |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind, counts in report["summary"].items():
        numbers = [counts[key] for key in ("faults", "noticed", "equivalent", "missed")]
        lines.append(f"| {LISTS[kind]} | {' | '.join(map(str, numbers))} |")
    quiet = [
        f"{name}: {row['equivalent'] or 'missed'}"
        for kind in report["summary"]
        for name, row in report[kind].items()
        if not row["noticed_by"]
    ]
    facts = report["provenance"]
    lines += ["", "Not noticed: " + "; ".join(quiet) + "."] if quiet else []
    lines += ["", f"Commit {str(facts['commit'])[:12]}; `{facts['command']}`."]
    return "\n".join(lines)
