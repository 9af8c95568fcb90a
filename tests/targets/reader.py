"""What reads the messages of a target, as docs/targets.md says one should."""

from __future__ import annotations

from typing import Any

from tests.targets.documented import documented


class Reader:
    """Holds the newest state of every entity, whatever comes in which order and how often."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        """Entity key -> fields, of all that exist."""
        return {key: fields for key, (_, fields) in self._states.items() if fields is not None}

    def take(self, message: dict[str, Any]) -> None:
        """A message as every target writes it."""
        documented().hold(self._states, message)

    def take_whole(self, key: str, order: tuple[int, int], fields: dict[str, Any] | None) -> None:
        """The same for what has no message: all fields of an entity, None for one that is deleted."""
        generation, offset = order
        state = {"deleted": fields is None, "partial": False, "fields": fields}
        self.take({"key": key, "generation": generation, "position": {"offset": offset}, **state})
