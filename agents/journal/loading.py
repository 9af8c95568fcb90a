"""From section `journal` and SYNCLINE_CHANGELOG to the stores that are declared, and to a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from agents.config_file import read_config
from agents.journal.memory import MemoryStore
from agents.journal.store import Store
from agents.settings import Settings
from agents.targets.secret_url import with_password
from schemas.journal_document import BY_SETTING, JournalDocument
from schemas.policy_document import PolicyError, read_document
from schemas.suggestion import suggestion

#: Of topic `control`. Its value: {"store": where to write, "before": the store until then, "until": [[topic, partition,
#: offset], …], where the topics ended when that was said}. Stores are named, so no password is in it.
SUBJECT: Final = "journal"


class JournalError(ValueError):
    """The change log cannot be used as it is declared; one line: what, where, what would be right."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A store that may be switched to. url: with its password, if there is one."""

    name: str
    url: str
    timeout_seconds: float

    @property
    def kind(self) -> str:
        """The scheme of its URL, `rediss` being `redis`."""
        return urlsplit(self.url).scheme.replace("rediss", "redis")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is said of the change log. first: name of the store to begin with."""

    stores: Mapping[str, Declared]
    first: str
    said: JournalDocument

    def named(self, name: str) -> Declared:
        """The store of a name, or of a URL as it stands in the file. Raises JournalError."""
        found = self.stores.get(name) or next((one for one in self.stores.values() if _plain(one.url) == name), None)
        if found is None:
            # Without what was given: it may be a URL with a password.
            what = "that URL" if "://" in name else f"{name!r}"
            raise JournalError(f"{what} is no declared store of the change log; {suggestion(name, self.stores)}")
        return found


def load_plan(settings: Settings, environment: Mapping[str, str] = os.environ) -> Plan | None:
    """The declared stores, None where no change log is configured. Raises JournalError.

    SYNCLINE_CHANGELOG declares one more, named `changelog`, and it is the one to begin with.
    """
    try:
        said = read_document(read_config(settings.config)).journal
    except PolicyError as error:
        raise JournalError(f"{settings.config}: {error}") from None
    stores: dict[str, Declared] = {}
    for name, one in said.stores.items():
        url = one.url
        if one.secret_env is not None:
            secret = environment.get(one.secret_env)
            if not secret:
                place = f"journal.stores.{name}.secret_env"
                raise JournalError(f"{place}: the environment variable {one.secret_env} is not set")
            url = with_password(url, secret)
        stores[name] = Declared(name, url, one.timeout / 1000)
    first = said.store or next(iter(stores), None)
    if settings.changelog is not None:
        stores[BY_SETTING] = Declared(BY_SETTING, settings.changelog, 10.0)
        first = BY_SETTING
    return None if first is None else Plan(stores, first, said)


def make_store(declared: Declared) -> Store:
    """The store; it is not opened. Raises JournalError: what it needs is not installed, and only then imported."""
    if declared.kind == "memory":
        return MemoryStore()
    if declared.kind == "redis":
        from agents.journal.redis import RedisStore

        return RedisStore(declared.url, declared.timeout_seconds)
    try:
        from agents.journal.postgresql import PostgresqlStore
    except ImportError as error:
        raise JournalError(
            f"store {declared.name}: {error.name} is not installed: pip install 'syncline[postgresql]'"
        ) from None
    return PostgresqlStore(declared.url, declared.timeout_seconds)


def _plain(url: str) -> str:
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}").geturl()
