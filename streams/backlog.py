"""What is pending for one target of one partition of `records`: a function of what was read and acknowledged.

Of each entity there is the newest state alone. A state waits in its mode until it is due, is taken for a call in the
order in which it became due, and is gone when it is settled. One call is under way at a time, so that an entity's
states reach the target in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, count
from typing import Final

from streams.acknowledged import Acknowledged
from streams.delivery import Delivery
from streams.pending import OUT_OF_TURN, Pending
from streams.sync_modes import Mode, Moment, Plan, Rule, Waiting, mode_of

#: Settled entries of the heap that are left in it before it is built anew, besides as many as are pending.
SETTLED_KEPT: Final = 64


class Backlog:
    """plan: the target's modes. next: the offset of `records` to read next.

    acknowledged: by key, of what may be read again and, in incremental mode, of all entities. whole_until: what was
    appended before this offset may have been tried by somebody else already.
    counts: superseded, cleared, repeated (acknowledged before), unchanged.
    """

    def __init__(
        self,
        plan: Plan,
        next: int,
        acknowledged: Mapping[str, Acknowledged] | None = None,
        whole_until: int = 0,
    ) -> None:
        self.next = next
        self.recorded_ms = 0
        #: Bytes of the records held.
        self.size = 0
        self.acknowledged = dict(acknowledged or {})
        self.counts: Counter[str] = Counter()
        #: Key -> newest offset read since this was set; None: nobody asks.
        self.newest: dict[str, int] | None = None
        self._whole_until = whole_until
        self._plan = plan
        self._active: tuple[Rule, ...] = plan.active(Moment(0))
        self._waiting: dict[Mode, Waiting] = {}
        self._mode_of: dict[str, Mode] = {}
        self._ready: dict[str, Pending] = {}
        self._under_way: dict[str, Pending] = {}
        #: (first, number, item) of all that hold the commit back, the least first; settled ones among them.
        self._firsts: list[tuple[int, int, Pending]] = []
        self._numbers = count()
        self._passed = 0
        self._released = self._cleared = -1

    # ---- what is there ----

    def __len__(self) -> int:
        return len(self._mode_of) + len(self._ready) + len(self._under_way)

    def __iter__(self) -> Iterator[Pending]:
        waiting = (group.items.values() for group in self._waiting.values())
        return chain(self._under_way.values(), self._ready.values(), *waiting)

    @property
    def trouble(self) -> str | None:
        """What a strategy of the user's own fails with; what waits for it stays."""
        return next((group.trouble for group in self._waiting.values() if group.trouble is not None), None)

    @property
    def due(self) -> int:
        """Number of deliveries that can be taken."""
        return len(self._ready)

    @property
    def committable(self) -> int:
        """The offset before which everything is settled."""
        return self._committable_without(())

    def _committable_without(self, items: Collection[Pending]) -> int:
        kept = []
        while self._firsts and (self._firsts[0][2].settled or self._firsts[0][2] in items):
            entry = heappop(self._firsts)
            if not entry[2].settled:
                kept.append(entry)
        least = self._firsts[0][0] if self._firsts else self.next
        for entry in kept:
            heappush(self._firsts, entry)
        return least

    @property
    def oldest_ms(self) -> int | None:
        """Recorded time of the oldest change that is not settled."""
        return min((item.since_ms for item in self), default=None)

    def lag_ms(self, at_ms: int) -> int:
        """How long the oldest delivery that is due has waited since it was recorded."""
        oldest = next(iter(self._under_way.values()), None) or next(iter(self._ready.values()), None)
        return 0 if oldest is None else max(0, at_ms - oldest.since_ms)

    # ---- what is read ----

    def read(self, offset: int, at_ms: int, size: int, delivery: Delivery | None) -> None:
        """Take note of the next record. at_ms: its recorded time. delivery: None where the target does not get it."""
        if offset < self.next:
            return  # the consumer was moved back; it is here, or settled
        self.decide(at_ms)
        self.next = offset + 1
        if delivery is None:
            return
        key = delivery.key
        if self.newest is not None:
            self.newest[key] = offset
        known = self.acknowledged.get(key)
        if known is not None and offset <= known.offset:
            self.counts["repeated"] += 1
        elif offset <= self._cleared:
            self.counts["cleared"] += 1
        else:
            self._put(Pending(delivery, offset, at_ms, size, offset, at_ms, offset < self._whole_until))

    def _put(self, item: Pending) -> None:
        mode, held = self._mode_of.get(item.key), self._held(item.key)
        if held is None:
            self.size += item.size
            self._hold_back(item)
            self._wait(item)
            return
        self.counts["superseded"] += 1
        if mode is not None:
            self._mode_of.pop(item.key)
            self._waiting[mode].pop(item.key)
        self._supersede(held, item)
        if mode is not None:
            self._wait(held)

    def _hold_back(self, item: Pending) -> None:
        if item.first != OUT_OF_TURN:
            heappush(self._firsts, (item.first, next(self._numbers), item))

    def _supersede(self, held: Pending, newer: Pending) -> None:
        self.size += newer.size - held.size
        out_of_turn = held.first == OUT_OF_TURN
        held.supersede(newer)
        if out_of_turn:
            self._hold_back(held)

    def _held(self, key: str) -> Pending | None:
        mode = self._mode_of.get(key)
        return self._ready.get(key) if mode is None else self._waiting[mode].items[key]

    def _wait(self, item: Pending) -> None:
        if item.first <= self._released:
            self._ready[item.key] = item
            return
        self._release_due(self._group(item), Moment(self.recorded_ms, self.lag_ms(self.recorded_ms)))

    def _group(self, item: Pending) -> Mode:
        mode = mode_of(self._active, item.delivery)
        self._waiting.setdefault(mode, Waiting()).put(item)
        self._mode_of[item.key] = mode
        return mode

    # ---- what is due ----

    def decide(self, at_ms: int) -> None:
        """Recorded time is this now, or later: decide again where that matters."""
        if at_ms <= self.recorded_ms:
            return
        self.recorded_ms = at_ms
        moment = Moment(at_ms, self.lag_ms(at_ms))
        if self._plan.depends_on_time:
            active = self._plan.active(moment)
            if active != self._active:
                self._active = active
                self._group_again()
        for mode, group in self._waiting.items():
            if group.items and at_ms >= group.decided_until_ms:
                self._release_due(mode, moment)

    def replan(self, plan: Plan) -> None:
        """Other modes from now on; what is due stays so."""
        self._plan = plan
        self._active = plan.active(Moment(self.recorded_ms, self.lag_ms(self.recorded_ms)))
        self._group_again()

    def _group_again(self) -> None:
        groups, self._waiting, self._mode_of = self._waiting, {}, {}
        for mode, group in groups.items():
            self._waiting[mode] = Waiting(decided_until_ms=group.decided_until_ms)
        for group in groups.values():
            for item in group.items.values():
                self._group(item)
        for mode in self._waiting:
            self._release_due(mode, Moment(self.recorded_ms, self.lag_ms(self.recorded_ms)))

    def _release_due(self, mode: Mode, moment: Moment) -> None:
        for key in mode.due(self._waiting[mode], moment):
            self._release(key)

    def _release(self, key: str) -> None:
        self._ready[key] = self._waiting[self._mode_of.pop(key)].pop(key)

    def release(self, until: int) -> None:
        """Everything with an offset of at most this is due, in every mode: `sync --now`."""
        self._released = max(self._released, until)
        for group in self._waiting.values():
            for item in [item for item in group.items.values() if item.first <= until]:
                self._release(item.key)

    def release_all(self) -> None:
        """What waits in windows and strategies is due: there is no more room. What is manual stays."""
        for mode, group in self._waiting.items():
            if mode.name != "manual":
                for key in list(group.items):
                    self._release(key)

    def clear(self, until: int) -> int:
        """Nothing with an offset of at most this is to be delivered; returns how many deliveries that drops."""
        self._cleared = max(self._cleared, until)
        gone = [item for item in self if item.offset <= until and self._under_way.get(item.key) is not item]
        for item in gone:
            self._drop(item)
        self.counts["cleared"] += len(gone)
        return len(gone)

    def _drop(self, item: Pending) -> None:
        mode = self._mode_of.pop(item.key, None)
        if mode is None:
            del self._ready[item.key]
        else:
            self._waiting[mode].pop(item.key)
        self._gone(item)

    def _gone(self, item: Pending) -> None:
        item.settled = True
        self.size -= item.size
        if len(self._firsts) > 2 * len(self) + SETTLED_KEPT:
            # One that waits for long would else keep all that are settled after it.
            self._firsts = [entry for entry in self._firsts if not entry[2].settled]
            heapify(self._firsts)

    def again(self, delivery: Delivery, at_ms: int, size: int) -> Pending | None:
        """Have a state delivered out of its turn and whole; None: something newer was acknowledged.

        Returns what is to be waited for, which has a newer state where one is pending.
        """
        key, offset = delivery.key, delivery.position.offset
        if self.newest is not None and self.newest.get(key, -1) > offset and not self._pending(key):
            return None
        known = self.acknowledged.get(key)
        if known is not None and known.offset > offset and not self._pending(key):
            return None
        if key in self._mode_of:
            self._release(key)
        held = self._ready.get(key) or self._under_way.get(key)
        if held is None:
            held = self._ready[key] = Pending(delivery, offset, at_ms, size, OUT_OF_TURN, at_ms)
            self.size += size
        held.whole = True
        return held

    def _pending(self, key: str) -> bool:
        return key in self._mode_of or key in self._ready or key in self._under_way

    def withdraw(self, key: str, until: int) -> Pending | None:
        """Take a state with an offset of at most this out of its turn, to be settled; None: there is none."""
        item = self._held(key)
        if item is None or item.offset > until:
            return None
        if key in self._mode_of:
            self._release(key)
        self._under_way[key] = self._ready.pop(key)
        return item

    # ---- what is delivered ----

    def take(self, most: int, most_bytes: int) -> list[Pending]:
        """The next deliveries for one call, which is under way then: at most so many and so large, but at least one.

        What has not changed since it was acknowledged is settled on the way.
        """
        taken: list[Pending] = []
        size = 0
        for key, item in list(self._ready.items()):
            if self._is_unchanged(item):
                self.counts["unchanged"] += 1
                self._drop(item)
                continue
            if taken and (len(taken) >= most or size + item.size > most_bytes):
                break
            self._under_way[key] = self._ready.pop(key)
            taken.append(item)
            size += item.size
        return taken

    def _is_unchanged(self, item: Pending) -> bool:
        return not item.whole and self.incremental(item.delivery) and self.to_deliver(item).changed == frozenset()

    def incremental(self, delivery: Delivery) -> bool:
        """Whether only changed fields of it are delivered now."""
        return mode_of(self._active, delivery).incremental

    def to_deliver(self, item: Pending) -> Delivery:
        """The delivery of an item, with the names of the fields that changed in incremental mode."""
        delivery = item.delivery
        known = self.acknowledged.get(item.key)
        if item.whole or known is None or not self.incremental(delivery):
            return delivery
        return Delivery(
            delivery.target,
            delivery.key,
            delivery.record,
            delivery.position,
            delivery.generation,
            known.changed(delivery),
        )

    def acknowledgements(
        self, items: Collection[Pending], refused: Collection[Pending] = ()
    ) -> dict[str, Acknowledged]:
        """What must be written down before these are settled: what the committed offset will not say.

        refused: those of them that lie in dead letters, so that nobody delivers them again who reads them again. What
        the target has of those is not known, so the entity's next state goes whole.
        """
        committable = self._committable_without(items)
        noted: dict[str, Acknowledged] = {}
        for item in items:
            incremental = self.incremental(item.delivery) and item not in refused
            if incremental or item.offset >= committable or item.key in self.acknowledged:
                noted[item.key] = Acknowledged.of(item.delivery, incremental)
        return noted

    def settle(self, items: Iterable[Pending], noted: Mapping[str, Acknowledged] | None = None) -> None:
        """These are done with. noted: what `acknowledgements` gave for those that were accepted."""
        for item in items:
            del self._under_way[item.key]
            self._gone(item)
            self._passed += 1
        self.acknowledged.update(noted or {})

    def failed(self, items: Sequence[Pending]) -> None:
        """A call with these failed, so that any of them may have been delivered: they are due again.

        One that failed alone goes behind the others, and counts only where others passed since it last failed.
        """
        back: dict[str, Pending] = {}
        for item in items:
            del self._under_way[item.key]
            item.whole = True
            newer = self._ready.pop(item.key, None)
            if newer is None and item.key in self._mode_of:
                newer = self._waiting[self._mode_of.pop(item.key)].pop(item.key)
            if newer is not None:
                self.counts["superseded"] += 1
                self._gone(newer)
                self._supersede(item, newer)
            back[item.key] = item
        if len(items) == 1:
            (item,) = items
            if item.failed_at < self._passed:
                item.failures, item.failed_at = item.failures + 1, self._passed
            self._ready.update(back)
        else:
            self._ready = {**back, **self._ready}
