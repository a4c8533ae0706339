"""Last line of a table: where its figures come from."""

from typing import Any


def origin(report: dict[str, Any]) -> str:
    """Machine, base, commit and command of a record with `weights`."""
    facts, (base,) = report["provenance"], report["weights"]["bases_sha256"]
    machine = facts["machine"]
    return (
        f"From file bytes; {machine['cpu']}, {machine['threads']} thread; base {base[:16]}; commit "
        f"{facts['commit']}; `{facts['command']}`."
    )
