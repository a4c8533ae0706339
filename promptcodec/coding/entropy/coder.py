"""The rANS coder: constriction's where there is a wheel of it, else the same words in Python."""

from __future__ import annotations

from typing import Any

AnsCoder: Any  # a compiled module without stubs
Categorical: Any

try:
    import constriction
except ImportError:  # Linux on other processors than x86-64
    from promptcodec.coding.entropy import plain_rans

    AnsCoder, Categorical = plain_rans.AnsCoder, plain_rans.Categorical
    NAME = "plain_rans"
else:
    _stream: Any = constriction.stream  # type: ignore[attr-defined]
    AnsCoder, Categorical = _stream.stack.AnsCoder, _stream.model.Categorical
    NAME = "constriction"
