"""What reads the messages of a target, as docs/targets.md says one should."""

from __future__ import annotations

from typing import Any


class Reader:
    """Holds the newest state of every entity, whatever comes in which order and how often."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[int, int]] = {}
        self.contents: dict[str, dict[str, Any]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """A message as every target writes it."""
        order = (message["generation"], message["position"]["offset"])
        if message["deleted"]:
            self.hold(message["key"], order, None)
            return
        before = self.contents.get(message["key"], {}) if message["partial"] else {}
        fields = {**before, **message["fields"]}
        self.hold(message["key"], order, {name: value for name, value in fields.items() if value is not None})

    def hold(self, key: str, order: tuple[int, int], fields: dict[str, Any] | None) -> None:
        """Keep the fields of an entity, None: it is deleted; unless what is held is as new."""
        if order <= self._orders.get(key, (-1, -1)):
            return
        self._orders[key] = order
        self.contents.pop(key, None)
        if fields is not None:
            self.contents[key] = fields
