"""Progress bar on standard error, for slow commands."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, drawn from the first report on; none without a terminal."""
    with contextlib.ExitStack() as stack:
        task: list[Any] = []

        def show(done: int, total: int) -> None:
            if not sys.stderr.isatty():
                return
            if not task:
                from rich.console import Console
                from rich.progress import Progress

                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task.extend((bar, bar.add_task(label, total=total)))
            task[0].update(task[1], completed=done, total=total)

        yield show
