"""The table of docs/corpus.md: a collection there and back, throughput, memory."""

from typing import Any


def render(report: dict[str, Any]) -> str:
    """Markdown from the content of corpus.json."""
    trip, speed = report["round_trip"], report["throughput"]
    lines = ["| what | figure |", "| --- | --- |"]
    for task in ("encode", "decode"):
        found = trip[task]
        lines.append(
            f"| {task}, Ray, 2 workers, SIGKILL after {found['killed_after_seconds']:.0f} s | "
            f"{found['rows_finished_before']:,} rows finished before, {found['rows_done_after']:,} "
            f"after, {found['done_twice']} done twice, {found['files_rewritten']} files rewritten |"
        )
    same = "; ".join(f"{name}: {count}" for name, count in trip["same_files"].items())
    lost = trip["sources_missing"], trip["pictures_back"]["lost"]
    lines += [
        f"| rows lost, there and back | {lost[0]}, {lost[1]} |",
        f"| rows listed with a reason | {trip['failed']:,} of {trip['pictures']:,} |",
        f"| files equal to those of one worker, of {trip['files']} | {same} |",
        f"| streams equal to those of `promptcodec encode` | {trip['same_as_encode']} of 5 |",
    ]
    rates, two, cost, start = (
        "; ".join(f"{name} {_range(found, form)}" for name, found in speed[key].items())
        for key, form in (
            ("rows_per_second", ".1f"),
            ("two_over_one", ".2f"),
            ("overhead_percent", "+.1f"),
            ("start_seconds", ".1f"),
        )
    )
    lines += [
        f"| pictures a second, without start-up | {rates} |",
        f"| 2 workers against 1 | {two} |",
        f"| time of 1 worker over that of a plain loop (%) | {cost} |",
        f"| start-up (s) | {start} |",
    ]
    for name, samples in trip["memory"].items():
        lines.append(f"| memory of a worker, {name} | {_memory(samples)} |")
    facts, timed = trip["provenance"], speed["provenance"]
    return "\n".join(
        [
            *lines,
            "",
            f"{trip['pictures']:,} pictures of 48 to 128 px in {trip['shards']} tar shards; "
            f"{facts['machine']['cpu']}, {facts['machine']['processors']} processors; commit "
            f"{facts['commit']}; `{facts['command']}`. Throughput: median and range of "
            f"{len(speed['seconds']['loop'])} repeats in turn; commit {timed['commit']}; "
            f"`{timed['command']}`.",
        ]
    )


def _range(found: dict[str, float], form: str) -> str:
    """Median and range."""
    return f"{found['median']:{form}} ({found['least']:{form}} to {found['most']:{form}})"


def _memory(samples: list[Any]) -> str:
    """Largest memory of a worker in the first and the last third of its run."""
    rows = [max(sizes.values()) for _, sizes in samples if sizes]
    third = max(1, len(rows) // 3)
    first, last = max(rows[:third]), max(rows[-third:])
    return f"at most {first:.0f} MB in the first third of the run, {last:.0f} in the last"
