"""Creates the topics that are missing and verifies those that are there, before the worker touches any.

What is wrong with a topic costs data only later and without an error: a partition count that differs
between topics moves keys away from their state, a retention drops what a rebuild needs. So a mismatch
ends the start with one line for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agents.ending import EX_CONFIG, EX_SOFTWARE, end_process
from agents.settings import Settings
from agents.topic_identity import TopicIdentity, identify
from streams.topics import CHANGELOG, CHANGES, DEAD_LETTERS, TOPICS, Topic

log = logging.getLogger(__name__)

APPEAR_SECONDS = 15.0
SIZE = "max.message.bytes"
TOMBSTONES, TOMBSTONES_MS = "delete.retention.ms", "86400000"  # Kafka's default, where a broker does not say

#: What the headers of a dead letter may add to the bytes as received.
HEADER_BYTES = 16_384


class TopicFault(Exception):
    """Topics that cannot be used as they are; one line each: which, what it is, what it must be, what to do."""


class Changelog(NamedTuple):
    """What the store of states has to know of its changelog. tombstone_seconds: how long a null is kept at least."""

    identity: TopicIdentity
    tombstone_seconds: float


async def prepare_topics(settings: Settings) -> Changelog:
    """Create and verify every topic of the table. Raises TopicFault, or KafkaError when no broker answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, client_id=f"{settings.app_id}-topics")
    await admin.start()
    try:
        await create_missing(admin, settings)
        partitions = await partition_counts(admin, settings.topic_prefix)
        configs = await topic_configs(admin, settings.topic_prefix)
        changelog = CHANGELOG.full_name(settings.topic_prefix)
        identity = await identify(admin, changelog)
    finally:
        await admin.close()
    faults = count_faults(partitions, settings.topic_prefix) + config_faults(configs, settings.topic_prefix)
    if faults:
        raise TopicFault("\n".join(faults))
    return Changelog(identity, int(configs.get(changelog, {}).get(TOMBSTONES, TOMBSTONES_MS)) / 1000)


async def prepare_topics_or_end(settings: Settings) -> Changelog:
    """The same for a worker's start: a fault ends the process with code 78, a broker that does not answer with 70."""
    try:
        return await prepare_topics(settings)
    except TopicFault as error:
        end_process(EX_CONFIG, str(error))
    except KafkaError as error:
        end_process(EX_SOFTWARE, f"no broker answers at {settings.kafka}: {error}")


async def create_missing(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Create what is not there and wait until the brokers know it."""
    wanted = {topic.full_name(settings.topic_prefix): topic for topic in TOPICS}
    # All topics are asked for, never these names: the embedded broker creates whatever it is asked about.
    present = set(await admin.list_topics())
    missing = [
        NewTopic(name, settings.partitions, settings.replication_factor, topic_configs=topic.config)
        for name, topic in wanted.items()
        if name not in present
    ]
    if not missing:
        return
    response = await admin.create_topics(missing)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        # Another worker of the same start may have been quicker.
        if code != 0 and error is not TopicAlreadyExistsError:
            raise TopicFault(f"topic {name} cannot be created: {error.__name__}: {' '.join(map(str, message))}")
    log.info("Created topics: %s", ", ".join(topic.name for topic in missing))
    until = monotonic() + APPEAR_SECONDS
    while not wanted.keys() <= set(await admin.list_topics()):
        if monotonic() > until:
            raise TopicFault(f"topics {sorted(wanted)} were created but the broker does not list them all")
        await asyncio.sleep(0.1)


async def partition_counts(admin: AIOKafkaAdminClient, prefix: str) -> dict[str, int]:
    """Number of partitions by full name."""
    described = await admin.describe_topics([topic.full_name(prefix) for topic in TOPICS])
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def topic_configs(admin: AIOKafkaAdminClient, prefix: str) -> dict[str, dict[str, str]]:
    """What the broker says about its topics, by full name; empty for a broker that cannot say."""
    names = [topic.full_name(prefix) for topic in TOPICS]
    try:
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    except KafkaError as error:
        log.warning("This broker does not describe its topics, their settings are not verified: %r", error)
        return {}
    return {
        name: {key: value for key, value, *_ in entries}
        for response in responses
        for _, _, _, name, entries in response.resources
    }


def count_faults(partitions: Mapping[str, int], prefix: str) -> list[str]:
    """Every topic must have as many partitions as `changes`, or a key's data do not meet in one partition."""
    wanted = partitions[CHANGES.full_name(prefix)]
    return [
        f"topic {name} has {count} partitions, and must have {wanted} as {CHANGES.full_name(prefix)} has: "
        "delete it if nothing in it is needed, it is created again at the next start; otherwise move to a new prefix"
        for name, count in sorted(partitions.items())
        if count != wanted
    ]


def config_faults(configs: Mapping[str, Mapping[str, str]], prefix: str) -> list[str]:
    """Settings that the broker reports and that are not what the table of topics relies on.

    What a broker does not report is taken as it must be: it cannot tell, and Kafka always can.
    """
    faults = [
        _fault(topic.full_name(prefix), setting, found[setting], topic.config[setting])
        for topic in TOPICS
        for found in [configs.get(topic.full_name(prefix), {})]
        for setting in topic.verified
        if setting in found and found[setting] != topic.config[setting]
    ]
    return faults + _size_faults(configs, prefix, DEAD_LETTERS)


def _size_faults(configs: Mapping[str, Mapping[str, str]], prefix: str, dead_letters: Topic) -> list[str]:
    received = configs.get(CHANGES.full_name(prefix), {}).get(SIZE)
    kept = configs.get(dead_letters.full_name(prefix), {}).get(SIZE)
    if received is None or kept is None or int(kept) >= int(received) + HEADER_BYTES:
        return []
    # Otherwise a change that is as large as the broker lets in could be neither resolved nor put away.
    return [_fault(dead_letters.full_name(prefix), SIZE, kept, str(int(received) + HEADER_BYTES))]


def _fault(name: str, setting: str, found: str, wanted: str) -> str:
    return (
        f"topic {name} has {setting}={found}, and must have {wanted}: kafka-configs.sh --alter "
        f"--entity-type topics --entity-name {name} --add-config {setting}={wanted}"
    )
