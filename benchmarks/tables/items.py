"""The second table of docs/reliability.md: faults that people met elsewhere, and their tests."""

from typing import Any


def render(report: dict[str, Any]) -> str:
    """Markdown from the content of items.json."""
    lines = ["| subject | what happens here | tests | outcome |", "| --- | --- | --- | --- |"]
    for name, item in report.items():
        tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in item["tests"])
        lines.append(f"| {name} | {item['now']} | {tests} | {_outcome(item['result'])} |")
    machines = dict.fromkeys(item["provenance"]["machine"]["cpu"] for item in report.values())
    commits = dict.fromkeys(str(item["provenance"]["commit"])[:12] for item in report.values())
    command = next(iter(report.values()))["provenance"]["command"]
    where = f"{', '.join(machines)}; commit {', '.join(commits)}; `{command}`"
    return "\n".join([*lines, "", f"Tests below `tests/`; {where}."])


def _outcome(found: dict[str, int]) -> str:
    parts = [f"{found[key]} {key}" for key in ("failed", "passed", "skipped") if found[key]]
    return ", ".join(parts) or "not run"
