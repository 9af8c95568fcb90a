"""Section `targets` of syncline.yaml: where golden records are delivered to, which of them, and as what.

Secrets are not in the file: it names the environment variables that have them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from schemas.condition_document import Conditions
from schemas.delivery_document import DeliveryDocument
from schemas.document import (
    Document,
    Duration,
    EntityType,
    KafkaAddresses,
    Most,
    NameKey,
    Names,
    Variable,
    name_key,
    or_nothing,
    url_of,
)
from schemas.record import Value
from schemas.suggestion import suggestion

DEFAULT_TIMEOUT_MS = 10_000
HEADER = r"[A-Za-z0-9-]+"
#: Set by the target itself.
OWN_HEADERS = ("content-", "host", "idempotency-key", "webhook-", "transfer-encoding", "connection")

ColumnType = Literal["text", "bigint", "double", "boolean", "jsonb", "json", "timestamptz"]


def _target_name(value: object) -> str:
    name = name_key(value)
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name):
        raise ValueError("a target's name is up to 64 lower case letters, digits, _ and -, a letter first")
    return name


def _header(value: object) -> str:
    name = name_key(value)
    if not re.fullmatch(HEADER, name) or name.lower().startswith(OWN_HEADERS):
        raise ValueError("it must be a header that the target does not set by itself, for example Authorization")
    return name


def _table(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[^.\0]{1,63}(\.[^.\0]{1,63})?", value):
        raise ValueError(f"{value!r} must be the name of a table, or schema.table")
    return value


def _column(value: object) -> str:
    name = name_key(value)
    # PostgreSQL would cut a longer name without a word.
    if not 0 < len(name.encode()) <= 63 or "\0" in name or name == "key":
        raise ValueError("a column's name has up to 63 bytes, and `key` is the entity's; rename the field")
    return name


def _topic(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value):
        raise ValueError(f"{value!r} must be a topic's name: up to 249 letters, digits, '.', '_' and '-'")
    return value


TargetName = Annotated[str, BeforeValidator(_target_name)]


class EntityMappingDocument(Document):
    """Which records of an entity type a target gets, and with which fields."""

    where: Conditions = Field(
        {}, description="conditions on fields, all of which must hold; what no longer meets them is deleted"
    )
    fields: Names | None = Field(None, description="the fields that the target gets; none: all")
    rename: dict[NameKey, Annotated[str, Field(min_length=1)]] = Field(
        {}, description="field -> its name at the target"
    )
    constants: dict[NameKey, Value] = Field({}, description="fields of every record, by their name at the target")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.fields is not None:
            for name in self.rename:
                if name not in self.fields:
                    raise ValueError(f"rename: {name!r} is not among the fields; {suggestion(name, self.fields)}")
        plain = [name for name in self.fields or () if name not in self.rename]
        taken = set()
        for name in (*plain, *self.rename.values(), *self.constants):
            if name in taken:
                raise ValueError(f"two fields are named {name!r} at the target")
            taken.add(name)
        return self


class TargetDocument(Document):
    """What may be said of every target."""

    entities: dict[EntityType, Annotated[EntityMappingDocument, or_nothing(EntityMappingDocument)]] | None = Field(
        None, description="entity types that the target gets; none: all types with all fields"
    )
    generation: Most = Field(1, description="raise it by one to have everything count as new")
    timeout: Annotated[Duration, Field(gt=0)] = Field(DEFAULT_TIMEOUT_MS, description="of one exchange with the target")
    delivery: Annotated[DeliveryDocument, or_nothing(DeliveryDocument)] = DeliveryDocument()


def variables(said: TargetDocument) -> dict[str, str]:
    """The environment variables that a section names, by the key that names them."""
    named: dict[str, str] = {}
    for key, value in said:
        if key.endswith("_env"):
            named |= (
                {key: value} if isinstance(value, str) else {f"{key}.{at}": one for at, one in (value or {}).items()}
            )
    return named


class HttpDocument(TargetDocument):
    """A web service that takes batches."""

    kind: Literal["http"]
    url: Annotated[str, url_of("https", "http")]
    method: Literal["POST", "PUT"] = "POST"
    secret_env: Variable | None = Field(None, description="variable with the secret that requests are signed with")
    headers_env: dict[Annotated[str, BeforeValidator(_header)], Variable] = Field(
        {}, description="header -> variable with its value: Authorization"
    )


class PostgresqlDocument(TargetDocument):
    """A table."""

    kind: Literal["postgresql"]
    url: Annotated[str, url_of("postgresql")]
    secret_env: Variable | None = Field(None, description="variable with the password")
    table: Annotated[str, BeforeValidator(_table)] = Field(description="table, or schema.table; made if it is missing")
    columns: dict[Annotated[str, BeforeValidator(_column)], ColumnType] | None = Field(
        None, description="field at the target -> type of its column; none: all fields in one column `fields` (jsonb)"
    )


class KafkaDocument(TargetDocument):
    """A Kafka topic."""

    kind: Literal["kafka"]
    kafka: KafkaAddresses = Field(description="host:port; several with commas between")
    topic: Annotated[str, BeforeValidator(_topic)] = Field(description="made if it is missing")
    format: Literal["json", "avro"] = "json"
    partitions: Most = Field(8, description="of the topic, when it is first created")
    replication_factor: Most = Field(1, description="of the topic, when it is first created")


class RedisStreamDocument(TargetDocument):
    """A Redis Stream."""

    kind: Literal["redis_stream"]
    url: Annotated[str, url_of("redis", "rediss")]
    secret_env: Variable | None = Field(None, description="variable with the password")
    stream: str = Field(min_length=1, description="key of the stream")
    max_entries: Most = Field(100_000, description="that the stream keeps, about")


class JsonLinesDocument(TargetDocument):
    """A file with a JSON object in each line, on the machine of the worker."""

    kind: Literal["json_lines"]
    path: str = Field(min_length=1, description="the file that is written; rotated ones lie beside it")
    rotate_bytes: Most | None = Field(None, description="a file that has as many is put aside before the next write")
    rotate_every: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="no file has lines of two such periods, counted from 1970 in UTC"
    )
    compress: bool = Field(False, description="rotated files with gzip")


OURS: dict[str, type[TargetDocument]] = {
    "http": HttpDocument,
    "postgresql": PostgresqlDocument,
    "kafka": KafkaDocument,
    "redis_stream": RedisStreamDocument,
    "json_lines": JsonLinesDocument,
}


class CustomDocument(TargetDocument):
    """A user's own target: `kind` is the name of an entry point of group `syncline.targets`."""

    kind: str = Field(min_length=1, json_schema_extra={"not": {"enum": [*OURS]}})
    secret_env: Variable | None = Field(None, description="variable with the secret that the target needs")
    settings: dict[NameKey, Any] = Field({}, description="whatever the target needs to know; no secrets")


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return None if not isinstance(kind, str) else kind if kind in OURS else "custom"


AnyTarget = Annotated[
    Annotated[HttpDocument, Tag("http")]
    | Annotated[PostgresqlDocument, Tag("postgresql")]
    | Annotated[KafkaDocument, Tag("kafka")]
    | Annotated[RedisStreamDocument, Tag("redis_stream")]
    | Annotated[JsonLinesDocument, Tag("json_lines")]
    | Annotated[CustomDocument, Tag("custom")],
    Discriminator(_kind),
]
