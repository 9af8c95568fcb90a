"""A change as the engine holds it: decoded from the wire, every value as its canonical JSON text."""

from __future__ import annotations

from mypy_extensions import mypyc_attr


@mypyc_attr(acyclic=True)
class WireChange:
    """One change (SPEC section 2).

    occurred_at is in ms since the epoch. before and fields map a field's name to the canonical JSON text of
    its value; "null" in fields unsets. seen maps a source to a version. None: its writer did not tell.
    """

    __slots__ = (
        "before",
        "entity_id",
        "entity_type",
        "event_id",
        "fields",
        "key",
        "occurred_at",
        "op",
        "seen",
        "source",
        "version",
    )

    def __init__(
        self,
        key: str,
        entity_type: str,
        entity_id: str,
        event_id: str,
        op: str,
        source: str,
        version: int,
        occurred_at: int,
        seen: dict[str, int] | None,
        before: dict[str, str] | None,
        fields: dict[str, str],
    ) -> None:
        self.key = key
        self.entity_type = entity_type
        self.entity_id = entity_id
        self.event_id = event_id
        self.op = op
        self.source = source
        self.version = version
        self.occurred_at = occurred_at
        self.seen = seen
        self.before = before
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WireChange):
            return NotImplemented
        return (
            self.key == other.key
            and self.entity_type == other.entity_type
            and self.event_id == other.event_id
            and self.op == other.op
            and self.source == other.source
            and self.version == other.version
            and self.occurred_at == other.occurred_at
            and self.seen == other.seen
            and self.before == other.before
            and self.fields == other.fields
        )

    def __hash__(self) -> int:
        return hash((self.key, self.source, self.version))

    def __repr__(self) -> str:
        # Without values: a repr ends up in logs.
        return f"WireChange({self.key!r}, {self.op}, {self.source}@{self.version}, {len(self.fields)} fields)"
