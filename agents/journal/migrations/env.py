"""Run by alembic: applies the migrations over the connection that `agents.journal.postgresql` gives."""

from __future__ import annotations

from alembic import context

from agents.journal.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="syncline_journal_version",
)
context.run_migrations()
