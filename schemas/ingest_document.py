"""Keys of a source in syncline.yaml that say how its changes arrive, where they do not come on topic `changes`."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from schemas.document import Document, Duration, EntityType, Most, Names, Variable, url_of

DEFAULT_GROUP: Final = "syncline"
DEFAULT_MIN_IDLE_MS: Final = 30_000
DEFAULT_READ_ENTRIES: Final = 500


class StreamSourceDocument(Document):
    """A Redis Stream that a source adds entries to. In the file the stream's name alone will do."""

    stream: str = Field(min_length=1, description="key of the stream")
    url: Annotated[str, url_of("redis", "rediss")] | None = Field(
        None, description="redis://… of its Redis; none: the Redis of the view"
    )
    secret_env: Variable | None = Field(None, description="variable with the password of that Redis")
    group: str = Field(DEFAULT_GROUP, min_length=1, description="consumer group that all workers share")
    min_idle: Annotated[Duration, Field(gt=0)] = Field(
        DEFAULT_MIN_IDLE_MS, description="an entry that a worker holds longer without acknowledging it is taken over"
    )
    read_entries: Most = Field(DEFAULT_READ_ENTRIES, description="that are read at once")
    keep: Duration | None = Field(
        None, description="acknowledged entries older than this are deleted; none: nothing is deleted"
    )


def _stream(value: object) -> object:
    return {"stream": value} if isinstance(value, str) else value


class IngestDocument(Document):
    """Where the changes of one source arrive."""

    topic: str | None = Field(None, min_length=1, description="of its own, copied into `changes`; full name")
    redis_stream: (
        Annotated[StreamSourceDocument, BeforeValidator(_stream, json_schema_input_type=StreamSourceDocument | str)]
        | None
    ) = Field(None, description="that it adds its changes to, copied into `changes`")
    format: Literal["syncline", "debezium", "cloudevents"] = Field(
        "syncline", description="in which they arrive; syncline: as `syncline publish` takes them, or as Avro"
    )
    entity_type: EntityType | None = Field(
        None, description="of what arrives in another format; none: the one that it names"
    )
    id: Names | None = Field(
        None, description="fields that make the entity's id, in another format; none: those of the record's key"
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.topic is not None and self.redis_stream is not None:
            raise ValueError("it has a topic and a redis_stream; say where its changes arrive")
        if self.topic is None and self.redis_stream is None and self.format != "syncline":
            raise ValueError("a format is that of a topic or a redis_stream; name one")
        if self.format == "syncline" and (self.entity_type is not None or self.id is not None):
            raise ValueError("entity_type and id are for changes in another format; ours name their entity")
        return self
