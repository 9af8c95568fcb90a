"""Which cluster and which topic this is. A name alone does not tell: a topic can be deleted and made anew."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

METADATA = 3
TEXT = CompactString("utf-8")
NUMBERS = CompactArray(Int32)


class TopicIdentity(NamedTuple):
    """cluster, topic_id: as Kafka names them, None where a broker does not tell."""

    cluster: str | None
    topic_id: str | None


class Uuid(AbstractType[bytes]):
    """16 bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return data.read(16)


class MetadataResponse(Response):
    """Version 10, the first that tells topic ids; aiokafka itself ends at 5."""

    API_KEY = METADATA
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("id", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT), ("_", TaggedFields))),
        ("cluster", TEXT),
        ("controller", Int32),
        (
            "topics",
            CompactArray(
                ("error", Int16),
                ("name", TEXT),
                ("topic_id", Uuid),
                ("internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        *(("error", Int16), ("partition", Int32), ("leader", Int32), ("epoch", Int32)),
                        *(("replicas", NUMBERS), ("in_sync", NUMBERS), ("offline", NUMBERS), ("_", TaggedFields)),
                    ),
                ),
                ("operations", Int32),
                ("_", TaggedFields),
            ),
        ),
        ("cluster_operations", Int32),
        ("_", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):
    """Asks for topics by name."""

    API_KEY = METADATA
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", TEXT), ("_", TaggedFields))),
        ("create", Boolean),
        ("cluster_operations", Boolean),
        ("operations", Boolean),
        ("_", TaggedFields),
    )


class TopicIdRequest(Request[MetadataRequest_v10]):
    """Asks for a topic, and does not create it."""

    API_KEY = METADATA

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[MetadataRequest_v10]) -> MetadataRequest_v10:
        return request_struct_class([(bytes(16), self._topic, {})], False, False, False, {})


async def identify(admin: AIOKafkaAdminClient, topic: str) -> TopicIdentity:
    """The identity of a topic that is there. Raises KafkaError when no broker answers."""
    try:
        found = await admin._send_request(TopicIdRequest(topic))
    except (IncompatibleBrokerVersion, NotImplementedError):  # a broker before 2.8
        return TopicIdentity((await admin.describe_cluster())["cluster_id"], None)
    topic_id = found.topics[0][2]
    return TopicIdentity(found.cluster, str(uuid.UUID(bytes=topic_id)) if any(topic_id) else None)
