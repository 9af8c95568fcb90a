"""What `doctor` examines; each finding is one line."""

from __future__ import annotations

import uuid
from time import monotonic
from urllib.parse import urlsplit

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError
from redis.asyncio import Redis

from agents.config_file import load_policy
from agents.journal.loading import Declared, JournalError, load_plan
from agents.settings import Settings
from agents.topics import find_topics, topic_faults
from streams.policy import PolicyError
from streams.topics import TOPICS
from syncline.finding import Finding, bounded, takes_connections
from syncline.hybrid_clock import wall_clock_ms
from syncline.systems import DEFAULT_PORTS, examine_systems
from syncline.terminal import address, no_broker

LOG_APPEND_TIME = 1


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which the parts depend on each other."""
    findings = [await bounded("broker", _broker(settings))]
    if findings[0].ok:
        findings.append(await bounded("topics", _topics(settings)))
    else:
        findings.append(Finding("topics", False, "not examined, for there is no broker"))
    findings.append(await bounded("redis", _redis(settings.redis)))
    findings.append(await bounded("change log", _changelog(settings)))
    findings.append(_policy(settings))
    if findings[0].ok:
        findings.append(await bounded("clock", _clock(settings)))
    else:
        findings.append(Finding("clock", False, "not examined, for there is no broker"))
    return findings + await examine_systems(settings)


async def _broker(settings: Settings) -> tuple[bool, str]:
    started = monotonic()
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        brokers = (await admin.describe_cluster())["brokers"]
    except KafkaConnectionError:
        return False, no_broker(settings.kafka)
    finally:
        await admin.close()
    return True, f"{settings.kafka} answers in {(monotonic() - started) * 1000:.0f} ms, brokers: {len(brokers)}"


async def _topics(settings: Settings) -> tuple[bool, str]:
    prefix = settings.topic_prefix
    wanted = [topic.full_name(prefix) for topic in TOPICS]
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        present = set(await admin.list_topics())
        missing = [name for name in wanted if name not in present]
        if len(missing) == len(wanted):
            return True, f"none of {prefix}* is there yet; the first worker or publish creates them"
        if missing:
            return False, f"missing: {', '.join(missing)}; the next start of a worker creates them, empty"
        found = await find_topics(admin, prefix)
    finally:
        await admin.close()
    faults = topic_faults(found, settings)
    if faults:
        return False, "; and ".join(faults)
    verified = "settings verified" if found.configs else "this broker does not tell their settings"
    return True, f"{len(wanted)} topics {prefix}*, partitions: {found.partitions[wanted[0]]}, {verified}"


async def _redis(url: str | None) -> tuple[bool, str]:
    if url is None:
        return True, "not configured: no view is kept (SYNCLINE_REDIS)"
    async with Redis.from_url(url) as redis:
        started = monotonic()
        await redis.ping()
        ms = (monotonic() - started) * 1000
        info = await redis.info()
    version, eviction = info.get("redis_version", "?"), info.get("maxmemory_policy", "noeviction")
    detail = f"{address(url)} answers in {ms:.0f} ms, Redis {version}"
    if str(eviction).startswith("allkeys"):
        return False, f"{detail}: maxmemory-policy {eviction} evicts entries of the view; set it to noeviction"
    return True, detail


async def _changelog(settings: Settings) -> tuple[bool, str]:
    try:
        plan = load_plan(settings)
    except JournalError as error:
        return False, str(error)
    if plan is None:
        return True, "not configured (SYNCLINE_CHANGELOG, or section journal of syncline.yaml)"
    return True, "; ".join([await _store(declared) for declared in plan.stores.values()])


async def _store(declared: Declared) -> str:
    """Raises OSError: nothing takes connections there."""
    if declared.kind == "memory":
        return f"{declared.name}: memory, kept by each worker until it ends"
    parts = urlsplit(declared.url)
    port = parts.port or DEFAULT_PORTS[declared.kind]
    await takes_connections(parts.hostname or "", port)
    return f"{declared.name}: {declared.kind} at {parts.hostname}:{port} takes connections"


def _policy(settings: Settings) -> Finding:
    try:
        policy = load_policy(settings.config)
    except PolicyError as error:
        return Finding("policy", False, str(error))
    return Finding("policy", True, f"version {policy.version}, {settings.config or 'the default (SYNCLINE_CONFIG)'}")


async def _clock(settings: Settings) -> tuple[bool, str]:
    """Has the broker stamp a record in a topic of its own, which is there for no longer than that."""
    topic = f"{settings.topic_prefix}doctor-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        config = {"message.timestamp.type": "LogAppendTime"}
        answer = await admin.create_topics([NewTopic(topic, 1, settings.replication_factor, topic_configs=config)])
        refused = [str(rest) for _, code, *rest in answer.topic_errors if code != 0]
        if refused:
            return False, f"cannot be compared, topic {topic} was refused: {' '.join(refused)}"
        try:
            return await _compare_clocks(settings, topic)
        finally:
            await admin.delete_topics([topic])
    finally:
        await admin.close()


async def _compare_clocks(settings: Settings, topic: str) -> tuple[bool, str]:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all") as producer:
        await producer.send_and_wait(topic, b"warm up")
        before = wall_clock_ms()
        # A time that no clock shows: whatever else comes back, the broker has put it there.
        stamped = await producer.send_and_wait(topic, b"what time is it", timestamp_ms=1)
        after = wall_clock_ms()
    if stamped.timestamp_type != LOG_APPEND_TIME or stamped.timestamp in (None, -1, 1):
        return True, "this broker has no LogAppendTime: the clock guard trusts the times that producers give"
    skew_ms = max(before - stamped.timestamp, stamped.timestamp - after, 0)
    try:
        allowed_ms = load_policy(settings.config).max_future_ms
    except PolicyError:
        allowed_ms = 60_000
    detail = f"the broker's append time and this machine's clock are {skew_ms} ms apart, or less"
    if skew_ms > allowed_ms:
        return False, f"{detail}; changes that are {allowed_ms} ms ahead are refused: set the clocks by NTP"
    return True, f"LogAppendTime; {detail}"
