"""Section `journal` of syncline.yaml: the stores that the change log may be kept in, and for how long.

Passwords are not in the file: it names the environment variables that have them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from schemas.document import Document, Duration, Most, Variable, mapping, name_key, or_nothing, url_of
from schemas.suggestion import suggestion

DAY_MS: Final = 86_400_000
MEMORY: Final = "memory"
SERVERS: Final = ("redis", "rediss", "postgresql")
SERVER_URL: Final = url_of(*SERVERS)
#: The name of the store that SYNCLINE_CHANGELOG declares.
BY_SETTING: Final = "changelog"


def store_url(value: object) -> str:
    """A URL of a store. Raises ValueError, without the URL: there may be a password in it."""
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        usable = parts.scheme == MEMORY or (parts.scheme in SERVERS and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("it must be memory://, redis://host:port/0 or postgresql://user@host/database")
    return str(value)


def _without_password(value: object) -> object:
    url = store_url(value)
    return url if urlsplit(url).scheme == MEMORY else SERVER_URL.func(url)  # type: ignore[call-arg]


StoreUrl = Annotated[str, BeforeValidator(store_url)]


def _store_name(value: object) -> str:
    name = name_key(value)
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name):
        raise ValueError("a store's name is up to 64 lower case letters, digits, _ and -, a letter first")
    return name


def _store(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class StoreDocument(Document):
    """A place for the change log. In the file its URL alone will do."""

    url: Annotated[str, BeforeValidator(_without_password)] = Field(
        description="memory://, redis://… or postgresql://…"
    )
    secret_env: Variable | None = Field(None, description="variable with the password")
    timeout: Annotated[Duration, Field(gt=0)] = Field(10_000, description="of one exchange with the store")


class RetentionDocument(Document):
    """How long what is kept; null: for ever."""

    changes: Duration | None = Field(30 * DAY_MS, description="rows of changes")
    conflicts: Duration | None = Field(365 * DAY_MS, description="rows of conflicts, with all values that lost")
    counters: Duration | None = Field(400 * DAY_MS, description="counters, which are there for rows long gone, too")


class JournalDocument(Document):
    """The change log: where it is kept, and what of it for how long."""

    stores: dict[
        Annotated[str, BeforeValidator(_store_name)],
        Annotated[StoreDocument, BeforeValidator(_store, json_schema_input_type=StoreDocument | str)],
    ] = Field({}, description="stores by name, between which `syncline journal switch` chooses")
    store: str | None = Field(None, description="the one to begin with; none: the first")
    retention: Annotated[RetentionDocument, or_nothing(RetentionDocument)] = RetentionDocument()
    most_changes: Most = Field(1_000_000, description="rows of changes that are kept at the most, the newest")
    clean_every: Annotated[Duration, Field(gt=0)] = Field(60_000, description="between two automatic cleanups")

    @model_validator(mode="after")
    def _declared(self) -> Self:
        if self.store is not None and self.store not in self.stores:
            raise ValueError(f"store: {self.store!r} is not among the stores; {suggestion(self.store, self.stores)}")
        return self


AnyJournal = Annotated[JournalDocument, BeforeValidator(mapping, json_schema_input_type=JournalDocument | None)]
