"""Calls of the Hub's library: its errors as one line, its bars on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptcodec.errors import PromptCodecError
from promptcodec.io.hub.name import HubName

TOKEN = "set HF_TOKEN, or log in with `hf auth login`"


@contextmanager
def hub_call(name: HubName, *, kind: type[PromptCodecError]) -> Iterator[None]:
    """Turn errors of the Hub's library and of the network into one of ours.

    Args:
        name: repository and revision.
        kind: class of the error that is raised.
    """
    from huggingface_hub import errors

    # The base classes are those of the HTTP library, which differs between versions.
    network: Any = errors.HfHubHTTPError.__bases__
    try:
        with _bars_on_a_terminal():
            yield
    except PromptCodecError:
        raise
    except (*network, OSError, ValueError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        raise kind(_message(cause or error, name)) from error


@contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """No progress bars in files and pipes, unless the environment asks for them."""
    from huggingface_hub import constants, utils

    quiet = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not sys.stderr.isatty()
    if not quiet or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _message(error: BaseException, name: HubName) -> str:
    from huggingface_hub import constants, errors

    repository, hub = name.repository, constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    match error:
        case errors.GatedRepoError():
            return f"{repository} is gated: request access at {hub}/{repository}, then {TOKEN}"
        case errors.RepositoryNotFoundError():
            return (
                f"{name} is no folder, and there is no such repository on the Hub, or it is "
                f"private: check the name; for a private one {TOKEN}"
            )
        case errors.RevisionNotFoundError():
            wanted = name.revision or "main"
            return f"{repository} has no revision {wanted}: give a branch, a tag or a commit"
        case errors.LocalEntryNotFoundError():
            return _not_in_cache(error, name)
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set, and this needs the network: unset it"
    if isinstance(error, OSError) and error.errno is not None:  # of the cache
        place = error.filename or constants.HF_HUB_CACHE
        return f"{name}: {place}: {error.strerror}: make room, or set HF_HOME to another folder"
    if status in (401, 403):
        return f"the Hub refuses {repository} with this token ({line_of(error)}): {TOKEN}"
    if isinstance(error, ValueError):  # a name or metadata that it does not accept
        return f"{name}: {' '.join(str(error).split())}: correct it"
    return f"{name}: the Hub at {hub} cannot be used ({line_of(error)}): try again later"


def _not_in_cache(error: BaseException, name: HubName) -> str:
    from huggingface_hub import constants, errors

    cause = error.__cause__
    if cause is None or isinstance(cause, errors.OfflineModeIsEnabled):
        setting = "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "local_files_only"
        return (
            f"{name} is no folder, and not whole in the cache {constants.HF_HUB_CACHE}, with "
            f"{setting} set: load it once with a network, or give a folder"
        )
    return (
        f"{name} is no folder, and not in the cache, and the Hub at {constants.ENDPOINT} cannot be "
        f"reached ({line_of(cause)}): connect to the network, or give a folder"
    )


def line_of(error: BaseException) -> str:
    """The first line of an error, or its class."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__
