"""Where a codec was loaded from, for its upload."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptcodec.io.hub.name import HubName


@dataclass(frozen=True)
class Origin:
    """Where a codec was loaded from.

    Args:
        root: folder of the codec or of the base.
        is_bundled: whether that is the bundled one.
        name: repository that it was fetched from; None is a folder.
        heads: folder of its heads; None is `heads/` in `root`.
        tasks: folder of its task prompts; None is `tasks/` in `root`.
    """

    root: Path
    is_bundled: bool
    name: HubName | None
    heads: str | Path | None
    tasks: str | Path | None
