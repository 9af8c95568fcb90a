"""Creates the topics that are missing and verifies those that are there, before the worker touches any.

What is wrong with a topic costs data only later and without an error: a partition count that differs
between topics moves keys away from their state, a retention drops what a rebuild needs. So a mismatch
ends the start with one line for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agents.ending import EX_CONFIG, EX_SOFTWARE, end_process
from agents.settings import Settings
from agents.topic_identity import TopicIdentity, identify
from streams.topics import CHANGELOG, CHANGES, CONTROL, DEAD_LETTERS, TOPICS, Topic

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


@dataclass(frozen=True, slots=True)
class FoundTopics:
    """What the broker says about the topics, by full name.

    replicas: of the partition that has fewest. configs: empty for a broker that cannot say. A topic whose
    partitions it does not tell at the moment has 0 of both.
    """

    partitions: dict[str, int]
    replicas: dict[str, int]
    configs: dict[str, dict[str, str]]


async def prepare_topics(settings: Settings) -> Changelog:
    """Create and verify every topic of the table. Raises TopicFault, or KafkaError when no broker answers."""
    async with topics_admin(settings) as admin:
        await create_missing(admin, settings)
        found = await find_topics(admin, settings.topic_prefix)
        changelog = CHANGELOG.full_name(settings.topic_prefix)
        identity = await identify(admin, changelog)
    faults = topic_faults(found, settings)
    if faults:
        raise TopicFault("\n".join(faults))
    return Changelog(identity, int(found.configs.get(changelog, {}).get(TOMBSTONES, TOMBSTONES_MS)) / 1000)


async def prepare_topics_or_end(settings: Settings) -> Changelog:
    """The same for a worker's start: a fault ends the process with code 78, a broker that does not answer with 70."""
    try:
        return await prepare_topics(settings)
    except TopicFault as error:
        end_process(EX_CONFIG, str(error))
    except KafkaError as error:
        end_process(EX_SOFTWARE, f"no broker answers at {settings.kafka}: {error}")


@asynccontextmanager
async def topics_admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connection to ask the broker about topics. Raises KafkaError when no broker answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, client_id=f"{settings.app_id}-topics")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def create_missing(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Create what is not there and wait until the brokers know it."""
    wanted = {topic.full_name(settings.topic_prefix): topic for topic in TOPICS}
    # All topics are asked for, never these names: the embedded broker creates whatever it is asked about.
    present = set(await admin.list_topics())
    missing = [
        NewTopic(name, topic.partitions or settings.partitions, settings.replication_factor, topic_configs=topic.config)
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


async def find_topics(admin: AIOKafkaAdminClient, prefix: str) -> FoundTopics:
    """What the broker says about its topics, all of which are there."""
    described = await admin.describe_topics([topic.full_name(prefix) for topic in TOPICS])
    return FoundTopics(
        {topic["topic"]: len(topic["partitions"]) for topic in described},
        {topic["topic"]: min((len(one["replicas"]) for one in topic["partitions"]), default=0) for topic in described},
        await topic_configs(admin, prefix),
    )


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


def topic_faults(found: FoundTopics, settings: Settings) -> list[str]:
    """All that is wrong with the topics, one line each."""
    prefix = settings.topic_prefix
    return [
        *count_faults(found.partitions, prefix),
        *replica_faults(found.replicas, settings.replication_factor),
        *config_faults(found.configs, prefix),
    ]


def count_faults(partitions: Mapping[str, int], prefix: str) -> list[str]:
    """All topics keyed by entity must have equally many partitions, or a key's data do not meet in one partition.

    What most of them have is right, and what `changes` has where that does not decide.
    """
    changes, control = CHANGES.full_name(prefix), CONTROL.full_name(prefix)
    keyed = {name: count for name, count in partitions.items() if name != control}
    topics_with = Counter(keyed.values())
    wanted = max(topics_with, key=lambda count: (topics_with[count], count == partitions[changes]))
    empty_it = "delete it if nothing in it is needed, it is created again at the next start; otherwise "
    return [
        f"topic {name} has {count} partitions, and must have {wanted} as the others have: keys have moved away from"
        f" their states; {'' if name == changes else empty_it}move to a new prefix and app id"
        for name, count in sorted(keyed.items())
        if count != wanted
    ]


def replica_faults(replicas: Mapping[str, int], wanted: int) -> list[str]:
    """Topics with fewer copies than the settings ask for. More are welcome; 0 is a broker that does not tell."""
    return [
        f"topic {name} has a replication factor of {count}, and must have {wanted} or more"
        " (SYNCLINE_REPLICATION_FACTOR): kafka-reassign-partitions.sh adds replicas"
        for name, count in sorted(replicas.items())
        if 0 < count < wanted
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
