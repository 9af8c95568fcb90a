"""Decoded entities, kept while their changes keep coming: decoding one costs more than a change of it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mypy_extensions import mypyc_attr

from streams.entity import Entity
from streams.entity_codec import decode_entity
from streams.merge import Judgement, judge
from streams.policy import EntityPolicy

#: Decoded and judged, an entity takes so many times the bytes of its state, and of an empty one
#: (`python -m benchmarks growth`).
DECODED: Final = 10
EMPTY_BYTES: Final = 100


@mypyc_attr(acyclic=True)
class Held:
    """A decoded entity with its judgement. stored: its state as last encoded, None if it never was."""

    __slots__ = ("entity", "judgement", "policy", "stored")

    def __init__(self, stored: bytes | None, policy: EntityPolicy) -> None:
        self.stored = stored
        self.policy: Final = policy
        self.restore()

    def restore(self) -> None:
        """Goes back to what was stored last."""
        self.entity = Entity() if self.stored is None else decode_entity(self.stored)
        self.judgement: Judgement = judge(self.entity, self.policy)

    def size(self) -> int:
        """Bytes of its state, and something for one that has none."""
        return EMPTY_BYTES + (0 if self.stored is None else len(self.stored))


class HeldEntities:
    """The entities of one partition that are held; what was asked for last goes last."""

    __slots__ = ("_by_key", "_size")

    def __init__(self) -> None:
        self._by_key: OrderedDict[bytes, Held] = OrderedDict()
        self._size = 0

    def find(self, key: bytes) -> Held | None:
        """The entity, if it is held."""
        held = self._by_key.get(key)
        if held is not None:
            self._by_key.move_to_end(key)
        return held

    def add(self, key: bytes, held: Held) -> None:
        """Holds one more."""
        self._by_key[key] = held
        self._size += held.size()

    def grew(self, more: int) -> None:
        """The state of an entity that is held has so many bytes more, or fewer."""
        self._size += more

    def trim(self, limit: int) -> None:
        """Lets go until the states of what is held have at most `limit` bytes."""
        while self._size > limit:
            self._size -= self._by_key.popitem(last=False)[1].size()
