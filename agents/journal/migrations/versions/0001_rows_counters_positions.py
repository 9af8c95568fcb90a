"""Rows, counters, and how far the store is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0001"
down_revision = None

SPOT = ("at_ms", "partition", "record_offset")
ROWS = "syncline_journal_rows"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "syncline_journal_positions",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("next", sa.BigInteger, nullable=False),
    )
    op.create_table(
        ROWS,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("record_offset", sa.BigInteger, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("entity", "kind", "source")),
        *(sa.Column(name, ARRAY(sa.Text), nullable=False) for name in ("fields", "targets")),
        sa.Column("conflict_id", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "syncline_journal_counters",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("dimension", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("records", sa.BigInteger, nullable=False),
    )
    op.create_index(f"{ROWS}_at", ROWS, ["topic", *SPOT])
    for name in ("entity", "source", "kind"):
        op.create_index(f"{ROWS}_{name}", ROWS, ["topic", name, *SPOT])
    for name in ("fields", "targets"):
        op.create_index(f"{ROWS}_{name}", ROWS, [name], postgresql_using="gin")
    op.create_index(
        f"{ROWS}_conflict",
        ROWS,
        ["topic", "conflict_id"],
        unique=True,
        postgresql_where=sa.text("conflict_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop them; a worker fills them again from Kafka."""
    for table in ("syncline_journal_counters", ROWS, "syncline_journal_positions"):
        op.drop_table(table)
