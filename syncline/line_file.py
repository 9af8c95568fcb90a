"""Publishes a file of JSON lines, each a change, and reports the lines that are none (SPEC section 7, `publish`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, BinaryIO

from aiokafka.errors import KafkaError

from schemas.change import parse_change_line
from schemas.refusal import DEFAULT_LIMITS, Limits, Refusal
from syncline.publisher import Encoded, Publisher

#: Encoded at once; what of them shares a partition travels in one batch.
CHUNK_LINES = 2_000
CHUNK_BYTES = 4 * 1024 * 1024
NAMED_BAD_LINES = 1_000

_BOM = b"\xef\xbb\xbf"


class NotDelivered(Exception):
    """Kafka took no answerable part of some lines; the message says which."""


@dataclass(slots=True)
class Summary:
    """lines: read, blank ones not counted. bad: refused. bad_lines: their numbers, the first thousand of them."""

    lines: int = 0
    published: int = 0
    bad: int = 0
    seconds: float = 0.0
    bad_lines: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The summary as it is printed."""
        return {
            "lines": self.lines,
            "published": self.published,
            "bad": self.bad,
            "bad_lines": self.bad_lines,
            "seconds": round(self.seconds, 3),
        }


async def publish_lines(
    publisher: Publisher,
    file: BinaryIO,
    report: Callable[[int, str], None],
    limits: Limits = DEFAULT_LIMITS,
) -> Summary:
    """Publish every good line in the order of the file.

    report: called with number and message of every bad one. Raises NotDelivered when Kafka stops taking them.
    """
    summary = Summary()
    started = monotonic()
    chunk: list[Encoded] = []
    size = 0
    first = 1
    number = 0
    for number, line in numbered_lines(file, limits.change_bytes):
        summary.lines += 1
        try:
            chunk.append(publisher.encode(parse_change_line(line, limits)))
        except Refusal as refusal:
            summary.bad += 1
            if len(summary.bad_lines) < NAMED_BAD_LINES:
                summary.bad_lines.append(number)
            report(number, f"{refusal.reason}: {refusal}")
            continue
        size += len(chunk[-1].value)
        if len(chunk) >= CHUNK_LINES or size >= CHUNK_BYTES:
            summary.published += await _send(publisher, chunk, first, number)
            chunk, size, first = [], 0, number + 1
    summary.published += await _send(publisher, chunk, first, number)
    summary.seconds = monotonic() - started
    return summary


def numbered_lines(file: BinaryIO, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, without its end, with its number from 1.

    Of a line longer than most_bytes only so much is read that it can be told, however long it is.
    """
    number = 0
    while line := file.readline(most_bytes + 3):
        number += 1
        cut = line
        while not cut.endswith(b"\n") and len(cut) == most_bytes + 3:
            cut = file.readline(most_bytes + 3)
        if number == 1:
            line = line.removeprefix(_BOM)
        line = line.rstrip(b"\r\n")
        if line.strip():
            yield number, line


async def _send(publisher: Publisher, chunk: list[Encoded], first: int, last: int) -> int:
    if chunk:
        try:
            await publisher.send(chunk)
        except KafkaError as error:
            raise NotDelivered(
                f"Kafka did not acknowledge all of lines {first} to {last} ({type(error).__name__}); those before are "
                "published; publish the rest again from there, a change that has its version counts only once"
            ) from error
    return len(chunk)
