"""The tables of the change log in PostgreSQL, as its migrations have made them in the end."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

METADATA: Final = MetaData()

POSITIONS: Final = Table(
    "syncline_journal_positions",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next", BigInteger, nullable=False),
)
ROWS: Final = Table(
    "syncline_journal_rows",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("record_offset", BigInteger, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("entity", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("fields", ARRAY(Text), nullable=False),
    Column("targets", ARRAY(Text), nullable=False),
    Column("conflict_id", Text),
    # Canonical JSON as text: jsonb takes no \u0000, and rounds nothing only by luck.
    Column("body", Text, nullable=False),
)
COUNTERS: Final = Table(
    "syncline_journal_counters",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("dimension", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
)

#: The order of pages.
SPOT: Final = (ROWS.c.at_ms, ROWS.c.partition, ROWS.c.record_offset)
Index("syncline_journal_rows_at", ROWS.c.topic, *SPOT)
Index("syncline_journal_rows_entity", ROWS.c.topic, ROWS.c.entity, *SPOT)
Index("syncline_journal_rows_source", ROWS.c.topic, ROWS.c.source, *SPOT)
Index("syncline_journal_rows_kind", ROWS.c.topic, ROWS.c.kind, *SPOT)
Index("syncline_journal_rows_fields", ROWS.c.fields, postgresql_using="gin")
Index("syncline_journal_rows_targets", ROWS.c.targets, postgresql_using="gin")
Index(
    "syncline_journal_rows_conflict",
    ROWS.c.topic,
    ROWS.c.conflict_id,
    unique=True,
    postgresql_where=ROWS.c.conflict_id.is_not(None),
)
