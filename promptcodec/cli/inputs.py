"""Input files of a command, and the output of each (standard library only)."""

import glob
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from promptcodec.errors import (
    DataError,
    OutputError,
    PromptCodecError,
    UsageError,
    is_address,
    not_found,
)
from promptcodec.io.find import find_files, is_special, with_ending

Refusal = tuple[str, PromptCodecError]  # a name, and the reason why it is refused

_WILDCARD = re.compile(r"[*?]|\[.+\]")


@dataclass(frozen=True)
class FilePair:
    """One file to work on.

    Args:
        source: path of the input.
        target: path of the output.
    """

    source: Path
    target: Path


@dataclass(frozen=True)
class Selection:
    """Input files of a command.

    Args:
        pairs: files with targets that differ.
        refused: names that are refused, with the reasons.
        ignored: number of files in folders with another suffix.
    """

    pairs: tuple[FilePair, ...]
    refused: tuple[Refusal, ...]
    ignored: int


@dataclass(frozen=True)
class InputSpec:
    """Names of files, folders and patterns from the command line.

    Args:
        names: existing files and folders; anything else with *, ? or [a-z] is a pattern, in which
            ** is any number of folders.
        suffixes: endings of the files taken from folders, lower case.
        recursive: whether folders are searched, with their subfolders.
    """

    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    recursive: bool = False

    def are_several(self, output: str | None) -> bool:
        """Whether there are several results, in a folder or beside the inputs."""
        if self.recursive or len(self.names) > 1 or names_folder(output):
            return True
        return any(_is_pattern(name) for name in self.names)

    def select(self, output: str | None, *, suffix: str) -> Selection:
        """Find the files and give each its target.

        Args:
            output: folder for the results, in which folders and patterns are mirrored; None puts
                each beside its file.
            suffix: ending of the results, with its dot.
        Raises:
            UsageError: standard input is among files, or the output is no folder.
            OutputError: the output is a file.
        """
        if "-" in self.names:
            raise UsageError("- is one picture or stream: name it alone, without other files")
        several = self.are_several(output)
        if output is not None and (several or output in ("", "-")):
            check_folder(output, suffix=suffix)
        found: dict[str, FilePair] = {}
        refused: list[Refusal] = []
        ignored = 0
        for name in self.names:
            try:
                files, others, unreadable = self._expand(name)
            except PromptCodecError as error:
                refused.append((name, error))
                continue
            ignored += others
            refused += [(name, error) for error in unreadable]
            for source, relative in files:
                target = source if output is None else Path(output) / relative
                if several or output is None:
                    target = with_ending(target, suffix)
                else:
                    target = Path(output)
                if is_special(source):
                    error = UsageError(f"{source} is no regular file: name it alone, or send it")
                    refused.append((str(source), error))
                elif target == source:
                    refused.append((str(source), UsageError(f"it is a {suffix} already")))
                else:
                    found.setdefault(os.path.abspath(source), FilePair(source, target))
        pairs, clashes = _distinct(list(found.values()))
        return Selection(pairs, (*refused, *clashes), ignored)

    def files(self, name: str) -> list[Path]:
        """Files of a name: itself, or those of the folder or pattern.

        Raises:
            UsageError: the folder or pattern has no files.
        """
        files, _, unreadable = self._expand(name)
        for error in unreadable:
            raise error
        return [path for path, _ in files]

    def _expand(self, name: str) -> tuple[list[tuple[Path, Path]], int, list[DataError]]:
        """Files of a name, each with its path below the mirrored folder; number of ignored ones."""
        path = Path(name)
        refuse_address(name)
        if os.path.isdir(path):
            if not self.recursive:
                raise UsageError(f"{name} is a folder: pass --recursive for what is in it")
            unreadable: list[DataError] = []
            files = list(find_files(path, dangling=True, on_error=unreadable.append))
            taken = [file for file in files if file.suffix.lower() in self.suffixes]
            if not taken and not unreadable:
                raise UsageError(f"{name} holds no file to take ({', '.join(self.suffixes)})")
            pairs = [(file, file.relative_to(path)) for file in taken]
            return pairs, len(files) - len(taken), unreadable
        if not path.name:
            raise UsageError(f"{name!r} names no file: give a file")
        if not _is_pattern(name):
            return [(path, Path(path.name))], 0, []
        files = sorted(Path(each) for each in glob.glob(name, recursive=True))
        files = [file for file in files if os.path.isfile(file)]
        if not files:
            raise UsageError(f"no file has a name like {name}: check the pattern")
        root = _fixed_part(path)
        return [(file, file.relative_to(root)) for file in files], 0, []


def refuse_address(name: str) -> None:
    """Raise a UsageError for "https://host/photo.png" and the like, unless it is a path."""
    if is_address(name) and not os.path.lexists(name):
        raise UsageError(not_found(name))


def names_folder(output: str | None) -> bool:
    """Whether an output is a folder, or its name ends like one."""
    if output in (None, "", "-"):
        return False
    return output.endswith("/") or os.path.isdir(output)


def check_folder(output: str, *, suffix: str) -> None:
    """Refuse an output that cannot be the folder of several results; it need not exist yet.

    Raises:
        UsageError: the output is standard output, or the name of one result.
        OutputError: the output is a file.
    """
    path = Path(output)
    if not output:
        raise UsageError("-o is empty: name a folder")
    if output == "-" or (path.suffix.lower() == suffix and not os.path.exists(path)):
        raise UsageError(f"several results do not fit in {output}: name a folder by -o")
    if os.path.exists(path) and not os.path.isdir(path):
        raise OutputError(f"{output} is a file and several results need a folder: name one by -o")


def _is_pattern(name: str) -> bool:
    wild = bool(_WILDCARD.search(name)) and not is_address(name)
    return wild and not os.path.lexists(name)


def _fixed_part(pattern: Path) -> Path:
    """Folders before the first wildcard."""
    fixed = Path()
    for part in pattern.parts[:-1]:
        if _WILDCARD.search(part):
            break
        fixed /= part
    return fixed


def _distinct(pairs: list[FilePair]) -> tuple[tuple[FilePair, ...], list[Refusal]]:
    """Pairs whose targets differ, and those that would overwrite each other."""
    counts = Counter(pair.target for pair in pairs)
    clashes: list[Refusal] = []
    for source, target in ((pair.source, pair.target) for pair in pairs if counts[pair.target] > 1):
        message = f"{counts[target]} files would become {target}: rename all but one"
        clashes.append((str(source), OutputError(message)))
    return tuple(pair for pair in pairs if counts[pair.target] == 1), clashes
