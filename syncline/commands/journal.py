"""`journal …`: the change log, and the store that it is kept in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from schemas.canonical import parse
from syncline.commands.look import when
from syncline.commands.options import OutputOption, policy_in_force, with_settings
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from agents.journal.store import Page
    from agents.settings import Settings
    from streams.journal import Count, JournalRow
    from syncline.journal_reader import Chosen

T = TypeVar("T")
LOOK_SECONDS = 0.5
SAY_SECONDS = 5.0
#: Without a step for so long, something is wrong.
STANDS_SECONDS = 15.0
STANDS = "nothing comes: does a worker run, and did it start with a file that declares this store? See its log"

EntityOption = Annotated[str | None, typer.Option(metavar="KEY", help="Of this entity: entity_type:entity_id.")]
SourceOption = Annotated[str | None, typer.Option(help="Of changes of this source, or conflicts that it caused.")]
FieldOption = Annotated[str | None, typer.Option(help="That wrote this field, or are about it; * is existence.")]
SinceOption = Annotated[str | None, typer.Option(metavar="TIME", help="From then on: RFC 3339, or an age such as 2h.")]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="Before then: RFC 3339, or an age such as 2h.")]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="Rows of a page.")]
CursorOption = Annotated[str | None, typer.Option(help="The one that the page before ended with.")]


class Log(StrEnum):
    """The two topics that the change log follows."""

    changes = "changes"
    conflicts = "conflicts"


class By(StrEnum):
    """What is counted."""

    kind = "kind"
    source = "source"
    field = "field"


class Per(StrEnum):
    """Periods that counters are added up for."""

    hour = "hour"
    day = "day"


@with_settings
def status(settings: Settings, output: OutputOption = Output.table) -> None:
    """Tell which store is written, how far it is, and how many rows it has."""
    told = _run(settings, _status(settings))
    if output is Output.json:
        write_json(told)
        return
    filling = "" if told["missing"] == 0 else f"; still lacks {told['missing']} records from before its switch"
    write_lines([f"store {told['store']} ({told['place']}){filling}"])
    columns = ("topic", "offsets in Kafka", "taken", "behind", "rows")
    write_table(
        columns,
        [[shown(str(topic[name])) for name in ("topic", "end", "taken", "behind", "rows")] for topic in told["topics"]],
    )


@with_settings
def switch(
    settings: Settings,
    name: Annotated[str, typer.Argument(metavar="STORE", help="Name or URL of a store that syncline.yaml declares.")],
    wait: Annotated[bool, typer.Option(help="Until the store has all that there is now.")] = True,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")] = 3600.0,
) -> None:
    """Have all workers write another store. It fills itself from Kafka; the one before stays as it is."""
    write_json(_run(settings, _switch(settings, name, timeout if wait else None)))


@with_settings
def changes(
    settings: Settings,
    entity: EntityOption = None,
    source: SourceOption = None,
    kind: Annotated[str | None, typer.Option(help="create, update, delete, snapshot or refused.")] = None,
    field: FieldOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    output: OutputOption = Output.table,
) -> None:
    """List changes, the newest first."""
    names = {"entity": entity, "source": source, "kind": kind, "field": field}
    _print_page(_run(settings, _page(settings, Log.changes, names, (since, until), limit, cursor)), output)


@with_settings
def conflicts(
    settings: Settings,
    entity: EntityOption = None,
    source: SourceOption = None,
    target: Annotated[str | None, typer.Option(help="In which this source is on the other side.")] = None,
    kind: Annotated[str | None, typer.Option(help="Such as update_differing.")] = None,
    field: FieldOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    output: OutputOption = Output.table,
) -> None:
    """List conflicts, the newest first."""
    names = {"entity": entity, "source": source, "target": target, "kind": kind, "field": field}
    _print_page(_run(settings, _page(settings, Log.conflicts, names, (since, until), limit, cursor)), output)


@with_settings
def stats(
    settings: Settings,
    of: Annotated[Log, typer.Option(help="What is counted.")] = Log.changes,
    by: Annotated[By, typer.Option(help="What it is counted by.")] = By.kind,
    per: Annotated[Per | None, typer.Option(help="For each hour or day (UTC); none: in all.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Count records by kind, source or field; those whose rows are gone, too."""
    counts = _run(settings, _stats(settings, of, by, per, (since, until)))
    if output is Output.json:
        write_json([one._asdict() for one in counts])
        return
    rows = [
        ("in all" if one.at_ms is None else when(one.at_ms), shown(one.name) or "(unknown)", str(one.records))
        for one in counts
    ]
    write_table((per.value if per else "", by.value, of.value), rows)


@with_settings
def cleanup(settings: Settings) -> None:
    """Delete now what section `journal` says need not be kept; workers do it by themselves, too."""
    write_json({"deleted_rows": _run(settings, _cleanup(settings))})


# ---- what they do ----


async def _status(settings: Settings) -> dict[str, Any]:
    from agents.names import TopicNames
    from syncline.journal_reader import chosen, described, ends, need_plan, of_topics, opened

    now = await chosen(settings, need_plan(settings))
    names, last = TopicNames.with_prefix(settings.topic_prefix), await ends(settings)
    topics = (names.changes, names.conflicts)
    if now.store.kind == "memory":
        say("syncline: this is what the topics have; how far a worker's memory is, its /readyz?verbose tells")
        store = await of_topics(settings, await policy_in_force(settings))
        positions, rows = last, {topic: await store.rows(topic) for topic in topics}
    else:
        async with opened(now.store) as store:
            positions = dict(await store.positions())
            rows = {topic: await store.rows(topic) for topic in topics}
    return {
        "store": now.store.name,
        "place": described(now.store),
        "missing": now.missing(positions),
        "before": None if now.before is None else now.before.name,
        "topics": [
            {
                "topic": topic,
                "end": _sum(last, topic),
                "taken": _sum(positions, topic),
                "behind": max(0, _sum(last, topic) - _sum(positions, topic)),
                "rows": rows[topic],
            }
            for topic in topics
        ],
    }


def _sum(places: Mapping[tuple[str, int], int], topic: str) -> int:
    return sum(offset for (of, _), offset in places.items() if of == topic)


async def _switch(settings: Settings, name: str, patience_seconds: float | None) -> dict[str, Any]:
    from agents.control import tell
    from agents.journal.loading import SUBJECT
    from agents.names import TopicNames
    from syncline.journal_reader import Chosen, chosen, ends, need_plan, opened

    plan = need_plan(settings)
    wanted, now = plan.named(name), await chosen(settings, plan)
    if wanted.kind != "memory":
        async with opened(wanted) as store:  # one that does not answer is not switched to
            await store.positions()
    if wanted.name == now.store.name:
        say(f"syncline: store {wanted.name} is written already")
    else:
        now = Chosen(wanted, now.store, await ends(settings))
        control = TopicNames.with_prefix(settings.topic_prefix).control
        await tell(settings.kafka, control, SUBJECT, now.as_told())
    if patience_seconds is not None and wanted.kind != "memory":
        await _filled(now, patience_seconds)
    return {"store": wanted.name, "before": None if now.before is None else now.before.name}


async def _filled(now: Chosen, patience_seconds: float) -> None:
    """Wait until the store has all that there was when it was switched to. Raises CommandError when it is too late."""
    from agents.journal.store import StoreUnavailable
    from syncline.journal_reader import opened

    name, total, begun = now.store.name, sum(now.until.values()), time.monotonic()
    missing, said, moved = total, 0.0, begun
    while True:
        try:
            async with opened(now.store) as store:
                lacks = now.missing(await store.positions())
                missing, moved = lacks, moved if lacks == missing else time.monotonic()
        except StoreUnavailable as error:
            say(f"syncline: {error}; trying again")
        if not missing:
            return
        at = time.monotonic()
        if at - begun > patience_seconds:
            raise CommandError(
                f"store {name} lacks {missing} of {total} records after {patience_seconds:g} s; if a worker runs it"
                " goes on by itself: syncline journal status"
            )
        stands = at - moved > STANDS_SECONDS
        if at - said > (STANDS_SECONDS if stands else SAY_SECONDS):
            said, hint = at, f"; {STANDS}" if stands else ""
            say(f"syncline: store {name} still lacks {missing} of {total} records{hint}")
        await asyncio.sleep(LOOK_SECONDS)


async def _page(
    settings: Settings,
    log: Log,
    names: Mapping[str, str | None],
    within: tuple[str | None, str | None],
    limit: int,
    cursor: str | None,
) -> Page:
    from agents.journal.store import Query, spot_of
    from agents.names import TopicNames
    from streams.journal import indexed
    from syncline.journal_reader import reading

    since_ms, until_ms = _times(within)
    query = Query(
        topic=getattr(TopicNames.with_prefix(settings.topic_prefix), log.value),
        since_ms=since_ms,
        until_ms=until_ms,
        before=None if cursor is None else spot_of(cursor),
        limit=limit,
        **{name: None if value is None else indexed(value) for name, value in names.items()},
    )
    key = None if names["entity"] is None else names["entity"].encode(errors="surrogateescape")
    async with reading(settings, await policy_in_force(settings), key) as store:
        return await store.page(query)


async def _stats(
    settings: Settings, of: Log, by: By, period: Per | None, within: tuple[str | None, str | None]
) -> list[Count]:
    from agents.names import TopicNames
    from streams.journal import DAY_MS, HOUR_MS, per
    from syncline.journal_reader import reading

    since_ms, until_ms = _times(within)
    topic = getattr(TopicNames.with_prefix(settings.topic_prefix), of.value)
    async with reading(settings, await policy_in_force(settings)) as store:
        hours = await store.hours(topic, by.value, since_ms, until_ms)
    return per(hours, {None: None, Per.hour: HOUR_MS, Per.day: DAY_MS}[period])


async def _cleanup(settings: Settings) -> int:
    from agents.journal.cleanup import clean, rules_of
    from agents.names import TopicNames
    from syncline.hybrid_clock import wall_clock_ms
    from syncline.journal_reader import chosen, need_plan, opened

    plan = need_plan(settings)
    now = await chosen(settings, plan)
    if now.store.kind == "memory":
        raise CommandError(f"store {now.store.name} is in the memory of workers, which clean it up by themselves")
    rules = rules_of(plan.said, TopicNames.with_prefix(settings.topic_prefix))
    async with opened(now.store) as store:
        return await clean(store, rules, wall_clock_ms())


def _run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; what may be wrong with the change log becomes a CommandError."""
    from agents.journal.loading import JournalError
    from agents.journal.store import BadCursor, StoreUnavailable

    try:
        return run(settings, work)
    except (JournalError, StoreUnavailable, BadCursor) as error:
        raise CommandError(str(error)) from None


def _times(within: tuple[str | None, str | None]) -> tuple[int | None, int | None]:
    since, until = (None if text is None else moment(text) for text in within)
    return since, until


def moment(text: str) -> int:
    """A time as ms since the epoch: RFC 3339, or how long ago. Raises CommandError."""
    from pydantic import TypeAdapter, ValidationError

    from schemas.document import Duration
    from schemas.rfc3339 import parse_time
    from syncline.hybrid_clock import wall_clock_ms

    try:
        return max(0, wall_clock_ms() - TypeAdapter(Duration).validate_python(text))
    except ValidationError:
        pass
    try:
        return max(0, parse_time(text))
    except ValueError as error:
        raise CommandError(f"{error}, or as an age such as 2h") from None


# ---- what they print ----


def _print_page(page: Page, output: Output) -> None:
    if output is Output.json:
        write_json({"cursor": page.cursor, "rows": [as_json(row) for row in page.rows]})
        return
    write_table(
        ("appended", "entity", "kind", "source", "what", "at"),
        [
            (
                when(row.at_ms),
                shown(row.entity),
                row.kind,
                shown(_who(row)),
                shown(_what(row)),
                f"{row.partition}:{row.offset}",
            )
            for row in page.rows
        ],
    )
    if page.cursor is not None:
        say(f"syncline: there are more: --cursor {page.cursor}")


def _who(row: JournalRow) -> str:
    return f"{row.source} against {', '.join(row.targets)}" if row.targets else row.source


def _what(row: JournalRow) -> str:
    """A row in few words, values as canonical JSON."""
    from schemas.canonical import canonical

    told = parse(row.body)
    if "candidates" in told:
        values = ", ".join(f"{one['source']}: {canonical(one['value'])}" for one in told["candidates"])
        return f"{row.fields[0]} = {canonical(told['value'])} ({told['outcome']}) of {values}"
    values = ", ".join(f"{name} = {canonical(value)}" for name, value in told.get("values", {}).items())
    return f"{told['reason']}{': ' if values else ''}{values}" if "reason" in told else values


def as_json(row: JournalRow) -> dict[str, Any]:
    """A row as programs read it."""
    return {**row._asdict(), "fields": list(row.fields), "targets": list(row.targets), "body": parse(row.body)}
