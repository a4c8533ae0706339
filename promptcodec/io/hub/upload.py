"""Upload of files to a repository on the Hub, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptcodec.errors import OutputError, UsageError
from promptcodec.io.hub.faults import TOKEN, hub_call
from promptcodec.io.hub.manifest import MANIFEST, Manifest
from promptcodec.io.hub.name import HubName

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Target:
    """Place of an upload.

    Args:
        repository: owner/name; made if it is not there.
        revision: branch, made from main if it is not there; None is main.
        private: whether only its owners may read it.
        force: whether files of an earlier upload that are not in this one are removed.
        message: first line of the commit; None is a default.
    """

    repository: str
    revision: str | None = None
    private: bool = False
    force: bool = False
    message: str | None = None


@dataclass(frozen=True)
class Commit:
    """A finished upload.

    Args:
        sha: hash of the commit, which is a revision.
        url: address of the commit.
        removed: paths of files that it removed.
        is_new: whether there was something to commit.
    """

    sha: str
    url: str
    removed: tuple[str, ...] = ()
    is_new: bool = True


def upload(files: Mapping[str, Path | bytes], target: Target) -> Commit:
    """Upload files; other files of the repository stay.

    Args:
        files: files or their content, by path in the repository.
        target: repository, branch, message.
    Raises:
        UsageError: there is no token; the repository is public and should be private.
        OutputError: files of an earlier upload would be left over; the Hub refuses it, or cannot
            be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if get_token() is None:
        raise UsageError(f"an upload to the Hub needs a token: {TOKEN}")
    api, name = HfApi(), HubName(target.repository, target.revision)
    with hub_call(name, kind=OutputError):
        _make(api, target)
        info = api.model_info(target.repository, revision=target.revision)
        if target.private and info.private is False:
            raise UsageError(
                f"{target.repository} exists and is public: make it private on the Hub first, or "
                "leave out --private"
            )
        there = {sibling.rfilename for sibling in info.siblings or ()}
        removed = _left_over(api, target, there, files, sha=str(info.sha))
        operations: list[Any] = [
            CommitOperationAdd(path, content) for path, content in files.items()
        ]
        operations += [CommitOperationDelete(path, is_folder=False) for path in removed]
        done = api.create_commit(
            target.repository,
            operations,
            commit_message=target.message or "Upload with promptcodec",
            revision=target.revision,
            parent_commit=info.sha,
        )
    return Commit(str(done.oid), str(done.commit_url), tuple(removed), is_new=done.oid != info.sha)


def _make(api: HfApi, target: Target) -> None:
    """Make the repository and the branch, where they are not there."""
    api.create_repo(target.repository, private=target.private or None, exist_ok=True)
    if target.revision not in (None, "main"):
        api.create_branch(target.repository, branch=str(target.revision), exist_ok=True)


def _left_over(
    api: HfApi, target: Target, there: set[str], files: Mapping[str, Any], *, sha: str
) -> list[str]:
    """Files of an earlier upload that are not in this one."""
    if MANIFEST not in there:
        return []
    path = api.hf_hub_download(target.repository, MANIFEST, revision=sha)
    left = sorted((set(Manifest.read(Path(path)).sha256) & there) - set(files))
    if left and not target.force:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise OutputError(
            f"{target.repository} holds {left[0]}{more} of an earlier upload, which this folder "
            "has not: take another repository, or pass --force to remove them from the new revision"
        )
    return left
