"""Label values that come from data, so that no metric has more series than were planned for."""

from __future__ import annotations

from typing import Final

MOST_VALUES: Final = 100
OTHER: Final = "other"


class BoundedLabel:
    """Gives the first MOST_VALUES distinct values back as they are, and `other` for each that comes later."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """The label value that stands for a value."""
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value
