"""How the change log's tables in PostgreSQL became what they are: alembic's scripts, run when a store is opened."""
