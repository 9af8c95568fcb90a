"""Dead letters of a target, and what is to be delivered by name: read from Kafka, and written to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import aclosing
from time import time

from aiokafka import TopicPartition

from agents.delivery.courier import delivery_of
from agents.delivery.letters import FORCED, Letter, as_value, letter_key, letter_of, read_letter
from agents.delivery.notes import Notebook
from agents.log_ends import log_ends
from agents.names import TopicNames
from agents.reading import connected, read_between
from agents.settings import Settings
from schemas.target_document import TargetDocument
from streams.pending import Pending
from streams.target_mapping import TargetMapping
from syncline.places import newest_values
from syncline.topic_reader import partition_of, partitions_of


async def letters_of(settings: Settings, name: str) -> list[Letter]:
    """The letters of a target, the oldest first. Raises KafkaError."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    values = await newest_values(settings.kafka, names.target_dead_letters)
    prefix = letter_key(name, "").encode()
    letters = [read_letter(value) for key, value in values.items() if key.startswith(prefix)]
    return sorted(letters, key=lambda letter: (letter.at_ms, letter.key))


async def write_letters(settings: Settings, letters: Iterable[tuple[Letter, bool]]) -> None:
    """Write letters, each with whether it stays: False takes it back. Raises KafkaError, TimeoutError."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    notebook = Notebook(settings.kafka)
    try:
        for letter, stays in letters:
            row = {letter_key(letter.target, letter.key): as_value(letter) if stays else None}
            await notebook.write(names.target_dead_letters, letter.position.partition, row)
    finally:
        await notebook.close()


async def forced(settings: Settings, name: str, said: TargetDocument, keys: Collection[bytes]) -> list[Letter]:
    """Letters that have a target told of entities as they are now; none of those that it does not get.

    Raises KafkaError, and LookupError for an entity that has no record.
    """
    names, mapping = TopicNames.with_prefix(settings.topic_prefix), TargetMapping.of(name, said)
    every = await partitions_of(settings.kafka, names.records)
    wanted = {partition_of(key, every) for key in keys} if every else set[TopicPartition]()
    newest = {}
    async with connected(settings.kafka) as consumer:
        ends = await log_ends(settings.kafka, wanted) if wanted else {}
        starts = await consumer.beginning_offsets(list(wanted)) if wanted else {}
        async with aclosing(read_between(consumer, starts, ends)) as batches:
            async for tp, records in batches:
                newest.update((record.key, (tp, record)) for record in records if record.key in keys)
    missing = sorted(set(keys) - newest.keys())
    if missing:
        raise LookupError(missing[0].decode(errors="replace"))
    letters = []
    for tp, record in newest.values():
        delivery = delivery_of(mapping, names.records, tp.partition, record)
        if delivery is not None:
            size = len(record.value or b"")
            item = Pending(delivery, record.offset, record.timestamp, size, record.offset, record.timestamp)
            letter = letter_of(item, FORCED, int(time() * 1000), ends[tp])
            letters.append(letter.model_copy(update={"redrive": 1}))
    return letters
