"""What the commands print: data on stdout, messages on stderr, one line for a mistake."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from schemas.canonical import canonical

if TYPE_CHECKING:
    from agents.settings import Settings

T = TypeVar("T")

WIDTH = 100


class Output(StrEnum):
    """The forms of what a command prints."""

    table = "table"
    json = "json"


class CommandError(Exception):
    """Ends a command with one line on stderr: what, where, what would be right."""


def say(line: str) -> None:
    """A message, on stderr."""
    print(line, file=sys.stderr, flush=True)


def write_lines(lines: Iterable[str]) -> None:
    """Lines of data on stdout, UTF-8 whatever the locale says."""
    out = sys.stdout.buffer
    for line in lines:
        out.write(line.encode() + b"\n")
    out.flush()


def write_json(value: Any) -> None:
    """One line of canonical JSON on stdout."""
    write_lines([canonical(value)])


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table on stdout, as wide as the terminal, or 100 columns where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # What is printed comes from outside: it is no markup, and has no control characters (see `shown`).
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _width(), markup=False, highlight=False)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def shown(text: str) -> str:
    """Text from outside as a terminal may see it: what could steer the terminal is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; what Kafka and Redis may answer becomes a CommandError."""
    from aiokafka.errors import KafkaConnectionError, KafkaError
    from redis.exceptions import RedisError

    # Their warnings repeat, over several lines, what is said in one line below.
    for client in ("aiokafka", "redis", "asyncio"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except KafkaConnectionError:
        raise CommandError(no_broker(settings.kafka)) from None
    except ConnectionError as error:
        raise CommandError(str(error)) from error
    except TimeoutError:
        raise CommandError(
            f"Kafka at {settings.kafka} did not answer in time; try again, or look at the broker"
        ) from None
    except KafkaError as error:
        raise CommandError(f"Kafka at {settings.kafka}: {type(error).__name__}: {error}") from error
    except RedisError as error:
        raise CommandError(
            f"Redis at {address(settings.redis or '')}: {error}; SYNCLINE_REDIS must name one that answers"
        ) from None


def no_broker(kafka: str) -> str:
    """The line for a broker that is not there."""
    return f"no broker answers at {kafka}; start one (`syncline up`), or set SYNCLINE_KAFKA=host:port"


def address(url: str) -> str:
    """host:port/path of a URL, without the password in it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or url}{port}{parts.path}"


def need_redis(settings: Settings) -> str:
    """The URL of the view's Redis. Raises CommandError when none is configured."""
    if settings.redis is None:
        raise CommandError("no Redis is configured, so there is no view; set SYNCLINE_REDIS=redis://host:port/0")
    return settings.redis


def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and int(columns) >= 40 else WIDTH
