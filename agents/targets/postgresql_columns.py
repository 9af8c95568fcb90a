"""What a column takes: the types that a mapping may name, the values that fit them, and the tables that do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Connection, DateTime, Double, Table, Text, inspect
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.types import TypeEngine

from schemas.canonical import canonical
from schemas.rfc3339 import parse_time

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Unfit(ValueError):
    """A value that its column cannot hold; the message names both types and has no value in it."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """sql: as which a column is made. accepted: types of a column that is there already. fit: from a value that is
    not null to what is bound. Raises ValueError: it does not fit.
    """

    sql: TypeEngine[Any]
    accepted: tuple[str, ...]
    fit: Callable[[Any], Any]


def _of(*kinds: type) -> Callable[[Any], Any]:
    def fit(value: Any) -> Any:
        if type(value) not in kinds:
            raise ValueError
        return value

    return fit


def _double(value: Any) -> float:
    """A float, or an integer that is one."""
    number = float(_of(int, float)(value))
    if number != value:
        raise ValueError
    return number


def _time(value: Any) -> datetime:
    """Milliseconds since the epoch, or RFC 3339 with a zone."""
    milliseconds = parse_time(value) if isinstance(value, str) else _of(int)(value)
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ValueError from error


COLUMN_TYPES: Final[Mapping[str, ColumnType]] = {
    "text": ColumnType(Text(), ("TEXT", "VARCHAR", "CHAR"), _of(str)),
    "bigint": ColumnType(BigInteger(), ("BIGINT", "INTEGER", "SMALLINT", "NUMERIC"), _of(int)),
    "double": ColumnType(Double(), ("DOUBLE PRECISION",), _double),
    "boolean": ColumnType(Boolean(), ("BOOLEAN",), _of(bool)),
    "jsonb": ColumnType(JSONB(none_as_null=True), ("JSONB",), lambda value: value),
    "json": ColumnType(JSON(none_as_null=True), ("JSON",), lambda value: value),
    "timestamptz": ColumnType(DateTime(timezone=True), ("TIMESTAMP WITH TIME ZONE",), _time),
}


def column_value(column: str, kind: str, value: Any) -> Any:
    """What is bound for a value. Raises Unfit."""
    if value is None:
        return None
    try:
        return COLUMN_TYPES[kind].fit(value)
    except ValueError:
        given = type(value).__name__
        raise Unfit(f"field {column!r}: a value of type {given} does not fit its column, which is {kind}") from None


def size(value: Any) -> int:
    """About how many bytes a value takes on its way."""
    return len(value) if isinstance(value, str) else 8 if not isinstance(value, dict | list) else len(canonical(value))


def json_text(value: Any) -> str:
    """Canonical JSON, but a float that has an exponent there is written without one, and with `.0` at its end.

    `jsonb` keeps the digits after the point and not how a number was written: 1e+21 would come back as an integer.
    """
    text = canonical(value)
    if "e+" not in text:
        return text
    if isinstance(value, dict):
        return f"{{{','.join(f'{canonical(key)}:{json_text(value[key])}' for key in value)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(json_text, value))}]"
    return f"{value:.1f}" if isinstance(value, float) else text


def misfits(connection: Connection, table: Table, kinds: Mapping[str, str]) -> list[str]:
    """A line for each thing that is wrong with a table that is there. kinds: column -> name of its type."""
    inspector = inspect(connection)
    found = {column["name"]: column for column in inspector.get_columns(table.name, schema=table.schema)}
    quoted = connection.dialect.identifier_preparer
    problems: list[str] = []
    for column, kind in {"key": "text", **kinds}.items():
        if column not in found:
            remedy = f"ALTER TABLE {quoted.format_table(table)} ADD COLUMN {quoted.quote(column)} {sql_name(kind)}"
            problems.append(f"it has no column {column}: {remedy}")
            continue
        actual = found[column]["type"].compile(connection.dialect)
        actual = re.sub(r"\([^)]*\)", "", actual)  # varchar(40), timestamp(3) with time zone
        if actual not in COLUMN_TYPES[kind].accepted:
            problems.append(f"column {column} is {actual.lower()}, it must be {sql_name(kind)}")
    for column, said in found.items():
        if column != "key" and column not in kinds and not said["nullable"] and said["default"] is None:
            problems.append(f"column {column} is NOT NULL without a default, and no field goes there")
    unique = [inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]]
    unique += [one["column_names"] for one in inspector.get_unique_constraints(table.name, schema=table.schema)]
    if "key" in found and ["key"] not in unique:
        problems.append("column key is neither primary key nor UNIQUE; it must be one of them")
    return problems


def sql_name(kind: str) -> str:
    """A type as SQL calls it."""
    return "double precision" if kind == "double" else kind
