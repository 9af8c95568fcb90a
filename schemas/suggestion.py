"""What was meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """The nearest allowed word, or all of them."""
    known = sorted(allowed)
    if not known:
        return "none is declared"
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "it must be one of " + ", ".join(known)
