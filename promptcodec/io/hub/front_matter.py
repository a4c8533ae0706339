"""README.md as metadata (YAML between two lines of ---) and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from promptcodec.errors import DataError
from promptcodec.io.hub.faults import line_of


@dataclass(frozen=True)
class Document:
    """A README.md.

    Args:
        path: its path, for messages.
        text: what follows the metadata.
        values: metadata by key, in their order.
        stored: content of the file; None if it is not there.
    """

    path: Path
    text: str
    values: Mapping[str, Any]
    stored: str | None = None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The document of a file; None if it is not there.

        Raises:
            DataError: it is not UTF-8, or its metadata is not YAML with keys.
        """
        import yaml
        from huggingface_hub.repocard import REGEX_YAML_BLOCK

        try:
            stored = path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read ({line_of(error)}): save it as UTF-8") from None
        block = REGEX_YAML_BLOCK.search(stored)
        if block is None:
            return cls(path, stored, {}, stored)
        try:
            values = yaml.safe_load(block[2]) or {}
        except yaml.YAMLError as error:
            raise _not_valid(path, error) from None
        if not isinstance(values, dict):
            raise _not_valid(path, TypeError("need keys and values"))
        return cls(path, stored[block.end() :], values, stored)

    def content(self, values: Mapping[str, Any]) -> str:
        """Content of the file with other metadata; the same if they are those that it has.

        Raises:
            DataError: the metadata are not valid on the Hub.
        """
        from huggingface_hub import ModelCardData

        if self.stored is not None and values == self.values:
            return self.stored
        line = "\r\n" if self.stored and "\r\n" in self.stored else "\n"
        try:
            card = ModelCardData(**values)
            front = card.to_yaml(line_break=line, original_order=list(values))
        except (ValueError, TypeError, AttributeError) as error:
            raise _not_valid(self.path, error) from None
        return f"---{line}{front}{line}---{line}{self.text}"


def _not_valid(path: Path, error: Exception) -> DataError:
    reason = " ".join(line_of(error).split())
    return DataError(f"{path}: its metadata is not valid ({reason}): correct or remove it")
