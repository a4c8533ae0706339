"""Trackers of experiments, which Accelerate has adapters for."""

from __future__ import annotations

from promptcodec.errors import ConfigError


def check_tracker(name: str) -> None:
    """Refuse a tracker that Accelerate would leave out without a word, or with a traceback.

    Raises:
        ConfigError: the tracker is unknown, or its package is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name not in ("all", *LOGGER_TYPE_TO_CLASS):
        known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
        raise ConfigError(f"tracker is {name!r}; need one of {known}, or all")
    if name != "all" and name not in get_available_trackers():
        raise ConfigError(
            f"tracker is {name!r}, whose package is not installed; install it, or drop the key"
        )
