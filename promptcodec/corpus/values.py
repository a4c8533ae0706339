"""Values of Arrow as values of Python."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

TEXTS = (pa.StringScalar, pa.LargeStringScalar, pa.StringViewScalar)


def plain(value: Any) -> Any:
    """A value as Python has it, the same with and without pandas.

    Times that Python has no type for (nanoseconds, a year above 9999) become text, bytes of a text
    that are not UTF-8 the character U+FFFD.

    Args:
        value: scalar of any type of Arrow.
    """
    kind, types = value.type, pa.types
    if not value.is_valid:
        return None
    if isinstance(value, TEXTS):
        return value.as_buffer().to_pybytes().decode("utf-8", "replace")
    if types.is_dictionary(kind) or isinstance(value, pa.ExtensionScalar):
        return plain(value.value)
    if types.is_struct(kind):
        return {part.name: plain(value[at]) for at, part in enumerate(kind.fields)}
    if types.is_map(kind):
        return [(plain(pair[0]), plain(pair[1])) for pair in value.values]
    if types.is_nested(kind):
        return [plain(each) for each in value.values]
    if getattr(kind, "unit", "") == "ns":
        return value.cast(pa.string()).as_py()
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return value.cast(pa.string()).as_py()
