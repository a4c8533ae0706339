"""Names of repositories on the Hub: owner/name, or owner/name@revision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from promptcodec.errors import UsageError

_NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)


@dataclass(frozen=True)
class HubName:
    """A repository, and what is meant of it.

    Args:
        repository: owner and name with a slash between.
        revision: branch, tag or commit; None is the branch main.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The name in a text; None if it has another form."""
        found = _NAME.fullmatch(text)
        return found and cls(found["repository"], found["revision"])

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def check_repository(text: str) -> str:
    """Check the name of a repository for an upload; returns it.

    Raises:
        UsageError: it is not owner/name, or has a revision.
    """
    found = HubName.read(text)
    if found is not None and found.revision is not None:
        raise UsageError(f"{text}: name the branch by --revision, and the repository without it")
    if found is None:
        raise UsageError(
            f"{text!r} is no name of a repository on the Hub: give owner/name of letters, digits, "
            "-, _ and ."
        )
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(found.repository)
    except HFValidationError as error:
        raise UsageError(f"{text} is no name of a repository on the Hub: {error}") from None
    return found.repository
