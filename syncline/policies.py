"""The policy that a deployment is under, and what another one would change in it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from agents.config_file import load_policy, policy_of
from agents.control import tell
from agents.names import TopicNames
from agents.reresolve import PROGRESS_PREFIX, SUBJECT
from agents.settings import Settings
from streams.entity_codec import decode_entity
from streams.policy import Policy
from streams.policy_difference import Comparison
from syncline.places import newest_states, newest_values
from syncline.topic_reader import partitions_of

LOOK_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class InForce:
    """applied: whether topic `control` says it; else it is that of the file that the settings name."""

    policy: Policy
    applied: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a partition is. version: of the policy that it is on its way to, or under; None: nothing was told yet."""

    partition: int
    version: str | None
    seen: int
    entities: int
    done: bool


async def in_force(settings: Settings) -> InForce:
    """The policy that the workers have. Raises PolicyError."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    said = (await newest_values(settings.kafka, names.control, SUBJECT.encode())).get(SUBJECT.encode())
    if said is None:
        return InForce(load_policy(settings.config), False)
    return InForce(policy_of(json.loads(said)["policy"], settings.config), True)


async def apply(settings: Settings, policy: Policy | None) -> None:
    """Have all workers take a policy; None: that of their own files again."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    value = None if policy is None else {"policy": policy.said, "version": policy.version}
    await tell(settings.kafka, names.control, SUBJECT, value)


async def progress(settings: Settings) -> list[Progress]:
    """Where each partition is, as its worker last told."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    told = await newest_values(settings.kafka, names.control)
    partitions = await partitions_of(settings.kafka, names.changes)
    return [_progress(tp.partition, told.get(f"{PROGRESS_PREFIX}{tp.partition}".encode())) for tp in partitions]


async def standing(settings: Settings, wait_seconds: float) -> tuple[InForce, list[Progress]]:
    """The policy in force, and where each partition is: when all are done, or after so long. Raises PolicyError."""
    until = monotonic() + wait_seconds
    while True:
        now, rows = await in_force(settings), await progress(settings)
        if all_done(now, rows) or monotonic() >= until:
            return now, rows
        await asyncio.sleep(LOOK_SECONDS)


def all_done(now: InForce, rows: list[Progress]) -> bool:
    """Whether the policy in force alone has decided everywhere."""
    return bool(rows) and all(row.done and row.version == now.policy.version for row in rows)


def _progress(partition: int, told: bytes | None) -> Progress:
    said: dict[str, Any] = {} if told is None else json.loads(told)
    return Progress(
        partition, said.get("version"), said.get("seen", 0), said.get("entities", 0), said.get("done", False)
    )


async def compare(settings: Settings, before: Policy, after: Policy, most_examples: int) -> Comparison:
    """What would change if the second policy came after the first, from the states in the changelog."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    comparison = Comparison(before, after, most_examples)
    for key, state in sorted((await newest_states(settings.kafka, names.changelog)).items()):
        comparison.add(key.decode(), decode_entity(state))
    return comparison
